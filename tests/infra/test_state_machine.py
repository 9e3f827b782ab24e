"""The StateMachine construct, with a definition of its own: no stack has one yet."""

from pathlib import Path

import pytest
from aws_cdk import App, Stack, Validations, assertions
from aws_cdk import aws_kms as kms
from cdk_nag import AwsSolutionsChecks

from cdk.constructs.state_machine import StateMachine, StateMachineProps
from cdk.permissions import allow
from cdk.stage import Stage as FleetStage

QUEUE = "arn:aws:sqs:us-east-1:000000000000:fleet-data-high"
DEFINITION = Path(__file__).parent / "definitions" / "ask-and-wait.asl.json"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> assertions.Template:
    """A stack with one state machine, synthesized under cdk-nag."""
    app = App(outdir=str(tmp_path_factory.mktemp("machine")), analytics_reporting=False)
    stack = Stack(app, "Machines")
    StateMachine(
        stack,
        "Ask",
        StateMachineProps(
            stage=FleetStage("prod"),
            key=kms.Key.from_key_arn(
                stack, "Key", "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"
            ),
            name="fleet-ask",
            definition=DEFINITION,
            substitutions={"QueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/fleet-data-high"},
            permissions=allow("Ask", "sqs", ("SendMessage",), QUEUE),
        ),
    )
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return assertions.Template.from_stack(stack)


def test_the_definition_is_the_file_and_the_substitutions(template: assertions.Template) -> None:
    """The file goes up as an asset; CloudFormation fills it in."""
    template.has_resource_properties(
        "AWS::StepFunctions::StateMachine",
        {
            "StateMachineName": "fleet-ask",
            "DefinitionSubstitutions": {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/fleet-data-high"},
            "DefinitionS3Location": assertions.Match.object_like({"Key": assertions.Match.any_value()}),
        },
    )


def test_every_step_is_logged_without_its_data(template: assertions.Template) -> None:
    """What passes through may be a tenant's; that it passed is ours."""
    template.has_resource_properties(
        "AWS::StepFunctions::StateMachine",
        {
            "LoggingConfiguration": assertions.Match.object_like({"Level": "ALL", "IncludeExecutionData": False}),
            "TracingConfiguration": {"Enabled": True},
        },
    )
    template.has_resource_properties("AWS::Logs::LogGroup", {"RetentionInDays": 90, "KmsKeyId": assertions.Match.any_value()})


def test_its_role_may_do_what_its_tasks_need(template: assertions.Template) -> None:
    """Its own statements, and for logs and traces the ones that the CDK adds."""
    template.has_resource_properties(
        "AWS::IAM::Role",
        {
            "Policies": [
                {
                    "PolicyName": "Access",
                    "PolicyDocument": assertions.Match.object_like(
                        {"Statement": [{"Sid": "Ask", "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE}]}
                    ),
                }
            ]
        },
    )

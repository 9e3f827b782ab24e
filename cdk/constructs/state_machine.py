"""A state machine from a file of Amazon States Language."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aws_cdk import Acknowledgment, Duration, RemovalPolicy, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk.permissions import Permissions
from cdk.stage import Stage


@dataclass(frozen=True)
class StateMachineProps:
    """What makes one state machine different from the next."""

    stage: Stage
    key: kms.IKey
    name: str
    definition: Path
    """An .asl.json file: valid JSON, with substitutions such as "${QueueUrl}" only inside quoted strings."""
    substitutions: Mapping[str, str]
    permissions: Permissions
    """All that its tasks may do, apart from logs and traces."""
    timeout: int = 3600
    """Seconds that an execution may take."""
    kind: sfn.StateMachineType = field(default=sfn.StateMachineType.STANDARD)


class StateMachine(Construct):
    """Logs every step (without the data that passes through), is traced, and has a role of its own."""

    def __init__(self, scope: Construct, construct_id: str, props: StateMachineProps) -> None:
        super().__init__(scope, construct_id)
        self.log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/vendedlogs/states/{props.name}",
            retention=props.stage.log_retention,
            encryption_key=props.key,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.role = iam.Role(
            self,
            "Role",
            description=f"What {props.name} may do",
            assumed_by=iam.ServicePrincipal("states.amazonaws.com"),
            inline_policies={"Access": iam.PolicyDocument(statements=list(props.permissions.statements))},
        )
        props.permissions.acknowledge_on(self.role)
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=props.name,
            state_machine_type=props.kind,
            definition_body=sfn.DefinitionBody.from_file(str(props.definition)),
            definition_substitutions=dict(props.substitutions),
            role=self.role,
            timeout=Duration.seconds(props.timeout),
            tracing_enabled=True,
            logs=sfn.LogOptions(destination=self.log_group, level=sfn.LogLevel.ALL, include_execution_data=False),
        )
        Validations.of(self.role).acknowledge(
            Acknowledgment(
                id="AwsSolutions-IAM5[Resource::*]",
                reason="X-Ray's write actions and CloudWatch Logs' delivery actions accept no resource but *.",
            )
        )

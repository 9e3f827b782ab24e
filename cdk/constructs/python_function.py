"""A Lambda function in Python with a role and a log group of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aws_cdk import Acknowledgment, Duration, RemovalPolicy, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.layers import LayerBuilder
from cdk.permissions import Permissions
from cdk.stage import Stage

ENVIRONMENT: Final[Mapping[str, str]] = {
    "POWERTOOLS_LOG_LEVEL": "INFO",
    # It would look through all that is installed for plugins that nobody has, at every cold start.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
"""What every function is told."""


@dataclass(frozen=True)
class Network:
    """Where a function that must reach private addresses runs: in the VPC's private subnets, behind a security group."""

    vpc: ec2.IVpc
    group: ec2.ISecurityGroup


@dataclass(frozen=True)
class PythonFunctionProps:
    """What makes one function different from the next."""

    stage: Stage
    key: kms.IKey
    function_name: str
    description: str
    folder: Path
    """Holds handler.py and its assets."""
    layers: tuple[lambda_.ILayerVersion, ...]
    permissions: Permissions
    """All that the role may do, apart from writing its own log."""
    environment: Mapping[str, str] = field(default_factory=dict)
    handler: str = "handler.handler"
    memory: int = 512
    """MB."""
    timeout: int = 30
    """Seconds."""
    reserved_concurrency: int | None = None
    network: Network | None = None
    """None: no VPC, which is all that AWS services ask for."""


class PythonFunction(Construct):
    """arm64, Python 3.13, no managed policy; its log group is there, encrypted and bounded, before the first line."""

    def __init__(self, scope: Construct, construct_id: str, props: PythonFunctionProps) -> None:
        super().__init__(scope, construct_id)
        self.log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/lambda/{props.function_name}",
            retention=props.stage.log_retention,
            encryption_key=props.key,
            removal_policy=RemovalPolicy.DESTROY,
        )
        write_log = iam.PolicyStatement(
            actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[self.log_group.log_group_arn]
        )
        # Inline, not a policy of its own: the role is complete before the function or a trigger of it exists.
        self.role = iam.Role(
            self,
            "Role",
            description=f"What {props.function_name} may do",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies={"Access": iam.PolicyDocument(statements=[write_log, *props.permissions.statements])},
        )
        props.permissions.acknowledge_on(self.role)
        built = LayerBuilder(props.folder.parents[1], props.stage.layer_target).function(props.folder)
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=props.function_name,
            description=props.description,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(str(built)),
            handler=props.handler,
            layers=list(props.layers),
            role=self.role,
            log_group=self.log_group,
            memory_size=props.memory,
            timeout=Duration.seconds(props.timeout),
            environment={"POWERTOOLS_SERVICE_NAME": props.function_name, **ENVIRONMENT, **props.environment},
            reserved_concurrent_executions=props.reserved_concurrency,
            vpc=props.network.vpc if props.network else None,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS) if props.network else None,
            security_groups=[props.network.group] if props.network else None,
        )
        Validations.of(self.function).acknowledge(
            Acknowledgment(
                id="AwsSolutions-L1",
                reason="The layers' compiled wheels are built for 3.13; a newer runtime is a change of its own.",
            )
        )

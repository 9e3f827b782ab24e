"""The cache's shared tier on AWS, with `-c cache=elasticache`: Valkey by ElastiCache, and the network it must be in."""

from typing import Any, Final

from aws_cdk import Acknowledgment, ArnFormat, RemovalPolicy, Stack, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from agentfleet.domain import names
from cdk.constructs.python_function import Network
from cdk.permissions import Permissions, allow
from cdk.stage import Stage

PORT: Final = 6380
NODE: Final = "cache.t4g.micro"
NODES: Final = 2
"""One per availability zone: losing one costs a failover, not the cache."""
COMMANDS: Final = "-@all +@read +@write +@connection +@scripting"


class CacheStack(Stack):
    """A VPC over two zones with one NAT gateway, and a Valkey that only its agents can reach and sign in to."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, fleet: str, key_arn: str, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, description="Agent Fleet: Valkey and its network", **kwargs)
        self._fleet = fleet
        self._key = kms.Key.from_key_arn(self, "Key", key_arn)
        self._vpc = self._network(stage)
        agents = ec2.SecurityGroup(self, "Agents", vpc=self._vpc, description=f"Agents of {fleet} that use its cache")
        guard = ec2.SecurityGroup(self, "Guard", vpc=self._vpc, description=f"Cache of {fleet}", allow_all_outbound=False)
        guard.add_ingress_rule(agents, ec2.Port.tcp(PORT), "Agents alone")
        self._group = self._valkey(guard)
        self.network = Network(self._vpc, agents)

    @property
    def address(self) -> dict[str, str]:
        """What tells a function where the cache is and how to sign in."""
        address = self._group.attr_primary_end_point_address
        return {
            "CACHE_URL": f"valkeys://{address}:{PORT}",
            "CACHE_GROUP": names.cache(self._fleet),
            "CACHE_USER": names.cache(self._fleet),
        }

    def permissions_in(self, stack: Stack) -> Permissions:
        """Sign in to the cache by IAM, and have a network interface; ARNs as `stack` writes them."""
        name = names.cache(self._fleet)
        arns = [_arn(stack, kind, name) for kind in ("replicationgroup", "user")]
        interfaces = (
            "CreateNetworkInterface",
            "DescribeNetworkInterfaces",
            "DescribeSubnets",
            "DeleteNetworkInterface",
            "AssignPrivateIpAddresses",
            "UnassignPrivateIpAddresses",
        )
        reason = "Lambda makes network interfaces before they have ARNs (Lambda: VPC access)."
        return (
            allow("ConnectToCache", "elasticache", ("Connect",), *arns)
            + allow("BeInTheNetwork", "ec2", interfaces, "*")
            + Permissions(wildcards={"*": reason})
        )

    def _network(self, stage: Stage) -> ec2.Vpc:
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=1,
            restrict_default_security_group=False,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Way out", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=26),
                ec2.SubnetConfiguration(name="Agents", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=20),
                ec2.SubnetConfiguration(name="Cache", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=26),
            ],
            # These two cost nothing, and keep tables and files off the NAT gateway's bill.
            gateway_endpoints={
                "Tables": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.DYNAMODB),
                "Files": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
            },
        )
        group = logs.LogGroup(
            self,
            "Flows",
            # Named so that the key's policy covers it, as it does every group of this account.
            log_group_name=f"/agentfleet/{self._fleet}/flows",
            retention=stage.log_retention,
            encryption_key=self._key,
            removal_policy=RemovalPolicy.DESTROY,
        )
        vpc.add_flow_log("FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(group))
        return vpc

    def _valkey(self, guard: ec2.SecurityGroup) -> elasticache.CfnReplicationGroup:
        name = names.cache(self._fleet)
        user = elasticache.CfnUser(
            self,
            "User",
            engine="valkey",
            user_id=name,
            # ElastiCache wants both alike where IAM decides who it is (ElastiCache: Authenticating with IAM).
            user_name=name,
            authentication_mode={"Type": "iam"},
            access_string=f"on ~{self._fleet}:* {COMMANDS}",
        )
        users = elasticache.CfnUserGroup(self, "Users", engine="valkey", user_group_id=f"{name}-users", user_ids=[user.ref])
        subnets = elasticache.CfnSubnetGroup(
            self,
            "Subnets",
            description=f"Cache of {self._fleet}",
            subnet_ids=self._vpc.select_subnets(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED).subnet_ids,
        )
        valkey = elasticache.CfnReplicationGroup(
            self,
            "Valkey",
            replication_group_id=name,
            replication_group_description=f"Cached results of {self._fleet}",
            engine="valkey",
            engine_version="8.0",
            cache_node_type=NODE,
            num_cache_clusters=NODES,
            automatic_failover_enabled=True,
            multi_az_enabled=True,
            port=PORT,
            at_rest_encryption_enabled=True,
            kms_key_id=self._key.key_arn,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            user_group_ids=[users.ref],
            cache_subnet_group_name=subnets.ref,
            security_group_ids=[guard.security_group_id],
            auto_minor_version_upgrade=True,
        )
        Validations.of(valkey).acknowledge(
            Acknowledgment(
                id="AwsSolutions-AEC6",
                reason="Its only user signs in by IAM, with a token of a quarter of an hour; a shared password would be less.",
            )
        )
        return valkey


def _arn(stack: Stack, kind: str, name: str) -> str:
    return stack.format_arn(service="elasticache", resource=kind, resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME)

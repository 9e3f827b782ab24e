"""Where the fleet's resources are, and the least that each kind of function needs of them.

ARNs of what has a name follow from the naming rule, so a stack imports from another only what outlives every pool: removing
a pool from fleet.toml never meets an export that is still in use.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from agentfleet.domain import names
from cdk.catalog import FleetDefinition, Grant

Table = Literal["work", "registry", "knowledge"]
Prefix = Literal["plans", "outputs", "blobs"]
TABLE_VARIABLES: Final[dict[Table, str]] = {"work": "WORK_TABLE", "registry": "REGISTRY_TABLE", "knowledge": "KNOWLEDGE_TABLE"}

KEY_ACTIONS: Final = ("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo")
"""What a user of the key needs, spelled out (DynamoDB: How DynamoDB uses AWS KMS)."""

_TABLE_ACTIONS: Final[dict[Table, tuple[str, ...]]] = {
    "work": ("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "PartiQLInsert"),
    "registry": ("GetItem", "Query", "PutItem", "UpdateItem", "DeleteItem"),
    "knowledge": ("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem"),
}
_GRANTED: Final[dict[Grant, tuple[Literal["read", "write"], Prefix]]] = {
    "blobs:read": ("read", "blobs"),
    "blobs:write": ("write", "blobs"),
}


@dataclass(frozen=True)
class FleetAccess:
    """The fleet's resources as one stack refers to them."""

    stack: Stack
    fleet: FleetDefinition
    key: kms.IKey
    bucket: s3.IBucket
    release_queue_url: str

    def queue_arn(self, queue: str) -> str:
        """ARN of a queue by name."""
        return self.stack.format_arn(service="sqs", resource=queue)

    def function_arn(self, function: str) -> str:
        """ARN of a function by physical name."""
        return self.stack.format_arn(
            service="lambda", resource="function", resource_name=function, arn_format=ArnFormat.COLON_RESOURCE_NAME
        )

    @property
    def task_queues(self) -> list[str]:
        """Names of every pool's queues, in order of pool and priority."""
        return [names.task_queue(self.fleet.name, pool, priority) for pool in self.fleet.pools for priority in names.PRIORITIES]

    @property
    def dead_letter_queues(self) -> list[str]:
        """Names of every dead-letter queue of the fleet."""
        own = (names.release_queue(self.fleet.name), names.submissions_queue(self.fleet.name))
        return [names.pool_dead_letters(self.fleet.name, pool) for pool in self.fleet.pools] + [
            names.dead_letters(queue) for queue in own
        ]

    @property
    def pool_functions(self) -> list[str]:
        """Physical names of the pools' functions."""
        return [names.function(self.fleet.name, pool) for pool in self.fleet.pools]

    def environment(self, *tables: Table) -> dict[str, str]:
        """The variables by which a function finds these tables and everything else."""
        return {
            "FLEET": self.fleet.name,
            "BUCKET": self.bucket.bucket_name,
            "BUS": names.event_bus(self.fleet.name),
            "RELEASE_QUEUE_URL": self.release_queue_url,
        } | {TABLE_VARIABLES[table]: names.table(self.fleet.name, table) for table in tables}

    def carry_out_plans(self, grants: Iterable[Grant]) -> tuple[iam.PolicyStatement, ...]:
        """What releasing tasks and writing their results takes, and the blobs that `grants` allow."""
        allowed = {_GRANTED[grant] for grant in grants}
        reads: list[Prefix] = ["plans", "outputs", *(prefix for verb, prefix in sorted(allowed) if verb == "read")]
        writes: list[Prefix] = ["plans", "outputs", *(prefix for verb, prefix in sorted(allowed) if verb == "write")]
        return (
            self.use_table("work"),
            self.use_table("registry"),
            self.send_tasks(),
            self.put_events(),
            self.use_key(),
            *self.use_bucket(reads, writes),
        )

    def use_table(self, table: Table, *indexes: str) -> iam.PolicyStatement:
        """Read and write one table's items, and query its indexes."""
        arn = self.stack.format_arn(service="dynamodb", resource="table", resource_name=names.table(self.fleet.name, table))
        return iam.PolicyStatement(
            sid=f"Use{table.title()}Table",
            actions=[f"dynamodb:{action}" for action in _TABLE_ACTIONS[table]],
            resources=[arn, *(f"{arn}/index/{index}" for index in indexes)],
        )

    def send_tasks(self) -> iam.PolicyStatement:
        """Send to every pool's queues and to the release queue."""
        queues = [*self.task_queues, names.release_queue(self.fleet.name)]
        return iam.PolicyStatement(
            sid="SendTasks", actions=["sqs:SendMessage"], resources=[self.queue_arn(queue) for queue in queues]
        )

    def consume(self, queue: str) -> iam.PolicyStatement:
        """Be triggered by one queue."""
        return iam.PolicyStatement(
            sid="ConsumeOwnQueue",
            actions=["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
            resources=[self.queue_arn(queue)],
        )

    def put_events(self) -> iam.PolicyStatement:
        """Put events on the fleet's bus."""
        arn = self.stack.format_arn(service="events", resource="event-bus", resource_name=names.event_bus(self.fleet.name))
        return iam.PolicyStatement(sid="PutEvents", actions=["events:PutEvents"], resources=[arn])

    def use_key(self) -> iam.PolicyStatement:
        """What SQS, DynamoDB and S3 ask of a caller when the data is encrypted with the fleet's key."""
        return iam.PolicyStatement(
            sid="UseKey", actions=[f"kms:{action}" for action in KEY_ACTIONS], resources=[self.key.key_arn]
        )

    def use_bucket(self, reads: Iterable[Prefix], writes: Iterable[Prefix]) -> tuple[iam.PolicyStatement, ...]:
        """Read and write objects under these prefixes."""
        return tuple(
            iam.PolicyStatement(
                sid=sid, actions=[action], resources=[self.bucket.arn_for_objects(f"{prefix}/*") for prefix in prefixes]
            )
            for sid, action, prefixes in (("ReadObjects", "s3:GetObject", reads), ("WriteObjects", "s3:PutObject", writes))
        )

    def run_the_fleet(self) -> tuple[iam.PolicyStatement, ...]:
        """Look at every queue, move the pools' concurrency and read their logs: for the API only."""
        functions = [self.function_arn(function) for function in self.pool_functions]
        queues = [*self.task_queues, names.release_queue(self.fleet.name), names.submissions_queue(self.fleet.name)]
        groups = [
            self.stack.format_arn(
                service="logs",
                resource="log-group",
                resource_name=f"/aws/lambda/{function}:*",
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            )
            for function in self.pool_functions
        ]
        mappings = self.stack.format_arn(
            service="lambda", resource="event-source-mapping", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
        )
        return (
            iam.PolicyStatement(
                sid="WatchQueues",
                actions=["sqs:GetQueueAttributes"],
                resources=[self.queue_arn(queue) for queue in [*queues, *self.dead_letter_queues]],
            ),
            iam.PolicyStatement(
                sid="MoveTriggers",
                actions=["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"],
                resources=[mappings],
                conditions={"ArnEquals": {"lambda:FunctionArn": functions}},
            ),
            iam.PolicyStatement(
                sid="FindTriggers",
                actions=["lambda:ListEventSourceMappings"],
                resources=["*"],
                conditions={"StringEquals": {"aws:RequestedRegion": self.stack.region}},
            ),
            iam.PolicyStatement(
                sid="MoveConcurrency",
                actions=[f"lambda:{verb}FunctionConcurrency" for verb in ("Get", "Put", "Delete")],
                resources=functions,
            ),
            iam.PolicyStatement(sid="ReadPoolLogs", actions=["logs:FilterLogEvents"], resources=groups),
        )

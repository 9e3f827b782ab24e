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
from cdk.catalog import FleetDefinition
from cdk.fleet_file import Grant
from cdk.permissions import Permissions, allow

Table = Literal["work", "registry", "knowledge", "history", "memory"]
Prefix = Literal["plans", "outputs", "blobs", "cache", "knowledge"]
TABLE_VARIABLES: Final[dict[Table, str]] = {
    "work": "WORK_TABLE",
    "registry": "REGISTRY_TABLE",
    "knowledge": "KNOWLEDGE_TABLE",
    "history": "HISTORY_TABLE",
    "memory": "MEMORY_TABLE",
}

TITAN: Final = "amazon.titan-embed-text-v2:0"

KEY_ACTIONS: Final = ("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo")
"""What a user of the key needs, spelled out (DynamoDB: How DynamoDB uses AWS KMS)."""

_TABLE_ACTIONS: Final[dict[Table, tuple[str, ...]]] = {
    "work": ("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "PartiQLInsert"),
    "registry": ("GetItem", "Query", "PutItem", "DeleteItem"),
    "knowledge": ("BatchGetItem", "BatchWriteItem", "Query", "PutItem"),
    "history": ("GetItem", "Query", "PutItem", "UpdateItem"),
    "memory": ("GetItem", "BatchGetItem", "BatchWriteItem", "Query", "PutItem", "DeleteItem"),
}
_BE_PRESENT: Final = ("GetItem", "Query", "PutItem")
"""Of the registry table's items: say that one lives, see where tasks may go, and share circuit breakers."""
_GRANTED: Final[dict[str, tuple[Literal["read", "write"], Prefix]]] = {
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
    bucket_export: str
    """Name under which the data stack exports the bucket's name."""
    release_queue_url: str

    def queue_arn(self, queue: str) -> str:
        """ARN of a queue by name."""
        return self.stack.format_arn(service="sqs", resource=queue)

    @property
    def task_queues(self) -> list[str]:
        """Names of every pool's queues, in order of pool and priority."""
        return [names.task_queue(self.fleet.name, pool, priority) for pool in self.fleet.pools for priority in names.PRIORITIES]

    @property
    def dead_letter_queues(self) -> list[str]:
        """Names of every dead-letter queue of the fleet."""
        own = (names.release_queue(self.fleet.name), names.submissions_queue(self.fleet.name))
        return [*self._pool_dead_letters, *(names.dead_letters(queue) for queue in own)]

    @property
    def _pool_dead_letters(self) -> list[str]:
        return [names.pool_dead_letters(self.fleet.name, pool) for pool in self.fleet.pools]

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
            "SAGA_MACHINE": self._saga_machine,
        } | {TABLE_VARIABLES[table]: names.table(self.fleet.name, table) for table in tables}

    def carry_out_plans(self, grants: Iterable[Grant], *, cached: bool = False) -> Permissions:
        """What releasing tasks and writing their results takes, the blobs that `grants` allow, and a cache of results."""
        allowed = sorted(_GRANTED[grant] for grant in grants if grant in _GRANTED)
        if cached:
            allowed += [("read", "cache"), ("write", "cache")]
        return (
            self.use_table("work")
            + self.use_table("registry", actions=_BE_PRESENT)
            + self.send_tasks()
            + self.put_events()
            + self.use_key()
            + self.read_objects("plans", "outputs", *(prefix for verb, prefix in allowed if verb == "read"))
            + self.write_objects("plans", "outputs", *(prefix for verb, prefix in allowed if verb == "write"))
        )

    def accept_plans(self) -> Permissions:
        """What storing a goal with its plan and sending its first tasks takes."""
        return (
            self.use_table("work", actions=("GetItem", "BatchGetItem", "PutItem"))
            + self.use_table("registry", actions=("Query",))
            + self.send_tasks()
            + self.put_events()
            + self.use_key()
            + self.read_objects("plans", "outputs")
            + self.write_objects("plans")
        )

    def release_plans(self) -> Permissions:
        """What sending the messages of a stored plan's tasks takes."""
        return (
            self.use_table("work", actions=("GetItem", "BatchGetItem"))
            + self.use_table("registry", actions=("Query",))
            + self.send_tasks(parts=False)
            + self.use_key()
            + self.read_objects("plans", "outputs")
        )

    def repair_plans(self) -> Permissions:
        """What setting a goal going again takes, and remembering that one did."""
        return (
            self.use_table("work")
            + self.use_table("registry")
            + self.send_tasks()
            + self.put_events()
            + self.use_key()
            + self.read_objects("plans", "outputs")
            + self.write_objects("outputs")
        )

    def undo_plans(self) -> Permissions:
        """What finding out takes what is left of a goal, keeping its tasks from beginning, and ending it."""
        return (
            self.use_table("work")
            + self.use_table("registry", actions=("Query",))
            + self.send_tasks()
            + self.put_events()
            + self.start_sagas()
            + self.use_key()
            + self.read_objects("plans", "outputs")
            + self.write_objects("outputs")
        )

    def use_table(self, table: Table, *indexes: str, actions: tuple[str, ...] | None = None) -> Permissions:
        """Read and write one table's items, and query its indexes; or only what `actions` says."""
        arn = self.stack.format_arn(service="dynamodb", resource="table", resource_name=names.table(self.fleet.name, table))
        found = allow(f"Use{table.title()}Table", "dynamodb", actions or _TABLE_ACTIONS[table], arn)
        if indexes:
            found += allow(f"Query{table.title()}Table", "dynamodb", ("Query",), *(f"{arn}/index/{index}" for index in indexes))
        return found

    def keep_budgets(self) -> Permissions:
        """Set money aside in the accounts of the registry table, and settle: for whoever may spend, and the API."""
        name = names.table(self.fleet.name, "registry")
        arn = self.stack.format_arn(service="dynamodb", resource="table", resource_name=name)
        return allow("KeepBudgets", "dynamodb", ("UpdateItem",), arn)

    def use_knowledge(self) -> Permissions:
        """Keep documents and search them: table, files, vector index, and the embedding model if it is Bedrock's."""
        return (
            self.use_table("knowledge")
            + self._objects("KnowledgeFiles", ("GetObject", "PutObject", "DeleteObject"), ("knowledge",))
            + self._search_vectors()
        )

    def search_knowledge(self) -> Permissions:
        """Search documents and change nothing."""
        return (
            self.use_table("knowledge", actions=("BatchGetItem", "Query"))
            + self._objects("KnowledgeFiles", ("GetObject",), ("knowledge",))
            + self._search_vectors()
        )

    def _search_vectors(self) -> Permissions:
        chosen = self.fleet.knowledge
        index = f"{names.table(self.fleet.name, 'knowledge')}/index/{names.vector_index(chosen.model)}"
        arn = self.stack.format_arn(service="dynamodb", resource="table", resource_name=index)
        found = allow("SearchVectors", "dynamodb", ("SearchVectors",), arn)
        if chosen.embedder == "titan":
            model = f"arn:{self.stack.partition}:bedrock:{self.stack.region}::foundation-model/{TITAN}"
            found += allow("EmbedTexts", "bedrock", ("InvokeModel",), model)
        return found

    @property
    def knowledge_environment(self) -> dict[str, str]:
        """The variables by which a function finds documents."""
        chosen = self.fleet.knowledge.model_dump_json()
        return {"KNOWLEDGE_TABLE": names.table(self.fleet.name, "knowledge"), "KNOWLEDGE_SETTINGS": chosen}

    @property
    def memory_environment(self) -> dict[str, str]:
        """The variables by which a function finds what agents remember."""
        return {
            "MEMORY_TABLE": names.table(self.fleet.name, "memory"),
            "MEMORY_SETTINGS": self.fleet.memory.model_dump_json(),
        }

    def remember_goals(self) -> Permissions:
        """Read how a goal in words went, and keep it: for remember_goals only."""
        return (
            self.use_table("work", actions=("GetItem", "BatchGetItem"))
            + self.use_table("registry", actions=("GetItem",))
            + self.use_table("memory", actions=("Query", "PutItem", "UpdateItem", "BatchWriteItem"))
            + self.use_key()
            + self.read_objects("plans", "outputs")
        )

    def read_history(self, *actions: str) -> Permissions:
        """Read what happened, or only by these actions; only its recorder may write there."""
        arn = self.stack.format_arn(service="dynamodb", resource="table", resource_name=names.table(self.fleet.name, "history"))
        return allow("ReadHistory", "dynamodb", actions or ("GetItem", "Query"), arn)

    def send_tasks(self, *, parts: bool = True) -> Permissions:
        """Send to every pool's queues, and parts of wide releases to the release queue."""
        queues = [*self.task_queues, *([names.release_queue(self.fleet.name)] if parts else [])]
        return allow("SendTasks", "sqs", ("SendMessage",), *(self.queue_arn(queue) for queue in queues))

    def consume(self, *queues: str, hides: bool = True) -> Permissions:
        """Be triggered by these queues, and (`hides`) choose when a message comes again."""
        actions = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", *(("ChangeMessageVisibility",) if hides else ()))
        return allow("ConsumeQueues", "sqs", actions, *(self.queue_arn(queue) for queue in queues))

    def start_sagas(self) -> Permissions:
        """Start the undoing of a goal: for whoever may end one."""
        return allow("StartSagas", "states", ("StartExecution",), self._saga_machine)

    def answer_sagas(self) -> Permissions:
        """Tell a saga that a task is undone, or not, or still being worked on: for the pools only."""
        return allow("AnswerSagas", "states", ("SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat"), self._saga_machine)

    def watch_sagas(self) -> Permissions:
        """See whether a goal's saga runs: for the healer and the API only."""
        name = names.saga_machine(self.fleet.name)
        shown = {
            _shown("states", f"execution:{name}:*"): "Executions are named after their goals; the machine is the boundary."
        }
        return allow("WatchSagas", "states", ("DescribeExecution",), self._arn("states", "execution", f"{name}:*")) + (
            Permissions(wildcards=shown)
        )

    def run_sagas(self) -> Permissions:
        """Ask what is left to undo, and send compensations to the pools' urgent queues: for the saga only."""
        function = self._arn("lambda", "function", names.function(self.fleet.name, "compensate_goals"))
        queues = [names.task_queue(self.fleet.name, pool, "high") for pool in self.fleet.pools]
        return (
            allow("LookWhatIsLeft", "lambda", ("InvokeFunction",), function)
            + allow("SendCompensations", "sqs", ("SendMessage",), *(self.queue_arn(queue) for queue in queues))
            + self.use_key()
        )

    @property
    def _saga_machine(self) -> str:
        return self._arn("states", "stateMachine", names.saga_machine(self.fleet.name))

    def put_events(self) -> Permissions:
        """Put events on the fleet's bus."""
        name = names.event_bus(self.fleet.name)
        bus = self.stack.format_arn(service="events", resource="event-bus", resource_name=name)
        return allow("PutEvents", "events", ("PutEvents",), bus)

    def apply_guardrail(self, guardrail: str) -> Permissions:
        """Let one of the account's Bedrock guardrails (`id:version`) judge texts."""
        arn = self.stack.format_arn(service="bedrock", resource="guardrail", resource_name=guardrail.partition(":")[0])
        return allow("ApplyGuardrail", "bedrock", ("ApplyGuardrail",), arn)

    def read_secrets(self, *names: str) -> Permissions:
        """Read these secrets, by name: AWS adds six characters of its own to a secret's ARN."""
        arns = [self._arn("secretsmanager", "secret", f"{name}-??????") for name in dict.fromkeys(names)]
        return allow("ReadSecrets", "secretsmanager", ("GetSecretValue",), *arns) if arns else Permissions()

    def use_key(self) -> Permissions:
        """What SQS, DynamoDB and S3 ask of a caller when the data is encrypted with the fleet's key."""
        return allow("UseKey", "kms", KEY_ACTIONS, self.key.key_arn)

    def read_objects(self, *prefixes: Prefix) -> Permissions:
        """Read the objects under these prefixes."""
        return self._objects("ReadObjects", ("GetObject",), prefixes)

    def list_objects(self, *prefixes: Prefix) -> Permissions:
        """List what lies under these prefixes: for the API only."""
        statement = iam.PolicyStatement(
            sid="ListObjects",
            actions=["s3:ListBucket"],
            resources=[self.bucket.bucket_arn],
            conditions={"StringLike": {"s3:prefix": [f"{prefix}/*" for prefix in prefixes]}},
        )
        return Permissions((statement,))

    def write_objects(self, *prefixes: Prefix) -> Permissions:
        """Write objects under these prefixes."""
        return self._objects("WriteObjects", ("PutObject",), prefixes)

    def manage_the_fleet(self) -> Permissions:
        """Look at the pools' queues and metrics, move their concurrency and remember why: for the fleet manager only."""
        read_metrics = iam.PolicyStatement(
            sid="ReadMetrics",
            actions=["cloudwatch:GetMetricData"],
            resources=["*"],
            conditions={"StringEquals": {"aws:RequestedRegion": self.stack.region}},
        )
        # cdk-nag knows one reason per role and resource: this one stands for the triggers' as well.
        reason = (
            "lambda:ListEventSourceMappings and cloudwatch:GetMetricData accept no resource (Service Authorization Reference)."
        )
        return (
            self.use_table("registry", actions=("GetItem", "Query", "PutItem"))
            + self.use_key()
            + self._watch_and_move([*self.task_queues, *self._pool_dead_letters])
            + Permissions((read_metrics,), {"*": reason})
        )

    def run_the_fleet(self) -> Permissions:
        """Look at every queue, move the pools' concurrency and read their logs: for the API only."""
        own = (names.release_queue(self.fleet.name), names.submissions_queue(self.fleet.name))
        return self._watch_and_move([*self.task_queues, *own, *self.dead_letter_queues]) + self._read_pool_logs()

    def _watch_and_move(self, queues: Iterable[str]) -> Permissions:
        """See how full these queues are, and move the concurrency of every pool."""
        concurrency = ("GetFunctionConcurrency", "PutFunctionConcurrency", "DeleteFunctionConcurrency")
        return (
            allow("WatchQueues", "sqs", ("GetQueueAttributes",), *(self.queue_arn(queue) for queue in queues))
            + allow("MoveConcurrency", "lambda", concurrency, *self._function_arns)
            + self._move_triggers()
        )

    def find_living(self) -> Permissions:
        """Find the goals that have not ended: for the healer, and for whoever divides a tenant's window among them."""
        table = names.table(self.fleet.name, "work")
        index = self.stack.format_arn(service="dynamodb", resource="table", resource_name=f"{table}/index/living")
        return allow("FindLiving", "dynamodb", ("Query",), index)

    def watch_queues(self) -> Permissions:
        """Count what is in every queue that a goal's messages may be in."""
        queues = [*self.task_queues, names.release_queue(self.fleet.name)]
        return allow("WatchQueues", "sqs", ("GetQueueAttributes",), *(self.queue_arn(queue) for queue in queues))

    def read_queue_ages(self) -> Permissions:
        """Ask CloudWatch how old the oldest messages are."""
        statement = iam.PolicyStatement(
            sid="ReadQueueAges",
            actions=["cloudwatch:GetMetricData"],
            resources=["*"],
            conditions={"StringEquals": {"aws:RequestedRegion": self.stack.region}},
        )
        reason = "cloudwatch:GetMetricData accepts no resource (Actions, resources, and condition keys for Amazon CloudWatch)."
        return Permissions((statement,), {"*": reason})

    def tend_dead_letters(self, *others: str) -> Permissions:
        """Look at the dead letters of pools and `others`, and take out what has been dealt with."""
        queues = [names.pool_dead_letters(self.fleet.name, pool) for pool in (*self.fleet.pools, *others)]
        actions = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")
        return allow("TendDeadLetters", "sqs", actions, *(self.queue_arn(queue) for queue in queues))

    @property
    def _function_arns(self) -> list[str]:
        return [self._arn("lambda", "function", function) for function in self.pool_functions]

    def _move_triggers(self) -> Permissions:
        mappings = self._arn("lambda", "event-source-mapping", "*")
        move = iam.PolicyStatement(
            sid="MoveTriggers",
            actions=["lambda:UpdateEventSourceMapping"],
            resources=[mappings],
            conditions={"ArnEquals": {"lambda:FunctionArn": self._function_arns}},
        )
        find = iam.PolicyStatement(
            sid="FindTriggers",
            actions=["lambda:ListEventSourceMappings"],
            resources=["*"],
            conditions={"StringEquals": {"aws:RequestedRegion": self.stack.region}},
        )
        reasons = {
            _shown("lambda", "event-source-mapping:*"): "AWS makes up a trigger's id; the condition admits only the pools'.",
            "*": "lambda:ListEventSourceMappings accepts no resource (Actions, resources, and condition keys for AWS Lambda).",
        }
        return Permissions((move, find), reasons)

    def _read_pool_logs(self) -> Permissions:
        groups = [f"/aws/lambda/{function}" for function in self.pool_functions]
        reason = "The part after the group's name is the stream; a search reads all streams of the group."
        # AWS documents the group's ARN for this action with and without the streams' part.
        arns = (self._arn("logs", "log-group", f"{group}{streams}") for group in groups for streams in ("", ":*"))
        reasons = Permissions(wildcards={_shown("logs", f"log-group:{group}:*"): reason for group in groups})
        return allow("ReadPoolLogs", "logs", ("FilterLogEvents",), *arns) + reasons

    def _objects(self, sid: str, actions: tuple[str, ...], prefixes: Iterable[Prefix]) -> Permissions:
        patterns = [f"{prefix}/*" for prefix in prefixes]
        reason = "Objects are named by goal and task; the prefix is the boundary."
        shown = {f"arn:<AWS::Partition>:s3:::{self.bucket_export}/{pattern}": reason for pattern in patterns}
        arns = (self.bucket.arn_for_objects(pattern) for pattern in patterns)
        return allow(sid, "s3", actions, *arns) + Permissions(wildcards=shown)

    def _arn(self, service: str, resource: str, name: str) -> str:
        return self.stack.format_arn(
            service=service, resource=resource, resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME
        )


def _shown(service: str, resource: str) -> str:
    """An ARN of this account and region as cdk-nag writes it."""
    return f"arn:<AWS::Partition>:{service}:<AWS::Region>:<AWS::AccountId>:{resource}"

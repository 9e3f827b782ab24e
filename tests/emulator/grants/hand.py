"""What a check does by its own hand: goals put into any state, and functions called with any message."""

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec.structs import replace

from agentfleet.adapters.blobs import S3Blobs
from agentfleet.adapters.bus import EventBridgeBus
from agentfleet.adapters.claims import DynamoClaims
from agentfleet.adapters.clients import Clients
from agentfleet.adapters.goals import DynamoGoals
from agentfleet.adapters.joins import DynamoJoins
from agentfleet.adapters.outputs import S3Outputs
from agentfleet.adapters.plans import DynamoPlans
from agentfleet.adapters.queues import SqsQueues
from agentfleet.adapters.registry import DynamoAgents
from agentfleet.adapters.results import DynamoResults
from agentfleet.adapters.sagas import StepFunctionsAnswers, StepFunctionsSagas
from agentfleet.composition import Outside, Platform
from agentfleet.domain import names
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.codec import encode
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.goal import Goal, GoalState, Parent
from agentfleet.domain.ids import child_goal_id
from agentfleet.domain.plan import CompiledPlan
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from agentfleet.domain.task import PlanSpec, parse_request
from agentfleet.services.approval import LocalApprovals
from agentfleet.services.breaker import LocalBreakers
from agentfleet.services.budget import LocalBudgets
from agentfleet.services.journal import LocalJournals
from agentfleet.services.kill import LocalKills
from agentfleet.services.routing import LocalRouting
from client.api import FleetClient
from client.config import ClientConfig
from client.local import ACCOUNT, REGION, LocalCloud

FLEET: Final = "fleet"
TENANT: Final = "default"
LARGE: Final = 9_000
"""Characters: more than an item holds of an output."""
NOISE: Final = 40_000
"""Characters that don't compress: more than an item holds of a plan."""


FAULTS: Final = ("Failed to resolve layer", "Failed to extract layer", "No such file or directory: ")
"""What the emulator says where it is at fault itself: that shows nothing of a grant."""


class Refused(Exception):
    """A function did not do what it was asked."""


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def step(name: str, value: Any = None, **rest: Any) -> dict[str, Any]:
    """A task that gives its value back."""
    return {"id": name, "capability": "flow.step", "input": {"value": value}, **rest}


def noise() -> str:
    """Text that makes its plan too large for an item."""
    return secrets.token_urlsafe(NOISE)[:NOISE]


MISHAP = '"message":"mishap"'
"""How agents say that something failed beside their answer, such as hiding a message."""


class Hand:
    """Works as the root user, whom no policy binds."""

    def __init__(self, cloud: LocalCloud, clients: Clients, catalog: Catalog) -> None:
        self.cloud = cloud
        self.catalog = catalog
        self.clients = clients
        self._lambda = cloud.client("lambda")
        table, bucket = cloud.outputs["WorkTable"], cloud.outputs["Bucket"]
        dynamodb, threads = clients.dynamodb, clients.threads
        outputs = S3Outputs(clients.s3, bucket)
        prefix = clients.sqs.get_queue_url(QueueName=f"{FLEET}-release")["QueueUrl"].rpartition("/")[0] + "/"
        self.platform = Platform(
            Outside(
                goals=DynamoGoals(dynamodb, table, outputs, threads),
                plans=DynamoPlans(dynamodb, table, clients.s3, bucket, threads, utc_now),
                results=DynamoResults(dynamodb, table, outputs, threads, utc_now),
                joins=DynamoJoins(dynamodb, table, utc_now),
                claims=DynamoClaims(dynamodb, table, threads),
                queues=SqsQueues(clients.sqs, FLEET, prefix, threads),
                bus=EventBridgeBus(clients.events, clients.sqs, cloud.outputs["Bus"]),
                blobs=S3Blobs(clients.s3, bucket),
                agents=DynamoAgents(dynamodb, f"{FLEET}-registry", threads),
                clock=utc_now,
                sagas=StepFunctionsSagas(
                    clients, f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{names.saga_machine(FLEET)}"
                ),
                answers=StepFunctionsAnswers(clients),
                breakers=LocalBreakers(),
                budgets=LocalBudgets(),
                approvals=LocalApprovals(),
                kills=LocalKills(),
                routing=LocalRouting(),
                journals=LocalJournals(),
            ),
            catalog,
            {},
        )

    def close(self) -> None:
        """Close connections."""
        self._lambda.close()

    def submit(self, *tasks: dict[str, Any], request: Mapping[str, Any] | None = None, **rest: Any) -> Goal:
        """A goal that runs; `rest` is more of its plan, `request` of what surrounds that."""
        parsed = parse_request({"plan": {"tasks": list(tasks), **rest}, **(request or {})})
        return self.platform.accepter.accept(parsed, TENANT, None)[0]

    def delegate(self, parent: Goal, task: str, step: dict[str, Any], **fields: Any) -> Goal:
        """A goal of one step, as it may stand, that does the work of another goal's task."""
        unit = self.unit(parent, task)
        link = Parent(parent.id, unit, 0, (parent.id,))
        name = child_goal_id(parent.id, unit, 0)
        child = Goal(name, parent.tenant, "part", GoalState.RUNNING, utc_now(), 1, 1, parent=link)
        plan = compile_plan(PlanSpec.model_validate({"tasks": [step]}), self.catalog)
        self.platform.outside.plans.put(name, encode(plan))
        self.platform.outside.goals.create(replace(child, **fields))
        return self.goal(name)

    def calm(self) -> None:
        """End every goal that lives, whatever earlier checks have left."""
        goals, cursor = self.platform.outside.goals, None
        while True:
            page = goals.living(100, cursor)
            for goal in goals.get(page.items).values() if page.items else ():
                if goal.state.is_alive:
                    self.platform.finisher.end(goal, GoalState.CANCELLED, undo=False)
                elif not goal.state.is_final:
                    ended = replace(goal, state=GoalState.FAILED, finished=utc_now())
                    goals.replace(goal, ended)
            if (cursor := page.cursor) is None:
                return

    def goal(self, goal_id: str) -> Goal:
        """A goal as it stands."""
        return self.platform.outside.goals.get([goal_id])[goal_id]

    def plan(self, goal: Goal) -> CompiledPlan:
        """Its plan."""
        return self.platform.outside.plans.read(goal.id).whole()

    def unit(self, goal: Goal, task: str) -> int:
        """The number of the unit that holds a task."""
        return next(unit.number for unit in self.plan(goal).units if any(one.id == task for one in unit.tasks))

    def put_result(self, goal: Goal, task: str, output: Any, *, advance: bool = True) -> None:
        """Give a task its result, as an agent would have; `advance`: and let the goal go on."""
        plan, unit = self.plan(goal), self.unit(goal, task)
        done = Result(goal.id, unit, (TaskOutcome(TaskState.SUCCEEDED, output),), "by hand", utc_now(), 0.0)
        standing = self.platform.outside.results.put(goal.shards, [done])
        if advance:
            self.platform.finisher.advance(goal, plan, standing)

    def output(self, goal: Goal, task: str) -> Any:
        """A task's output. Raises Refused unless it succeeded."""
        unit = self.unit(goal, task)
        found = self.platform.outside.results.get(goal.id, goal.shards, [unit]).get(unit)
        if found is None or found.outcomes[0].state is not TaskState.SUCCEEDED:
            raise Refused(f"{task} of {goal.id}: {found}")
        return found.outcomes[0].output

    def set_back(self, goal: Goal, **fields: Any) -> Goal:
        """Store a goal as it may have stood."""
        goals = self.platform.outside.goals
        now = self.goal(goal.id)
        changed = replace(now, **fields)
        if not goals.replace(now, changed):
            raise Refused(f"goal {goal.id} moved meanwhile")
        return changed

    def call(self, function: str, event: Any) -> Any:
        """A function's answer. Raises Refused when it failed, or says in its log that something went wrong on the way."""
        answer = self._lambda.invoke(FunctionName=f"{FLEET}-{function}", Payload=json.dumps(event), LogType="Tail")
        told = json.loads(answer["Payload"].read())
        if any(sign in str(told) for sign in FAULTS):
            raise RuntimeError(f"the emulator could not run {function}: {str(told)[:600]}")
        if "FunctionError" in answer:
            raise Refused(f"{function}: {str(told)[:600]}")
        log = base64.b64decode(answer.get("LogResult", "")).decode()  # the emulator has none of a function that said nothing
        if (place := log.find(MISHAP)) >= 0:
            raise Refused(f"{function} logged {log[place : place + 600]}")
        return told

    def deliver(self, function: str, bodies: Sequence[Any], *, back: int = 0, attempt: int = 1) -> None:
        """Hand a function messages, of which it must give `back` so many. Raises Refused."""
        queues = {"accept-goals": "submissions", "release-tasks": "release", "remember-goals": "endings"}
        queue = queues.get(function, f"{function}-normal")
        records = [
            {
                "messageId": f"{secrets.token_hex(8)}-{number}",
                "receiptHandle": f"none-{number}",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": str(attempt)},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{FLEET}-{queue}",
            }
            for number, body in enumerate(bodies)
        ]
        returned = self.call(function, {"Records": records})["batchItemFailures"]
        if len(returned) != back:
            raise Refused(f"{function} gave {len(returned)} of {len(bodies)} messages back, not {back}")

    def pointers(self, goal: Goal, *tasks: str) -> list[dict[str, Any]]:
        """The messages of tasks."""
        return [{"goal": goal.id, "unit": self.unit(goal, task), "tenant": goal.tenant} for task in tasks]

    def client(self) -> FleetClient:
        """The SDK's client, which does not try again here."""
        return FleetClient(ClientConfig(api_url=self.cloud.api_url, api_key=self.cloud.api_key, retries=0))

"""The deployed fleet of a fault run: what goes in, what comes out, and what is done to it meanwhile."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final

import psutil

from agentfleet.adapters.goals import DynamoGoals
from agentfleet.adapters.history import DynamoHistory
from agentfleet.adapters.outputs import S3Outputs
from agentfleet.adapters.results import DynamoResults
from agentfleet.bootstrap import utc_now
from agentfleet.domain import ids, names
from agentfleet.domain.goal import Goal
from agentfleet.domain.history import read_events, verify
from client.api import FleetClient
from client.config import ClientConfig
from client.errors import ApiUnreachable, FleetApiError
from client.local import LocalCloud
from tests.chaos.faults import Fault
from tests.chaos.goals import Expected
from tests.chaos.project import FLEET, HERE, HIDDEN, LEDGER, POOLS, ROOT, write_project

TENANT: Final = "default"
HEAL_RATE: Final = "rate(1 minute)"
"""Twice as often as deployed."""
ENDS: Final = ("GoalSucceeded", "GoalFailed", "GoalCancelled")
_TELLING: Final = "chaos-told"
_PAGE: Final = 100
_BATCH: Final = 10


class Stage:
    """Use `stage()`: it is gone when the block ends."""

    def __init__(self, cloud: LocalCloud, folder: Path) -> None:
        self._cloud = cloud
        self._folder = folder
        self._sqs = cloud.client("sqs")
        self._events = cloud.client("events")
        self._functions = cloud.client("lambda")
        self._dynamodb = cloud.client("dynamodb")
        self._threads = ThreadPoolExecutor(16)
        outputs = S3Outputs(cloud.client("s3"), cloud.outputs["Bucket"])
        self._goals = DynamoGoals(self._dynamodb, cloud.outputs["WorkTable"], outputs, self._threads)
        self._results = DynamoResults(self._dynamodb, cloud.outputs["WorkTable"], outputs, self._threads, utc_now)
        self._history = DynamoHistory(self._dynamodb, names.table(FLEET, "history"))
        self._ending = Event()
        self._seen: set[str] = set()

    def close(self) -> None:
        """End what still runs in the background."""
        self._ending.set()
        self._threads.shutdown(wait=True)
        for client in (self._sqs, self._events, self._functions, self._dynamodb):
            client.close()

    def prepare(self) -> None:
        """Make the ledger, listen to the bus, shorten what a run only waits for, and bring the faults to every function."""
        self._dynamodb.create_table(
            TableName=LEDGER,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )
        self._listen()
        for rule in self._events.list_rules()["Rules"]:
            if rule.get("ScheduleExpression") == "rate(2 minutes)":
                self._events.put_rule(Name=rule["Name"], ScheduleExpression=HEAL_RATE)
        pools = [names.task_queue(FLEET, pool, priority) for pool in POOLS for priority in names.PRIORITIES]
        for queue in (*pools, names.submissions_queue(FLEET), names.release_queue(FLEET)):
            self._sqs.set_queue_attributes(QueueUrl=self._url(queue), Attributes={"VisibilityTimeout": str(HIDDEN)})
        self._arm()

    def _listen(self) -> None:
        arn = self._sqs.get_queue_attributes(
            QueueUrl=self._sqs.create_queue(QueueName=_TELLING)["QueueUrl"], AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        bus = names.event_bus(FLEET)
        self._events.put_rule(Name=_TELLING, EventBusName=bus, EventPattern=json.dumps({"detail-type": list(ENDS)}))
        self._events.put_targets(Rule=_TELLING, EventBusName=bus, Targets=[{"Id": "told", "Arn": arn}])

    def _arm(self) -> None:
        for part in ("orders", "taken", "done", "busy"):
            (self._folder / part).mkdir(parents=True)
        injected = {"PYTHONPATH": str(HERE / "injected"), "CHAOS_FOLDER": str(self._folder)}
        for page in self._functions.get_paginator("list_functions").paginate():
            for function in page["Functions"]:
                name = function["FunctionName"]
                if name.startswith(f"{FLEET}-") and function["Runtime"].startswith("python"):
                    variables = function.get("Environment", {}).get("Variables", {}) | injected
                    self._functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})

    def submit(self, expected: Expected, *, as_event: bool) -> str:
        """Submit a goal as its user would, again while the API does not answer; gives its id."""
        if as_event:
            entry = {
                "EventBusName": names.event_bus(FLEET),
                "Source": "chaos",
                "DetailType": "GoalSubmitted",
                "Detail": json.dumps(expected.request),
            }
            event_id = self._events.put_events(Entries=[entry])["Entries"][0]["EventId"]
            return ids.derived_goal_id(TENANT, f"event:{event_id}")
        with FleetClient(ClientConfig(api_url=self._cloud.api_url, api_key=self._cloud.api_key)) as client:
            while True:
                try:
                    return client.submit(expected.request, key=expected.key).id
                except (ApiUnreachable, FleetApiError) as error:
                    if isinstance(error, FleetApiError) and error.status < 500:
                        raise
                    if self._ending.wait(0.5):
                        raise

    def goals(self, goal_ids: Sequence[str]) -> dict[str, Goal]:
        """Goals as they stand in the table."""
        found: dict[str, Goal] = {}
        for start in range(0, len(goal_ids), _PAGE):
            found |= self._goals.get(goal_ids[start : start + _PAGE])
        return found

    def living(self) -> list[str]:
        """Ids of goals that have not ended, those of sub-plans among them."""
        found: list[str] = []
        cursor = None
        while True:
            page = self._goals.living(_PAGE, cursor)
            found += page.items
            if (cursor := page.cursor) is None:
                return found

    def finished(self, goal: Goal) -> dict[int, float]:
        """When each unit of a goal got its result, in seconds since 1970."""
        return {unit: one.at.timestamp() for unit, one in self._results.finished(goal.id, goal.shards).items()}

    def ledger(self) -> list[dict[str, Any]]:
        """Every charge: goal, task, amount, the fencing tokens of all who tried, and whether it was taken back."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=LEDGER, ConsistentRead=True)
        return [
            {
                "goal": item["goal"]["S"],
                "task": item["task"]["S"],
                "amount": int(item["amount"]["N"]),
                "fences": [int(fence["N"]) for fence in item["fences"]["L"]],
                "refunded": "refunded" in item,
            }
            for page in pages
            for item in page["Items"]
            if "goal" in item  # else it was taken back before it was ever charged
        ]

    def history(self, goal_id: str) -> tuple[str, list[str]]:
        """What is broken in the chain of a goal's history, nothing if it is whole; and the states that it tells of."""
        head = self._history.head(goal_id)
        if head is None:
            return "there is none", []
        segments = list(self._history.segments(head))
        broken = verify(head, segments).broken
        if broken:
            return broken.message, []
        return "", [event.facts["state"] for one in segments for event in read_events(one) if "state" in event.facts]

    def told(self) -> Iterator[tuple[str, str]]:
        """(goal, end) of what the bus has told since the last call."""
        url = self._url(_TELLING)
        while messages := self._sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                event = json.loads(message["Body"])
                yield event["detail"]["goal"], event["detail"]["state"]
                self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def order(self, fault: Fault) -> None:
        """Leave a fault for the next process of its function that makes such a call."""
        folder = self._folder / "orders" / names.function(FLEET, fault.function)
        folder.mkdir(exist_ok=True)
        work = self._folder / fault.id
        work.write_text(json.dumps(fault.order()), encoding="utf-8")
        work.replace(folder / f"{fault.id}.json")

    def withdraw(self, fault: Fault) -> None:
        """Take an order back that nobody has taken yet."""
        (self._folder / "orders" / names.function(FLEET, fault.function) / f"{fault.id}.json").unlink(missing_ok=True)

    def noted(self) -> list[dict[str, Any]]:
        """What processes have noted since the last call: id, at, function, pid, target, bodies."""
        found = [path for path in (self._folder / "done").glob("*.json") if path.name not in self._seen]
        self._seen |= {path.name for path in found}
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]

    def kill_busy(self, pool: str) -> list[str] | None:
        """Kill a process of the pool that is carrying out messages; gives these, None if none was at work."""
        for note in sorted((self._folder / "busy").glob("[0-9]*")):
            try:
                busy = json.loads(note.read_text(encoding="utf-8"))
                process = psutil.Process(int(note.name))
                is_ours = busy["function"] in " ".join(process.cmdline())
            except (FileNotFoundError, psutil.NoSuchProcess):
                continue
            if not is_ours or busy["function"] != names.function(FLEET, pool) or not busy["bodies"]:
                continue
            os.kill(process.pid, signal.SIGKILL)
            if note.exists():  # it did not come to its end just before
                note.unlink()
                bodies: list[str] = busy["bodies"]
                return bodies
        return None

    def poison(self, pool: str, count: int, *, dead: bool) -> None:
        """Send messages that nobody can read, to a pool or straight to its dead letters."""
        queue = names.pool_dead_letters(FLEET, pool) if dead else names.task_queue(FLEET, pool, "normal")
        bodies = [f"poison {number}: no task of anybody's" for number in range(count)]
        for start in range(0, count, _BATCH):
            entries = [{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies[start : start + _BATCH])]
            self._sqs.send_message_batch(QueueUrl=self._url(queue), Entries=entries)

    def take_cache_away(self, seconds: float) -> None:
        """Kill Valkey now, and have it come back after a while."""

        def outage() -> None:
            with self._cloud.without_valkey():
                self._ending.wait(seconds)

        self._threads.submit(outage)

    def dead_letters(self) -> int:
        """How many messages lie in the pools' dead-letter queues."""
        queues = [names.pool_dead_letters(FLEET, pool) for pool in POOLS]
        counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(self._attribute(queue, count)) for queue in queues for count in counts)

    def in_background(self, work: Callable[[], Any]) -> Any:
        """A future of what `work` gives."""
        return self._threads.submit(work)

    def _attribute(self, queue: str, name: Any) -> str:
        return str(self._sqs.get_queue_attributes(QueueUrl=self._url(queue), AttributeNames=[name])["Attributes"][name])

    def _url(self, queue: str) -> str:
        return str(self._sqs.get_queue_url(QueueName=queue)["QueueUrl"])


@contextmanager
def stage(progress: Callable[[str], None]) -> Iterator[Stage]:
    """Deploy the project of fault runs into an emulator of its own, ready for faults; all of it is gone afterwards."""
    folder = ROOT / ".fleet" / f"chaos-{os.getpid()}"
    cloud = LocalCloud(write_project(folder / "project"), folder, progress)
    try:
        cloud.up()
        made = Stage(cloud, folder / "faults")
        try:
            made.prepare()
            yield made
        finally:
            made.close()
    finally:
        cloud.stop()
        shutil.rmtree(folder, ignore_errors=True)

"""The deployed fleet, for as long as a benchmark takes, with a counting proxy that its requests can be led through."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx

from agentfleet.adapters.history import DynamoHistory
from agentfleet.domain import names
from agentfleet.domain.history import EventKind, read_events
from bench.cpu import Usage, read_usage
from bench.programs import FOLDER, ROOT, BenchFailed, running
from client.api import FleetClient
from client.config import ClientConfig
from client.local import LocalCloud, LocalState
from client.processes import accepts_connections, free_port

POOL: Final = "flow"
POLL_SECONDS: Final = 0.2
GOAL_SECONDS: Final = 600.0
REQUESTS_PER_INVOCATION: Final = 2
"""A Lambda poller's own SQS requests, which no proxy sees: one ReceiveMessage, one DeleteMessageBatch."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A goal that has ended, and when."""

    goal_id: str
    state: str
    finished: datetime


class Stack:
    """What a benchmark does with the deployed fleet. Use `deployed_stack()`."""

    def __init__(self, cloud: LocalCloud, fleet: str, wire_url: str, emulator_pid: int) -> None:
        self._cloud = cloud
        self._counted = False
        self._fleet = fleet
        self._wire_url = wire_url
        self._emulator_pid = emulator_pid
        self._dynamodb = cloud.client("dynamodb")
        self._sqs = cloud.client("sqs")
        self._logs = cloud.client("logs")
        self._functions = cloud.client("lambda")
        self._events = cloud.client("events")
        self._table = cloud.outputs["WorkTable"]
        self.client = FleetClient(self._config(cloud.endpoint))

    def count_requests(self) -> None:
        """From now on, let functions and client speak through the proxy, which costs some latency."""
        if self._counted:
            return
        self._counted = True
        self._redirect_functions()
        self.client = FleetClient(self._config(self._wire_url))

    def _config(self, endpoint: str) -> ClientConfig:
        return ClientConfig(self._cloud.api_url.replace(self._cloud.endpoint, endpoint), self._cloud.api_key, timeout=120.0)

    def _redirect_functions(self) -> None:
        for page in self._functions.get_paginator("list_functions").paginate():
            for function in page["Functions"]:
                if not function["FunctionName"].startswith(f"{self._fleet}-"):
                    continue
                variables = function.get("Environment", {}).get("Variables", {}) | {"AWS_ENDPOINT_URL": self._wire_url}
                self._functions.update_function_configuration(
                    FunctionName=function["FunctionName"], Environment={"Variables": variables}
                )

    def stop_fleet_manager(self) -> None:
        """Let nothing but the benchmark size the pools or make requests."""
        self._events.disable_rule(Name=names.function(self._fleet, "manage_fleet"))

    def limit_workers(self, count: int) -> None:
        """Let at most so many of the pool's agents work at once (2 or more)."""
        self.client.scale_pool(POOL, count)
        deadline = time.monotonic() + GOAL_SECONDS
        while not (pool := self.client.pool(POOL)).settled or pool.concurrency != count:
            _pause(deadline, f"pool {POOL} to have {count} agents")

    def time_goal(self, goal: dict[str, Any]) -> float:
        """Seconds from the goal's submission until its end is stored."""
        started = datetime.now(UTC)
        return (self.wait_for_goal(self.client.submit(goal).id).finished - started).total_seconds()

    def wait_for_goal(self, goal_id: str, poll: float = POLL_SECONDS) -> Ended:
        """Wait past the proxy for a goal's end. Raises BenchFailed if it takes longer than ten minutes, or ends badly."""
        key = {"pk": {"S": goal_id}, "sk": {"S": "GOAL"}}
        deadline = time.monotonic() + GOAL_SECONDS
        while "finished" not in (
            item := self._dynamodb.get_item(
                TableName=self._table,
                Key=key,
                ProjectionExpression="#s, finished",
                ExpressionAttributeNames={"#s": "state"},
                ConsistentRead=True,
            )["Item"]
        ):
            _pause(deadline, f"goal {goal_id} to end", poll)
        ended = Ended(goal_id, item["state"]["S"], datetime.fromtimestamp(int(item["finished"]["N"]) / 1e6, UTC))
        if ended.state != "SUCCEEDED":
            raise BenchFailed(f"goal {goal_id} ended as {ended.state}; `{self._logs_hint()}` says more")
        return ended

    def wait_for_history(self, goal_id: str, tasks: int) -> None:
        """Wait past the proxy until the history of an ended goal holds its end and the results of all its tasks."""
        store = DynamoHistory(self._dynamodb, names.table(self._fleet, "history"))
        deadline = time.monotonic() + GOAL_SECONDS
        while not _is_recorded(store, goal_id, tasks):
            _pause(deadline, f"the history of goal {goal_id} to be complete")

    def _logs_hint(self) -> str:
        return f"fleet logs {POOL}"

    def wait_until_idle(self) -> None:
        """Wait until no queue of the benchmark holds or hides a message, so that nothing of a run is left for the next."""
        queues = [names.task_queue(self._fleet, POOL, "normal"), names.release_queue(self._fleet)]
        urls = [self._sqs.get_queue_url(QueueName=queue)["QueueUrl"] for queue in queues]
        deadline = time.monotonic() + GOAL_SECONDS
        while any(map(self._depth, urls)):
            _pause(deadline, f"{' and '.join(queues)} to be empty")

    def _depth(self, url: str) -> int:
        wanted: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(map(int, self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"].values()))

    def reset_counts(self) -> None:
        """Start counting anew."""
        httpx.post(f"{self._wire_url}/_wire/reset").raise_for_status()

    def counts(self) -> dict[str, Any]:
        """What went through the proxy since the last reset: see bench.tally.Tally."""
        counted: dict[str, Any] = httpx.get(f"{self._wire_url}/_wire/tally").raise_for_status().json()
        return counted

    def usage(self) -> tuple[Usage, Usage]:
        """CPU of this process, and of the emulator (`own`) with the functions it runs (`below`)."""
        return read_usage(os.getpid()), read_usage(self._emulator_pid)

    def invocations(self, function: str, since: datetime) -> list[float]:
        """Milliseconds that each invocation of a function took which ended since then, by its log."""
        events = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{names.function(self._fleet, function)}", startTime=int(since.timestamp() * 1000)
        )
        reports = [event["message"] for page in events for event in page["events"] if event["message"].startswith("REPORT")]
        return [float(report.partition("Duration: ")[2].split()[0]) for report in reports]


@contextmanager
def deployed_stack(progress: Callable[[str], None], *, counted: bool = True) -> Iterator[Stack]:
    """Deploy the fleet into an emulator of its own, and start the proxy. Both are gone when the block ends, however it ends."""
    cloud = LocalCloud(ROOT, FOLDER, progress)
    try:
        # What an earlier benchmark left there points at a proxy that is gone.
        cloud.stop()
        cloud.up()
        port = free_port()
        wire_url = f"http://127.0.0.1:{port}"
        environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "bench.wire", cloud.endpoint, str(port)]
        log = FOLDER / "wire.log"
        with running(command, "bench.wire", environment, log, ready=lambda: accepts_connections(port)):
            stack = Stack(cloud, _fleet_name(cloud), wire_url, _emulator_pid())
            stack.stop_fleet_manager()
            if counted:
                stack.count_requests()
            yield stack
    finally:
        cloud.stop()


def _is_recorded(store: DynamoHistory, goal_id: str, tasks: int) -> bool:
    head = store.head(goal_id)
    events = [event for segment in store.segments(head) for event in read_events(segment)] if head else []
    results = sum(len(event.facts["states"]) for event in events if event.kind is EventKind.RESULT)
    return results == tasks and any(event.facts.get("state") == "SUCCEEDED" for event in events)


def _emulator_pid() -> int:
    state = LocalState.model_validate_json((FOLDER / "state.json").read_text(encoding="utf-8"))
    if state.emulator is None:
        raise BenchFailed("the emulator ended while the benchmark started")
    return state.emulator.pid


def _fleet_name(cloud: LocalCloud) -> str:
    """The prefix of every physical name, from one of them."""
    return cloud.outputs["WorkTable"].removesuffix("-work")


def _pause(deadline: float, awaited: str, seconds: float = POLL_SECONDS) -> None:
    if time.monotonic() > deadline:
        raise BenchFailed(f"waited {GOAL_SECONDS:g} s for {awaited}")
    time.sleep(seconds)


def since_now() -> datetime:
    """A moment that log events written from now on are not before: they are stamped in whole milliseconds."""
    return datetime.now(UTC) - timedelta(milliseconds=1)

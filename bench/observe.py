"""Run goals on the deployed fleet and count and time what they cost."""

import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agentfleet.domain.prices import PRICES
from bench.stack import REQUESTS_PER_INVOCATION, Stack, since_now

FED_BY_QUEUE: Final = ("flow", "release_tasks")
"""Functions of the hot path that a queue's poller invokes."""
FUNCTIONS: Final = (*FED_BY_QUEUE, "serve_api", "authorize_request", "record_history")
SINGLE: Final = "flow.step"
"""A no-op whose tasks travel one to a message."""
CHUNKED: Final = "flow.noop"
"""A no-op whose tasks travel ten to a message."""


@dataclass(frozen=True, slots=True)
class Run:
    """Work from its submission until nothing of it is left in a queue."""

    tasks: int
    seconds: float
    waits: list[float]
    """Milliseconds from each goal's submission to its end."""
    client_ms: float
    emulator_ms: float
    functions_ms: float
    counts: dict[str, Any]
    invocations: dict[str, list[float]]
    """Durations, ms, by function."""


def fan_out(capability: str, count: int, value: Callable[[int], Any] = lambda number: number) -> dict[str, Any]:
    """A goal of so many tasks that may all run at once, and one that waits for them all."""
    tasks: list[dict[str, Any]] = [
        {"id": f"t.{number}", "capability": capability, "input": {"value": value(number)}} for number in range(count)
    ]
    tasks.append({"id": "end", "capability": capability, "input": {"value": count}, "depends_on": ["t.*"]})
    return {"name": f"bench {capability}", "plan": {"tasks": tasks, "output": {"count": {"$from": "end"}}}}


def run_goals(stack: Stack, goal: dict[str, Any], tasks: int, times: int = 1) -> Run:
    """Run the goal so many times, one after the other; `tasks` is how many it counts for each time."""
    stack.wait_until_idle()
    stack.reset_counts()
    since = since_now()
    client, servers = stack.usage()
    waits = [stack.time_goal(goal) for _ in range(times)]
    stack.wait_until_idle()
    client_after, servers_after = stack.usage()
    used = servers_after.since(servers)
    return Run(
        tasks=tasks * times,
        seconds=sum(waits),
        waits=[seconds * 1000 for seconds in waits],
        client_ms=client_after.since(client).own * 1000,
        emulator_ms=used.own * 1000,
        functions_ms=used.below * 1000,
        counts=stack.counts(),
        invocations={name: stack.invocations(name, since) for name in FUNCTIONS},
    )


def per_task(run: Run) -> dict[str, float]:
    """What a task took of everything that is billed, of CPU and of time."""
    counts = run.counts
    polled = sum(len(run.invocations[name]) for name in FED_BY_QUEUE)
    sqs = counts["sqs_billed"] + REQUESTS_PER_INVOCATION * polled
    invoked = sum(map(len, run.invocations.values()))
    known = sum(requests(counts, of) for of in ("sqs.", "dynamodb.", "http-api."))
    billed = {
        "wru": sum(counts["write_units"].values()),
        "rru": sum(counts["read_units"].values()),
        "sqs_requests": sqs,
        "dynamodb_requests": requests(counts, "dynamodb."),
        "other_requests": sum(counts["requests"].values()) - known,
        "api_requests": requests(counts, "http-api."),
        "event_requests": requests(counts, "events."),
        "s3_puts": requests(counts, "s3.PUT"),
        "s3_gets": requests(counts, "s3.GET"),
        "invocations": invoked,
    }
    row = {f"{name}_per_task": number / run.tasks for name, number in billed.items()}
    milliseconds = {"client": run.client_ms, "emulator": run.emulator_ms, "functions": run.functions_ms}
    return {
        **row,
        "dollars_per_million_tasks": request_dollars(row),
        "cpu_ms_per_task": sum(milliseconds.values()) / run.tasks,
        **{f"cpu_{name}_ms_per_task": used / run.tasks for name, used in milliseconds.items()},
        "tasks_per_second": run.tasks / run.seconds,
    }


def request_dollars(row: Mapping[str, float]) -> float:
    """Dollars per million tasks of all requests that a row of `per_task` counts; the time of functions comes on top."""
    return (
        row["wru_per_task"] * PRICES.write_units
        + row["rru_per_task"] * PRICES.read_units
        + row["sqs_requests_per_task"] * PRICES.requests_sqs
        + row["invocations_per_task"] * PRICES.requests_lambda
        + row["api_requests_per_task"] * PRICES.requests_http
        + row["event_requests_per_task"] * PRICES.requests_events
        + row["s3_puts_per_task"] * PRICES.requests_s3_put
        + row["s3_gets_per_task"] * PRICES.requests_s3_get
    )


def requests(counts: dict[str, Any], prefix: str) -> int:
    """How many requests have a name that begins so."""
    return sum(number for name, number in counts["requests"].items() if name.startswith(prefix))


def median_row(runs: list[Run]) -> dict[str, Any]:
    """Medians of `per_task` over runs, with the speed of each and what the last one was made of."""
    rows = [per_task(run) for run in runs]
    return {
        **{name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]},
        "runs": [round(run.tasks / run.seconds, 1) for run in runs],
        "load_after": round(os.getloadavg()[0], 1),
        "last_run": details(runs[-1]),
    }


def details(run: Run) -> dict[str, Any]:
    """What a run was made of."""
    invocations = {
        name: {"count": len(durations), "median_ms": round(statistics.median(durations), 1)}
        for name, durations in run.invocations.items()
        if durations
    }
    return {**run.counts, "invocations": invocations, "seconds": round(run.seconds, 2)}

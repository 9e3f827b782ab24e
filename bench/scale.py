"""How far the deployed shape goes under AWS's limits, by simulation: `python -m bench.scale [--no-check]`.

An invocation's time and requests are those that bench.hot_path counted, with AWS's latencies in place of the emulator's.
The model is then checked: with the emulator's measured times in place of AWS's it must foretell what the emulator does. Results
go to bench/results/scale.json.
"""

import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, Final

from rich.console import Console

from agentfleet.domain.plan import shard_count
from bench.cost import MEMORY_MB, fleet_dollars
from bench.markdown import number
from bench.prices import OTHERS
from bench.programs import BenchFailed, run_bench
from bench.queue_model import TICK, Load, Model, Outcome, Shape, drawn_from, lognormal
from bench.quotas import DAY, LATENCIES, MB_PER_CPU, QUOTAS
from bench.report import load, save
from bench.stack import POOL, Stack, deployed_stack, since_now

GOAL_RATE: Final = 10_000.0
"""Tasks per second that the fleet must go beyond."""
OFFERED: Final = 12_000.0
WARMED_UNITS: Final = 20_000
"""Write units a second that a table can be told to be ready for (DynamoDB: warm throughput)."""
POLLERS: Final = 20
CHECK_TASKS: Final = 240
CHECK_SECONDS: Final = 1.0
"""That each task of the check waits, so that the emulator's one process is not what is measured."""
CHECK_WORKERS: Final = (2, 4, 8)
CHECK_BATCH: Final = 10


def deployed_shape(row: Mapping[str, float], memory: int = MEMORY_MB) -> Shape:
    """The shape with a row of bench/results/hot_path.json: CPU stretched to what the memory buys, AWS's latency per request."""
    invocations = row["invocations_per_task"]
    calls = round((row["dynamodb_requests_per_task"] + row["sqs_requests_per_task"]) / invocations - 2)
    cpu = row["cpu_functions_ms_per_task"] / 1000 / invocations * max(1.0, MB_PER_CPU / memory)
    request = lognormal(LATENCIES.write)

    def service(rng: Random) -> float:
        return cpu + sum(request(rng) for _ in range(calls))

    return Shape(1 / invocations, row["wru_per_task"], service)


def key_units(units_per_task: float) -> float:
    """Write units that the fullest partition key of results takes in its whole life, for goals of any size.

    While these are no more than a key takes in one second, no rate of tasks can make a key hot.
    """
    sizes = (*range(1, 1_000), *range(1_000, 100_001, 499))
    fullest: int = max(-(-size // shard_count(size)) for size in sizes)
    return fullest * units_per_task


def simulate(hot_path: dict[str, Any], say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Every scenario by name, with what was offered and what came of it."""
    single, chunked = (deployed_shape(hot_path[kind]) for kind in ("single", "chunked"))
    warmed = replace(single, table_units=WARMED_UNITS)
    quota = replace(single, table_units=QUOTAS.table_most)
    runs: dict[str, tuple[str, Shape, Load, int]] = {
        "cold": ("a new table, the trigger's own pollers", single, Load(OFFERED, 4_500), 100),
        "warmed": (f"table warmed to {WARMED_UNITS:,} units/s", warmed, Load(OFFERED, 60), 2),
        "provisioned": (f"warmed, {POLLERS} provisioned pollers", replace(warmed, provisioned=POLLERS), Load(OFFERED, 60), 2),
        "x1": ("1×", quota, Load(1_000, 180), 1),
        "x10": ("10×", quota, Load(10_000, 180), 4),
        "x100": ("100×", quota, Load(100_000, 300), 20),
        "x100_chunked": ("100×, chunks of ten", replace(chunked, table_units=QUOTAS.table_most), Load(100_000, 180), 5),
    }
    rows = {}
    for name, (label, shape, offered, grain) in runs.items():
        say(f"Simulating {label}")
        outcome = Model(shape, offered, grain=grain).run()
        counted = hot_path["chunked" if name.endswith("chunked") else "single"]
        rows[name] = {"label": label, **_row(outcome, offered, counted, shape.provisioned)}
    return rows


def _row(outcome: Outcome, offered: Load, counted: dict[str, Any], pollers: int) -> dict[str, Any]:
    rate = outcome.rate(offered.seconds * 0.75, offered.seconds)
    lasting = {name: moments[0] for name, moments in outcome.held.items() if len(moments) * TICK >= 1}
    first = min(lasting, key=lambda name: lasting[name], default=None)
    step = max(1.0, offered.seconds / 60)
    hourly = rate * 3600 / 1e6 * fleet_dollars(counted)["total"] + pollers * OTHERS.poller_hour
    return {
        "offered_tasks_per_second": offered.tasks_per_second,
        "tasks_per_second": round(rate),
        "seconds_to_10000": outcome.reached(GOAL_RATE, window=2 * step),
        "first_limit": first,
        "first_limit_seconds": round(len(outcome.held[first]) * TICK, 1) if first else 0.0,
        "limit_at_the_end": outcome.bottleneck(offered.seconds * 0.75, offered.seconds),
        "seconds_held": {name: round(len(moments) * TICK, 1) for name, moments in outcome.held.items()},
        "concurrency": outcome.concurrency,
        **{f"p{share}_ms": round(outcome.percentile(share / 100) * 1000, 1) for share in (50, 95, 99)},
        "dollars_per_hour": round(hourly, 2),
        "curve": [
            [round(n * step, 1), round(outcome.rate((n - 1) * step, n * step))]
            for n in range(1, int(offered.seconds / step) + 1)
        ],
    }


def check(stack: Stack, say: Callable[[str], None]) -> dict[str, Any]:
    """Foretell goals on the emulator by the model, from what was measured with the fewest workers."""
    rows: list[dict[str, Any]] = []
    say(f"Calibrating the model with {CHECK_WORKERS[0]} workers")
    service, hop = _calibrate(stack, CHECK_WORKERS[0])
    for workers in CHECK_WORKERS[1:]:
        say(f"Checking the model with {workers} workers")
        stack.limit_workers(workers)
        _run_waits(stack)  # new environments start cold
        latencies = _run_waits(stack)
        shape = Shape(
            CHECK_BATCH,
            0.0,
            drawn_from(service),
            hop=lambda _: hop,
            cold_start=lambda _: 0.0,
            concurrency=workers,
            table_units=QUOTAS.table_most,
        )
        foretold = [Model(shape, Load(0.0, 0.0, backlog=CHECK_TASKS), seed=seed).run() for seed in range(20)]
        rows.append(
            {
                "workers": workers,
                "tasks": CHECK_TASKS,
                "tasks_per_second": _compared(
                    [CHECK_TASKS / one.finished[-1][0] for one in foretold], CHECK_TASKS / max(latencies)
                ),
                "p50_ms": _compared([one.percentile(0.5) * 1000 for one in foretold], statistics.median(latencies) * 1000),
            }
        )
    return {
        "calibrated": {
            "workers": CHECK_WORKERS[0],
            "invocation_median_ms": round(statistics.median(service) * 1000, 1),
            "hop_ms": round(hop * 1000, 1),
        },
        "task_seconds": CHECK_SECONDS,
        "rows": rows,
        "largest_error": max(abs(row[name]["error"]) for row in rows for name in ("tasks_per_second", "p50_ms")),
    }


def _compared(foretold: list[float], measured: float) -> dict[str, float]:
    value = statistics.median(foretold)
    return {"foretold": round(value, 1), "measured": round(measured, 1), "error": round(value / measured - 1, 3)}


def _calibrate(stack: Stack, workers: int) -> tuple[list[float], float]:
    """Seconds that each invocation keeps a worker of the emulator, and from submission to the first tasks' start."""
    stack.limit_workers(workers)
    _run_waits(stack)
    stack.wait_until_idle()
    since = since_now()
    latencies = sorted(_run_waits(stack))
    stack.wait_until_idle()
    invocations = [milliseconds / 1000 for milliseconds in stack.invocations(POOL, since)]
    # What lies between one invocation's end and the next one's start keeps the worker as well.
    rounds = CHECK_TASKS / CHECK_BATCH / workers
    hop = max(0.0, latencies[0] - statistics.median(invocations))
    gap = max(0.0, (latencies[-1] - hop) / rounds - statistics.mean(invocations))
    return [seconds + gap for seconds in invocations], hop


def _run_waits(stack: Stack) -> list[float]:
    """Seconds from the goal's submission to the end of each of its tasks."""
    tasks = [{"id": f"t.{n}", "capability": "flow.wait", "input": {"seconds": CHECK_SECONDS}} for n in range(CHECK_TASKS)]
    stack.wait_until_idle()
    submitted = stack.client.submit({"name": "bench scale", "plan": {"tasks": tasks}})
    stack.wait_for_goal(submitted.id)
    ended = [
        (task.started - submitted.created).total_seconds() + task.duration
        for task in stack.client.all_tasks(submitted.id)
        if task.started is not None and task.duration is not None
    ]
    if len(ended) != CHECK_TASKS:
        raise BenchFailed(f"goal {submitted.id}: {len(ended)} of {CHECK_TASKS} tasks say when they ended")
    return ended


def calculate(checked: dict[str, Any] | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Simulate; `checked` is what `check` found, if it was asked."""
    hot_path = load("hot_path")
    if hot_path is None or "large" not in hot_path:
        raise BenchFailed(
            "bench/results/hot_path.json is missing or was written by an older version: run python -m bench.hot_path"
        )
    return {
        "counted": hot_path["date"],
        "quotas_as_of": DAY.isoformat(),
        "memory_mb": MEMORY_MB,
        "units_per_key": {"most": round(key_units(hot_path["single"]["wru_per_task"]), 1), "allowed": QUOTAS.partition_key},
        "scenarios": simulate(hot_path, say),
        **({"check": checked} if checked else {}),
    }


def main() -> int:
    """Simulate, check, write the results and show them."""
    console = Console()
    checked = None
    if "--no-check" not in sys.argv[1:]:
        with deployed_stack(console.log, counted=False) as stack:
            checked = check(stack, console.log)
    results = save("scale", calculate(checked, console.log))
    for row in results["scenarios"].values():
        console.print(
            f"{row['label']}: {number(row['tasks_per_second'])} tasks/s of {number(row['offered_tasks_per_second'])}, "
            f"10,000/s after {number(row['seconds_to_10000'])} s, first limit {row['first_limit']}, "
            f"at the end {row['limit_at_the_end']}",
            highlight=False,
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

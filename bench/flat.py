"""Does a task of a large goal cost what one of a small goal does? `python -m bench.flat [--full]`.

Goals of 10 to 10,000 no-ops, and of 100,000 with --full, which takes some minutes more; small goals are run again and again, so
that there is something to measure. Results go to bench/results/flat.json.
"""

import sys
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console

from agentfleet.domain.task import MAX_TASKS
from bench.markdown import number
from bench.observe import SINGLE, fan_out, per_task, run_goals
from bench.peers.setups import WORKERS
from bench.programs import run_bench
from bench.report import save
from bench.stack import Stack, deployed_stack

SIZES: Final = (10, 100, 1_000, 10_000)
FULL: Final = MAX_TASKS - 1
"""With the task that collects them: as many as a goal may have."""
LEAST_TASKS: Final = 500
KEPT: Final = (
    "wru_per_task",
    "rru_per_task",
    "sqs_requests_per_task",
    "dynamodb_requests_per_task",
    "s3_puts_per_task",
    "s3_gets_per_task",
    "invocations_per_task",
    "dollars_per_million_tasks",
    "cpu_ms_per_task",
    "cpu_functions_ms_per_task",
    "tasks_per_second",
)


def measure(stack: Stack, say: Callable[[str], None], *, full: bool = False) -> dict[str, Any]:
    """A row of numbers per task for each size of a goal."""
    stack.count_requests()
    stack.limit_workers(WORKERS)
    run_goals(stack, fan_out(SINGLE, SIZES[1]), SIZES[1])
    rows: dict[str, Any] = {}
    for size in (*SIZES, FULL) if full else SIZES:
        say(f"Counting goals of {size:,} tasks")
        times = -(-LEAST_TASKS // size)
        row = per_task(run_goals(stack, fan_out(SINGLE, size), size, times))
        rows[str(size)] = {"goals": times, **{name: round(row[name], 4) for name in KEPT}}
    return {"workers": WORKERS, "sizes": rows}


def main() -> int:
    """Measure and write the results."""
    console = Console()
    with deployed_stack(console.log) as stack:
        results = save("flat", measure(stack, console.log, full="--full" in sys.argv[1:]))
    for size, row in results["sizes"].items():
        shown = ", ".join(f"{name.removesuffix('_per_task')} {number(row[name])}" for name in KEPT)
        console.print(f"{int(size):>7,} tasks: {shown}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

"""What a cold start loads: `python -m bench.cold_start`. Sizes of each function and its layers, and the CPU of its imports.

Sizes are those of what is uploaded for Lambda's processors, and of what it unpacks to. CPU is the least of several tries in a
process of its own, with this machine's Python and bytecode, as a ratio to the four packages alone, and to what such a
function uses of them. Results go to bench/results/cold_start.json. Thinking pools import much of what they are made of with the
first task that needs it: that is told apart, and comes on top.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench.loading import HERE, functions_of, lambda_builtins, make, run_alone, zipped_bytes
from bench.programs import ROOT, BenchFailed, run_bench
from bench.report import save
from cdk.catalog import read_fleet
from cdk.layers import LayerTarget

STANDS_ON: Final = "boto3, pynamodb.models, pydantic, aws_lambda_powertools"
"""What a function of the fleet can't do without, or what comes to the same."""
API: Final = f"{STANDS_ON}.event_handler.openapi.params, aws_lambda_powertools.event_handler"
FRAMEWORKS: Final = {"serve_api": API}
"""What a function stands on that needs more of Powertools than its package loads."""
TRIES: Final = 4

_ASKS: Final = "import agentfleet.services.model, agentfleet.services.model_use, agentfleet.adapters.bedrock"
"""What a task loads that asks a model."""
_FINDS: Final = """
import agentfleet.services.knowledge, agentfleet.adapters.dynamo_vectors, agentfleet.adapters.knowledge, agentfleet.adapters.pdf
import agentfleet.adapters.word_files
from agentfleet.adapters.embedders import MiniLm
MiniLm().embed(["text"])
"""
FIRST_TASKS: Final = {
    "agents": {"a task": f"{_ASKS}\nimport agentfleet.services.agent_loop", "MCP servers": "import strands.tools.mcp"},
    "knowledge": {"a search": _FINDS, "an answer by a model": _ASKS},
    "think": {"a task": _ASKS, "a shape": "import agentfleet.services.schema_shapes"},
}
"""What the first task of an environment loads beside its function, step by step: the later ones not every task needs."""

_TIMED: Final = """
import time
begun = time.process_time()
{step}
print(time.process_time() - begun)
"""


def import_seconds(modules: str, path: list[Path]) -> Iterator[float]:
    """CPU seconds of importing modules in a process of their own, time after time. Raises BenchFailed."""
    for _ in range(TRIES):
        finished = run_alone(_TIMED.format(step=f"import {modules}"), path)
        if finished.returncode:
            raise BenchFailed(f"{modules} can't be imported: {finished.stderr}")
        yield float(finished.stdout)


def first_task_milliseconds(name: str, path: list[Path]) -> dict[str, float]:
    """CPU of each step of a function's first task, after its imports: the least of several tries. Raises BenchFailed."""
    steps = {"": "import handler", **FIRST_TASKS.get(name, {})}
    program = "".join(_TIMED.format(step=step) for step in steps.values())
    tries = []
    for _ in range(TRIES):
        finished = run_alone(program, path)
        if finished.returncode:
            raise BenchFailed(f"the first task of {name} can't be loaded: {finished.stderr}")
        tries.append([float(line) * 1000 for line in finished.stdout.splitlines()])
    return {step: round(min(found), 1) for step, found in zip(steps, zip(*tries, strict=True), strict=True) if step}


def measure() -> dict[str, Any]:
    """Function → sizes in bytes, milliseconds of CPU, and their ratio to what it stands on."""
    fleet = read_fleet(ROOT)
    here, there = functions_of(fleet, HERE), functions_of(fleet, LayerTarget.aws())
    with tempfile.TemporaryDirectory() as folder:
        builtin = lambda_builtins(make(Path(folder) / "builtin"))
        core = [*min(here.values(), key=len)[1:], builtin]
        rows, bases = {}, []
        for name, path in here.items():
            # By turns: how fast this machine is changes from minute to minute.
            sources = [import_seconds("handler", [*path, builtin]), import_seconds(STANDS_ON, core)]
            if name in FRAMEWORKS:
                sources.append(import_seconds(FRAMEWORKS[name], core))
            seconds, *stands = map(min, zip(*zip(*sources, strict=True), strict=True))
            bases.append(stands[0])
            rows[name] = {
                "layers": len(path) - 1,
                "zipped_bytes": sum(map(zipped_bytes, there[name])),
                "unpacked_bytes": sum(map(_unpacked_bytes, there[name])),
                "import_cpu_ms": round(seconds * 1000, 1),
                **({"first_task_cpu_ms": first_task_milliseconds(name, [*path, builtin])} if name in FIRST_TASKS else {}),
                "ratio": round(seconds / stands[-1], 2),
                "ratio_to_four": round(seconds / stands[0], 2),
            }
    return {"stands_on_cpu_ms": round(statistics.median(bases) * 1000, 1), "functions": rows}


def _unpacked_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def main() -> int:
    """Measure, show, and write the results."""
    results = save("cold_start", measure())
    for name, row in results["functions"].items():
        Console().print(
            f"{name:<18} {row['zipped_bytes'] / 1e6:6.1f} MB, unpacked {row['unpacked_bytes'] / 1e6:6.1f}, "
            f"imports {row['import_cpu_ms']:6.1f} ms, {row['ratio_to_four']:.2f} times the four packages, "
            f"{row['ratio']:.2f} times what it uses of them"
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

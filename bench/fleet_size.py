"""How much sooner does a larger fleet end the same goal? `python -m bench.fleet_size`.

The goal is forty tasks that may all run at once and wait a second each, as tasks that wait for a model do. An agent carries out
the whole batch that its message poller hands it at the same time, so the gain depends on the batch: it is measured with one
message per batch, where an agent is one task at a time and a fleet of ten is ten tasks, and with ten, as pools are deployed,
where one agent alone can wait for ten tasks. Results go to bench/results/fleet_size.json.
"""

import asyncio
import statistics
import sys
from typing import Any, Final

from rich.console import Console

from bench.programs import FOLDER, ROOT, BenchFailed, run_bench
from bench.report import save
from bench.stack import GOAL_SECONDS, POOL
from client.config import ClientConfig
from client.coordinator import AgentCoordinator, AgentFleet
from client.local import LocalCloud

CAPABILITY: Final = "flow.wait"
TASKS: Final = 40
WARM_UP_TASKS: Final = 10
"""One for each of the largest fleet's agents."""
TASK_SECONDS: Final = 1.0
SIZES: Final = (1, 10)
BATCHES: Final = (1, 10)
RUNS: Final = 3
TARGET: Final = 0.6
"""By this share sooner the fleet of ten must end the goal where an agent is one task at a time."""


async def measure(coordinator: AgentCoordinator, size: int) -> dict[str, Any]:
    """Seconds from submission to the goal's end with a fleet of this size: the median of three runs after a warm-up."""
    fleet = await coordinator.spawn_fleet(size, [CAPABILITY])
    try:
        await _run(coordinator, fleet, WARM_UP_TASKS)
        seconds = [await _run(coordinator, fleet) for _ in range(RUNS)]
    finally:
        await fleet.release()
    return {"seconds": round(statistics.median(seconds), 2), "runs": [round(one, 2) for one in seconds]}


async def _run(coordinator: AgentCoordinator, fleet: AgentFleet, count: int = TASKS) -> float:
    tasks = [{"id": f"t.{n}", "capability": CAPABILITY, "input": {"seconds": TASK_SECONDS}} for n in range(count)]
    await coordinator.distribute_goal({"name": "bench fleet size", "plan": {"tasks": tasks}}, fleet)
    [result] = await coordinator.collect_results(timeout=GOAL_SECONDS, raise_on_failure=True)
    if result.goal.finished is None:
        raise BenchFailed(f"goal {result.goal.id} ended without saying when")
    return (result.goal.finished - result.goal.created).total_seconds()


def set_batch(cloud: LocalCloud, size: int) -> None:
    """Let every trigger of the pool hand over so many messages at a time."""
    functions = cloud.client("lambda")
    function = f"{cloud.outputs['WorkTable'].removesuffix('-work')}-{POOL}"
    for trigger in functions.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]:
        functions.update_event_source_mapping(UUID=trigger["UUID"], BatchSize=size)


async def measure_all(cloud: LocalCloud, console: Console) -> dict[str, dict[str, Any]]:
    """Batch size → fleet size → seconds, and by which share the largest fleet is sooner than the smallest."""
    found: dict[str, dict[str, Any]] = {}
    for batch in BATCHES:
        set_batch(cloud, batch)
        async with AgentCoordinator(ClientConfig(cloud.api_url, cloud.api_key)) as coordinator:
            rows = {size: await measure(coordinator, size) for size in SIZES}
        least, most = (rows[size]["seconds"] for size in (SIZES[0], SIZES[-1]))
        sooner = round(1 - most / least, 3)
        found[f"batch_{batch}"] = {**{f"fleet_{size}": row for size, row in rows.items()}, "sooner": sooner}
        console.print(f"batch {batch:>2}: a fleet of {SIZES[0]} {least} s, of {SIZES[-1]} {most} s: {sooner:.0%} sooner")
    return found


def _write(rows: dict[str, dict[str, Any]]) -> None:
    results = {
        "workload": {"tasks": TASKS, "capability": CAPABILITY, "seconds_per_task": TASK_SECONDS, "runs": RUNS},
        "target": {"batch_1": {"sooner": TARGET}},
        **rows,
    }
    save("fleet_size", results)


def main() -> int:
    """Measure, and write the results; 1 if the target was missed."""
    console = Console()
    cloud = LocalCloud(ROOT, FOLDER, console.log)
    try:
        cloud.stop()
        cloud.up()
        rows = asyncio.run(measure_all(cloud, console))
    finally:
        cloud.stop()
    _write(rows)
    return 0 if rows["batch_1"]["sooner"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(run_bench(main))

"""How long does a quiet tenant wait while another one floods the fleet? `python -m bench.fairness`.

The platform's own services over in-memory stores and queues, in simulated time: one pool of ten agents that take up to ten
messages at a time, a second for each batch, from queues that are served strictly in order. So what is measured is the admission
window alone; on AWS, SQS's fair queues come on top of it. One tenant floods the pool with 10,000 tasks, as one goal or as many;
the other submits a goal of ten tasks every two seconds. Results go to bench/results/fairness.json.
"""

import heapq
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from msgspec.structs import replace
from rich.console import Console

from agentfleet.agent import Agent
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.goal import Goal
from bench.programs import BenchFailed
from bench.report import save
from tests.fakes.clock import START
from tests.fakes.fleet import InProcessFleet, catalog_of

QUEUE: Final = "fleet-work-normal"
RELEASES: Final = "fleet-release"
AGENTS: Final = 10
BATCH: Final = 10
SERVICE: Final = 1.0
"""Seconds per batch."""
FLOOD: Final = 10_000
QUIET_TASKS: Final = 10
QUIET_GOALS: Final = 40
EVERY: Final = 2.0
"""Seconds between the quiet tenant's goals."""
NONE: Final = 1_000_000
"""A window that holds nothing back."""
DEFAULT: Final = Catalog(fleet="", pools={}).tenant_window
WINDOWS: Final = (None, 10_000, DEFAULT, 1_000)
"""None: nothing is held back."""
FLOODS: Final = {"one goal": 1, "ten goals": 10, "a hundred goals": 100, "a thousand goals": 1000}
"""Into how many goals the flood's tasks are parted."""
TARGET: Final = 0.3
"""The quiet tenant's p95 with the default window, against that without one, whatever the flood's form."""

work = Agent("work")


@work.capability("work.do", idempotent=True)
async def do(input: dict[str, Any]) -> None:
    """Nothing: its time is the simulation's."""


def goal_of(tasks: int) -> dict[str, Any]:
    """Independent tasks."""
    return {"plan": {"tasks": [{"id": f"t{number}", "capability": "work.do"} for number in range(tasks)]}}


@dataclass
class Simulation:
    """Agents that are busy until their batch's time is over, and tenants that submit by the clock."""

    fleet: InProcessFleet
    idle: int = AGENTS
    events: list[tuple[float, int, Any]] = field(default_factory=list)
    """(seconds from the start, number, what happens): a submission's number of tasks, or the records that an agent ends."""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    quiet: list[Goal] = field(default_factory=list)

    def plan(self, at: float, what: Any) -> None:
        """Let something happen."""
        heapq.heappush(self.events, (at, next(self.numbers), what))

    def run(self) -> None:
        """Until the quiet tenant's goals have ended."""
        while self.events:
            at, _, what = heapq.heappop(self.events)
            self.fleet.clock.now = START + timedelta(seconds=at)
            if isinstance(what, int):
                self.quiet.append(self.fleet.submit(goal_of(what), tenant="quiet"))
            else:
                self.fleet.process(QUEUE, what)
                self.idle += 1
            while self.idle and (records := self.fleet.queues.take(QUEUE, BATCH)):
                self.idle -= 1
                self.plan(at + SERVICE, records)
            if len(self.quiet) == QUIET_GOALS and self.fleet.goal(self.quiet[-1].id).state.is_final:
                return

    def waits(self) -> list[float]:
        """Seconds from submission to end of each of the quiet tenant's goals, the shortest first. Raises BenchFailed."""
        ended = [self.fleet.goal(goal.id) for goal in self.quiet]
        if len(ended) < QUIET_GOALS or any(goal.duration is None for goal in ended):
            raise BenchFailed("not all goals of the quiet tenant ended")
        return sorted(goal.duration or 0.0 for goal in ended)


def measure(window: int, goals: int) -> dict[str, float]:
    """The quiet tenant's waits in seconds, and how much of the flood was done when its last goal had ended."""
    fleet = InProcessFleet(work, catalog=replace(catalog_of(work), tenant_window=window))
    simulation = Simulation(fleet)
    flood = [fleet.submit(goal_of(FLOOD // goals), tenant="flood") for _ in range(goals)]
    while fleet.queues.depth(RELEASES)[0]:
        fleet.invoke(RELEASES)
    for number in range(QUIET_GOALS):
        simulation.plan(0.5 + number * EVERY, QUIET_TASKS)
    simulation.run()
    waits = simulation.waits()
    done = sum(sum(fleet.results.tally(goal.id, goal.shards).values()) for goal in flood)
    seconds = (fleet.clock() - START).total_seconds()
    return {
        "p50_seconds": round(waits[len(waits) // 2], 2),
        "p95_seconds": round(waits[int(len(waits) * 0.95) - 1], 2),
        "flood_tasks_per_second": round(done / seconds, 1) if seconds else 0.0,
    }


def main() -> int:
    """Measure, and write the results; 1 if the target was missed."""
    console = Console()
    rows: list[dict[str, Any]] = [{"flood": None, "window": None, **measure_idle()}]
    for flood, goals in FLOODS.items():
        for window in WINDOWS:
            found = measure(window or NONE, goals)
            rows.append({"flood": flood, "window": window, **found})
            console.print(f"{flood}, window {window}: {found}")
    save(
        "fairness",
        {
            "simulated": {
                "agents": AGENTS,
                "batch": BATCH,
                "seconds_per_batch": SERVICE,
                "flood_tasks": FLOOD,
                "quiet": {"goals": QUIET_GOALS, "tasks": QUIET_TASKS, "every_seconds": EVERY},
            },
            "default": DEFAULT,
            "target": TARGET,
            "rows": rows,
        },
    )
    waits = {(row["flood"], row["window"]): row["p95_seconds"] for row in rows}
    return 0 if all(waits[flood, DEFAULT] <= TARGET * waits[flood, None] for flood in FLOODS) else 1


def measure_idle() -> dict[str, float]:
    """The quiet tenant alone."""
    simulation = Simulation(InProcessFleet(work))
    for number in range(QUIET_GOALS):
        simulation.plan(0.5 + number * EVERY, QUIET_TASKS)
    simulation.run()
    waits = simulation.waits()
    return {"p50_seconds": round(waits[len(waits) // 2], 2), "p95_seconds": round(waits[int(len(waits) * 0.95) - 1], 2)}


if __name__ == "__main__":
    sys.exit(main())

"""What became of goals that were asked for in words: their plans as examples for the next ones, and what tasks take."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.budget import MILLISECONDS, NANODOLLARS
from agentfleet.domain.plan import CompiledPlan, Place, PlannedTask, Unit, expand
from agentfleet.domain.ranking import bm25, words

MOST_EPISODES: Final = 200
"""Of a tenant: the newest."""
MOST_PLAN_TASKS: Final = 100
MOST_PLAN_BYTES: Final = 64_000
"""Of a plan that is kept: a larger one is no example that anybody could read."""
MOST_CAPABILITIES: Final = 90
"""Measured of one goal: together with its episode they are one transaction of at most 100 (DynamoDB, TransactWriteItems)."""
_USUAL_RETRIES: Final = 2


class EpisodeHead(Struct, frozen=True):
    """An episode without its plan."""

    goal_id: str
    goal: str
    """What was asked for, in words."""
    succeeded: bool
    seconds: float
    dollars: float
    when: datetime
    """It ended."""
    tasks: int = 0


class Episode(Struct, frozen=True):
    """A goal in words and what was made of it."""

    goal: str
    plan: dict[str, Any]
    """As a plan is written: `{"tasks": […], "output": …}`."""
    succeeded: bool
    seconds: float
    dollars: float
    when: datetime
    goal_id: str

    @classmethod
    def of(cls, head: EpisodeHead, plan: dict[str, Any]) -> "Episode":
        """An episode with its plan."""
        return cls(head.goal, plan, head.succeeded, head.seconds, head.dollars, head.when, head.goal_id)


class Figure(Struct, frozen=True):
    """What tasks of a capability took, measured."""

    count: int
    seconds: float
    """On average."""
    dollars: float
    """On average, of models and whatever else their outputs name."""


class Measured(Struct, frozen=True):
    """Sums over tasks of one capability, in whole units so that they add up exactly."""

    count: int = 0
    milliseconds: int = 0
    nanodollars: int = 0

    @classmethod
    def of(cls, seconds: float, dollars: float) -> "Measured":
        """One task."""
        return cls(1, round(seconds * MILLISECONDS), round(dollars * NANODOLLARS))

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(self.count + other.count, self.milliseconds + other.milliseconds, self.nanodollars + other.nanodollars)

    @property
    def figure(self) -> Figure:
        """The averages."""
        count = max(1, self.count)
        return Figure(self.count, self.milliseconds / count / MILLISECONDS, self.nanodollars / count / NANODOLLARS)


def summed(tasks: Iterable[tuple[str, Measured]]) -> dict[str, Measured]:
    """Sums by capability, of the capabilities with most tasks."""
    found: dict[str, Measured] = {}
    for capability, one in tasks:
        found[capability] = found.get(capability, Measured()) + one
    most = sorted(found.items(), key=lambda item: (-item[1].count, item[0]))[:MOST_CAPABILITIES]
    return dict(sorted(most))


def dollars_of(output: Any) -> float:
    """What a task's output says that it cost: its field `dollars`, if it has one that is an amount."""
    named = output.get("dollars") if isinstance(output, Mapping) else None
    if isinstance(named, bool) or not isinstance(named, int | float):
        return 0.0
    return float(named) if 0 <= named < 1e6 else 0.0


def most_alike(asked: str, heads: Sequence[EpisodeHead], limit: int) -> list[EpisodeHead]:
    """The episodes whose words are most like these (BM25), best first; of equal words only the newest of each outcome."""
    newest: dict[tuple[str, bool], EpisodeHead] = {}
    for head in sorted(heads, key=lambda one: one.when):
        newest[" ".join(words(head.goal)), head.succeeded] = head
    distinct = {head.goal_id: head for head in newest.values()}
    like = bm25(words(asked), {goal_id: words(head.goal) for goal_id, head in distinct.items()})
    best = sorted(like, key=lambda name: (-like[name], -distinct[name].when.timestamp(), name))
    return [distinct[name] for name in best[:limit]]


def plan_as_written(plan: CompiledPlan) -> dict[str, Any]:
    """A compiled plan as somebody would write it: tasks in order, with the dependencies that their references don't say."""
    waits = _waits(plan)
    return {
        "tasks": [_written(plan, unit, task, waits) for unit in plan.units for task in unit.tasks],
        "output": plan.header.output,
    }


def _waits(plan: CompiledPlan) -> dict[int, set[int]]:
    """What each unit waits for, by number: joins turned round."""
    waits: dict[int, set[int]] = defaultdict(set)
    members: dict[int, set[int]] = defaultdict(set)
    for unit in plan.units:
        for released in expand(unit.releases):
            waits[released].add(unit.number)
        above = [join for join, _ in unit.joins]
        while above:
            join = plan.join(above.pop())
            members[join.number].add(unit.number)
            if join.above:
                above.append(join.above[0])
    for join in plan.joins:
        for released in expand(join.releases):
            waits[released] |= members[join.number]
    return waits


def _written(plan: CompiledPlan, unit: Unit, task: PlannedTask, waits: Mapping[int, set[int]]) -> dict[str, Any]:
    implied: set[Place] = {place for places in task.sources.values() for place in places}
    depends = [
        one.id
        for number in sorted(waits.get(unit.number, ()))
        for place, one in enumerate(plan.unit(number).tasks)
        if (number, place) not in implied
    ]
    undo = task.compensation
    given: dict[str, Any] = {
        "depends_on": depends,
        "when": task.when,
        "affinity": task.affinity,
        "alternatives": list(task.alternatives),
        "compensation": {"capability": undo.capability, "input": undo.input} if undo else None,
        "on_failure": None if unit.on_failure == "fail" else unit.on_failure,
    }
    if unit.retries != _USUAL_RETRIES:
        given["retries"] = unit.retries
    usual = {name: value for name, value in given.items() if value or name == "retries"}
    return {"id": task.id, "capability": unit.capability, "input": task.input, **usual}

"""Forks in a run: somebody asks for them until he is heard, and what they keep is judged."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from agentfleet.domain import ids
from agentfleet.domain.goal import Goal
from agentfleet.domain.result import Result
from tests.simulation.reference import Expected
from tests.simulation.scenario import ForkCase, GoalCase, Plan
from tests.simulation.work import STAGE, TENANT
from tests.simulation.world import Actor, Killed

if TYPE_CHECKING:
    from tests.simulation.simulate import Simulation

AGAIN: Final = (5.0, 5.0, 900.0)
"""Seconds until somebody who was not heard asks again."""
GOOD: Final = {"SUCCEEDED", "SKIPPED"}
NO_LANES: Final = 10_000
"""So wide a window makes no plan wait for anything that its tasks don't name."""


@dataclass(slots=True)
class _Order:
    """A fork that somebody wants."""

    source: str
    case: GoalCase
    fork: ForkCase
    due: list[float] = field(default_factory=list)
    """When it is asked for next."""
    least: set[int] | None = None
    """The units whose results must be kept, as it was first asked for."""
    was_undoing: bool = False
    """Was the goal being undone then, or was undone?"""
    began: float = 0.0
    """When it was first asked for."""
    made: str | None = None
    """The fork's id."""


class Forks:
    """All who fork goals, and what must hold for what they make."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._orders: list[_Order] = []
        self._sources: dict[str, str] = {}
        self.kept: dict[str, set[int]] = {}
        """By fork: the units that had results when it was made. Nobody may do them again."""

    def expect(self, goal_id: str, case: GoalCase) -> None:
        """A goal is going to be submitted."""
        if case.fork is not None:
            names = {task["id"] for task in case.plan["tasks"]}  # a smaller relative may lack some
            changes = {name: values for name, values in case.fork.changes.items() if name in names}
            self._orders.append(_Order(goal_id, case, replace(case.fork, changes=changes)))

    def startable(self) -> list[Callable[[], None]]:
        """What can begin now."""
        if not self._orders:
            return []
        now = self._simulation.world.now
        found: list[Callable[[], None]] = []
        for order in self._orders:
            if order.least is None and self._is_time(order):
                found.append(partial(self._begin, order))
            found.extend(partial(self._ask, order, moment) for moment in order.due if moment <= now)
        return found

    def upcoming(self) -> float | None:
        """When somebody asks again."""
        return min((moment for order in self._orders for moment in order.due), default=None)

    def _is_time(self, order: _Order) -> bool:
        goal = self._simulation.goals.goals.get(order.source)
        if goal is None:
            return False
        return goal.state.is_at_rest or (order.fork.at is not None and self._simulation.world.steps >= order.fork.at)

    def _begin(self, order: _Order) -> None:
        order.was_undoing = self._simulation.goals.goals[order.source].undoing is not None
        order.least = self._worth_keeping(order, is_undone=order.was_undoing)
        order.began = self._simulation.world.now
        order.due = [order.began + delay for delay in order.fork.calls]

    def _ask(self, order: _Order, moment: float) -> None:
        order.due.remove(moment)
        self._simulation.moves += 1

        def activity() -> None:
            self._simulation.world.current.since = order.began
            try:
                control = self._simulation.platform.control
                control.fork(order.source, TENANT, order.fork.keep, order.fork.changes, "again")
            except (Killed, Exception) as error:
                world = self._simulation.world
                world.note(f"forking broke off: {error!r}")
                order.due.append(world.now + world.luck.choice(AGAIN))

        self._simulation.world.start(Actor("forker"), activity)

    # What is judged.

    def made(self, goal: Goal) -> None:
        """A goal was stored: if it is a fork, all that it keeps is there, and is what the original has."""
        if goal.origin is None:
            return
        violate, source = self._simulation.world.violate, goal.origin
        order = next(one for one in self._orders if one.source == source)
        if order.made is not None:
            violate(f"goal {source} is forked as {order.made} and as {goal.id}")
        order.made = goal.id
        self._sources[goal.id] = source
        results = self._simulation.results.results
        kept = self.kept[goal.id] = {unit for name, unit in results if name == goal.id}
        for unit in sorted(kept):
            if not self._is_copy(results[goal.id, unit]):
                violate(f"fork {goal.id} keeps another result of unit {unit} than {source} has")
        self._check_kept(order, goal, kept)
        plan = _changed(order.case.plan, order.fork.changes)
        case = GoalCase(goal.id, plan, order.case.on_failure, order.case.priority, (), tokens=order.case.tokens)
        self._simulation.expected.add(goal.id, case)
        self._simulation.expected.carry_over(source, goal.id, {name for unit in kept for name in self._tasks(source, unit)})

    def _check_kept(self, order: _Order, goal: Goal, kept: set[int]) -> None:
        violate, source = self._simulation.world.violate, self._simulation.goals.goals[order.source]
        # Whatever the goal reached while it was being forked may be kept or not.
        most = self._worth_keeping(order, is_undone=order.was_undoing)
        if more := kept - most:
            violate(f"fork {goal.id} keeps units {sorted(more)}, which must run again")
        least = (order.least or set()) & self._worth_keeping(order, is_undone=source.undoing is not None)
        has_lanes = self._simulation.scenario.weather.window < NO_LANES
        if not has_lanes and (less := least - kept):
            violate(f"fork {goal.id} keeps all but units {sorted(less)}")

    def stored(self, result: Result) -> None:
        """A result stands: one that another call of the same key copied after the fork was made brings its history along."""
        source = self._sources.get(result.goal_id)
        if source is not None and self._is_copy(result):
            self._simulation.expected.carry_over(source, result.goal_id, set(self._tasks(source, result.unit)))

    def is_kept(self, goal_id: str, task_id: str) -> bool:
        """Was this task's result taken over?"""
        kept = self.kept.get(goal_id)
        return bool(kept) and any(task_id in self._tasks(goal_id, unit) for unit in kept or ())

    def payer(self, goal_id: str, unit: int) -> str:
        """The goal that did what a unit's result tells of."""
        result = self._simulation.results.results[goal_id, unit]
        return self._sources[goal_id] if goal_id in self._sources and self._is_copy(result) else goal_id

    def _is_copy(self, result: Result) -> bool:
        source = self._sources[result.goal_id]
        original = self._simulation.results.results.get((source, result.unit))
        return original is not None and structs.replace(original, goal_id=result.goal_id, origin=original.goal_id) == result

    def _tasks(self, goal_id: str, unit: int) -> list[str]:
        return [task.id for task in self._simulation.plans.plans[goal_id].unit(unit).tasks]

    def _worth_keeping(self, order: _Order, *, is_undone: bool) -> set[int]:
        """The units that are good, as is all before them, and that are asked for, or that something asked for came from."""
        expected = self._simulation.expected.of(order.source)
        sound: set[str] = set()
        units: dict[int, list[str]] = {}
        for number in range(self._simulation.plans.plans[order.source].header.units):
            tasks = self._tasks(order.source, number)
            result = self._simulation.results.results.get((order.source, number))
            if (
                result is not None
                and all(outcome.state in GOOD for outcome in result.outcomes)
                and order.fork.changes.keys().isdisjoint(tasks)
                and all(needed in sound for task in tasks for needed in expected.needs[task])
                and not (is_undone and any(_took_back(expected, task) for task in tasks))
            ):
                sound.update(tasks)
                units[number] = tasks
        asked = [task for tasks in units.values() if all(_is_named(one, order.fork.keep) for one in tasks) for task in tasks]
        if self._simulation.scenario.weather.window < NO_LANES and asked:
            return set(units)
        return {
            number
            for number, tasks in units.items()
            if any(task in asked or any(expected.comes_after(one, task) for one in asked) for task in tasks)
        }

    def check(self) -> None:
        """What must hold of forks, beside all that holds of goals."""
        violate = self._simulation.world.violate
        for order in self._orders:
            if order.made is None and order.source in self._simulation.goals.goals:
                violate(f"goal {order.source} was never forked")
        for entry in STAGE.ledger.values():
            if self.is_kept(entry.goal_id, entry.task_id):
                violate(f"task {entry.task_id} of {entry.goal_id} was kept, and paid again")
        for fork, units in self.kept.items():
            for unit in sorted(units):
                if not self._is_copy(self._simulation.results.results[fork, unit]):
                    violate(f"the kept result of unit {unit} of {fork} is not the original's any more")


def _is_named(task: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(task, one) for one in patterns)


def _took_back(expected: Expected, task: str) -> bool:
    """Does undoing a goal undo this task of it, or anything of the sub-plan that it stands for?"""
    if expected.outcomes.get(task, ("SKIPPED", None))[0] == "SKIPPED":
        return False
    child = expected.children.get(task)
    return task in expected.refundable or (child is not None and any(_took_back(child, one) for one in child.outcomes))


def _changed(plan: Plan, changes: dict[str, dict[str, Any]]) -> Plan:
    tasks = [{**task, "input": {**task["input"], **changes.get(task["id"], {})}} for task in plan["tasks"]]
    return {**plan, "tasks": tasks}


def key_of(simulation: "Simulation", goal_id: str, unit: int, task_id: str) -> str:
    """The idempotency key under which a task's side effect took place."""
    return ids.task_key(simulation.forks.payer(goal_id, unit), task_id)

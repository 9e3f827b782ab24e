"""The stores and the bus of a run: plain dictionaries that keep what the ports promise, without JSON in between."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from agentfleet.domain.codec import EncodedPlan, SegmentedPlan, encode
from agentfleet.domain.errors import NotFound
from agentfleet.domain.goal import Goal, GoalState, Width
from agentfleet.domain.healing import Finished
from agentfleet.domain.messages import TaskMessage
from agentfleet.domain.plan import CompiledPlan
from agentfleet.domain.result import Claim, Result, TaskState
from agentfleet.ports import Page
from tests.simulation.chronicle import Chronicle
from tests.simulation.world import Refused, World


class Goals:
    """A GoalStore."""

    def __init__(self, world: World, chronicle: Chronicle) -> None:
        self.world = world
        self.chronicle = chronicle
        self.goals: dict[str, Goal] = {}
        self.ended_at: dict[str, float] = {}
        self.paused_at: dict[str, float] = {}
        """Of those that are."""
        self.resumed: set[str] = set()
        """Whatever was written of them since: who ends a goal may have read it before."""
        self.parked: set[str] = set()
        """Left to a person."""
        self.made: Callable[[Goal], None] = lambda goal: None
        """Told of every goal that has just been stored."""

    def create(self, goal: Goal) -> bool:
        if goal.id in self.goals:
            return False
        self.goals[goal.id] = goal
        self.chronicle.tell_goal(None, goal)
        self.made(goal)
        return True

    def get(self, goal_ids: Sequence[str]) -> dict[str, Goal]:
        return {one: self.goals[one] for one in goal_ids if one in self.goals}

    def replace(self, before: Goal, after: Goal) -> bool:
        current = self.goals.get(before.id)
        if current is None or not self.matches(current, before):
            return False
        if current.state.is_final:
            self.world.violate(f"goal {before.id} had ended as {current.state} and was made {after.state}")
        if after.state.is_over:
            self.ended_at.setdefault(after.id, self.world.now)
        if after.paused is None:
            self.paused_at.pop(after.id, None)
        elif current.paused is None:
            self.paused_at[after.id] = self.world.now
        if after.resumed is not None:
            self.resumed.add(after.id)
        (self.parked.add if after.state is GoalState.COMPENSATION_FAILED else self.parked.discard)(after.id)
        self.goals[before.id] = after
        self.chronicle.tell_goal(current, after)
        return True

    def alive(self, tenant: str, limit: int) -> Sequence[Width]:
        mine = [goal for goal in self.goals.values() if goal.tenant == tenant and goal.parent is None and goal.state.is_alive]
        newest = sorted(mine, key=lambda goal: (goal.created, goal.id), reverse=True)[:limit]
        return [Width(goal.id, goal.tasks) for goal in newest]

    def living(self, limit: int, cursor: str | None) -> Page[str]:
        found = sorted(name for name, goal in self.goals.items() if not goal.state.is_final and name > (cursor or ""))
        return Page(tuple(found[:limit]), found[limit - 1] if len(found) > limit else None)

    @staticmethod
    def matches(current: Goal, before: Goal) -> bool:
        """The condition of the put."""
        return current.state is before.state


@dataclass(frozen=True, slots=True)
class Unencoded:
    """Takes the place of an EncodedPlan where the codec is left out."""

    plan: CompiledPlan


class Plans:
    """A PlanStore. Most runs leave the codec out, which has tests of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plans: dict[str, Any] = {}

    def encode(self, plan: CompiledPlan) -> Any:
        """What `services.accept` calls in place of the codec."""
        return encode(plan) if self.world.weather.stored_as_bytes else Unencoded(plan)

    def put(self, goal_id: str, plan: Any) -> bool:
        is_first = goal_id not in self.plans
        if is_first:
            self.plans[goal_id] = SegmentedPlan(plan.parts.__getitem__) if isinstance(plan, EncodedPlan) else plan.plan
        return is_first

    def read(self, goal_id: str) -> Any:
        if goal_id not in self.plans:
            raise NotFound(f"there is no plan of goal {goal_id}")
        return self.plans[goal_id]


class Results:
    """A ResultStore."""

    def __init__(self, world: World, chronicle: Chronicle) -> None:
        self.world = world
        self.chronicle = chronicle
        self.results: dict[tuple[str, int], Result] = {}
        self.first: dict[tuple[str, int], tuple[float, Result]] = {}
        """When each unit's result was first stored, and what it was."""
        self.stands: Callable[[Result], None] = lambda result: None
        """Told of every result when it is first stored."""

    def put(self, shards: int, results: Sequence[Result]) -> Sequence[Result]:
        cut = self.world.torn(len(results))
        standing = [self.store(result) for result in results[:cut]]
        for result in results[:cut]:
            place = (result.goal_id, result.unit)
            if place not in self.first:
                self.chronicle.tell_result(self.results[place])
                self.stands(self.results[place])
            if self.first.setdefault(place, (self.world.now, self.results[place]))[1] is not self.results[place]:
                self.world.violate(f"the result of unit {result.unit} of {result.goal_id} was replaced")
        if cut is not None:
            self.world.tear(Refused("part of the batch was throttled"))
        return standing

    def store(self, result: Result) -> Result:
        """The conditional put of one."""
        return self.results.setdefault((result.goal_id, result.unit), result)

    def get(self, goal_id: str, shards: int, units: Iterable[int], *, outputs: bool = True) -> dict[int, Result]:
        found = {unit: self.results[goal_id, unit] for unit in units if (goal_id, unit) in self.results}
        if not outputs and self.world.weather.all_large:
            return {
                unit: replace(result, outcomes=tuple(replace(one, output=None) for one in result.outcomes))
                for unit, result in found.items()
            }
        return found

    def finished(self, goal_id: str, shards: int) -> dict[int, Finished]:
        return {
            unit: Finished(
                result.started + timedelta(seconds=result.duration),
                any(outcome.state is TaskState.FAILED for outcome in result.outcomes),
            )
            for (goal, unit), result in self.results.items()
            if goal == goal_id
        }

    def tally(self, goal_id: str, shards: int) -> dict[TaskState, int]:
        counted: dict[TaskState, int] = {}
        for (goal, _), result in self.results.items():
            if goal == goal_id:
                for outcome in result.outcomes:
                    counted[outcome.state] = counted.get(outcome.state, 0) + 1
        return counted


class Joins:
    """A JoinStore."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.joins: dict[tuple[str, int], set[int]] = {}

    def add(self, goal_id: str, shards: int, join: int, slots: Sequence[int]) -> int:
        members = self.joins.setdefault((goal_id, join), set())
        members.update(slots)
        return len(members)


class Claims:
    """A ClaimStore."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.claims: dict[tuple[str, int], Claim] = {}
        self.granted: dict[tuple[str, int, int], Claim] = {}
        """By goal, unit and fence."""

    def claim(self, goal_id: str, shards: int, unit: int, owner: str, now: datetime, lease: timedelta) -> Claim | None:
        held = self.claims.get((goal_id, unit))
        if held is not None and held.owner != owner and held.until > now:
            return None
        taken = Claim(goal_id, unit, owner, (held.fence if held else 0) + 1, now + lease)
        self.claims[goal_id, unit] = taken
        self.granted.setdefault((goal_id, unit, taken.fence), taken)
        return taken

    def release(self, claim: Claim, shards: int, now: datetime) -> None:
        held = self.claims.get((claim.goal_id, claim.unit))
        if held is not None and held.fence == claim.fence:
            self.claims[claim.goal_id, claim.unit] = replace(held, until=now)

    def held(self, goal_id: str, shards: int, units: Iterable[int]) -> dict[int, Claim]:
        return {unit: self.claims[goal_id, unit] for unit in units if (goal_id, unit) in self.claims}

    def claim_each(
        self, goal_id: str, shards: int, units: Iterable[int], owner: str, now: datetime, lease: timedelta
    ) -> dict[int, Claim]:
        taken = [self.claim(goal_id, shards, unit, owner, now, lease) for unit in units]
        return {claim.unit: claim for claim in taken if claim}


class Bus:
    """The publishing side of a MessageBus."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.published: list[tuple[str, Mapping[str, Any]]] = []

    def publish(self, topic: str, message: Mapping[str, Any]) -> None:
        self.published.append((topic, message))


class Agents:
    """The writing side of an AgentStore."""

    def __init__(self, world: World) -> None:
        self.world = world

    def put(self, agent: Any) -> None:
        """Nobody in a run asks who is there."""


class Watched:
    """A port every call of which passes through the world."""

    def __init__(self, world: World, name: str, table: Any, methods: Sequence[str]) -> None:
        self._world, self._name, self._table, self._methods = world, name, table, methods

    def __getattr__(self, method: str) -> Any:
        """Made when it is first wanted: few runs want all of them."""
        if method not in self._methods:
            raise AttributeError(f"{self._name} has no {method}")
        watched = _watch(self._world, f"{self._name}.{method}", getattr(self._table, method))
        setattr(self, method, watched)
        return watched


def _watch(world: World, label: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        fault = world.before(label)
        value = call(*arguments, **options)
        if world.trace is not None:
            world.note(f"{label}{_brief(arguments)} → {_brief(value)}")
        if fault is not None:
            world.after(fault)
        return value

    return watched


def _brief(value: Any) -> str:
    if isinstance(value, Goal):
        return f"{value.id[-4:]}:{value.state}"
    if isinstance(value, Result):
        return f"{value.goal_id[-4:]}/{value.unit}:{'+'.join(one.state for one in value.outcomes)}"
    if isinstance(value, TaskMessage):
        return f"{value.goal_id[-4:]}/{value.unit}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_brief, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_brief(name)}: {_brief(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, str) and len(value) == 23:
        return value[-4:]
    if isinstance(value, Claim):
        return f"fence {value.fence} of {value.owner}"
    if value is None or isinstance(value, str | int | float | datetime | timedelta):
        return f"{value!s:.60}"
    return type(value).__name__

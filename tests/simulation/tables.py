"""The stores, queues and bus of a run: plain dictionaries that keep what the ports promise, without JSON in between."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from agentfleet.domain import names
from agentfleet.domain.codec import EncodedPlan, SegmentedPlan, encode
from agentfleet.domain.errors import DeliveryFailed, NotFound
from agentfleet.domain.goal import Goal
from agentfleet.domain.messages import ReleaseMessage, TaskMessage
from agentfleet.domain.plan import CompiledPlan
from agentfleet.domain.result import Claim, Result, TaskState
from tests.simulation.chronicle import Chronicle
from tests.simulation.world import VISIBILITY, Refused, World


class Goals:
    """A GoalStore."""

    def __init__(self, world: World, chronicle: Chronicle) -> None:
        self.world = world
        self.chronicle = chronicle
        self.goals: dict[str, Goal] = {}
        self.ended_at: dict[str, float] = {}

    def create(self, goal: Goal) -> bool:
        if goal.id in self.goals:
            return False
        self.goals[goal.id] = goal
        self.chronicle.tell_goal(None, goal)
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
        self.goals[before.id] = after
        self.chronicle.tell_goal(current, after)
        return True

    def alive(self, tenant: str, limit: int) -> Sequence[Goal]:
        mine = [goal for goal in self.goals.values() if goal.tenant == tenant and goal.parent is None and goal.state.is_alive]
        return sorted(mine, key=lambda goal: (goal.created, goal.id), reverse=True)[:limit]

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

    def put(self, shards: int, results: Sequence[Result]) -> Sequence[Result]:
        cut = self.world.torn(len(results))
        standing = [self.store(result) for result in results[:cut]]
        for result in results[:cut]:
            place = (result.goal_id, result.unit)
            if place not in self.first:
                self.chronicle.tell_result(self.results[place])
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

    def held(self, goal_id: str, shards: int, units: Iterable[int]) -> dict[int, Claim]:
        return {unit: self.claims[goal_id, unit] for unit in units if (goal_id, unit) in self.claims}


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


@dataclass(slots=True)
class Message:
    """A message in a queue."""

    id: str
    body: Any
    visible: float
    receives: int = 0
    receipt: str = ""
    copies: int = 0


class Queues:
    """A TaskQueues, and the side of it that the pollers see. Nothing is ever given up: there is no healer here."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queues: dict[str, dict[str, Message]] = {}
        self._sent = 0

    def send_tasks(self, messages: Sequence[TaskMessage]) -> None:
        self._send([(names.task_queue("fleet", one.pool, one.priority), one.body()) for one in messages])

    def send_releases(self, messages: Sequence[ReleaseMessage]) -> None:
        self._send([(names.release_queue("fleet"), one.body()) for one in messages])

    def hide(self, queue: str, receipts: Mapping[str, timedelta]) -> None:
        for receipt, time in receipts.items():
            message = self._held(queue, receipt)
            if message is not None:
                message.visible = self.world.now + time.total_seconds()

    def _send(self, messages: Sequence[tuple[str, Any]]) -> None:
        cut = self.world.torn(len(messages))
        twins = self.world.weather.twins
        for queue, body in messages[:cut]:
            self.put(queue, body)
            if twins and self.world.luck.random() < twins:
                self.put(queue, body)
        if cut is not None:
            self.world.tear(DeliveryFailed(f"{len(messages) - cut} of {len(messages)} messages were not taken"))

    def put(self, queue: str, body: Any, delay: float = 0.0) -> None:
        """One message into a queue; in the worst weather it may be lost."""
        weather = self.world.weather
        if weather.lost_sends and delay == 0.0 and self.world.luck.random() < 0.02:
            self.world.note(f"*** lost on its way to {queue}: {body}")
            return
        self._sent += 1
        identity = f"m{self._sent}"
        self.queues.setdefault(queue, {})[identity] = Message(identity, body, self.world.now + delay)

    def take(self, queue: str, most: int) -> list[Message]:
        """Receive some of what can be seen, in any order."""
        now = self.world.now
        seen = [one for one in self.queues[queue].values() if one.visible <= now or one.copies]
        if len(seen) > 1:
            self.world.order.shuffle(seen)
        taken = seen[:most]
        for message in taken:
            if message.visible > now:
                message.copies -= 1
            message.receives += 1
            message.visible = now + VISIBILITY
            message.receipt = f"{message.id}/{message.receives}"
        return taken

    def delete(self, queue: str, receipt: str) -> None:
        """Delete by receipt; an outdated one has no effect."""
        message = self._held(queue, receipt)
        if message is not None:
            del self.queues[queue][message.id]

    def ready(self) -> list[str]:
        """The queues that have something to deliver now."""
        now = self.world.now
        found = []
        for name, queue in self.queues.items():
            for one in queue.values():
                if one.visible <= now or one.copies:
                    found.append(name)
                    break
        return found

    def next_visible(self) -> float | None:
        """When the next hidden message comes back."""
        now = self.world.now
        times = [one.visible for queue in self.queues.values() for one in queue.values() if one.visible > now]
        return min(times, default=None)

    def duplicate(self) -> None:
        """Deliver some message once more: the same one, or another that says the same."""
        found = [(name, one) for name, queue in self.queues.items() for one in queue.values()]
        if found:
            name, message = found[self.world.luck.randrange(len(found))]
            if self.world.luck.random() < 0.5:
                message.copies += 1
            else:
                self.put(name, message.body, self.world.luck.choice([0.0, 30.0]))

    def wake_hidden(self) -> None:
        """The visibility of all that is held ends early."""
        for queue in self.queues.values():
            for message in queue.values():
                message.visible = min(message.visible, self.world.now)

    def _held(self, queue: str, receipt: str) -> Message | None:
        message = self.queues[queue].get(receipt.partition("/")[0])
        return message if message is not None and message.receipt == receipt else None


class Watched:
    """A port every call of which passes through the world."""

    def __init__(self, world: World, name: str, table: Any, methods: Sequence[str]) -> None:
        for method in methods:
            setattr(self, method, _watch(world, f"{name}.{method}", getattr(table, method)))


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

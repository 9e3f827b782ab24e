"""A compiled plan: units of work, the joins that hold them back, and what may run now. Immutable.

A unit is what one message carries: a task, or a chunk of micro-tasks that wait for the same and release the same. A join
is a set of units that others wait for; whoever completes the set releases them. A unit with a single dependency needs no
join: the finished unit releases it. A join over more than `JOIN_ARITY` units is a tree of joins, so that no item grows
past 1 KB and no key is hot.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cache
from typing import Any, Final, Protocol

from msgspec import Struct

from agentfleet.domain.goal import OnFailure
from agentfleet.domain.names import Priority

MAX_INPUT_BYTES: Final = 65_536
"""Of one task's input as JSON."""
JOIN_ARITY: Final = 256
UNITS_PER_SHARD: Final = 500
"""A DynamoDB partition key takes 1,000 writes a second (AWS, 'Service quotas': partition throughput)."""
MAX_SHARDS: Final = 200

Range = tuple[int, int]
"""First and last number of a run, both included."""
Place = tuple[int, int]
"""The unit that holds a task, and the task's slot in it."""


class PlannedCompensation(Struct, frozen=True):
    """What undoes a task."""

    capability: str
    input: dict[str, Any]
    sources: dict[str, tuple[Place, ...]]
    timeout: float
    """Seconds, as the capability declares."""


class PlannedTask(Struct, frozen=True):
    """A task inside a unit."""

    id: str
    input: dict[str, Any]
    sources: dict[str, tuple[Place, ...]]
    """Reference source → the tasks whose outputs it stands for."""
    when: dict[str, Any] | None = None
    affinity: str | None = None
    compensation: PlannedCompensation | None = None
    alternatives: tuple[dict[str, Any], ...] = ()
    """Capability and input of each, as they were written."""


class Unit(Struct, frozen=True):
    """What one message carries, and what follows when it is done."""

    number: int
    capability: str
    tasks: tuple[PlannedTask, ...]
    retries: int
    timeout: float
    priority: Priority
    on_failure: OnFailure
    joins: tuple[tuple[int, int], ...] = ()
    """(join number, slot in it) of every join that waits for this unit."""
    releases: tuple[Range, ...] = ()
    """Units that wait for this one alone."""
    ends: bool = False
    """Is the goal done when this unit is?"""


class Join(Struct, frozen=True):
    """A set of units (or of smaller joins) that others wait for."""

    number: int
    size: int
    above: tuple[int, int] | None = None
    """(join number, slot) of the join that this one is a leaf of."""
    releases: tuple[Range, ...] = ()
    ends: bool = False


class PlanHeader(Struct, frozen=True):
    """What must be known of a plan before any of its units."""

    tasks: int
    units: int
    joins: int
    shards: int
    roots: tuple[Range, ...]
    output: Any
    sources: dict[str, tuple[Place, ...]]
    """For the references inside `output`."""


class PlanReader(Protocol):
    """A compiled plan, wherever its parts are kept."""

    @property
    def header(self) -> PlanHeader:
        """The plan's header."""

    def unit(self, number: int) -> Unit:
        """One unit. Raises IndexError if there is none."""

    def join(self, number: int) -> Join:
        """One join. Raises IndexError if there is none."""

    def whole(self) -> "CompiledPlan":
        """All of it in memory."""


class CompiledPlan(Struct, frozen=True):
    """A whole plan in memory; itself a PlanReader."""

    header: PlanHeader
    units: tuple[Unit, ...]
    joins: tuple[Join, ...]

    def unit(self, number: int) -> Unit:
        """One unit."""
        return self.units[number]

    def join(self, number: int) -> Join:
        """One join."""
        return self.joins[number]

    def whole(self) -> "CompiledPlan":
        """Itself: it is in memory already."""
        return self


def to_ranges(numbers: Iterable[int]) -> tuple[Range, ...]:
    """Ascending distinct numbers as runs: 1, 2, 3, 7 → (1, 3), (7, 7)."""
    ranges: list[Range] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def expand(ranges: Iterable[Range]) -> Iterator[int]:
    """The numbers of some runs."""
    for first, last in ranges:
        yield from range(first, last + 1)


def count(ranges: Iterable[Range]) -> int:
    """How many numbers some runs hold."""
    return sum(last - first + 1 for first, last in ranges)


def split(ranges: Sequence[Range], size: int) -> Iterator[tuple[Range, ...]]:
    """The same runs in parts of at most `size` numbers each."""
    part: list[Range] = []
    room = size
    for start, last in ranges:
        first = start
        while first <= last:
            stop = min(last, first + room - 1)
            part.append((first, stop))
            room -= stop - first + 1
            first = stop + 1
            if room == 0:
                yield tuple(part)
                part, room = [], size
    if part:
        yield tuple(part)


def shard_count(units: int) -> int:
    """Over how many partition keys a plan's results are spread."""
    return min(MAX_SHARDS, 1 + units // UNITS_PER_SHARD)


def frontier(plan: CompiledPlan, done: Set[int]) -> list[int]:
    """The units that may run now: not done, and everything they wait for is. Ascending.

    This is the definition that inline release must agree with, and what the healer repairs from.
    """
    filled = [0] * len(plan.joins)
    free = bytearray(len(plan.units))
    complete: list[int] = []

    def open_units(ranges: Iterable[Range]) -> None:
        for number in expand(ranges):
            free[number] = 1

    def fill(join: int) -> None:
        filled[join] += 1
        if filled[join] == plan.joins[join].size:
            complete.append(join)

    open_units(plan.header.roots)
    for number in done:
        unit = plan.units[number]
        open_units(unit.releases)
        for join, _ in unit.joins:
            fill(join)
    while complete:
        completed = plan.joins[complete.pop()]
        open_units(completed.releases)
        if completed.above:
            fill(completed.above[0])
    return [number for number in range(len(plan.units)) if free[number] and number not in done]


def reachable(plan: CompiledPlan, without: Set[int]) -> set[int]:
    """The units that could be done if those of `without` never were."""
    filled = [0] * len(plan.joins)
    reached: set[int] = set()
    waiting = list(expand(plan.header.roots))
    while waiting:
        number = waiting.pop()
        if number in without or number in reached:
            continue
        reached.add(number)
        unit = plan.units[number]
        waiting.extend(expand(unit.releases))
        above = [join for join, _ in unit.joins]
        while above:
            join = plan.joins[above.pop()]
            filled[join.number] += 1
            if filled[join.number] == join.size:
                waiting.extend(expand(join.releases))
                above.extend([join.above[0]] if join.above else [])
    return reached


def leading_to(plan: CompiledPlan, wanted: Set[int]) -> set[int]:
    """The units that something of these depends on, directly or not.

    Units are numbered level by level, so whoever depends on a unit has a higher number.
    """
    leading: set[int] = set()

    def holds(number: int) -> bool:
        return number in leading or number in wanted

    @cache
    def join_holds(number: int) -> bool:
        join = plan.joins[number]
        return any(map(holds, expand(join.releases))) or (join.above is not None and join_holds(join.above[0]))

    for unit in reversed(plan.units):
        if any(map(holds, expand(unit.releases))) or any(join_holds(join) for join, _ in unit.joins):
            leading.add(unit.number)
    return leading


def is_complete(plan: CompiledPlan, done: Set[int]) -> bool:
    """Is every unit done?"""
    return len(done) == len(plan.units)

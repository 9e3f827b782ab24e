"""Plans as bytes: gzipped JSON, in one piece when small, else a header and segments so that an agent reads only its part."""

import gzip
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from msgspec import Struct

from agentfleet.domain.plan import CompiledPlan, Join, Place, PlanHeader, PlannedCompensation, PlannedTask, Range, Unit

SEGMENT: Final = 500
"""Units, or joins, in one segment."""
INLINE_BYTES: Final = 24_576
"""A plan up to this size travels inside its item. Above, an S3 object is cheaper: a put costs as much as 8 KB of writes."""

_HEADER: Final = "header"
_COMPACT: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class EncodedPlan(Struct, frozen=True):
    """A plan ready to be stored: parts by name (`header`, `units-0003`, `joins-0000`), each gzipped JSON."""

    parts: dict[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all parts together."""
        return sum(map(len, self.parts.values()))

    @property
    def is_inline(self) -> bool:
        """Does it fit into its item?"""
        return self.size <= INLINE_BYTES


def dumps(value: Any) -> str:
    """The one JSON form: compact, unicode as it is. Raises ValueError on NaN and infinity, which JSON doesn't have."""
    return _COMPACT.encode(value)


def _pack(value: Any) -> bytes:
    return gzip.compress(dumps(value).encode(), compresslevel=6, mtime=0)


def _unpack(data: bytes) -> Any:
    return json.loads(gzip.decompress(data))


def encode(plan: CompiledPlan) -> EncodedPlan:
    """The plan's parts. Equal plans give equal bytes."""
    header = plan.header
    parts = {
        _HEADER: _pack(
            [
                header.tasks,
                header.units,
                header.joins,
                header.shards,
                header.roots,
                header.output,
                header.sources,
            ]
        )
    }
    for start in range(0, len(plan.units), SEGMENT):
        parts[_part("units", start)] = _pack([_unit_to_list(unit) for unit in plan.units[start : start + SEGMENT]])
    for start in range(0, len(plan.joins), SEGMENT):
        parts[_part("joins", start)] = _pack([_join_to_list(join) for join in plan.joins[start : start + SEGMENT]])
    return EncodedPlan(parts)


def _part(kind: str, number: int) -> str:
    return f"{kind}-{number // SEGMENT:04d}"


class SegmentedPlan:
    """A PlanReader that fetches a part when it is first needed and keeps the last few."""

    def __init__(self, fetch: Callable[[str], bytes], keep: int = 16) -> None:
        self._segment: Callable[[str], list[Any]] = lru_cache(maxsize=keep)(
            lambda name: cast("list[Any]", _unpack(fetch(name)))
        )
        tasks, units, joins, shards, roots, output, sources = _unpack(fetch(_HEADER))
        self.header = PlanHeader(tasks, units, joins, shards, _ranges(roots), output, _sources(sources))

    def unit(self, number: int) -> Unit:
        """One unit. Raises IndexError if there is none."""
        if not 0 <= number < self.header.units:
            raise IndexError(f"the plan has units 0 to {self.header.units - 1}, not {number}")
        return _unit_from_list(number, self._segment(_part("units", number))[number % SEGMENT])

    def join(self, number: int) -> Join:
        """One join. Raises IndexError if there is none."""
        if not 0 <= number < self.header.joins:
            raise IndexError(f"the plan has joins 0 to {self.header.joins - 1}, not {number}")
        return _join_from_list(number, self._segment(_part("joins", number))[number % SEGMENT])

    def whole(self) -> CompiledPlan:
        """All of it in memory."""
        units = tuple(self.unit(number) for number in range(self.header.units))
        return CompiledPlan(self.header, units, tuple(self.join(number) for number in range(self.header.joins)))


def _unit_to_list(unit: Unit) -> list[Any]:
    tasks = [
        [
            task.id,
            task.input,
            task.sources,
            task.when,
            task.affinity,
            _compensation_to_list(task.compensation),
            task.alternatives,
        ]
        if task.sources or task.when or task.affinity or task.compensation or task.alternatives
        else [task.id, task.input]
        for task in unit.tasks
    ]
    return [
        unit.capability,
        tasks,
        unit.retries,
        unit.timeout,
        unit.priority,
        unit.on_failure,
        unit.joins,
        unit.releases,
        int(unit.ends),
    ]


def _unit_from_list(number: int, data: Sequence[Any]) -> Unit:
    capability, tasks, retries, timeout, priority, on_failure, joins, releases, ends = data
    return Unit(
        number,
        capability,
        tuple(_task_from_list(task) for task in tasks),
        retries,
        timeout,
        priority,
        on_failure,
        _ranges(joins),
        _ranges(releases),
        bool(ends),
    )


def _task_from_list(data: Sequence[Any]) -> PlannedTask:
    if len(data) == 2:
        return PlannedTask(data[0], data[1], {})
    identity, value, sources, when, affinity, compensation, alternatives = data
    undo = _compensation_from_list(compensation)
    return PlannedTask(identity, value, _sources(sources), when, affinity, undo, tuple(alternatives))


def _compensation_to_list(compensation: PlannedCompensation | None) -> list[Any] | None:
    if compensation is None:
        return None
    return [compensation.capability, compensation.input, compensation.sources, compensation.timeout]


def _compensation_from_list(data: Sequence[Any] | None) -> PlannedCompensation | None:
    if data is None:
        return None
    capability, value, sources, timeout = data
    return PlannedCompensation(capability, value, _sources(sources), timeout)


def _join_to_list(join: Join) -> list[Any]:
    return [join.size, join.above, join.releases, int(join.ends)]


def _join_from_list(number: int, data: Sequence[Any]) -> Join:
    size, above, releases, ends = data
    return Join(number, size, (above[0], above[1]) if above else None, _ranges(releases), bool(ends))


def _ranges(pairs: Sequence[Sequence[int]]) -> tuple[Range, ...]:
    return tuple((pair[0], pair[1]) for pair in pairs)


def _sources(data: dict[str, Sequence[Sequence[int]]]) -> dict[str, tuple[Place, ...]]:
    return {name: tuple((place[0], place[1]) for place in places) for name, places in data.items()}

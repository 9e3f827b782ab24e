"""compile_plan: from what a user wrote to units, joins and roots; pure and deterministic.

Checks come first and all problems are reported together. Then tasks are put in level order (so that what is released
together has neighbouring numbers and a release is a short list of ranges), micro-tasks are grouped into chunks, equal
dependency sets become one join, and joins over more than JOIN_ARITY members become trees.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from agentfleet.domain import references
from agentfleet.domain.catalog import CapabilitySpec, Catalog
from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import InvalidRequest, Problem, closest
from agentfleet.domain.goal import OnFailure
from agentfleet.domain.names import Priority
from agentfleet.domain.plan import (
    JOIN_ARITY,
    MAX_INPUT_BYTES,
    CompiledPlan,
    Join,
    Place,
    PlanHeader,
    PlannedCompensation,
    PlannedTask,
    Range,
    Unit,
    shard_count,
    to_ranges,
)
from agentfleet.domain.task import Compensation, PlanSpec, TaskSpec

MAX_DEPENDENCIES: Final = 1_000_000
MAX_FAMILY: Final = 1_000
"""How many outputs one reference may gather; more want a reducing step in between."""
DEFAULT_OUTPUT_TASKS: Final = 20


def compile_plan(
    spec: PlanSpec,
    catalog: Catalog,
    *,
    priority: Priority = "normal",
    on_failure: OnFailure = "fail",
    window: int | None = None,
) -> CompiledPlan:
    """The plan that agents run. Raises InvalidRequest naming task and field of everything wrong with it.

    `window`: how many units of one pool and priority may be under way at once (None: any number).
    """
    graph = _Graph(spec, catalog)
    graph.check()
    order = graph.level_order()
    units = _group(graph, order, priority, on_failure)
    return _Linker(graph, units).link(None if window is None else _Lanes(catalog, units, window))


class _Graph:
    """Tasks by number (as written), their dependencies and the references they hold."""

    def __init__(self, spec: PlanSpec, catalog: Catalog) -> None:
        self.spec = spec
        self.tasks = spec.tasks
        self.capabilities = catalog.capabilities
        self.problems: list[Problem] = []
        self.number: dict[str, int] = {}
        self.before: list[tuple[int, ...]] = []
        self.after: list[list[int]] = [[] for _ in spec.tasks]
        self.sources: list[dict[str, tuple[int, ...]]] = []
        self.undo_sources: list[dict[str, tuple[int, ...]]] = []
        self.output_sources: dict[str, tuple[int, ...]] = {}
        self.output: Any = spec.output
        self._families: dict[str, tuple[int, ...]] = {}

    def capability(self, task: int) -> CapabilitySpec:
        return self.capabilities[self.tasks[task].capability][0]

    def check(self) -> None:
        """Fill the graph. Raises InvalidRequest."""
        for number, task in enumerate(self.tasks):
            if task.id in self.number:
                self._problem(task, "id", "is used twice; every task needs an id of its own")
            self.number.setdefault(task.id, number)
        for number, task in enumerate(self.tasks):
            if self.full:
                break
            self._check_task(number, task)
        self._check_output()
        if sum(map(len, self.before)) > MAX_DEPENDENCIES:
            self.problems.append(Problem("tasks", f"hold over {MAX_DEPENDENCIES:,} dependencies; collect in steps"))
        if self.problems:
            raise InvalidRequest(self.problems)
        for number, needed in enumerate(self.before):
            for other in needed:
                self.after[other].append(number)

    @property
    def full(self) -> bool:
        return len(self.problems) >= InvalidRequest.LIMIT

    def _problem(self, task: TaskSpec, field: str, message: str) -> None:
        self.problems.append(Problem(f"tasks[{task.id}].{field}", message))

    def _check_task(self, number: int, task: TaskSpec) -> None:
        self._check_capability(task)
        self._check_size(task, "input", task.input)
        needed: dict[int, None] = {}
        for name in task.depends_on:
            for other in self._lookup(task, "depends_on", name, number):
                needed[other] = None
        sources: dict[str, tuple[int, ...]] = {}
        for field, value in (("input", task.input), ("when", task.when)):
            if value:
                self._references(task, field, value, number, sources)
        for found in sources.values():
            needed.update(dict.fromkeys(found))
        if task.when is not None and not references.is_reference(task.when):
            self._problem(task, "when", 'must be a reference such as {"$from": "task", "path": "count > `0`"}')
        for place, one in enumerate(task.alternatives):
            self._check_size(task, f"alternatives[{place}].input", one.input)
        self.before.append(tuple(needed))
        self.sources.append(sources)
        self.undo_sources.append(self._undo_references(number, task))

    def _undo_references(self, number: int, task: TaskSpec) -> dict[str, tuple[int, ...]]:
        """What its compensation refers to: any task, itself too, since it runs when the others are over."""
        found: dict[str, tuple[int, ...]] = {}
        if task.compensation:
            self._check_size(task, "compensation.input", task.compensation.input)
            self._references(task, "compensation.input", task.compensation.input, number, found, itself=True)
        return found

    def _check_size(self, task: TaskSpec, field: str, value: dict[str, Any]) -> None:
        try:
            size = len(dumps(value).encode()) if value else 0
        except ValueError:
            self._problem(task, field, "holds NaN, infinity or half a surrogate pair, which JSON does not have")
            return
        if size > MAX_INPUT_BYTES:
            message = f"is {size:,} bytes of JSON; at most {MAX_INPUT_BYTES:,}: put larger data into S3 and pass its URI"
            self._problem(task, field, message)

    def _check_capability(self, task: TaskSpec) -> None:
        names = [("capability", task.capability)]
        if task.compensation:
            names.append(("compensation.capability", task.compensation.capability))
        names += [(f"alternatives[{place}].capability", one.capability) for place, one in enumerate(task.alternatives)]
        for field, name in names:
            if name not in self.capabilities:
                known = list(self.capabilities)
                self._problem(task, field, f"no pool can do {name!r}; {closest(name, known)}")
        declared = self.capabilities.get(task.capability)
        if declared and task.timeout is not None and task.timeout > declared[0].timeout:
            limit = f"is over the {declared[0].timeout:g} s that {task.capability} may take"
            self._problem(task, "timeout", limit)

    def _references(
        self,
        task: TaskSpec,
        field: str,
        value: Any,
        number: int,
        sources: dict[str, tuple[int, ...]],
        *,
        itself: bool = False,
    ) -> None:
        try:
            for reference in references.find(value, field):
                if reference.source not in sources:
                    excluded = None if itself else number
                    sources[reference.source] = self._lookup(task, f"{reference.where}.$from", reference.source, excluded)
        except references.BadReference as error:
            self._problem(task, error.where, str(error))

    def _lookup(self, task: TaskSpec, field: str, name: str, number: int | None) -> tuple[int, ...]:
        if name.endswith("*"):
            found = tuple(other for other in self._family(name[:-1]) if other != number)
            if not found:
                self._problem(task, field, f"no task's id starts with {name[:-1]!r}")
            elif field != "depends_on" and len(found) > MAX_FAMILY:
                self._problem(task, field, f"gathers {len(found):,} outputs; at most {MAX_FAMILY:,}: reduce them in steps")
            return found
        other = self.number.get(name)
        if other is None:
            self._problem(task, field, f"there is no task {name[:128]!r}; {closest(name, list(self.number)[:2000])}")
            return ()
        if other == number:
            self._problem(task, field, "a task can't wait for itself")
            return ()
        return (other,)

    def _family(self, prefix: str) -> tuple[int, ...]:
        if prefix not in self._families:
            self._families[prefix] = tuple(n for n, task in enumerate(self.tasks) if task.id.startswith(prefix))
        return self._families[prefix]

    def _check_output(self) -> None:
        try:
            for reference in references.find(self.output, "output"):
                known = (self.number[reference.source],) if reference.source in self.number else ()
                found = self._family(reference.source[:-1]) if reference.is_family else known
                if not found:
                    self.problems.append(Problem(f"{reference.where}.$from", f"there is no task {reference.source[:128]!r}"))
                elif len(found) > MAX_FAMILY:
                    self.problems.append(Problem(f"{reference.where}.$from", f"gathers over {MAX_FAMILY:,} outputs"))
                self.output_sources[reference.source] = found
        except references.BadReference as error:
            self.problems.append(Problem(error.where, str(error)))

    def level_order(self) -> list[int]:
        """Tasks level by level, as written within a level. Raises InvalidRequest naming a cycle."""
        waits = [len(needed) for needed in self.before]
        level = [number for number, count in enumerate(waits) if count == 0]
        order: list[int] = []
        while level:
            order.extend(level)
            following: list[int] = []
            for number in level:
                for other in self.after[number]:
                    waits[other] -= 1
                    if waits[other] == 0:
                        following.append(other)
            level = sorted(following)
        if len(order) < len(self.tasks):
            cycle = self._cycle({number for number, count in enumerate(waits) if count})
            names = " → ".join(self.tasks[number].id for number in cycle)
            raise InvalidRequest.of(f"tasks[{self.tasks[cycle[0]].id}].depends_on", f"is part of a cycle: {names}")
        return order

    def _cycle(self, stuck: set[int]) -> list[int]:
        path: list[int] = []
        seen: dict[int, int] = {}
        here = min(stuck)
        while here not in seen:
            seen[here] = len(path)
            path.append(here)
            here = next(other for other in self.before[here] if other in stuck)
        return [*path[seen[here] :], here]


_Group = tuple[list[int], dict[str, Any]]
"""Task numbers of a unit, and what those tasks share."""


def _group(graph: _Graph, order: list[int], priority: Priority, on_failure: OnFailure) -> list[_Group]:
    """Task numbers by unit, with what the tasks of a unit share."""
    units: list[_Group] = []
    open_chunks: dict[Any, list[int]] = {}
    for number in order:
        task, capability = graph.tasks[number], graph.capability(number)
        shared: dict[str, Any] = {
            "capability": task.capability,
            "retries": task.retries,
            "timeout": task.timeout or capability.timeout,
            "priority": task.priority or priority,
            "on_failure": task.on_failure or on_failure,
        }
        alone = task.when is not None or task.compensation is not None or shared["on_failure"] == "replan"
        if capability.chunk > 1 and capability.idempotent and not alone:
            key = (*shared.values(), task.affinity, frozenset(graph.before[number]), tuple(graph.after[number]))
            members = open_chunks.get(key)
            if members is None or len(members) == capability.chunk:
                members = open_chunks[key] = []
                units.append((members, shared))
            members.append(number)
        else:
            units.append(([number], shared))
    return units


class _Lanes:
    """Which units wait only so that no more than `window` of one pool and priority are under way at once.

    Each such unit waits for the one that is `window` places before it among those of its pool and priority, which makes
    `window` lanes that are each worked off one by one. Units come level by level, so a lane never runs against the plan.
    A capability of several pools counts for the first of them.
    """

    def __init__(self, catalog: Catalog, groups: Sequence[_Group], window: int) -> None:
        self._before: dict[int, int] = {}
        places: dict[tuple[str, str], list[int]] = defaultdict(list)
        for unit, (_, shared) in enumerate(groups):
            pool = catalog.family_of(catalog.capabilities[shared["capability"]][0].pool)
            lane = places[pool, shared["priority"]]
            if len(lane) >= window:
                self._before[unit] = lane[-window]
            lane.append(unit)

    def lead_in(self, unit: int, needed: frozenset[int]) -> frozenset[int]:
        """What a unit waits for, the one before it in its lane included."""
        return needed if unit not in self._before else needed | {self._before[unit]}


class _Linker:
    """Gives units their joins, releases and end."""

    def __init__(self, graph: _Graph, units: list[_Group]) -> None:
        self.graph = graph
        self.groups = units
        self.place: dict[int, Place] = {
            number: (unit, slot) for unit, (members, _) in enumerate(units) for slot, number in enumerate(members)
        }
        self.joined: list[list[tuple[int, int]]] = [[] for _ in units]
        self.releases: list[tuple[Range, ...]] = [()] * len(units)
        self.ends: int | None = None
        self.joins: list[Join] = []

    def link(self, lanes: _Lanes | None) -> CompiledPlan:
        before = [frozenset(self.place[other][0] for other in self.graph.before[members[0]]) for members, _ in self.groups]
        if lanes:
            before = [lanes.lead_in(unit, needed) for unit, needed in enumerate(before)]
        waiting: dict[frozenset[int], list[int]] = defaultdict(list)
        for unit, needed in enumerate(before):
            waiting[needed].append(unit)
        roots = waiting.pop(frozenset(), [])
        reduced: dict[frozenset[int], list[int]] = defaultdict(list)
        for needed, units in waiting.items():
            implied = frozenset().union(*(before[other] for other in needed))
            reduced[needed - implied].extend(units)
        alone: dict[int, list[int]] = {}
        for needed, units in reduced.items():
            if len(needed) == 1:
                alone[next(iter(needed))] = units
        for unit, units in alone.items():
            self.releases[unit] = to_ranges(sorted(units))
        for needed, units in reduced.items():
            if len(needed) > 1:
                self._join(sorted(needed), to_ranges(sorted(units)), ends=False)
        last = sorted(set(range(len(self.groups))).difference(*before))
        if len(last) == 1:
            self.ends = last[0]
        else:
            self._join(last, (), ends=True)
        return self._assemble(to_ranges(roots))

    def _join(self, members: Sequence[int], releases: tuple[Range, ...], *, ends: bool) -> None:
        """A join over units, or a tree of them when they are many."""
        parts = [members[start : start + JOIN_ARITY] for start in range(0, len(members), JOIN_ARITY)]
        lowest = len(self.joins)
        for offset, part in enumerate(parts):
            for slot, unit in enumerate(part):
                self.joined[unit].append((lowest + offset, slot))
        sizes = [len(part) for part in parts]
        while len(sizes) > 1:
            first = len(self.joins)
            above = first + len(sizes)
            for index, size in enumerate(sizes):
                self.joins.append(Join(first + index, size, above=(above + index // JOIN_ARITY, index % JOIN_ARITY)))
            sizes = [min(JOIN_ARITY, len(sizes) - start) for start in range(0, len(sizes), JOIN_ARITY)]
        self.joins.append(Join(len(self.joins), sizes[0], releases=releases, ends=ends))

    def _places(self, sources: dict[str, tuple[int, ...]]) -> dict[str, tuple[Place, ...]]:
        return {name: tuple(self.place[number] for number in numbers) for name, numbers in sources.items()}

    def _assemble(self, roots: tuple[Range, ...]) -> CompiledPlan:
        graph = self.graph
        units = tuple(
            Unit(
                number=unit,
                tasks=tuple(self._task(number) for number in members),
                joins=tuple(self.joined[unit]),
                releases=self.releases[unit],
                ends=unit == self.ends,
                **shared,
            )
            for unit, (members, shared) in enumerate(self.groups)
        )
        output, sources = graph.output, graph.output_sources
        if output is None:
            output, sources = self._default_output()
        header = PlanHeader(
            tasks=len(graph.tasks),
            units=len(units),
            joins=len(self.joins),
            shards=shard_count(len(units)),
            roots=roots,
            output=output,
            sources=self._places(sources),
        )
        return CompiledPlan(header, units, tuple(self.joins))

    def _task(self, number: int) -> PlannedTask:
        task = self.graph.tasks[number]
        return PlannedTask(
            id=task.id,
            input=task.input,
            sources=self._places(self.graph.sources[number]),
            when=task.when,
            affinity=task.affinity,
            compensation=self._compensation(number, task.compensation) if task.compensation else None,
            alternatives=tuple(one.model_dump() for one in task.alternatives),
        )

    def _compensation(self, number: int, spec: Compensation) -> PlannedCompensation:
        timeout = self.graph.capabilities[spec.capability][0].timeout
        return PlannedCompensation(spec.capability, spec.input, self._places(self.graph.undo_sources[number]), timeout)

    def _default_output(self) -> tuple[Any, dict[str, tuple[int, ...]]]:
        """The outputs of the last tasks: that of the only one, or by id; nothing when they are many."""
        last = [number for number, following in enumerate(self.graph.after) if not following]
        names: dict[str, tuple[int, ...]] = {self.graph.tasks[number].id: (number,) for number in last}
        if len(last) == 1:
            return {references.KEY: self.graph.tasks[last[0]].id}, names
        if len(last) > DEFAULT_OUTPUT_TASKS:
            return None, {}
        return {name: {references.KEY: name} for name in names}, names

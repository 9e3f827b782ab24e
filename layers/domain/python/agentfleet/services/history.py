"""Record what happened to goals, show it, and check that nobody changed it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.errors import FleetError, InvalidRequest, NotFound
from agentfleet.domain.goal import Goal
from agentfleet.domain.history import (
    SEGMENT,
    Change,
    Event,
    Segment,
    Verdict,
    extend,
    kills_chain,
    moves_head,
    read_events,
    to_text,
    verify,
)
from agentfleet.ports import Clock, GoalStore, HistoryStore, PlanStore
from agentfleet.services.audit_views import BreakView, EventView, HistoryPage, KillHistory, VerdictView

TRIES: Final = 20
"""Whoever loses a race for the next place in a chain reads it again; each loss is another writer's success."""


class HistoryContended(FleetError):
    """So many writers want to continue one chain that this one never could."""


class Unrecorded(Struct, frozen=True):
    """A record that could not be recorded, and why."""

    sequence: str
    error: Exception


class Recorded(Struct, frozen=True):
    """What came of a batch."""

    events: int
    failures: tuple[Unrecorded, ...]


class Recorder:
    """Turns a batch of stream records into events: `Recorder(store, read_change, clock)`.

    One goal's trouble is not another's: whatever fails is returned by its sequence number, and nothing is raised.
    """

    def __init__(self, store: HistoryStore, read_change: Callable[[Mapping[str, Any]], Change | None], clock: Clock) -> None:
        self._store = store
        self._read_change = read_change
        self._clock = clock

    def __call__(self, records: Sequence[Mapping[str, Any]]) -> Recorded:
        """Record a batch in its order, each goal's changes in as few writes as may be."""
        failures: list[Unrecorded] = []
        goals: dict[str, list[Change]] = {}
        for record in records:
            try:
                change = self._read_change(record)
            except Exception as error:  # unknown by its very nature; told, and tried again by the stream
                failures.append(Unrecorded(str(record["dynamodb"]["SequenceNumber"]), error))
                continue
            if change is not None:
                goals.setdefault(change.goal_id, []).append(change)
        events = 0
        for changes in goals.values():
            try:
                events += self.record(changes)
            except Exception as error:
                failures.append(Unrecorded(str(changes[0].sequence), error))
        return Recorded(events, tuple(failures))

    def record(self, changes: Sequence[Change]) -> int:
        """Append one goal's changes to its chain; gives how many events that made. What it has already is left out.

        Raises HistoryContended.
        """
        return sum(self._append(changes[start : start + SEGMENT]) for start in range(0, len(changes), SEGMENT))

    def _append(self, changes: Sequence[Change]) -> int:
        goal_id = changes[0].goal_id
        for _ in range(TRIES):
            head = self._store.head(goal_id) or self._store.begin(goal_id, self._clock())
            end = self._store.end(head)
            events, after = extend(end, changes)
            if events and not self._store.append(Segment(end.count + 1, to_text(events), after)):
                continue
            # A batch that comes again may be one whose writer died before this.
            if after.count > head.count and (not events or any(map(moves_head, events))):
                self._store.move(after)
            return len(events)
        raise HistoryContended(f"goal {goal_id}: {TRIES} times another writer was faster to continue its history")


class Historian:
    """Histories as a tenant may see them. Every method raises NotFound for a goal that isn't the tenant's."""

    def __init__(self, goals: GoalStore, plans: PlanStore, store: HistoryStore) -> None:
        self._goals = goals
        self._plans = plans
        self._store = store

    def history(self, tenant: str, goal_id: str, limit: int, cursor: str | None) -> HistoryPage:
        """At most `limit` events in the order in which they were recorded. Raises InvalidRequest for a bad cursor."""
        goal = self.own(tenant, goal_id)
        first = _read_cursor(cursor)
        found: list[Event] = []
        for event in self._events(goal_id, first):
            if len(found) == limit:
                return HistoryPage(events=self._views(goal, found), cursor=str(event.number))
            found.append(event)
        return HistoryPage(events=self._views(goal, found), cursor=None)

    def verify(self, tenant: str, goal_id: str) -> VerdictView:
        """Follow the goal's chain from its first event to its head."""
        goal = self.own(tenant, goal_id)
        head = self._store.head(goal_id)
        if head is None:
            return VerdictView(
                goal=goal_id, holds=True, events=0, recorded=0, hash="", tasks_recorded=0, tasks_ended=_ended(goal)
            )
        tasks = 0

        def counted() -> Iterator[Segment]:
            nonlocal tasks
            for segment in self._store.segments(head):
                yield segment
                tasks += _tasks_in(read_events(segment))

        return VerdictView.of(goal, head.count, verify(head, counted()), tasks, _ended(goal))

    def kills(self, week: str) -> KillHistory:
        """What was stopped and lifted in a week (`2026-W47`), and whether that is as it was recorded. Raises InvalidRequest."""
        head = self._store.head(kills_chain(_read_week(week)))
        segments = list(self._store.segments(head)) if head else []
        verdict = verify(head, segments) if head else Verdict(0, "")
        recorded = (event for segment in segments for event in read_events(segment))
        return KillHistory(
            week=week,
            events=tuple(EventView.of(event, ()) for event in islice(recorded, verdict.count)),
            broken=BreakView.of(verdict.broken) if verdict.broken else None,
        )

    def events(self, goal_id: str) -> tuple[list[Event], list[Segment]]:
        """All of a goal's events, with the segments that they are stored in."""
        head = self._store.head(goal_id)
        segments = list(self._store.segments(head)) if head else []
        return [event for segment in segments for event in read_events(segment)], segments

    def _events(self, goal_id: str, first: int) -> Iterator[Event]:
        head = self._store.head(goal_id)
        for segment in self._store.segments(head, first) if head else ():
            yield from (event for event in read_events(segment) if event.number >= first)

    def _views(self, goal: Goal, events: Sequence[Event]) -> tuple[EventView, ...]:
        plan = self._plans.read(goal.id) if any("unit" in event.facts for event in events) else None

        def tasks(event: Event) -> tuple[str, ...]:
            unit = event.facts.get("unit")
            if plan is None or unit is None or not 0 <= unit < plan.header.units:  # by hand anything may be written
                return ()
            return tuple(task.id for task in plan.unit(unit).tasks)

        return tuple(EventView.of(event, tasks(event)) for event in events)

    def own(self, tenant: str, goal_id: str) -> Goal:
        """The tenant's goal. Raises NotFound."""
        goal = self._goals.get([goal_id]).get(goal_id)
        if goal is None or goal.tenant != tenant:
            raise NotFound(f"there is no goal {goal_id[:64]!r}")
        return goal


def _ended(goal: Goal) -> int:
    return sum(goal.counts.values())


def _tasks_in(events: Sequence[Event]) -> int:
    return sum(len(event.facts["states"]) for event in events if event.kind == "ResultStored")


def _read_week(week: str) -> datetime:
    try:
        return datetime.strptime(f"{week}-1", "%G-W%V-%u").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidRequest.of("week", f"must be a week of ISO 8601 such as 2026-W47, not {week[:40]!r}") from None


def _read_cursor(cursor: str | None) -> int:
    if cursor is None:
        return 1
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise InvalidRequest.of("cursor", f"must be one that a page of events gave, not {cursor[:40]!r}")
    return max(1, int(cursor))

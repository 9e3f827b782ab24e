"""The history of a goal: what happened to it, event by event, each sealed with the hash of the one before.

A goal's history is a chain. Whoever changes, removes, adds or moves an event of it breaks the chain at that event; whoever
cuts off its end no longer fits the head, which is kept apart and moves when the goal ends, or when somebody changed what nobody
may change. Someone who may write the whole table could compute a whole new chain: the copies in S3 are for that.

Order: a chain holds what happened in the order in which it was recorded. Changes of one partition key come in the order in
which they were made; between the keys of a goal (its own, and one per shard of its results) no order is promised.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

SEGMENT: Final = 200
"""Events that are stored together, at most."""
LIFETIME: Final = timedelta(days=365)
ENDED: Final = "ended"
"""The fact that says of a goal that nothing more happens to it."""
PENDING: Final = "PENDING"
DECIDED: Final = frozenset({"APPROVED", "REJECTED"})
"""How requests for approval stand, in `approval.Decision`'s words, which would bring JMESPath along."""
SHARDS: Final = 16
"""Over how many partition keys the goals of one hour are spread."""

_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class EventKind(StrEnum):
    """What can happen to a goal.

    What is Changed or Removed never is by the platform's own doing, save expiry, which isn't recorded but for a request that
    nobody had decided by then.
    """

    ACCEPTED = "GoalAccepted"
    MOVED = "GoalMoved"
    PAUSED = "GoalPaused"
    RESUMED = "GoalResumed"
    RESTARTED = "CompensationRestarted"
    RESULT = "ResultStored"
    COMPENSATED = "TaskCompensated"
    ASKED = "ApprovalAsked"
    DECIDED = "ApprovalDecided"
    EXPIRED = "ApprovalExpired"
    GOAL_CHANGED = "GoalChanged"
    GOAL_REMOVED = "GoalRemoved"
    RESULT_CHANGED = "ResultChanged"
    RESULT_REMOVED = "ResultRemoved"
    COMPENSATION_CHANGED = "CompensationChanged"
    COMPENSATION_REMOVED = "CompensationRemoved"
    APPROVAL_CHANGED = "ApprovalChanged"
    APPROVAL_REMOVED = "ApprovalRemoved"
    KILLED = "KillThrown"
    LIFTED = "KillLifted"
    KILL_CHANGED = "KillChanged"
    KILL_REMOVED = "KillRemoved"


APPROVALS: Final = frozenset(
    {EventKind.ASKED, EventKind.DECIDED, EventKind.EXPIRED, EventKind.APPROVAL_CHANGED, EventKind.APPROVAL_REMOVED}
)
"""What is told of requests for approval."""


class Change(Struct, frozen=True):
    """One record of a table's stream, read: an item of a goal, or of the kill switch, before and after."""

    goal_id: str
    """Whose chain it belongs to: a goal's id, or what `kills_chain` gives."""
    part: str
    """Which of the goal's partitions: records of one come in order."""
    sequence: int
    """Grows within a part."""
    at: datetime
    subject: Literal["goal", "result", "compensation", "approval", "kill"]
    before: Mapping[str, Any] | None
    """What is to be remembered of the item (JSON values), None if there was none."""
    after: Mapping[str, Any] | None
    expired: bool = False
    """Was it removed because its time was over?"""


class Event(Struct, frozen=True):
    """Something that happened to a goal."""

    number: int
    """From 1, without gaps."""
    at: datetime
    kind: EventKind
    facts: Mapping[str, Any]
    hash: str = ""
    """Of the event and the hash of the one before: SHA-256 in hexadecimal."""


class Head(Struct, frozen=True):
    """How far a goal's chain has come."""

    goal_id: str
    started: datetime
    """When the first event was recorded: says under which hour the chain is filed, and when it expires."""
    count: int = 0
    hash: str = ""
    marks: Mapping[str, int] = field(default_factory=dict)
    """Part → the highest sequence number that the chain holds: what comes again is not recorded again."""

    @property
    def partition(self) -> str:
        """Hour and shard that the chain is filed under, such as `2026-11-22T11#07`."""
        shard = int.from_bytes(hashlib.sha256(self.goal_id.encode()).digest()[:2], "big") % SHARDS
        return partitions(self.started)[shard]

    @property
    def expires(self) -> datetime:
        """When all of the chain disappears, together."""
        return self.started + LIFETIME


class Segment(Struct, frozen=True):
    """Consecutive events as they are stored together, and the head after them."""

    first: int
    text: str
    """A JSON list of [number, µs since 1970, kind, facts, hash]."""
    head: Head


class Break(Struct, frozen=True):
    """Where a chain does not hold."""

    number: int
    """Of the event."""
    fault: Literal["changed", "missing", "misplaced", "unreadable"]
    message: str


class Verdict(Struct, frozen=True):
    """What came of verifying a chain."""

    count: int
    """Events that hold, up to the break if there is one."""
    hash: str
    """Of the last of them."""
    broken: Break | None = None


class Unreadable(ValueError):
    """A segment's text is not a list of events."""


def kills_chain(moment: datetime) -> str:
    """Under what id the kills of a week (ISO 8601, UTC) are chained, such as `kills-2026-W47`; no goal has such an id.

    A chain expires a year after it began, and its last copy is made after a week.
    """
    return f"kills-{moment.astimezone(UTC):%G-W%V}"


def partitions(hour: datetime) -> tuple[str, ...]:
    """Under what the chains are filed that began in this hour."""
    return tuple(f"{hour:%Y-%m-%dT%H}#{shard:02d}" for shard in range(SHARDS))


def canonical(value: Any) -> bytes:
    """The one form in which JSON is hashed: keys sorted, no spaces, UTF-8. Raises ValueError for NaN and infinity."""
    return _CANONICAL.encode(value).encode()


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def seal(previous: str, event: Event) -> Event:
    """The event with its hash, after the event whose hash is `previous` (empty for the first)."""
    body = [previous, event.number, _micros(event.at), event.kind.value, dict(event.facts)]
    return replace(event, hash=digest(body))


def moves_head(event: Event) -> bool:
    """Is the chain's head to be brought up to this event? Not for each result: that would be a write unit more.

    For a person's decision it is: the task that waited for it may have ended, and its goal, before this is recorded.
    """
    own_doing = {
        EventKind.ACCEPTED,
        EventKind.MOVED,
        EventKind.PAUSED,
        EventKind.RESUMED,
        EventKind.RESTARTED,
        EventKind.RESULT,
        EventKind.COMPENSATED,
        EventKind.ASKED,
        EventKind.EXPIRED,
    }
    return bool(event.facts.get(ENDED)) or event.kind not in own_doing


def event_of(change: Change, number: int) -> Event | None:
    """What a change means, unsealed; None if nothing worth remembering changed."""
    before, after = change.before, change.after
    kinds = {
        "goal": (EventKind.ACCEPTED, EventKind.GOAL_CHANGED, EventKind.GOAL_REMOVED),
        "result": (EventKind.RESULT, EventKind.RESULT_CHANGED, EventKind.RESULT_REMOVED),
        "compensation": (EventKind.COMPENSATED, EventKind.COMPENSATION_CHANGED, EventKind.COMPENSATION_REMOVED),
        "approval": (EventKind.ASKED, EventKind.APPROVAL_CHANGED, EventKind.APPROVAL_REMOVED),
        "kill": (EventKind.KILLED, EventKind.KILL_CHANGED, EventKind.KILL_REMOVED),
    }
    created, changed, removed = kinds[change.subject]
    if after is None:
        return Event(number, change.at, EventKind.EXPIRED if change.expired else removed, dict(before or {}))
    if before == after:
        return None
    if change.subject == "kill":
        return Event(number, change.at, _kill_kind(before, after), dict(after))
    if before is None:
        asked = change.subject != "approval" or after["decision"] == PENDING
        return Event(number, change.at, created if asked else changed, dict(after))
    if change.subject == "approval" and _is_decided(before, after):
        return Event(number, change.at, EventKind.DECIDED, dict(after))
    if change.subject == "goal" and before["state"] != after["state"]:
        return Event(number, change.at, EventKind.MOVED, {"from": before["state"], **after})
    if change.subject == "goal" and (kind := _standing(before, after)):
        return Event(number, change.at, kind, dict(after))
    return Event(number, change.at, changed, {"before": before["digest"], **after})


def _standing(before: Mapping[str, Any], after: Mapping[str, Any]) -> EventKind | None:
    """What happened to a goal that stays in its state; None: it was changed by hand."""
    if before.get("rest") != after.get("rest"):
        return None
    if ("paused" in before) != ("paused" in after):
        return EventKind.PAUSED if "paused" in after else EventKind.RESUMED
    return EventKind.RESTARTED if after.get("attempt", 0) > before.get("attempt", 0) else None


def _is_decided(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Did somebody decide what was asked, as it was asked? Anything else is a request that was changed by hand."""
    return (
        before["decision"] == PENDING
        and after["decision"] in DECIDED
        and before["request"] == after["request"]
        and "by" in after
    )


def _kill_kind(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> EventKind:
    """Stopping again what is stopped is one more order. Who lifts it says so; then it stays as it is, or is stopped anew."""
    if "lifted" not in after:
        return EventKind.KILLED
    is_order = before is not None and "lifted" not in before and "lifted_by" in after
    return EventKind.LIFTED if is_order else EventKind.KILL_CHANGED


def extend(head: Head, changes: Iterable[Change]) -> tuple[list[Event], Head]:
    """The events that these changes add to a chain, sealed, and its head after them. What it has already adds nothing."""
    events: list[Event] = []
    marks, previous = dict(head.marks), head.hash
    for change in changes:
        if change.sequence <= marks.get(change.part, -1):
            continue
        marks[change.part] = change.sequence
        event = event_of(change, head.count + len(events) + 1)
        if event is not None:
            events.append(seal(previous, event))
            previous = events[-1].hash
    return events, replace(head, count=head.count + len(events), hash=previous, marks=marks)


def pack(text: str) -> bytes:
    """A segment's text as it is stored, deflated: hashes apart, one event looks like the next."""
    return zlib.compress(text.encode(), 9)


def unpack(stored: bytes) -> str:
    """The text that was packed; what can't be unpacked is given as it is, and reading its events will say so."""
    try:
        return zlib.decompress(stored).decode()
    except (zlib.error, UnicodeDecodeError):
        return stored.decode(errors="replace")


def to_text(events: Sequence[Event]) -> str:
    """Events as a segment stores them."""
    rows = [[one.number, _micros(one.at), one.kind.value, dict(one.facts), one.hash] for one in events]
    return canonical(rows).decode()


def read_events(segment: Segment) -> list[Event]:
    """The events of a segment, whether they hold or not. Raises Unreadable."""
    try:
        return [
            Event(int(number), _EPOCH + int(at) * _MICROSECOND, EventKind(kind), dict(facts), str(sealed))
            for number, at, kind, facts, sealed in json.loads(segment.text)
        ]
    except (ValueError, TypeError, OverflowError) as error:
        raise Unreadable(f"the segment that begins with event {segment.first} can't be read: {error}") from error


def verify(head: Head, segments: Iterable[Segment]) -> Verdict:
    """Follow a chain from its first event to its end; stop at the first event that doesn't hold."""
    count, previous = 0, ""
    try:
        for event in _all_events(segments):
            if event.number != count + 1:
                return Verdict(count, previous, _gap(count + 1, event.number))
            if seal(previous, event).hash != event.hash:
                message = f"event {event.number} ({event.kind}) is not what was recorded, or the one before it isn't"
                return Verdict(count, previous, Break(event.number, "changed", message))
            if event.number == head.count and event.hash != head.hash:
                message = f"event {event.number} ({event.kind}) is not the one that the chain's head names"
                return Verdict(count, previous, Break(event.number, "changed", message))
            count, previous = event.number, event.hash
    except Unreadable as error:
        return Verdict(count, previous, Break(count + 1, "unreadable", str(error)))
    if count < head.count:
        return Verdict(count, previous, Break(count + 1, "missing", f"events {count + 1} to {head.count} are missing"))
    return Verdict(count, previous)


def _all_events(segments: Iterable[Segment]) -> Iterator[Event]:
    for segment in segments:
        yield from read_events(segment)


def _gap(expected: int, found: int) -> Break:
    if found > expected:
        return Break(expected, "missing", f"event {expected} is missing: event {found} stands in its place")
    return Break(found, "misplaced", f"event {found} stands where event {expected} belongs")

"""When may a goal be standing still for good? The rules of the healer, as functions of what it has seen."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain.plan import CompiledPlan

VISIBILITY_PER_TIMEOUT: Final = 6
"""How long a received message stays hidden, in timeouts of its consumer (the queues are deployed so)."""
RELEASE_VISIBILITY: Final = timedelta(minutes=6)
"""Of the release queue's messages."""
COUNTS_LAG: Final = timedelta(minutes=1)
"""How far a queue's counts may lag behind (Amazon SQS API Reference, GetQueueAttributes: consistent within a minute)."""
LONGEST_DOUBLING: Final = 6
"""A goal that repairs don't help is repaired ever less often: the wait doubles so many times at most."""
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


class QueueLook(Struct, frozen=True):
    """What can be seen of a queue from outside."""

    waiting: int
    in_flight: int
    """Received or delayed."""
    oldest_sent: datetime | None = None
    """No message now in it was sent before this; None if that is not known."""
    sure_from: datetime = _BEGINNING
    """`oldest_sent` tells of what was sent since then. An older message may have been received three times, so much has come to
    nothing, and such have no part in the age that SQS tells (Amazon SQS Developer Guide, 'Available CloudWatch metrics')."""

    @property
    def is_empty(self) -> bool:
        """Is there nothing in it, waiting or in flight?"""
        return self.waiting + self.in_flight == 0

    def of_sent_since(self, moment: datetime) -> "QueueLook":
        """What it tells of messages that were sent since `moment`: of older ones than it is sure of the age says nothing."""
        return self if self.sure_from <= moment else replace(self, oldest_sent=None)


class Finished(Struct, frozen=True):
    """A unit that has its result: when it got it, and whether a task of it failed."""

    at: datetime
    has_failed: bool = False


class IncidentKind(StrEnum):
    """What was wrong with a goal."""

    UNSENT = "UNSENT"
    """Tasks that could run were in no queue any more."""
    STUCK_PLANNING = "STUCK_PLANNING"
    """Accepted, but its first tasks were never released in full."""
    UNFINISHED = "UNFINISHED"
    """Its last task was done, but the goal had not ended."""
    UNTOLD = "UNTOLD"
    """A sub-goal had ended without the task that it stands for."""
    ORPHANED = "ORPHANED"
    """A sub-goal lived on after a goal that it was part of had ended."""
    UNCOMPENSATED = "UNCOMPENSATED"
    """A goal was to be undone, but nobody was at it."""
    DEAD_LETTER = "DEAD_LETTER"
    """A task's message was given up by its queue."""


class Incident(Struct, frozen=True):
    """A goal that stood still: from its last progress until it moved again."""

    goal_id: str
    tenant: str
    kind: IncidentKind
    began: datetime
    """The goal's last progress before it."""
    found: datetime
    repaired: datetime
    """The last repair."""
    repairs: int = 1
    sent: int = 0
    """Units whose messages were sent again."""
    by_person: bool = False
    """Did somebody ask for one of the repairs?"""
    healed: datetime | None = None
    """When the goal moved again."""

    @property
    def seconds(self) -> float | None:
        """Time to heal, from the last progress before to the first after."""
        return (self.healed - self.began).total_seconds() if self.healed else None


class Rounds(Struct, frozen=True):
    """What the healer remembers from run to run."""

    emptied: Mapping[str, datetime] = field(default_factory=dict)
    """Queue → when it was last seen empty."""
    cursor: str | None = None
    """Where the next run goes on among the living goals."""


def horizon(look: QueueLook, emptied: datetime | None, now: datetime, lag: timedelta = COUNTS_LAG) -> datetime:
    """No message that is now in this queue was sent before this moment.

    An empty queue holds nothing older than its counts' lag. Another holds nothing from before it was last seen empty, nor
    anything older than its oldest message.
    """
    if look.is_empty:
        return now - lag
    known = [moment for moment in (emptied and emptied - lag, look.oldest_sent) if moment]
    return max(known, default=_BEGINNING)


def patience(looks: Iterable[QueueLook], timeouts: Iterable[int], lag: timedelta = COUNTS_LAG) -> timedelta:
    """How long after a goal's progress its next messages may still be on their way into a queue.

    Whoever made the progress sends them before its own message is deleted. If it died first, another receives that message
    when it is visible again, and then has its own time for it: while any queue holds something that may be a visibility
    timeout and a whole invocation (`timeouts`: seconds that the consumers may take). Where all are empty nobody is left to
    send.
    """
    if all(look.is_empty for look in looks):
        return lag
    release = RELEASE_VISIBILITY / VISIBILITY_PER_TIMEOUT
    slowest = max(release, *(timedelta(seconds=timeout) for timeout in timeouts))
    return max(slowest * (VISIBILITY_PER_TIMEOUT + 1), lag)


def is_lost(quiet_since: datetime, horizons: Iterable[datetime], wait: timedelta) -> bool:
    """Can none of the queues still hold a message of a goal whose last progress or repair was at `quiet_since`?"""
    return quiet_since + wait < min(horizons)


def next_wait(wait: timedelta, repairs: int) -> timedelta:
    """The patience with a goal that was repaired so often without moving."""
    return wait * (1 << min(repairs, LONGEST_DOUBLING))


def open_joins(plan: CompiledPlan, done: Set[int]) -> dict[int, list[int]]:
    """The slots that each join which isn't complete must have by now. Whoever died before adding one is made up for so."""
    slots: dict[int, set[int]] = defaultdict(set)
    complete: list[int] = []

    def fill(join: int, slot: int) -> None:
        slots[join].add(slot)
        if len(slots[join]) == plan.joins[join].size:
            complete.append(join)

    for number in done:
        for join, slot in plan.units[number].joins:
            fill(join, slot)
    while complete:
        above = plan.joins[complete.pop()].above
        if above:
            fill(*above)
    return {join: sorted(found) for join, found in sorted(slots.items()) if len(found) < plan.joins[join].size}

"""What to do with a message that its queue has given up: diagnosis and policy, as functions of what is known."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from msgspec import Struct

from agentfleet.domain.goal import Goal
from agentfleet.domain.messages import BadMessage, SubmittedEvent, TaskPointer, read_submission, read_task
from agentfleet.domain.names import SUBMISSIONS

MAX_RECEIVES: Final = 10
"""So often a message is received before its queue gives it up (the queues are deployed so)."""
AUTOMATIC_REDRIVES: Final = 1
"""How often a task's message is sent again without a person before the task counts as failed."""
KEPT_FOR: Final = timedelta(days=3)
"""How long a letter of which nobody can tell what to do waits for a person; its queue would forget it after fourteen days."""
KEPT_UNREADABLE: Final = 1000
"""So many letters of a pool that nobody can read wait for a person: more would hide what can be read."""
AGENT_DIED: Final = "AgentDied"
"""The error of a task whose attempts all ended without a result."""
POOL_THROTTLED: Final = "PoolThrottled"
"""The error of a task whose message ran out of receives while Lambda refused its pool's invocations."""
CAPABILITY_GONE: Final = "CapabilityGone"
"""The error of a task that no deployed pool can do any more."""


class Cause(StrEnum):
    """Why a message ended in a dead-letter queue."""

    UNREADABLE = "UNREADABLE"
    """It is no task message."""
    GOAL_UNKNOWN = "GOAL_UNKNOWN"
    """There is no goal, or no unit of it, by its name."""
    GOAL_ENDED = "GOAL_ENDED"
    """The goal ended meanwhile."""
    RESULT_STORED = "RESULT_STORED"
    """The task was done, but what follows from it could not be carried on."""
    DELEGATED = "DELEGATED"
    """A sub-plan does the task's work."""
    CAPABILITY_GONE = "CAPABILITY_GONE"
    """No deployed pool offers the capability."""
    CAPABILITY_MOVED = "CAPABILITY_MOVED"
    """Another pool offers the capability now."""
    RETURNED = "RETURNED"
    """Agents gave it back every time before they could count an attempt: a table, queue or deployment was at fault."""
    NOT_ACCEPTED = "NOT_ACCEPTED"
    """A goal that came as an event and could be neither accepted nor rejected."""
    THROTTLED = "THROTTLED"
    """Invocations of its pool were refused while it lived, each of which counts as a receive: perhaps it never ran."""
    KILLED = "KILLED"
    """Its environments were killed or ran out of time, attempt after attempt."""


class Action(StrEnum):
    """What is done about a dead letter."""

    KEEP = "KEEP"
    """Left for a person."""
    BURY = "BURY"
    """Taken out of the queue; what it was is kept for the record."""
    ADVANCE = "ADVANCE"
    """Carry the goal on from the stored result."""
    REDRIVE = "REDRIVE"
    """Sent again."""
    FAIL = "FAIL"
    """The task gets a FAILED result, and its goal's policy decides."""


class DeadLetter(Struct, frozen=True):
    """A message of a dead-letter queue, received."""

    id: str
    receipt: str
    body: str
    receives: int
    """As the queue counts."""
    first_sent: datetime
    first_received: datetime | None = None
    source: str | None = None
    """Name of the queue that gave it up, if SQS tells."""


class Reading(Struct, frozen=True):
    """What a dead letter says by itself."""

    key: str
    """Names the task, or the event, across all its letters; a letter that can't be read only itself."""
    tenant: str | None = None
    """Whose it says that it is."""
    pointer: TaskPointer | None = None
    event: SubmittedEvent | None = None

    @property
    def is_known(self) -> bool:
        """Can it be read?"""
        return self.pointer is not None or self.event is not None


def read_letter(letter: DeadLetter, pool: str) -> Reading:
    """Read a letter of a pool as a task's message, one of the submissions as an event."""
    try:
        if pool == SUBMISSIONS:
            event = read_submission(letter.body)
            return Reading(event.id, event.tenant if isinstance(event.tenant, str) else None, event=event)
        pointer = read_task(letter.body)
    except BadMessage:
        return Reading(letter.id)
    return Reading(f"{pointer.goal_id}.{pointer.unit}", pointer.tenant, pointer)


class Circumstances(Struct, frozen=True):
    """All that the diagnosis looks at."""

    pointer: TaskPointer | None
    """None: the body can't be read."""
    goal: Goal | None
    has_unit: bool
    has_result: bool
    has_sub_plan: bool
    pool: str
    routed_to: str | None
    """`pool` if it offers the unit's capability, else one that does; None if none does."""
    lived: float
    """Seconds between its sending and now, or the moment at which it was first seen dead."""
    visibility: float
    """Seconds that its pool's messages stay hidden when an environment dies with them."""
    was_throttled: bool = False
    """Were invocations of its pool refused in that time?"""

    @property
    def has_lived_long(self) -> bool:
        """As long as one that was hidden for the whole visibility timeout every time: nobody gave it back.

        So is one that died with its environments. One that was given back came again after its retry delay.
        """
        return self.lived >= MAX_RECEIVES * self.visibility / 2


def diagnose(case: Circumstances) -> Cause:
    """Why is it dead?"""
    if case.pointer is None:
        return Cause.UNREADABLE
    if case.goal is None or not case.has_unit:
        return Cause.GOAL_UNKNOWN
    if not case.goal.state.is_alive:
        return Cause.GOAL_ENDED
    if case.has_result:
        return Cause.RESULT_STORED
    if case.has_sub_plan:
        return Cause.DELEGATED
    if case.routed_to is None:
        return Cause.CAPABILITY_GONE
    if case.routed_to != case.pool:
        return Cause.CAPABILITY_MOVED
    if not case.has_lived_long:
        return Cause.RETURNED
    return Cause.THROTTLED if case.was_throttled else Cause.KILLED


def decide(cause: Cause, redrives: int, age: timedelta) -> Action:
    """What to do about it without a person; `redrives` is how often its task was sent again already."""
    match cause:
        case Cause.NOT_ACCEPTED:
            return Action.KEEP
        case Cause.UNREADABLE | Cause.GOAL_UNKNOWN:
            return Action.KEEP if age <= KEPT_FOR else Action.BURY
        case Cause.GOAL_ENDED | Cause.DELEGATED:
            return Action.BURY
        case Cause.RESULT_STORED:
            return Action.ADVANCE
        case Cause.CAPABILITY_GONE | Cause.KILLED:
            return Action.FAIL
        case Cause.CAPABILITY_MOVED | Cause.RETURNED | Cause.THROTTLED:
            return Action.REDRIVE if redrives < AUTOMATIC_REDRIVES else Action.FAIL
    assert_never(cause)


class LetterRecord(Struct, frozen=True):
    """What is kept of a dead letter that was dealt with."""

    pool: str
    key: str
    """`goal.unit`; the message id of one that can't be read."""
    tenant: str | None
    body: str
    cause: Cause
    action: Action
    reason: str
    first_seen: datetime
    last_seen: datetime
    receives: int
    redrives: int = 0
    by_person: bool = False

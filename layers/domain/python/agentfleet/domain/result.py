"""What became of tasks, and the rules about trying again."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.goal import Failure

BACKOFF_BASE: Final = 1.0
BACKOFF_LIMIT: Final = 120.0
POSTPONE_LIMIT: Final = 900.0
"""Seconds; as long as a queue can keep a message back (Amazon SQS Developer Guide, 'Message quotas')."""
POSTPONEMENTS: Final = 20
"""After so many, about three hours, not being able to try is a failed attempt."""


class TaskState(StrEnum):
    """Where a task stands. Only the last three are ever stored; the others follow from the plan and the results."""

    WAITING = "WAITING"
    WAITING_FOR_APPROVAL = "WAITING_FOR_APPROVAL"
    READY = "READY"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class TaskOutcome(Struct, frozen=True):
    """What became of one task."""

    state: TaskState
    output: Any = None
    failure: Failure | None = None


class Result(Struct, frozen=True):
    """What became of a unit: stored once, by one conditional put, whoever tries."""

    goal_id: str
    unit: int
    outcomes: tuple[TaskOutcome, ...]
    """By slot."""
    agent: str
    started: datetime
    duration: float
    """Seconds."""
    attempt: int = 1
    origin: str | None = None
    """The goal that did it, where a fork took it over: what it cost and what it brought about are that goal's."""

    @property
    def first_failure(self) -> Failure | None:
        """Why the first of its failed tasks failed."""
        return next((outcome.failure for outcome in self.outcomes if outcome.failure), None)


RESENT: Final = "sent again"
"""Who holds the place behind a goal's last unit: until then messages may have been sent for what has made no progress."""
RESENT_FOR: Final = timedelta(minutes=1)
"""How often at most that is noted of a goal, by one environment."""
RESTING: Final = "waiting"
"""Who holds a unit that waits for what it has set going."""


class Claim(Struct, frozen=True):
    """The right to carry out a unit's side effects until the lease ends."""

    goal_id: str
    unit: int
    owner: str
    fence: int
    """Grows with every claim of the unit: a side effect may refuse an older one."""
    until: datetime


def retry_delay(attempt: int, fraction: float) -> timedelta:
    """How long a failed attempt's next message is kept back: exponential with full jitter.

    `attempt` counts from 1, `fraction` is random in [0, 1). After M. Brooker, 'Exponential Backoff And Jitter', AWS
    Architecture Blog, 2015; never under a second, so that a retry isn't a spin.
    """
    ceiling = min(BACKOFF_LIMIT, BACKOFF_BASE * 2.0**attempt)
    return timedelta(seconds=max(1.0, ceiling * fraction))


def postpone_delay(wanted: float, postponed: int, fraction: float) -> timedelta:
    """How long a task stays away that could not be tried: at least `wanted` seconds, more each time, never over 15 minutes.

    `postponed` counts from 0, `fraction` is random in [0, 1): tasks refused together don't come back together.
    """
    growing = min(POSTPONE_LIMIT, 2.0 ** min(postponed, 10))
    return timedelta(seconds=min(POSTPONE_LIMIT, max(wanted, growing) * (1.0 + 0.25 * fraction)))

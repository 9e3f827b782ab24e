"""A circuit breaker as a value: what the calls to one dependency have shown, and what follows for the next call.

    CLOSED     calls go through; `failures` of them failing within `window` open the breaker
    OPEN       calls are refused until `recovery` is over
    HALF_OPEN  one call is let through as a trial: its success closes the breaker, its failure opens it again

After M. Nygard, 'Release It!', 2007. Nothing here reads a clock or a store; two processes that share a breaker agree by
writing it only over the one that they have read.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

MAX_FAILURES: Final = 100


class BreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class BreakerPolicy(Struct, frozen=True):
    """When a breaker opens and how long it stays so. Raises ValueError naming the field that is out of its range."""

    failures: int = 5
    """So many open it (1 to 100)."""
    window: timedelta = timedelta(seconds=60)
    """Older failures are forgotten."""
    recovery: timedelta = timedelta(seconds=30)
    """How long it refuses calls before it lets a trial through."""
    trial: timedelta = timedelta(seconds=60)
    """How long a trial may take: after that another may be made, as its maker may have died."""

    def __post_init__(self) -> None:
        if not 1 <= self.failures <= MAX_FAILURES:
            raise ValueError(f"failures: must be 1 to {MAX_FAILURES}, not {self.failures}")
        for name in ("window", "recovery", "trial"):
            if getattr(self, name) <= timedelta():
                raise ValueError(f"{name}: must be more than 0 seconds, not {getattr(self, name).total_seconds():g}")


class Breaker(Struct, frozen=True):
    """What is known of one dependency; a new one is closed."""

    state: BreakerState = BreakerState.CLOSED
    failures: tuple[datetime, ...] = ()
    """When recent calls failed, oldest first, while closed."""
    until: datetime | None = None
    """OPEN: no call before. HALF_OPEN: no other trial before."""


class Admission(Struct, frozen=True):
    """May a call be made, and the breaker after it was asked."""

    admitted: bool
    breaker: Breaker
    is_trial: bool = False
    wait: timedelta = timedelta()
    """For a refused call: when it is worth asking again."""


def admit(breaker: Breaker, policy: BreakerPolicy, now: datetime) -> Admission:
    """Decide about one call. A trial may be made only once its breaker has been stored over the one given."""
    if breaker.state is BreakerState.CLOSED:
        return Admission(True, breaker)
    if breaker.until is not None and now < breaker.until:
        # A breaker from a process whose clock or policy differs must not keep anyone out for longer than this one's would.
        return Admission(False, breaker, wait=min(breaker.until - now, max(policy.recovery, policy.trial)))
    return Admission(True, Breaker(BreakerState.HALF_OPEN, until=now + policy.trial), is_trial=True)


def succeed(breaker: Breaker, *, is_trial: bool) -> Breaker:
    """After a call succeeded: only a trial closes a breaker; calls that began before it opened prove nothing."""
    return Breaker() if is_trial and breaker.state is BreakerState.HALF_OPEN else breaker


def fail(breaker: Breaker, policy: BreakerPolicy, now: datetime, *, is_trial: bool) -> Breaker:
    """After a call failed."""
    if breaker.state is not BreakerState.CLOSED:
        reopens = is_trial and breaker.state is BreakerState.HALF_OPEN
        return Breaker(BreakerState.OPEN, until=now + policy.recovery) if reopens else breaker
    recent = sorted([*(moment for moment in breaker.failures if now - moment < policy.window), now])
    if len(recent) >= policy.failures:
        return Breaker(BreakerState.OPEN, until=now + policy.recovery)
    return replace(breaker, failures=tuple(recent))

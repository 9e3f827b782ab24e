"""A circuit breaker as a value: what the calls to one dependency have shown, and what follows for the next call.

    CLOSED     calls go through; `failures` of them failing within `window` open the breaker, if they are not too few of many
    OPEN       calls are refused until `recovery` is over
    HALF_OPEN  one call is let through as a trial: its success closes the breaker, its failure opens it again

Whether they are few is known to each environment of its own calls alone: a failure counts once the share of failed ones among
its latest is at least `rate`. So a dependency that is called very often, and fails now and then, is left open, and a success
costs no write.

After M. Nygard, 'Release It!', 2007. Nothing here reads a clock or a store; two processes that share a breaker agree by
writing it only over the one that they have read.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

MAX_FAILURES: Final = 100
LEAST_RATE: Final = 0.1


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
    rate: float = 0.5
    """Share of an environment's latest calls that must have failed for its failures to count (0.1 to 1)."""

    def __post_init__(self) -> None:
        if not 1 <= self.failures <= MAX_FAILURES:
            raise ValueError(f"failures: must be 1 to {MAX_FAILURES}, not {self.failures}")
        if not LEAST_RATE <= self.rate <= 1:
            raise ValueError(f"rate: must be {LEAST_RATE:g} to 1, not {self.rate:g}")
        for name in ("window", "recovery", "trial"):
            if getattr(self, name) <= timedelta():
                raise ValueError(f"{name}: must be more than 0 seconds, not {getattr(self, name).total_seconds():g}")

    @property
    def latest(self) -> int:
        """So many calls of an environment are looked at: when `failures` of them have failed, their share is `rate`."""
        return ceil(self.failures / self.rate)


class Breaker(Struct, frozen=True):
    """What is known of one dependency; a new one is closed."""

    state: BreakerState = BreakerState.CLOSED
    failures: tuple[datetime, ...] = ()
    """When recent calls failed, oldest first, while closed."""
    until: datetime | None = None
    """OPEN: no call before. HALF_OPEN: no other trial before."""


class Calls(Struct, frozen=True):
    """What one environment has seen of its own calls to a dependency of late."""

    outcomes: tuple[tuple[datetime, bool], ...] = ()
    """When the latest ended, oldest first, and whether they succeeded."""
    uncounted: tuple[datetime, ...] = ()
    """When those failed that nobody else has been told of, oldest first."""

    def note(self, policy: BreakerPolicy, now: datetime, *, succeeded: bool) -> tuple["Calls", tuple[datetime, ...]]:
        """These calls and one more; and the failures that count from now on, none while too few of the latest have failed."""
        recent = [one for one in self.outcomes if now - one[0] < policy.window]
        outcomes = (*recent, (now, succeeded))[-policy.latest :]
        if succeeded:
            return Calls(outcomes, self.uncounted), ()
        first = outcomes[0][0]
        failures = (*(moment for moment in self.uncounted if moment >= first), now)[-policy.failures :]
        failed = sum(not succeeded for _, succeeded in outcomes)
        return (Calls(outcomes), failures) if failed >= policy.rate * len(outcomes) else (Calls(outcomes, failures), ())


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


def fail(
    breaker: Breaker, policy: BreakerPolicy, now: datetime, *, is_trial: bool, failures: Sequence[datetime] = ()
) -> Breaker:
    """After a call failed; `failures` are those that count now, this one among them (by default this one alone)."""
    if breaker.state is not BreakerState.CLOSED:
        reopens = is_trial and breaker.state is BreakerState.HALF_OPEN
        return Breaker(BreakerState.OPEN, until=now + policy.recovery) if reopens else breaker
    recent = sorted(moment for moment in (*breaker.failures, *(failures or (now,))) if now - moment < policy.window)
    if len(recent) >= policy.failures:
        return Breaker(BreakerState.OPEN, until=now + policy.recovery)
    return replace(breaker, failures=tuple(recent))

"""The kill switch: who or what is stopped, by whom and why."""

from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

Kind = Literal["all", "pool", "tenant"]

SHORTEST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 300.0
"""Seconds: after a stop that took long, work is back this soon at the latest."""


class Scope(Struct, frozen=True):
    """What a kill stops: everything, one pool, or one tenant."""

    kind: Kind
    name: str = ""
    """The pool's or tenant's; empty for everything."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else "everything"


class Kill(Struct, frozen=True):
    """A scope that was stopped."""

    scope: Scope
    reason: str
    by: str
    """The tenant whose key gave the order."""
    since: datetime
    lifted: datetime | None = None
    """When it was let go on; None while it is stopped."""
    lifted_by: str | None = None
    """The tenant whose key let it go on."""


def pause(kill: Kill, now: datetime, fraction: float) -> timedelta:
    """How long a stopped task's message stays away: about as long as the stop has lasted, so that long stops cost little.

    `fraction` is random in [0, 1): what was stopped together does not come back together.
    """
    lasted = (now - kill.since).total_seconds()
    return timedelta(seconds=min(LONGEST_PAUSE, max(SHORTEST_PAUSE, lasted)) * (1.0 - 0.25 * fraction))

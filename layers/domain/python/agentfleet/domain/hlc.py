"""A hybrid logical clock: stamps that follow the wall clock, never go back, and order edits made on several machines.

Kulkarni, Demirbas, Madappa, Avva and Leone, 'Logical Physical Clocks' (2014): a stamp is the largest wall-clock time seen so
far and a counter for what happened within it. The node's name makes stamps of different machines distinct.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock
from typing import Final, Self

from msgspec import Struct

from agentfleet.domain.errors import FleetError

MAX_DRIFT: Final = timedelta(minutes=5)
"""A stamp that is further ahead of our own clock than this is refused: it would win over every edit until then."""

_FORM: Final = re.compile(r"(\d{13})\.(\d{5})\.([A-Za-z0-9_-]{1,32})")


class ClockDrift(FleetError):
    """A stamp lies too far in the future to be believed."""


class Stamp(Struct, frozen=True, order=True):
    """A point in the order of all edits; later edits compare greater than those that they could know of."""

    millis: int
    counter: int
    node: str

    def __str__(self) -> str:
        return f"{self.millis:013d}.{self.counter:05d}.{self.node}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The stamp that was written so. Raises ValueError."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"a version is written as milliseconds.counter.node, not {text[:80]!r}")
        return cls(int(match[1]), int(match[2]), match[3])


class HybridClock:
    """One per process: `HybridClock(clock, node)`; safe to use from many threads."""

    def __init__(self, clock: Callable[[], datetime], node: str) -> None:
        self._clock = clock
        self._node = node
        self._last = (0, 0)
        self._lock = Lock()

    def tick(self) -> Stamp:
        """A stamp greater than all that this clock has given or seen."""
        with self._lock:
            now = self._now()
            millis, counter = self._last
            self._last = (now, 0) if now > millis else (millis, counter + 1)
            return Stamp(*self._last, self._node)

    def observe(self, stamp: Stamp) -> None:
        """Take note of another node's stamp. Raises ClockDrift for one more than five minutes ahead."""
        with self._lock:
            ahead = stamp.millis - self._now()
            if ahead > MAX_DRIFT.total_seconds() * 1000:
                raise ClockDrift(f"version {stamp} is {ahead / 1000:.0f} s ahead of this clock; {MAX_DRIFT} are allowed")
            self._last = max(self._last, (stamp.millis, stamp.counter))

    def _now(self) -> int:
        return int(self._clock().timestamp() * 1000)

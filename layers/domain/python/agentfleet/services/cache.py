"""A read-through cache of several tiers, fastest first, that keeps many askers of one missing value from all making it.

What protects the maker of a value: within a process only one caller makes it and the others wait for that one (threads and
coroutines alike); among processes one holds a lock that ends by itself; an entry about to expire is made anew early by one
caller, chosen by chance, while the others still get the old one; and lifetimes are jittered, so that what was made together
doesn't expire together. A tier that fails is left alone for a while and counts as empty: the cache can be slow or empty, but
never the reason why something fails.
"""

import asyncio
import json
import logging
import math
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import cached_property
from threading import Event, Lock
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import CacheUnavailable
from agentfleet.ports import CacheLock, CacheTier, Clock

THREADS: Final = 16
REST: Final = timedelta(seconds=5)
"""How long a tier that failed is left alone: its timeouts would slow down every caller."""
JITTER: Final = 0.1
"""Lifetimes are shortened by up to this share."""
FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 0.5

_log: Final = logging.getLogger(__name__)


class Tier(Struct, frozen=True):
    """A tier and what goes into it."""

    name: str
    store: CacheTier
    longest: timedelta
    """No entry stays longer, however long it holds."""
    max_bytes: int
    """Larger entries pass it by (bytes of their JSON)."""
    least: timedelta = timedelta()
    """Entries that hold less long than this are not worth a write here."""


class CachePolicy(Struct, frozen=True):
    """How one kind of value is cached."""

    lifetime: timedelta = timedelta(hours=1)
    negative: timedelta = timedelta(seconds=30)
    """How long it is remembered that there is no value."""
    lease: timedelta = timedelta(seconds=60)
    """How long one maker may keep the other processes waiting."""
    patience: timedelta = timedelta(seconds=10)
    """How long to wait for another process's value before making one's own."""


class Loaded(Struct, frozen=True):
    """What a loader gives: any JSON value."""

    value: Any
    negative: bool = False
    """It says why there is no value."""
    lifetime: timedelta | None = None
    """None: as the policy says. Zero: for this caller only, nothing is stored (then it needn't be JSON either)."""


class Found(Struct, frozen=True):
    """A value and where it came from: a tier's name, `load`, or `shared` with a caller who was making it already."""

    value: Any
    negative: bool
    source: str


class _Entry(Struct, frozen=True):
    value: Any
    negative: bool
    expires: datetime
    cost: float
    """Seconds that it took to make."""

    def is_due(self, now: datetime, fraction: float) -> bool:
        """Should this caller make it anew before it expires? The likelier, the nearer the end and the longer the making.

        A. Vattani, F. Chierichetti, K. Lowenstein, 'Optimal Probabilistic Cache Stampede Prevention', PVLDB 8(8), 2015.
        """
        ahead = -self.cost * math.log(1.0 - fraction)
        return now + timedelta(seconds=ahead) >= self.expires


class _Landing(Enum):
    """What those who waited for a value hear where it is not for them."""

    ALONE = auto()
    """Make your own: this one is the maker's only."""
    ABANDONED = auto()
    """The maker was stopped: one of you is the next."""


_Flight = Future[Found | _Landing]
"""A value that is being made."""


class _Turn(Struct, frozen=True):
    """The right to make a value; `owner` holds the lock (None: nobody does)."""

    owner: str | None
    old: Found | None
    """What still holds if making it anew fails."""
    began: datetime


class CacheManager:
    """`CacheManager(tiers, lock, clock, fraction)`: tiers fastest first; without a lock each process makes its own values.

    Values are JSON. `fraction` gives random numbers in [0, 1); `pause` waits for so many seconds.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        lock: CacheLock | None,
        clock: Clock,
        fraction: Callable[[], float],
        *,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._tiers = tuple(tiers)
        self._lock = lock
        self._clock = clock
        self._fraction = fraction
        self._pause = pause or Event().wait
        self._flights: dict[str, _Flight] = {}
        self._mutex = Lock()
        self._resting: dict[str, datetime] = {}
        self._counts: Counter[str] = Counter()

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS, thread_name_prefix="cache")

    @property
    def counts(self) -> Mapping[str, int]:
        """Since the start: `<tier>.hits|misses|writes|errors`, `loads`, `shared`, `refreshes`."""
        with self._mutex:
            return dict(self._counts)

    def get_or_load(self, key: str, load: Callable[[], Loaded], policy: CachePolicy) -> Found:
        """The value from the first tier that has it, else from `load`, whose exceptions are the caller's.

        `key` is made of letters, digits and `/._-`. One call to `load` serves all callers of this process that wait for it.
        """
        while True:
            if found := self._at_hand(key):
                return found
            flight, is_leader = self._join(key)
            if is_leader:
                return self._lead(key, flight, load, policy)
            landed = flight.result()
            if landed is not _Landing.ABANDONED:
                return self._shared(landed) if isinstance(landed, Found) else self._alone(load())

    async def get_or_load_async(self, key: str, load: Callable[[], Awaitable[Loaded]], policy: CachePolicy) -> Found:
        """`get_or_load` for coroutines: `load` runs in the caller's loop, the tiers are asked in threads."""
        while True:
            if found := self._at_hand(key):
                return found
            flight, is_leader = self._join(key)
            if is_leader:
                return await self._lead_async(key, flight, load, policy)
            landed = await asyncio.wrap_future(flight)
            if landed is not _Landing.ABANDONED:
                return self._shared(landed) if isinstance(landed, Found) else self._alone(await load())

    def forget(self, key: str) -> None:
        """Delete from every tier that can be reached."""
        for tier in self._tiers:
            self._ask(tier, lambda store: store.delete(key))

    def _lead(self, key: str, flight: _Flight, load: Callable[[], Loaded], policy: CachePolicy) -> Found:
        """Get or make the value for all who wait for this flight."""
        landing: Found | _Landing = _Landing.ABANDONED
        try:
            step = self._begin(key, policy)
            if isinstance(step, Found):
                landing = step
                return step
            try:
                loaded = load()
            except Exception as error:
                landing = old = self._keep_old(step, error)
                return old
            else:
                made = self._finish(key, loaded, step, policy)
                landing = _Landing.ALONE if _is_private(loaded) else made
                return made
            finally:
                self._give_way(key, step)
        except Exception as error:
            flight.set_exception(error)
            raise
        finally:
            self._land(key, flight, landing)

    async def _lead_async(self, key: str, flight: _Flight, load: Callable[[], Awaitable[Loaded]], policy: CachePolicy) -> Found:
        """`_lead` for coroutines."""
        loop = asyncio.get_running_loop()
        landing: Found | _Landing = _Landing.ABANDONED
        try:
            step = await loop.run_in_executor(self._threads, self._begin, key, policy)
            if isinstance(step, Found):
                landing = step
                return step
            try:
                loaded = await load()
            except Exception as error:
                landing = old = self._keep_old(step, error)
                return old
            else:
                made = await loop.run_in_executor(self._threads, self._finish, key, loaded, step, policy)
                landing = _Landing.ALONE if _is_private(loaded) else made
                return made
            finally:
                # Not awaited: a caller that is being cancelled must not be held up.
                self._threads.submit(self._give_way, key, step)
        except Exception as error:
            flight.set_exception(error)
            raise
        finally:
            self._land(key, flight, landing)

    def _at_hand(self, key: str) -> Found | None:
        """From the fastest tier, without a thread, unless this caller is to make it anew and nobody does already."""
        if not self._tiers:
            return None
        first = self._tiers[0]
        entry = self._read(first, key)
        if entry is None or (entry.is_due(self._clock(), self._fraction()) and key not in self._flights):
            return None
        self._count(f"{first.name}.hits")
        return Found(entry.value, entry.negative, first.name)

    def _join(self, key: str) -> tuple[_Flight, bool]:
        """The flight that makes this value, and whether it is the caller's own."""
        with self._mutex:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            self._flights[key] = flight = Future()
            # From here on a waiter that is cancelled can't cancel it for the others.
            flight.set_running_or_notify_cancel()
            return flight, True

    def _land(self, key: str, flight: _Flight, landing: Found | _Landing) -> None:
        with self._mutex:
            del self._flights[key]
        if flight.done():
            flight.exception()  # seen: nobody has to have waited for it
        else:
            flight.set_result(landing)

    def _shared(self, found: Found) -> Found:
        self._count("shared")
        # Through JSON, so that no caller can change what another one holds.
        return Found(json.loads(dumps(found.value)), found.negative, "shared")

    def _alone(self, loaded: Loaded) -> Found:
        """For a caller who has waited for a value that turned out not to be shared."""
        self._count("loads")
        return Found(loaded.value, loaded.negative, "load")

    def _begin(self, key: str, policy: CachePolicy) -> Found | _Turn:
        """Look everywhere; a value that is missing, or due, is to be made by who gets the turn."""
        now = self._clock()
        entry, source = self._look_up(key)
        owner = secrets.token_hex(8)
        if entry is not None:
            found = Found(entry.value, entry.negative, source)
            if entry.is_due(now, self._fraction()) and (taken := self._acquire(key, owner, policy)) is not False:
                self._count("refreshes")
                return _Turn(owner if taken else None, found, now)
            return found
        waited, pause = 0.0, FIRST_PAUSE
        while (taken := self._acquire(key, owner, policy)) is False and waited < policy.patience.total_seconds():
            self._pause(pause)
            waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)
            entry, source = self._look_up(key, counted=False)
            if entry is not None:
                return Found(entry.value, entry.negative, source)
        return _Turn(owner if taken else None, None, self._clock())

    def _acquire(self, key: str, owner: str, policy: CachePolicy) -> bool | None:
        """Whether the lock is ours; None: there is no lock, or it can't be reached."""
        if self._lock is None or self._is_resting("lock"):
            return None
        try:
            return self._lock.acquire(key, owner, policy.lease)
        except CacheUnavailable as error:
            self._let_rest("lock", error)
            return None

    def _give_way(self, key: str, turn: _Turn) -> None:
        if turn.owner is None or self._lock is None or self._is_resting("lock"):
            return
        try:
            self._lock.release(key, turn.owner)
        except CacheUnavailable as error:
            self._let_rest("lock", error)

    def _finish(self, key: str, loaded: Loaded, turn: _Turn, policy: CachePolicy) -> Found:
        """Store a value that has been made in every tier that it suits."""
        self._count("loads")
        now = self._clock()
        usual = policy.negative if loaded.negative else policy.lifetime
        lifetime = (usual if loaded.lifetime is None else loaded.lifetime) * (1.0 - JITTER * self._fraction())
        if lifetime > timedelta():
            cost = max(0.0, (now - turn.began).total_seconds())
            entry = _Entry(loaded.value, loaded.negative, now + lifetime, cost)
            for tier in self._tiers:
                self._write(tier, key, entry, now)
        return Found(loaded.value, loaded.negative, "load")

    @staticmethod
    def _keep_old(turn: _Turn, error: Exception) -> Found:
        """A value that still holds is better than none."""
        if turn.old is None:
            raise error
        _log.warning("making a cached value anew failed, the old one is kept: %r", error)
        return turn.old

    def _look_up(self, key: str, *, counted: bool = True) -> tuple[_Entry | None, str]:
        """The entry from the fastest tier that has it, copied into the faster ones."""
        for number, tier in enumerate(self._tiers):
            entry = self._read(tier, key)
            if counted:
                self._count(f"{tier.name}.{'misses' if entry is None else 'hits'}")
            if entry is not None:
                for faster in self._tiers[:number]:
                    self._write(faster, key, entry, self._clock())
                return entry, tier.name
        return None, ""

    def _read(self, tier: Tier, key: str) -> _Entry | None:
        text = self._ask(tier, lambda store: store.get(key))
        if text is None:
            return None
        try:
            body = json.loads(text)
            entry = _Entry(body["value"], body["negative"], datetime.fromtimestamp(body["expires"], UTC), body["cost"])
        except (ValueError, KeyError, TypeError) as error:
            self._count(f"{tier.name}.errors")
            _log.warning("tier %s: what is stored under %s is no entry: %r", tier.name, key, error)
            return None
        return entry if entry.expires > self._clock() else None

    def _write(self, tier: Tier, key: str, entry: _Entry, now: datetime) -> None:
        remaining = entry.expires - now
        if remaining <= timedelta() or remaining < tier.least:
            return
        text = dumps(
            {"value": entry.value, "negative": entry.negative, "expires": entry.expires.timestamp(), "cost": entry.cost}
        )
        if len(text.encode()) > tier.max_bytes:
            self._count(f"{tier.name}.too_large")
            return

        def put(store: CacheTier) -> str:
            store.put(key, text, min(remaining, tier.longest))
            return text

        if self._ask(tier, put) is not None:
            self._count(f"{tier.name}.writes")

    def _ask(self, tier: Tier, question: Callable[[CacheTier], str | None]) -> str | None:
        """The tier's answer; None if it is resting, or fails and must rest."""
        if self._is_resting(tier.name):
            return None
        try:
            return question(tier.store)
        except CacheUnavailable as error:
            self._let_rest(tier.name, error)
            return None

    def _is_resting(self, name: str) -> bool:
        return name in self._resting and self._clock() < self._resting[name]

    def _let_rest(self, name: str, error: CacheUnavailable) -> None:
        self._count(f"{name}.errors")
        self._resting[name] = self._clock() + REST
        _log.warning("cache tier %s is left alone for %g s: %s", name, REST.total_seconds(), error)

    def _count(self, name: str) -> None:
        with self._mutex:
            self._counts[name] += 1


def _is_private(loaded: Loaded) -> bool:
    return loaded.lifetime is not None and loaded.lifetime <= timedelta()

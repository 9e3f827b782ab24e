"""A tier of the cache, and its locks, in memory."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import RLock
from typing import TypeVar

from agentfleet.domain.errors import CacheUnavailable
from agentfleet.ports import Clock

T = TypeVar("T")


class FakeCache:
    """A CacheTier and a CacheLock. Set `is_down` and every call fails."""

    def __init__(self, clock: Clock) -> None:
        self.is_down = False
        self.calls: list[str] = []
        """`get key`, `put key` … in order."""
        self.texts: dict[str, tuple[str, datetime]] = {}
        self.locks: dict[str, tuple[str, datetime]] = {}
        self._clock = clock
        self._mutex = RLock()

    def get(self, key: str) -> str | None:
        return self._do("get", key, lambda: self._living(self.texts, key))

    def put(self, key: str, text: str, lifetime: timedelta) -> None:
        def put() -> None:
            self.texts[key] = (text, self._clock() + lifetime)

        self._do("put", key, put)

    def delete(self, key: str) -> None:
        self._do("delete", key, lambda: self.texts.pop(key, None))

    def acquire(self, key: str, owner: str, lease: timedelta) -> bool:
        def acquire() -> bool:
            if self._living(self.locks, key) is not None:
                return False
            self.locks[key] = (owner, self._clock() + lease)
            return True

        return self._do("acquire", key, acquire)

    def release(self, key: str, owner: str) -> None:
        def release() -> None:
            if self._living(self.locks, key) == owner:
                del self.locks[key]

        self._do("release", key, release)

    def _living(self, items: dict[str, tuple[str, datetime]], key: str) -> str | None:
        text, until = items.get(key, ("", self._clock()))
        return text if until > self._clock() else None

    def _do(self, what: str, key: str, action: Callable[[], T]) -> T:
        with self._mutex:
            self.calls.append(f"{what} {key}")
            if self.is_down:
                raise CacheUnavailable("switched off by the test")
            return action()

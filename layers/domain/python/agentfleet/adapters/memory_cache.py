"""The cache's fastest tier: this process's own memory, bounded in bytes."""

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Lock
from typing import Final

from cachetools import TLRUCache

MEMORY_BYTES: Final = 16 * 1024 * 1024


class MemoryCache:
    """A CacheTier: `MemoryCache(max_bytes=16 MiB)`. Makes room by forgetting what was used least recently.

    `timer` gives seconds and never goes back.
    """

    def __init__(self, max_bytes: int = MEMORY_BYTES, timer: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._entries: TLRUCache[str, tuple[str, float, int]] = TLRUCache(
            maxsize=max_bytes,
            ttu=lambda _key, entry, now: now + entry[1],
            timer=timer,
            getsizeof=lambda entry: entry[2],
        )

    def get(self, key: str) -> str | None:
        """The text, None if it was never put or is forgotten."""
        with self._lock:
            entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: str, text: str, lifetime: timedelta) -> None:
        """Store or replace, for at most this long; what is larger than the whole tier is not stored."""
        # A str in memory is up to four times its length; its UTF-8 size is near enough and is what the other tiers count.
        size = len(text.encode()) + len(key)
        with self._lock:
            self._entries.pop(key, None)
            if size <= self._max_bytes and lifetime > timedelta():
                self._entries[key] = (text, lifetime.total_seconds(), size)

    def delete(self, key: str) -> None:
        """Forget."""
        with self._lock:
            self._entries.pop(key, None)

"""What a task writes down of what it has done, so that it goes on from there when it is carried out again.

A task that was killed, redelivered or put off starts from its beginning; whatever it did before is read back instead of
done again. Two that run at once agree: the first that writes an entry down is right, and the other takes it over.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from threading import Lock
from typing import Any, Final

from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import Waiting
from agentfleet.ports import Clock
from agentfleet.ports_agents import JournalStore

HELD_DELAY: Final = 15.0
"""Seconds after which to look again whether somebody else is still at the task."""


class LocalJournals:
    """A JournalStore in this process's memory, for agents that share no table."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], dict[str, str]] = {}
        self._owners: dict[tuple[str, str], tuple[str, datetime]] = {}
        self._mutex = Lock()

    def read(self, goal_id: str, task_id: str) -> dict[str, Any]:
        """Everything that a task has written down, by name."""
        with self._mutex:
            return {name: json.loads(text) for name, text in self._entries.get((goal_id, task_id), {}).items()}

    def record(self, goal_id: str, task_id: str, name: str, entry: Any) -> Any:
        """Write down a JSON value unless there is one of that name. Gives the one that stands."""
        text = dumps(entry)
        with self._mutex:
            return json.loads(self._entries.setdefault((goal_id, task_id), {}).setdefault(name, text))

    def take(self, goal_id: str, task_id: str, owner: str, now: datetime, until: datetime) -> bool:
        """Be the only one who goes on with the task until then, unless somebody else is."""
        with self._mutex:
            holder, end = self._owners.get((goal_id, task_id), (owner, until))
            if holder != owner and end > now:
                return False
            self._owners[goal_id, task_id] = (owner, until)
            return True


class TaskJournal:
    """`context.journal`: one task's entries, read once; what is recorded meanwhile is added to them."""

    def __init__(self, store: JournalStore, goal_id: str, task_id: str, clock: Clock) -> None:
        self._store = store
        self._goal_id = goal_id
        self._task_id = task_id
        self._clock = clock
        self._owner = secrets.token_hex(8)
        self._until: datetime | None = None
        self._entries: dict[str, Any] | None = None

    async def open(self) -> None:
        """Read what there is. The other methods need it."""
        if self._entries is None:
            self._entries = await asyncio.to_thread(self._store.read, self._goal_id, self._task_id)

    def find(self, name: str) -> Any:
        """The entry of that name as far as this process knows, None if there is none. Raises RuntimeError before `open`."""
        if self._entries is None:
            raise RuntimeError("open the journal before it is read")
        return self._entries.get(name)

    async def record(self, name: str, entry: Any) -> Any:
        """Write down a JSON value; gives the entry that stands, which somebody else may have been quicker to write."""
        await self.open()
        standing = await asyncio.to_thread(self._store.record, self._goal_id, self._task_id, name, entry)
        assert self._entries is not None  # noqa: S101 - open has read them
        self._entries[name] = standing
        return standing

    async def hold(self, until: datetime) -> None:
        """Be the only one who goes on with the task until then, before anything is done that costs or has effects.

        Raises Waiting while somebody else is: a message was delivered twice, or one that died was at it.
        """
        if self._until is None or self._until < until:
            taken = await asyncio.to_thread(self._store.take, self._goal_id, self._task_id, self._owner, self._clock(), until)
            if not taken:
                raise Waiting("another agent is at this task", HELD_DELAY)
            self._until = until

    async def release(self) -> None:
        """Let the next one go on at once, if this one was at it."""
        if self._until is not None:
            now, self._until = self._clock(), None
            await asyncio.to_thread(self._store.take, self._goal_id, self._task_id, self._owner, now, now)

    async def once(self, name: str, produce: Callable[[], Awaitable[Any]]) -> Any:
        """The entry of that name, or what `produce` gives, written down."""
        await self.open()
        known = self.find(name)
        return known if known is not None else await self.record(name, await produce())

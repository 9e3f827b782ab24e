"""Histories in memory."""

from collections.abc import Iterator
from datetime import datetime
from typing import IO

from agentfleet.domain.history import Head, Segment


class FakeHistory:
    """A HistoryStore."""

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.stored: dict[str, dict[int, Segment]] = {}

    def head(self, goal_id: str) -> Head | None:
        return self.heads.get(goal_id)

    def begin(self, goal_id: str, now: datetime) -> Head:
        return self.heads.setdefault(goal_id, Head(goal_id, now))

    def end(self, head: Head) -> Head:
        chain = self.stored.get(head.goal_id)
        return chain[max(chain)].head if chain else head

    def append(self, segment: Segment) -> bool:
        return self.stored.setdefault(segment.head.goal_id, {}).setdefault(segment.first, segment) is segment

    def move(self, head: Head) -> None:
        if head.count > self.heads[head.goal_id].count:
            self.heads[head.goal_id] = head

    def filed(self, partition: str) -> Iterator[Segment]:
        for goal_id in sorted(self.stored):
            chain = self.stored[goal_id]
            yield from (chain[first] for first in sorted(chain) if chain[first].head.partition == partition)

    def segments(self, head: Head, first: int = 1) -> Iterator[Segment]:
        chain = self.stored.get(head.goal_id, {})
        yield from (chain[start] for start in sorted(chain) if chain[start].head.count >= first)


class FakeVault:
    """A HistoryVault."""

    def __init__(self) -> None:
        self.copies: dict[str, bytes] = {}

    def put(self, name: str, body: IO[bytes]) -> None:
        self.copies[name] = body.read()

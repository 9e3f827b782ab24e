"""Copy histories to where nobody can change them: the chains that began in an hour, some hours later, and again."""

import gzip
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from agentfleet.domain.codec import dumps
from agentfleet.domain.history import Segment, Unreadable, partitions
from agentfleet.ports import Clock, HistoryStore, HistoryVault

PASSES: Final = (timedelta(hours=2), timedelta(hours=26), timedelta(days=7, hours=2))
"""How long after its beginning an hour's chains are copied: most have ended by the first time, later ones catch the others."""


class Archiver:
    """Copies whole partitions: `Archiver(store, vault, clock)`. Called once an hour."""

    def __init__(self, store: HistoryStore, vault: HistoryVault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    def __call__(self) -> tuple[str, ...]:
        """One pass; gives the names of the copies. A pass that is repeated makes another set of copies."""
        now = self._clock()
        made = []
        for ago in PASSES:
            for partition in partitions(now - ago):
                if text := "".join(self._lines(self._store.filed(partition))):
                    name = _name(partition, now)
                    self._vault.put(name, gzip.compress(text.encode(), mtime=0))
                    made.append(name)
        return tuple(made)

    @staticmethod
    def _lines(segments: Iterable[Segment]) -> Iterator[str]:
        """A line of JSON per segment: goal, number of its first and last event, hash of the last, and the events as text."""
        for segment in segments:
            head = segment.head
            line = {"goal": head.goal_id, "first": segment.first, "last": head.count, "hash": head.hash, "events": segment.text}
            yield f"{dumps(line)}\n"


def hashes_in(copy: bytes, goal_id: str) -> dict[int, str]:
    """Number → hash of a goal's events in a copy; empty if it holds none of them. Raises Unreadable."""
    try:
        lines = [json.loads(line) for line in gzip.decompress(copy).splitlines()]
        own = [line for line in lines if line["goal"] == goal_id]
        return {int(number): str(sealed) for line in own for number, _, _, _, sealed in json.loads(line["events"])}
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"it is no copy of histories: {error}") from error


def _name(partition: str, now: datetime) -> str:
    """Such as `2026-11-22T11/07/20261122T132400.jsonl.gz`."""
    return f"{partition.replace('#', '/')}/{now:%Y%m%dT%H%M%S}.jsonl.gz"

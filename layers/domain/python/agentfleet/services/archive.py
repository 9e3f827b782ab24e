"""Copy histories to where nobody can change them: the chains that began in an hour, some hours later, and again."""

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from tempfile import TemporaryFile
from typing import IO, Final

from msgspec import Struct

from agentfleet.domain.codec import dumps
from agentfleet.domain.history import LIFETIME, Segment, Unreadable, partitions
from agentfleet.ports import Clock, HistoryStore, HistoryVault

PASSES: Final = (
    timedelta(hours=2),
    timedelta(hours=26),
    timedelta(days=7, hours=2),
    timedelta(days=31, hours=2),
    LIFETIME - timedelta(days=2),
)
"""How long after its beginning an hour's chains are copied: most have ended by the first time, later ones catch the others.

An approval or a saga may take 30 days, a parked goal however long: the last pass comes before the table forgets.
"""
_LEVEL: Final = 6
"""A third less of a processor's time than 9, for copies that are 0.3 % larger."""


class Archived(Struct, frozen=True):
    """What came of one pass."""

    copies: tuple[str, ...]
    """Their names."""
    problems: tuple[Exception, ...]
    """What kept partitions from being copied; a note on each names the partition."""


class Archiver:
    """Copies whole partitions: `Archiver(store, vault, clock)`. Called once an hour."""

    def __init__(self, store: HistoryStore, vault: HistoryVault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    def __call__(self) -> Archived:
        """One pass. One that is repeated makes another set of copies; a partition that fails keeps no other from its turn."""
        now = self._clock()
        made, problems = [], []
        for ago in PASSES:
            for partition in partitions(now - ago):
                name = _name(partition, now)
                try:
                    copied = self._copy(partition, name)
                except Exception as error:
                    error.add_note(partition)
                    problems.append(error)
                    continue
                if copied:
                    made.append(name)
        return Archived(tuple(made), tuple(problems))

    def _copy(self, partition: str, name: str) -> bool:
        """Copy a partition by way of a file: an hour's events may be more than memory holds. False if nothing is in it."""
        with TemporaryFile() as body:
            with gzip.GzipFile(fileobj=body, mode="wb", compresslevel=_LEVEL, mtime=0) as packed:
                for segment in self._store.filed(partition):
                    packed.write(_line(segment))
                empty = not packed.tell()
            if empty:
                return False
            body.seek(0)
            self._vault.put(name, body)
            return True


def hashes_in(copy: IO[bytes], goal_id: str) -> dict[int, str]:
    """Number → hash of a goal's events in a copy; empty if it holds none of them. Raises Unreadable."""
    try:
        return {int(number): str(sealed) for text in _texts(copy, goal_id) for number, _, _, _, sealed in json.loads(text)}
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"it is no copy of histories: {error}") from error


def _texts(copy: IO[bytes], goal_id: str) -> Iterator[str]:
    with gzip.open(copy) as lines:
        for line in lines:
            row = json.loads(line)
            if row["goal"] == goal_id:
                yield row["events"]


def _line(segment: Segment) -> bytes:
    """A line of JSON: goal, number of its first and last event, hash of the last, and the events as text."""
    head = segment.head
    line = {"goal": head.goal_id, "first": segment.first, "last": head.count, "hash": head.hash, "events": segment.text}
    return f"{dumps(line)}\n".encode()


def _name(partition: str, now: datetime) -> str:
    """Such as `2026-11-22T11/07/20261122T132400.jsonl.gz`."""
    return f"{partition.replace('#', '/')}/{now:%Y%m%dT%H%M%S}.jsonl.gz"

"""Copies of histories: which hours, what is in them, and what they are called."""

import gzip
import json
from datetime import datetime, timedelta

from agentfleet.domain.history import Change, Event, Segment, extend, read_events, to_text, verify
from agentfleet.services.archive import PASSES, Archiver
from tests.fakes.clock import START
from tests.fakes.history import FakeHistory, FakeVault


def record(store: FakeHistory, goal: str, started: datetime, results: int) -> list[Event]:
    """A chain of so many results, in segments of two."""
    head = store.begin(goal, started)
    told: list[Event] = []
    for first in range(0, results, 2):
        changes = [
            Change(goal, "0", number, started, "result", None, {"unit": number, "states": "S"})
            for number in range(first, min(first + 2, results))
        ]
        events, after = extend(head, changes)
        assert store.append(Segment(head.count + 1, to_text(events), after))
        head, told = after, told + events
    return told


def test_an_hour_is_copied_when_its_turn_comes() -> None:
    """Hours after it began, a day after that, and a week after that; chains of other hours are left alone."""
    store, vault = FakeHistory(), FakeVault()
    for number, ago in enumerate((*PASSES, timedelta(hours=1), timedelta(hours=5))):
        record(store, f"g{number}", START - ago, 1)

    made = Archiver(store, vault, lambda: START)()

    copied = [json.loads(line)["goal"] for body in vault.copies.values() for line in gzip.decompress(body).splitlines()]
    assert sorted(copied) == ["g0", "g1", "g2"]
    assert set(made) == set(vault.copies)
    assert sorted(name.partition("/")[0] for name in made) == sorted(f"{START - ago:%Y-%m-%dT%H}" for ago in PASSES)


def test_a_copy_holds_whole_chains_that_can_be_verified() -> None:
    """Every event with its hash, and the hash at which the chain stood."""
    store, vault = FakeHistory(), FakeVault()
    told = record(store, "g1", START - PASSES[0], 5)

    Archiver(store, vault, lambda: START)()

    (body,) = vault.copies.values()
    lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    head = store.end(store.heads["g1"])
    segments = [Segment(line["first"], line["events"], head) for line in lines]
    assert [event for segment in segments for event in read_events(segment)] == told
    assert verify(head, segments).broken is None
    assert (lines[-1]["last"], lines[-1]["hash"]) == (5, told[-1].hash)

"""Copies of histories: which hours, what is in them, and what they are called."""

import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import IO, Any

import pytest

from agentfleet import bootstrap
from agentfleet.domain.history import (
    LIFETIME,
    Change,
    Event,
    Head,
    Segment,
    Unreadable,
    extend,
    partitions,
    read_events,
    to_text,
    verify,
)
from agentfleet.services.archive import PASSES, Archived, Archiver, hashes_in
from functions.archive_history import handler as function
from tests.fakes.clock import START
from tests.fakes.history import FakeHistory, FakeVault

CONTEXT: Any = SimpleNamespace(
    function_name="fleet-archive-history", memory_limit_in_mb=512, invoked_function_arn="arn", aws_request_id="test"
)


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
    """Hours after it began, a day, a week and a month after that, and before it is forgotten; other hours are left alone."""
    store, vault = FakeHistory(), FakeVault()
    for number, ago in enumerate((*PASSES, timedelta(hours=1), timedelta(hours=5))):
        record(store, f"g{number}", START - ago, 1)

    made = Archiver(store, vault, lambda: START)()

    copied = [json.loads(line)["goal"] for body in vault.copies.values() for line in gzip.decompress(body).splitlines()]
    assert sorted(copied) == ["g0", "g1", "g2", "g3", "g4"]
    assert not made.problems
    assert set(made.copies) == set(vault.copies)
    assert sorted(name.partition("/")[0] for name in made.copies) == sorted(f"{START - ago:%Y-%m-%dT%H}" for ago in PASSES)


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


def test_what_happens_to_a_goal_until_its_history_is_forgotten_is_copied() -> None:
    """An approval may keep a goal for a month, a parked saga for longer: passes come after that, while the table remembers."""
    assert [ago for ago in PASSES if timedelta(days=30) < ago < timedelta(days=32)]
    assert LIFETIME - timedelta(days=3) < max(PASSES) < LIFETIME - timedelta(days=1)


class LargeHistory(FakeHistory):
    """A partition of `count` segments of `size` bytes that are made as they are read."""

    def __init__(self, partition: str, count: int, size: int) -> None:
        super().__init__()
        self._partition = partition
        self._count = count
        self._size = size

    def filed(self, partition: str) -> Iterator[Segment]:
        if partition != self._partition:
            yield from super().filed(partition)
            return
        noise = random.Random(1)  # so that gzip can't make it small
        for number in range(self._count):
            text = json.dumps(
                [[number + 1, 0, "ResultStored", {"x": noise.randbytes(self._size // 2).hex()}, f"hash {number}"]]
            )
            yield Segment(number + 1, text, Head("large", START, number + 1, "h"))


class CountingVault(FakeVault):
    """Keeps only how large its copies are, and how it was to read them."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, int] = {}

    def put(self, name: str, body: IO[bytes]) -> None:
        self.sizes[name] = sum(len(part) for part in iter(lambda: body.read(65_536), b""))


def test_an_hour_may_be_larger_than_memory() -> None:
    """A partition goes through memory segment by segment, however many there are."""
    store, vault = LargeHistory(partitions(START - PASSES[0])[3], 500, 40_000), CountingVault()
    tracemalloc.start()

    Archiver(store, vault, lambda: START)()

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (size,) = vault.sizes.values()
    assert size > 9_000_000
    assert peak < size / 2


def test_a_partition_that_fails_keeps_no_other_from_being_copied() -> None:
    """Whether it can't be read or can't be put: the rest is copied, and what failed is named."""
    store, vault = FakeHistory(), FakeVault()
    for number, ago in enumerate(PASSES):
        record(store, f"g{number}", START - ago, 1)
    names = {goal: head.partition for goal, head in store.heads.items()}
    read, put = store.filed, vault.put

    def filed(partition: str) -> Iterator[Segment]:
        yield from read(partition)
        if partition == names["g0"]:
            raise TimeoutError("no answer")

    def refuse(name: str, body: IO[bytes]) -> None:
        if name.startswith(names["g2"].replace("#", "/")):
            raise PermissionError("not allowed")
        put(name, body)

    store.filed, vault.put = filed, refuse  # type: ignore[method-assign]
    archived = Archiver(store, vault, lambda: START)()

    assert [(str(one), one.__notes__) for one in archived.problems] == [
        ("no answer", [names["g0"]]),
        ("not allowed", [names["g2"]]),
    ]
    assert [name.rpartition("/")[0].replace("/", "#") for name in archived.copies] == [names[f"g{n}"] for n in (1, 3, 4)]
    assert set(vault.copies) == set(archived.copies)


def test_the_function_says_what_it_copied_and_fails_with_the_name_of_what_it_did_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Copies are in the log even if others are missing; the failure is what the alarm counts."""
    lost = TimeoutError("no answer")
    lost.add_note("2026-11-22T11#07")
    for problems in ((), (lost,)):
        monkeypatch.setattr(bootstrap, "archiver", lambda problems=problems: lambda: Archived(("one", "two"), problems))
        if not problems:
            assert function.handler({}, CONTEXT) == {"copies": 2}
            continue
        with pytest.raises(ExceptionGroup, match="not copied: 2026-11-22T11#07"):
            function.handler({}, CONTEXT)

    lines = [vars(record) for record in caplog.records]
    assert [line["copies"] for line in lines if line["message"] == "archived"] == [["one", "two"]] * 2
    assert [line["what"] for line in lines if line["message"] == "not archived"] == ["2026-11-22T11#07"]


def test_a_goals_hashes_are_read_out_of_a_copy() -> None:
    """Of the goal that was asked for only."""
    store, vault = FakeHistory(), FakeVault()
    first = record(store, "g1", START - PASSES[0], 5)
    store.stored["g2"] = {1: Segment(1, to_text(first[:1]), Head("g2", START - PASSES[0], 1, "h"))}
    Archiver(store, vault, lambda: START)()
    copy = next(body for body in vault.copies.values() if b'"g1"' in gzip.decompress(body))

    assert hashes_in(io.BytesIO(copy), "g1") == {event.number: event.hash for event in first}
    assert hashes_in(io.BytesIO(copy), "g3") == {}


@pytest.mark.parametrize(
    "damage",
    [b"nothing", gzip.compress(b"[]\n"), gzip.compress(b"{}\n"), gzip.compress(b"x" * 99)[:-9]],
    ids=["no gzip", "no object", "no history", "cut off"],  # a compressed body tells its time: no two workers would agree
)
def test_what_is_no_copy_is_said_to_be_none(damage: bytes) -> None:
    """Neither another file nor a copy of which the end is missing or changed passes for one."""
    with pytest.raises(Unreadable, match="no copy of histories"):
        hashes_in(io.BytesIO(damage), "g1")

"""Concurrent edits: whatever the order in which states are joined, all end in the same, and nothing is lost unseen."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agentfleet.domain.hlc import ClockDrift, HybridClock, Stamp
from agentfleet.domain.record import Record, Register, Version, join, new_record

NOW = datetime(2026, 1, 1, tzinfo=UTC)

STAMPS = some.builds(Stamp, some.integers(10**12, 10**12 + 3), some.integers(0, 2), some.sampled_from("ab"))
REGISTERS = some.builds(Register, some.sampled_from(["x", "y", "z"]), STAMPS)
VERSIONS = some.builds(Version, STAMPS, some.sampled_from(["1", "2"]), some.just("text/plain"), some.just(1), some.just(1))
RECORDS = some.builds(Record, REGISTERS, REGISTERS, some.frozensets(VERSIONS, max_size=4), some.frozensets(STAMPS, max_size=4))


def version(stamp: Stamp, digest: str = "d") -> Version:
    """A text."""
    return Version(stamp, digest, "text/plain", 1, 1)


@given(RECORDS, RECORDS)
def test_joining_is_commutative(one: Record, other: Record) -> None:
    """Who joins whom does not matter."""
    assert join(one, other) == join(other, one)


@given(RECORDS, RECORDS, RECORDS)
def test_joining_is_associative(one: Record, two: Record, three: Record) -> None:
    """In which order does not matter."""
    assert join(join(one, two), three) == join(one, join(two, three))


@given(RECORDS, RECORDS)
def test_joining_is_idempotent(one: Record, other: Record) -> None:
    """How often does not matter: a joined state takes neither of its parts in again."""
    joined = join(one, other)

    assert join(joined, joined) == joined
    assert join(joined, one) == joined
    assert join(joined, other) == joined


@given(
    some.lists(
        some.tuples(some.integers(0, 2), some.sampled_from(["edit", "delete", "sync"]), some.integers(0, 2)), max_size=20
    )
)
def test_replicas_that_have_seen_the_same_are_the_same(steps: list[tuple[int, str, int]]) -> None:
    """Three writers that edit, delete and now and then hear of each other; when all have heard of all, they agree."""
    moments = [NOW + timedelta(seconds=drift) for drift in (0, 1, -1)]
    clocks = [HybridClock(lambda at=moment: at, f"n{number}") for number, moment in enumerate(moments)]  # type: ignore[misc]
    first = new_record("t", "s", version(clocks[0].tick()))
    replicas = [first, first, first]
    for who, what, whom in steps:
        if what == "sync":
            replicas[who] = join(replicas[who], replicas[whom])
        elif what == "delete":
            replicas[who] = replicas[who].deleted()
        else:
            for one in replicas[who].versions:
                clocks[who].observe(one.stamp)
            replicas[who] = replicas[who].edited(f"t{who}", "s", version(clocks[who].tick()), None)
            assert replicas[who].conflicts == []

    joined = [join(join(replicas[a], replicas[b]), replicas[c]) for a, b, c in ((0, 1, 2), (2, 0, 1), (1, 2, 0))]

    assert joined[0] == joined[1] == joined[2]
    for replica in replicas:
        # An edit is gone only because somebody who had seen it put another in its place, or deleted it.
        assert all(one in joined[0].versions or one.stamp in joined[0].replaced for one in replica.versions)


def test_texts_that_were_written_at_once_both_stay() -> None:
    """The later one is shown; an edit based on both ends the conflict; one based on the first alone does not."""
    clock = HybridClock(lambda: NOW, "n")
    record = new_record("t", "s", version(clock.tick(), "first"))
    seen = [one.stamp for one in record.versions]
    mine = record.edited("mine", "s", version(clock.tick(), "mine"), seen)
    yours = record.edited("yours", "s", version(clock.tick(), "yours"), seen)

    both = join(mine, yours)
    solved = both.edited("both", "s", version(clock.tick(), "both"), None)

    assert both.current is not None
    assert (both.current.digest, [one.digest for one in both.conflicts]) == ("yours", ["mine"])
    assert both.title.value == "yours"
    assert (solved.conflicts, solved.current and solved.current.digest) == ([], "both")
    assert join(solved, mine) == solved


def test_a_deletion_spares_what_it_did_not_know_of() -> None:
    """Deleted is what was there; a text that is written meanwhile lives; an old copy does not bring the deleted one back."""
    clock = HybridClock(lambda: NOW, "n")
    record = new_record("t", "s", version(clock.tick()))
    edited = record.edited("t", "s", version(clock.tick(), "new"), None)

    assert join(record.deleted(), record).current is None
    survivor = join(record.deleted(), edited).current
    assert survivor is not None
    assert survivor.digest == "new"


def test_what_was_replaced_is_forgotten_after_a_month() -> None:
    """State stays small."""
    clock = HybridClock(lambda: NOW, "n")
    record = new_record("t", "s", version(clock.tick())).edited("t", "s", version(clock.tick()), None)

    assert len(record.pruned(NOW + timedelta(days=29)).replaced) == 1
    assert record.pruned(NOW + timedelta(days=31)).replaced == frozenset()
    assert record.pruned(NOW + timedelta(days=31)).versions == record.versions


@given(some.lists(some.integers(-3, 3), min_size=1, max_size=30))
def test_stamps_never_go_back(steps: list[int]) -> None:
    """Even if the wall clock does; and they compare as their texts do."""
    wall = [NOW]
    clock = HybridClock(lambda: wall[-1], "n")
    stamps = []
    for step in steps:
        wall.append(wall[-1] + timedelta(milliseconds=step))
        stamps.append(clock.tick())

    assert stamps == sorted(set(stamps))
    assert list(map(str, stamps)) == sorted(map(str, stamps))
    assert [Stamp.parse(str(stamp)) for stamp in stamps] == stamps


def test_what_another_clock_has_given_comes_before() -> None:
    """An edit after one that was seen is later, though its machine's clock is behind; one from far ahead is not believed."""
    ahead = HybridClock(lambda: NOW + timedelta(seconds=30), "a")
    behind = HybridClock(lambda: NOW, "b")
    seen = ahead.tick()

    behind.observe(seen)

    assert behind.tick() > seen
    with pytest.raises(ClockDrift, match="ahead of this clock"):
        behind.observe(HybridClock(lambda: NOW + timedelta(hours=1), "c").tick())
    with pytest.raises(ValueError, match=r"milliseconds\.counter\.node"):
        Stamp.parse("1.2.3")

"""The chain of a goal's events: what it remembers, and that nothing can be done to it unnoticed."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentfleet.domain.approval import Decision
from agentfleet.domain.history import (
    DECIDED,
    PENDING,
    SEGMENT,
    Change,
    EventKind,
    Head,
    Segment,
    event_of,
    extend,
    kills_chain,
    pack,
    read_events,
    to_text,
    unpack,
    verify,
)

START = datetime(2026, 11, 22, 11, 30, tzinfo=UTC)


def result(unit: int, sequence: int | None = None, **changes: Any) -> Change:
    """A stored result, as the stream tells it."""
    facts = {"unit": unit, "states": "S", "agent": "flow-1", "seconds": 0.25, "writes": 1}
    base: dict[str, Any] = {
        "part": str(unit % 3),
        "sequence": unit if sequence is None else sequence,
        "before": None,
        "after": facts,
    }
    return Change(goal_id="g1", at=START + timedelta(seconds=unit), subject="result", **base | changes)


def goal(sequence: int, before: str | None, after: str | None) -> Change:
    """A goal's move from one state to another."""
    old, new = ({"state": state, "digest": state} if state else None for state in (before, after))
    return Change(goal_id="g1", part="", sequence=sequence, at=START, subject="goal", before=old, after=new)


def chain(events: int, size: int) -> tuple[Head, list[Segment]]:
    """A chain of results in segments of a size."""
    head, segments = Head("g1", START), []
    for start in range(0, events, size):
        made, after = extend(head, [result(unit) for unit in range(start, min(start + size, events))])
        segments.append(Segment(head.count + 1, to_text(made), after))
        head = after
    return head, segments


def rebuilt(segments: list[Segment], rows: list[Any]) -> list[Segment]:
    """One segment with these rows."""
    return [replace(segments[0], text=to_text(rows))]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (goal(1, None, "PLANNING"), EventKind.ACCEPTED),
        (goal(1, "PLANNING", "RUNNING"), EventKind.MOVED),
        (goal(1, "RUNNING", None), EventKind.GOAL_REMOVED),
        (result(1), EventKind.RESULT),
        (result(1, before={"unit": 1, "digest": "x"}), EventKind.RESULT_CHANGED),
        (result(1, before={"unit": 1, "digest": "x"}, after=None), EventKind.RESULT_REMOVED),
        (replace(result(1), subject="compensation"), EventKind.COMPENSATED),
    ],
)
def test_every_change_is_an_event(change: Change, kind: EventKind) -> None:
    """Also those that nobody should make: a result that is changed or removed by hand."""
    event = event_of(change, 1)

    assert event is not None
    assert event.kind is kind


def test_decisions_have_their_own_words() -> None:
    """The history doesn't import them, but means the same."""
    assert {PENDING, *DECIDED} == set(Decision)


@pytest.mark.parametrize(
    ("moment", "chain"),
    [
        (datetime(2026, 11, 22, 23, 59, tzinfo=UTC), "kills-2026-W47"),
        (datetime(2026, 11, 23, tzinfo=UTC), "kills-2026-W48"),
        (datetime(2027, 1, 1, tzinfo=UTC), "kills-2026-W53"),
    ],
)
def test_kills_are_chained_by_the_week(moment: datetime, chain: str) -> None:
    """From Monday on, UTC; the first days of January may be of the year before."""
    assert kills_chain(moment) == chain


def test_what_comes_again_is_not_recorded_again() -> None:
    """Records of one part come in order, so that the highest sequence number tells what is there already."""
    first, head = extend(Head("g1", START), [result(0), result(3), result(1)])
    again, after = extend(head, [result(3), result(1), result(6), result(4)])

    assert [event.facts["unit"] for event in first] == [0, 3, 1]
    assert [event.facts["unit"] for event in again] == [6, 4]
    assert (after.count, after.marks) == (5, {"0": 6, "1": 4})


def test_a_change_of_nothing_is_no_event() -> None:
    """Only its place in the stream is remembered."""
    assert extend(Head("g1", START), [goal(7, "RUNNING", "RUNNING")])[0] == []


@given(st.integers(0, 40), st.integers(1, 7))
def test_an_untouched_chain_holds(events: int, size: int) -> None:
    """However its events were cut into segments; events come back as they went in."""
    head, segments = chain(events, size)

    verdict = verify(head, segments)

    assert (verdict.broken, verdict.count, verdict.hash) == (None, events, head.hash)
    assert [event.number for segment in segments for event in read_events(segment)] == list(range(1, events + 1))


@given(st.integers(2, 30), st.data())
def test_any_single_change_removal_or_swap_is_found_and_named(events: int, data: st.DataObject) -> None:
    """The verdict names the event that was changed, the first that is missing, or the first out of its place."""
    head, segments = chain(events, events)
    rows = read_events(segments[0])
    place = data.draw(st.integers(0, events - 1))
    match data.draw(st.sampled_from(["fact", "time", "kind", "hash", "removal", "swap", "repetition", "end"])):
        case "fact":
            rows[place] = replace(rows[place], facts={**rows[place].facts, "seconds": 0.26})
        case "time":
            rows[place] = replace(rows[place], at=rows[place].at + timedelta(microseconds=1))
        case "kind":
            rows[place] = replace(rows[place], kind=EventKind.RESULT_CHANGED)
        case "hash":
            rows[place] = replace(rows[place], hash="0" * 64)
        case "removal":
            del rows[place]
        case "swap":
            place = data.draw(st.integers(0, events - 2))
            rows[place], rows[place + 1] = rows[place + 1], rows[place]
        case "repetition":
            rows.insert(place + 1, rows[place])
        case "end":
            rows = rows[:place]

    verdict = verify(head, rebuilt(segments, rows))

    assert verdict.broken is not None
    assert verdict.broken.number in {place + 1, place + 2}
    assert verdict.count <= place + 1


@given(st.integers(2, 30), st.data())
def test_a_segment_that_is_gone_or_garbage_is_named(events: int, data: st.DataObject) -> None:
    """By the first event that it held."""
    head, segments = chain(events, 3)
    place = data.draw(st.integers(0, len(segments) - 1))
    gone = [*segments[:place], *segments[place + 1 :]]
    garbage = [*segments[:place], replace(segments[place], text="[[1"), *segments[place + 1 :]]

    for tampered, fault in ((gone, "missing"), (garbage, "unreadable")):
        broken = verify(head, tampered).broken
        assert broken is not None
        assert (broken.number, broken.fault) == (segments[place].first, fault)


def test_a_chain_written_anew_does_not_fit_its_head() -> None:
    """Whoever recomputes every hash would have to change the head too; whoever keeps its hash elsewhere sees even that."""
    head, _ = chain(3, 3)
    events, other = extend(Head("g1", START), [result(unit) for unit in (1, 2, 3)])

    broken = verify(head, [Segment(1, to_text(events), other)]).broken

    assert broken is not None
    assert (broken.number, broken.fault) == (3, "changed")


def test_recording_costs_a_tenth_of_a_write_unit_per_result() -> None:
    """Where results come in full batches: hashes don't deflate, the rest of an event does. Unpacked it is as it was."""
    results = [
        result(
            number,
            sequence=number,
            after={
                "unit": number,
                "states": "S",
                "agent": f"flow-{number % 7:08x}",
                "started": 1_795_347_000_000_000 + number * 9_973,
                "seconds": round(0.0003 + number % 11 / 1e5, 6),
                "digest": hashlib.sha256(str(number).encode()).hexdigest()[:32],
                "writes": 1,
            },
        )
        for number in range(SEGMENT)
    ]
    text = to_text(extend(Head("g1", START), results)[0])

    assert len(pack(text)) / 1024 / SEGMENT < 0.1
    assert unpack(pack(text)) == text
    assert unpack(b"not deflated") == "not deflated"

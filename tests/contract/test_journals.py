"""Journals: what was written first stands, one owner at a time, nothing of it looks like a result."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from agentfleet.adapters.stream import read_change
from agentfleet.adapters.work_table import journal_partition
from tests.contract.making import at_once
from tests.contract.world import World

ENTRIES: dict[str, Any] = {
    "0000": [],
    "0001": {"parts": [{"text": 'Grüße 🚀 "twice"'}], "dollars": 0.1},
    "0001.00": {"ok": True, "text": "x" * 30_000},
    "0001.10": None,
}


def test_what_is_written_down_is_read_back(world: World) -> None:
    """Small and large entries alike, by name, and those of no other task."""
    goal = world.fresh("goal")

    for name, entry in ENTRIES.items():
        assert world.journals.record(goal, "a.b:c", name, entry) == entry

    assert world.journals.read(goal, "a.b:c") == ENTRIES
    assert world.journals.read(goal, "a.b") == {}
    assert world.journals.read(world.fresh("goal"), "a.b:c") == {}


@pytest.mark.parametrize("entry", [{"n": 2}, "y" * 9_000])
def test_the_first_entry_stands(world: World, entry: Any) -> None:
    """Whoever comes second is given it."""
    goal = world.fresh("goal")
    world.journals.record(goal, "a", "0001", "first" * 2_000)

    assert world.journals.record(goal, "a", "0001", entry) == "first" * 2_000

    assert world.journals.read(goal, "a") == {"0001": "first" * 2_000}


def test_of_many_that_write_at_once_all_are_given_the_same(world: World) -> None:
    """A turn that two agents took is one of the two, for both."""
    goal = world.fresh("goal")

    def record(number: int) -> Any:
        return world.journals.record(goal, "a", "0001", number)

    given = at_once([partial(record, number) for number in range(8)])

    assert set(given) == {world.journals.read(goal, "a")["0001"]}


def test_one_at_a_time_goes_on_with_a_task(world: World) -> None:
    """Till its time is over, or it gives way; who goes on is no entry."""
    goal, now = world.fresh("goal"), world.clock()
    later = now + timedelta(seconds=60)

    assert world.journals.take(goal, "a", "one", now, later)
    assert not world.journals.take(goal, "a", "two", now, later)
    assert world.journals.take(goal, "b", "two", now, later)
    assert world.journals.take(goal, "a", "one", now, now)
    assert world.journals.take(goal, "a", "two", now, later)
    assert world.journals.take(goal, "a", "three", later, later + timedelta(seconds=1))
    assert world.journals.read(goal, "a") == {}


def test_entries_expire_with_their_goal(world: World) -> None:
    """After sixty days, as everything of a goal."""
    goal = world.fresh("goal")

    world.journals.record(goal, "a", "0001", 1)

    expiry = world.expiry(journal_partition(goal, "a"), "0001")
    assert expiry is None or expiry == int((world.clock() + timedelta(days=60)).timestamp())


@pytest.mark.parametrize("sort_key", ["0001", "0001.02", "lock"])
def test_the_history_sees_nothing_of_a_journal(sort_key: str) -> None:
    """Its stream holds goals and results alone."""
    keys = {"pk": {"S": journal_partition("g1", "a")}, "sk": {"S": sort_key}}
    record = {"eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": keys, "SequenceNumber": "1"}}

    assert read_change(record) is None

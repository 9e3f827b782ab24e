"""The contract of what the healer stands on: living goals, finished units, queues seen from outside, its memory."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from agentfleet.domain import names
from agentfleet.domain.dead_letters import Action, Cause, LetterRecord
from agentfleet.domain.errors import NotFound
from agentfleet.domain.goal import Failure, GoalState, Parent
from agentfleet.domain.healing import Finished, Incident, IncidentKind, Rounds
from agentfleet.domain.messages import TaskMessage
from agentfleet.domain.result import TaskOutcome, TaskState
from tests.contract.making import goal, result
from tests.contract.world import FLEET, World


def living(world: World, limit: int) -> list[str]:
    """Every page's ids."""
    found: list[str] = []
    cursor = None
    while True:
        page = world.goals.living(limit, cursor)
        assert len(page.items) <= limit
        found.extend(page.items)
        if (cursor := page.cursor) is None:
            return found


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_living_goals_are_all_found_once_and_ended_ones_are_not(world: World, limit: int) -> None:
    """Of every tenant, sub-plans among them, whatever the page's size."""
    mine = [goal(world.fresh("g"), world.fresh("tenant")) for _ in range(9)]
    mine.append(goal(world.fresh("g"), parent=Parent(mine[0].id, 0, 0, (mine[0].id,))))
    for one in mine:
        world.goals.create(one)
    running = [one.move(GoalState.RUNNING) for one in mine]
    for before, after in zip(mine, running, strict=True):
        world.goals.replace(before, after)
    for one in running[:3]:
        world.goals.replace(one, one.move(GoalState.FAILED, finished=world.clock()))

    found = [name for name in living(world, limit) if name in {one.id for one in mine}]

    assert sorted(found) == sorted(one.id for one in mine[3:])


def test_finished_units_are_told_with_their_time_and_failures(world: World) -> None:
    """Over several shards, without their outputs, and only of the one goal."""
    name, other = world.fresh("g"), world.fresh("g")
    failed = TaskOutcome(TaskState.FAILED, failure=Failure("E", "m", "t"))
    world.results.put(3, [result(name, unit, "x" * 5000, duration=1.5) for unit in range(5)])
    world.results.put(3, [result(name, 7, outcomes=(TaskOutcome(TaskState.SKIPPED), failed)), result(other, 1)])

    found = world.results.finished(name, 3)

    at = world.clock() + timedelta(seconds=1.5)
    assert {unit: found[unit] for unit in range(5)} == dict.fromkeys(range(5), Finished(at))
    assert found[7] == Finished(world.clock() + timedelta(seconds=0.25), has_failed=True)
    assert set(found) == {0, 1, 2, 3, 4, 7}
    assert world.results.finished(world.fresh("g"), 3) == {}


def test_queues_are_counted_without_receiving_from_them(world: World) -> None:
    """What waits and what is in flight; an empty queue is empty."""
    pool = world.make_pool()
    high, low = (names.task_queue(FLEET, pool, priority) for priority in ("high", "low"))
    world.queues.send_tasks([TaskMessage("g", unit, "acme", pool, "high") for unit in range(3)])
    world.take(high, 1)

    looks = world.watch.look({high: names.function(FLEET, pool), low: names.function(FLEET, pool)})

    assert (looks[high].waiting + looks[high].in_flight, looks[high].in_flight >= 1) == (3, True)
    assert looks[low].is_empty
    assert looks[low].oldest_sent is None
    assert world.watch.last_throttled(names.function(FLEET, pool)) is None


def test_dead_letters_are_taken_given_back_and_deleted(world: World) -> None:
    """One that is looked at is hidden from others, and there again when it is given back."""
    pool = world.make_pool()
    for body in ("one", "two", "three"):
        world.bury(pool, body)

    taken = [letter for _ in range(3) for letter in world.letters.take([pool], 10)[pool]]
    hidden = world.letters.take([pool], 10)[pool]
    gone = next(letter for letter in taken if letter.body == "two")
    world.letters.delete(pool, [gone])
    world.letters.give_back(pool, [letter for letter in taken if letter is not gone])
    again = [letter for _ in range(2) for letter in world.letters.take([pool], 10)[pool]]

    assert sorted(letter.body for letter in taken) == ["one", "three", "two"]
    assert not hidden
    assert sorted(letter.body for letter in again) == ["one", "three"]
    assert {letter.receives for letter in taken} == {1}
    world.letters.give_back(pool, [])


def test_dead_letters_of_several_pools_are_taken_together(world: World) -> None:
    """At most so many of each, more than ten too; of an empty one none."""
    full, empty, other = (world.make_pool() for _ in range(3))
    for number in range(25):
        world.bury(full, str(number))
    world.bury(other, "one")

    taken = world.letters.take([empty, full, other], 10)
    rest = world.letters.take([full], 20)[full]

    assert ([letter.body for letter in taken[other]], taken[empty]) == (["one"], [])
    assert len(taken[full]) <= 10
    assert len(rest) <= 20
    bodies = [int(letter.body) for letter in (*taken[full], *rest)]
    assert len(bodies) == len(set(bodies)) > 10
    world.letters.give_back(full, [*taken[full], *rest])


def test_a_missing_queue_is_named(world: World, is_fake: bool) -> None:
    """A pool that was never deployed has no queues to look at."""
    if is_fake:
        return
    with pytest.raises(NotFound, match="contract-nowhere-high"):
        world.watch.look({"contract-nowhere-high": "contract-nowhere"})
    with pytest.raises(NotFound, match="nowhere"):
        world.letters.take([world.make_pool(), "nowhere"], 10)


def test_rounds_are_remembered(world: World) -> None:
    """The last that was kept."""
    rounds = Rounds({"fleet-data-high": world.clock()}, "2/gx")

    world.health.keep_rounds(Rounds())
    world.health.keep_rounds(rounds)

    assert world.health.rounds() == rounds


def test_an_incident_is_open_until_it_is_healed(world: World) -> None:
    """Open ones by goal; healed ones newest first, at most as many as asked for."""
    now = world.clock() + timedelta(days=365)
    one, two = (
        Incident(world.fresh("g"), "acme", IncidentKind.UNSENT, now, now, now + timedelta(microseconds=1)) for _ in range(2)
    )
    for incident in (one, two):
        world.health.record(incident)
    more = replace(one, repairs=2, sent=7, by_person=True)
    world.health.record(more)
    assert {name: found for name, found in world.health.open_incidents().items() if name in {one.goal_id, two.goal_id}} == {
        one.goal_id: more,
        two.goal_id: two,
    }

    healed = [replace(more, healed=now + timedelta(hours=2)), replace(two, healed=now + timedelta(hours=3))]
    for incident in healed:
        world.health.record(incident)

    assert not {one.goal_id, two.goal_id} & set(world.health.open_incidents())
    assert world.health.healed(2) == healed[::-1]
    assert world.health.healed(1) == healed[1:]


def test_what_became_of_letters_is_kept_by_task(world: World) -> None:
    """The newest word on each; the last seen first."""
    pool, now = world.fresh("pool"), world.clock()
    first = LetterRecord(pool, "g.1", "acme", "{}", Cause.RETURNED, Action.REDRIVE, "why", now, now, 11, 1)
    second = replace(first, key="m2", tenant=None, cause=Cause.UNREADABLE, last_seen=now + timedelta(seconds=1))
    later = replace(first, action=Action.FAIL, last_seen=now + timedelta(seconds=2))
    for record in (first, second, later):
        world.health.file_letter(record)

    assert world.health.letter(pool, "g.1") == later
    assert world.health.letter(pool, "g.2") is None
    assert world.health.letters(pool, 10) == [later, second]
    assert world.health.letters(pool, 1) == [later]

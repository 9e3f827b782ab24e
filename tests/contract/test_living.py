"""The contract of finding goals under way, which costs what it gives, and what the index behind it costs."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.adapters.stream import read_change
from agentfleet.adapters.work_table import living_keys
from agentfleet.domain.goal import Goal, GoalState, Parent, Undoing, Width
from tests.contract.making import goal
from tests.contract.world import AwsWorld, World

UNDOING = Undoing(GoalState.FAILED)


def found(world: World) -> set[str]:
    """All that the healer looks at."""
    names: set[str] = set()
    cursor = None
    while True:
        page = world.goals.living(100, cursor)
        names.update(page.items)
        if (cursor := page.cursor) is None:
            return names


def test_goals_under_way_come_with_their_width(world: World) -> None:
    """As many tasks as each was accepted with, through its whole life."""
    tenant = world.fresh("tenant")
    mine = goal(world.fresh("g"), tenant, tasks=100_000)
    world.goals.create(mine)
    assert world.goals.alive(tenant, 10) == [Width(mine.id, 100_000)]

    running = mine.move(GoalState.RUNNING)
    world.goals.replace(mine, running)
    world.goals.replace(running, replace(running, paused=world.clock()))

    assert world.goals.alive(tenant, 10) == [Width(mine.id, 100_000)]


def test_tenants_whose_names_begin_alike_have_goals_of_their_own(world: World) -> None:
    """Whatever of the characters that a tenant's name may have comes next."""
    tenant = world.fresh("tenant")
    for number, name in enumerate((tenant, f"{tenant}0", f"{tenant}-a", f"{tenant}.a", f"{tenant}_a")):
        world.goals.create(goal(world.fresh("g"), name, tasks=number + 1))

    assert [one.tasks for one in world.goals.alive(tenant, 10)] == [1]


def test_a_goal_that_takes_back_what_it_did_is_under_way_no_more(world: World) -> None:
    """Its tasks run no more, but the healer looks after it until it has ended."""
    tenant = world.fresh("tenant")
    running = goal(world.fresh("g"), tenant, state=GoalState.RUNNING)
    undoing = running.move(GoalState.COMPENSATING, undoing=UNDOING)
    parked = undoing.move(GoalState.COMPENSATION_FAILED)
    world.goals.create(running)

    for before, after in ((running, undoing), (undoing, parked)):
        assert world.goals.replace(before, after)
        assert (list(world.goals.alive(tenant, 10)), running.id in found(world)) == ([], True)
    world.goals.replace(parked, parked.move(GoalState.FAILED, finished=world.clock()))

    assert running.id not in found(world)


def test_a_goal_behind_many_that_have_ended_is_found_by_one_small_query(world: World) -> None:
    """However many of its tenant are newer: they are not looked at."""
    tenant = world.fresh("tenant")
    wide = goal(world.fresh("g"), tenant, state=GoalState.RUNNING, tasks=500)
    world.goals.create(wide)
    for n in range(40):
        moment = world.clock() + timedelta(seconds=n + 1)
        world.goals.create(
            goal(world.fresh("g"), tenant, moment, state=GoalState.SUCCEEDED, finished=moment, output="x" * 3000)
        )
    looked: list[dict[str, Any]] = []
    if isinstance(world, AwsWorld):
        world.clients.dynamodb.meta.events.register(
            "after-call.dynamodb.Query", lambda parsed, **_: looked.append(parsed), unique_id="looked"
        )

    try:
        assert list(world.goals.alive(tenant, 1)) == [Width(wide.id, 500)]
    finally:
        if isinstance(world, AwsWorld):
            world.clients.dynamodb.meta.events.unregister("after-call.dynamodb.Query", unique_id="looked")
    assert [answer["ScannedCount"] for answer in looked] in ([], [1])


LISTED = goal("g1", state=GoalState.PLANNING)
PART = goal("g2", state=GoalState.PLANNING, parent=Parent("g1", 0, 0, ("g1",)))


@pytest.mark.parametrize("one", [LISTED, PART], ids=["listed", "sub-plan"])
def test_a_goals_life_costs_the_index_two_writes(one: Goal) -> None:
    """When it appears and when it goes; starting, pausing and resuming it change none of its keys."""
    running = one.move(GoalState.RUNNING)
    paused = replace(running, paused=one.created)
    ended = paused.move(GoalState.SUCCEEDED, finished=one.created)

    own = 1 if one.parent else 2
    assert [writes(*step) - own for step in ((None, one), (one, running), (running, paused), (paused, ended))] == [1, 0, 0, 1]


def test_a_goal_that_takes_back_what_it_did_moves_in_the_index() -> None:
    """Which is a write where it was and one where it comes, for a goal that a tenant's window counts."""
    running = LISTED.move(GoalState.RUNNING)
    undoing = running.move(GoalState.COMPENSATING, undoing=UNDOING)
    parked = undoing.move(GoalState.COMPENSATION_FAILED)

    assert [writes(*step) - 2 for step in ((running, undoing), (undoing, parked))] == [2, 0]


def writes(before: Goal | None, after: Goal) -> int:
    """Write units of a change of a small goal, its indexes included, as the history counts them."""
    images = {
        name: {"pk": {"S": one.id}, "sk": {"S": "GOAL"}, "state": {"S": one.state.value}, **index_keys(one)}
        for name, one in (("OldImage", before), ("NewImage", after))
        if one
    }
    stream = {"Keys": {"pk": {"S": after.id}, "sk": {"S": "GOAL"}}, "SequenceNumber": "1", "ApproximateCreationDateTime": 1}
    change = read_change({"dynamodb": stream | images})
    assert change is not None
    assert change.after is not None
    return int(change.after["writes"])


def index_keys(one: Goal) -> dict[str, Any]:
    """What of a goal is a key of an index."""
    found = dict(zip(("living", "living_order"), living_keys(one), strict=True))
    return {name: {"S": value} for name, value in (found | {"listed": None if one.parent else "x"}).items() if value}

"""The contract of GoalStore."""

from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.goal import Failure, GoalState, Parent, Undoing
from tests.contract.making import AWKWARD, at_once, goal
from tests.contract.world import World


def test_a_goal_comes_back_as_it_was_stored(world: World) -> None:
    """Every field survives, with unicode, microseconds and null outputs."""
    stored = goal(
        world.fresh("g"),
        name="Grüße 🚀",
        labels={"ключ": "значение", "empty": ""},
        priority="low",
        on_failure="skip",
        parent=Parent("gparent", 7, 3, ("gtop", "gparent")),
        state=GoalState.FAILED,
        deadline=world.clock() + timedelta(hours=1),
        paused=world.clock() + timedelta(milliseconds=1),
        resumed=world.clock() + timedelta(milliseconds=2),
        finished=world.clock() + timedelta(microseconds=123_457),
        counts={"SUCCEEDED": 2, "FAILED": 1},
        failure=Failure("PermanentError", "it's «broken»", "load"),
        output=AWKWARD,
        asked="0123456789ab",
        words="«Fetch» the page, then\nsay what it says 🚀",
        undoing=Undoing(GoalState.FAILED, 3, done=True, failure=Failure("PermanentError", "closed", "hotel")),
    )

    assert world.goals.create(stored)

    assert world.goals.get([stored.id]) == {stored.id: stored}


def test_a_goal_without_extras_comes_back_as_it_was_stored(world: World) -> None:
    """Empty labels, no parent, no end: nothing is made up for what is not there."""
    stored = goal(world.fresh("g"))

    world.goals.create(stored)

    assert world.goals.get([stored.id])[stored.id] == stored


def test_the_first_goal_with_an_id_stands(world: World) -> None:
    """Creating a goal whose id is taken says so and changes nothing."""
    first = goal(world.fresh("g"), name="first")

    assert world.goals.create(first)
    assert not world.goals.create(replace(first, name="second"))

    assert world.goals.get([first.id])[first.id].name == "first"


def test_one_of_many_concurrent_creators_wins(world: World) -> None:
    """Of ten threads that create the same goal at once, exactly one is told that it did."""
    goal_id = world.fresh("g")

    wins = at_once([partial(world.goals.create, goal(goal_id, name=f"by {n}")) for n in range(10)])

    assert sum(wins) == 1


def test_one_of_many_concurrent_finishers_wins(world: World) -> None:
    """Of ten threads that move a goal on from the same state, exactly one is told that it did, and its version stands."""
    running = goal(world.fresh("g"), state=GoalState.RUNNING)
    world.goals.create(running)
    ends = [running.move(GoalState.SUCCEEDED, output=n) for n in range(10)]

    wins = at_once([partial(world.goals.replace, running, end) for end in ends])

    assert sum(wins) == 1
    assert world.goals.get([running.id])[running.id].output == wins.index(True)


def test_a_goal_is_only_replaced_in_the_state_it_was_read_in(world: World) -> None:
    """A late writer is refused; so is one whose goal never was stored."""
    planning = goal(world.fresh("g"))
    running = planning.move(GoalState.RUNNING)
    world.goals.create(planning)

    assert world.goals.replace(planning, running)
    assert not world.goals.replace(planning, planning.move(GoalState.CANCELLED))
    assert not world.goals.replace(goal("gnever"), goal("gnever"))

    assert world.goals.get([planning.id, "gnever"]) == {planning.id: running}


@pytest.mark.parametrize("size", [4094, 4095, 100_000])
def test_outputs_of_any_size_are_read_back(world: World, size: int) -> None:
    """An output at the limit, just over it (JSON adds two quotes) and far over it comes back the same."""
    running = goal(world.fresh("g"), state=GoalState.RUNNING)
    world.goals.create(running)
    ended = running.move(GoalState.SUCCEEDED, output="x" * size, finished=world.clock())

    world.goals.replace(running, ended)

    assert world.goals.get([running.id])[running.id] == ended


def test_asking_for_nothing_or_for_the_same_twice_is_fine(world: World) -> None:
    """No ids give no goals; a repeated id gives its goal once."""
    stored = goal(world.fresh("g"))
    world.goals.create(stored)

    assert world.goals.get([]) == {}
    assert world.goals.get([stored.id, "gabsent", stored.id]) == {stored.id: stored}


def test_a_hundred_goals_are_read_at_once(world: World) -> None:
    """As many as one call may ask for."""
    goals = [goal(world.fresh("g")) for _ in range(100)]
    for one in goals:
        world.goals.create(one)

    assert len(world.goals.get([one.id for one in goals])) == 100


def test_listing_pages_through_a_tenants_goals_newest_first(world: World) -> None:
    """Pages join without gap or overlap; the last one has no cursor, also when it is exactly full."""
    tenant = world.fresh("tenant")
    goals = [goal(world.fresh("g"), tenant, world.clock() + timedelta(seconds=n)) for n in range(6)]
    for one in goals:
        world.goals.create(one)
    world.goals.create(goal(world.fresh("g"), "somebody else"))

    first = world.goals.list(tenant, None, 2, None)
    second = world.goals.list(tenant, None, 2, first.cursor)
    third = world.goals.list(tenant, None, 2, second.cursor)

    listed = [one.id for page in (first, second, third) for one in page.items]
    assert listed == [one.id for one in reversed(goals)]
    assert third.cursor is None


def test_goals_of_the_same_moment_are_all_listed(world: World) -> None:
    """Equal creation times don't make pages lose a goal."""
    tenant = world.fresh("tenant")
    ids = sorted(world.fresh("g") for _ in range(5))
    for one in ids:
        world.goals.create(goal(one, tenant))

    first = world.goals.list(tenant, None, 3, None)
    second = world.goals.list(tenant, None, 3, first.cursor)

    assert [one.id for one in (*first.items, *second.items)] == ids[::-1]


def test_a_listing_may_be_of_one_state(world: World) -> None:
    """Only goals in the asked-for state, through all pages."""
    tenant = world.fresh("tenant")
    for n in range(9):
        state = GoalState.RUNNING if n % 3 else GoalState.FAILED
        world.goals.create(goal(f"{tenant}g{n}", tenant, world.clock() + timedelta(seconds=n), state=state))

    first = world.goals.list(tenant, GoalState.FAILED, 2, None)
    second = world.goals.list(tenant, GoalState.FAILED, 2, first.cursor)

    assert [one.id for one in (*first.items, *second.items)] == [f"{tenant}g{n}" for n in (6, 3, 0)]
    assert second.cursor is None


def test_goals_that_are_alive_are_listed_newest_first(world: World) -> None:
    """Those that are planned or running, and nobody else's; no more than were asked for."""
    tenant = world.fresh("tenant")
    for n, state in enumerate(GoalState):
        for age in (0, 60):
            moment = world.clock() - timedelta(seconds=age + n)
            world.goals.create(goal(f"{tenant}{state}{age}", tenant, moment, state=state))
    world.goals.create(goal(world.fresh("g"), "somebody else", state=GoalState.RUNNING))
    world.goals.create(goal(world.fresh("g"), tenant, state=GoalState.RUNNING, parent=Parent("g", 0, 0, ("g",))))

    found = [one.goal_id.removeprefix(tenant) for one in world.goals.alive(tenant, 10)]

    assert found == ["PLANNING0", "RUNNING0", "PLANNING60", "RUNNING60"]
    assert [one.goal_id for one in world.goals.alive(tenant, 3)] == [tenant + name for name in found[:3]]
    assert list(world.goals.alive(world.fresh("tenant"), 10)) == []


def test_sub_plans_and_outputs_are_left_out_of_listings(world: World) -> None:
    """A listing shows what users submitted, without what came out."""
    tenant = world.fresh("tenant")
    mine = goal(world.fresh("g"), tenant, state=GoalState.SUCCEEDED, output={"rows": [1]})
    world.goals.create(mine)
    world.goals.create(goal(world.fresh("g"), tenant, parent=Parent(mine.id, 0, 0, (mine.id,))))

    assert world.goals.list(tenant, None, 10, None).items == (replace(mine, output=None),)


def test_a_tenant_without_goals_has_an_empty_list(world: World) -> None:
    """No goals, no cursor."""
    page = world.goals.list(world.fresh("tenant"), None, 10, None)

    assert (page.items, page.cursor) == ((), None)


@pytest.mark.parametrize("cursor", ["", "nonsense", "%%%", "e30", "MjAyNi0wMS0wMlQwMw", "ключ"])
def test_a_cursor_that_no_listing_gave_is_refused(world: World, cursor: str) -> None:
    """The error names the field."""
    with pytest.raises(InvalidRequest) as refused:
        world.goals.list("acme", None, 10, cursor)

    assert [problem.field for problem in refused.value.problems] == ["cursor"]


def test_anothers_cursor_shows_only_ones_own_goals(world: World) -> None:
    """A cursor is a place in time, not a key to somebody's data."""
    theirs, mine = world.fresh("tenant"), world.fresh("tenant")
    for n in range(3):
        world.goals.create(goal(world.fresh("g"), theirs, world.clock() + timedelta(seconds=n)))
    own = goal(world.fresh("g"), mine, world.clock() - timedelta(seconds=1))
    world.goals.create(own)

    cursor = world.goals.list(theirs, None, 1, None).cursor

    assert world.goals.list(mine, None, 10, cursor).items == (own,)


def test_goals_expire_a_month_after_their_end(world: World) -> None:
    """The TTL attribute counts from the latest end there may be, and from the end once there is one."""
    running = goal(world.fresh("g"), state=GoalState.RUNNING)
    world.goals.create(running)
    created = world.expiry(running.id, "GOAL")
    world.goals.replace(running, running.move(GoalState.FAILED, finished=world.clock() + timedelta(days=2)))

    assert created in {None, days_from(world, 30 + 30)}
    assert world.expiry(running.id, "GOAL") in {None, days_from(world, 2 + 30)}


def test_a_goal_with_a_deadline_expires_a_month_after_it(world: World) -> None:
    """While it has not ended; what can't end any more because the fleet is gone goes too."""
    running = goal(world.fresh("g"), state=GoalState.RUNNING, deadline=world.clock() + timedelta(days=1))
    world.goals.create(running)

    assert world.expiry(running.id, "GOAL") in {None, days_from(world, 1 + 30)}


def test_a_sub_plans_goal_is_kept_as_long_as_the_goals_above_it_may_be(world: World) -> None:
    """However early it ended: they may still be undone, and shown with all that is below them."""
    child = goal(world.fresh("g"), state=GoalState.RUNNING, parent=Parent("g", 0, 0, ("g",)))
    world.goals.create(child)
    world.goals.replace(child, child.move(GoalState.SUCCEEDED, finished=world.clock()))

    assert world.expiry(child.id, "GOAL") in {None, days_from(world, 30 + 30)}


def days_from(world: World, days: int) -> int:
    """Epoch seconds, so many days after the world's time."""
    return int((world.clock() + timedelta(days=days)).timestamp())

"""A tenant's window: how it is divided, and that it holds."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentfleet.agent import Agent, SubPlan
from agentfleet.domain.goal import Goal, GoalState, Width
from agentfleet.services.admission import INDEX_DELAY, Admission
from tests.fakes.fleet import InProcessFleet, catalog_of

WINDOW = 64
work = Agent("work")


@work.capability("work.do", idempotent=True)
async def do(input: dict[str, Any]) -> None:
    """Nothing."""


@work.capability("work.spread", idempotent=True)
async def spread(input: dict[str, Any]) -> SubPlan:
    """Delegates to a wide plan."""
    return SubPlan(tasks(input["width"]))


def tasks(count: int, **rest: Any) -> list[dict[str, Any]]:
    """Independent tasks."""
    return [{"id": f"t{number}", "capability": "work.do", **rest} for number in range(count)]


def fleet_of(window: int = WINDOW) -> InProcessFleet:
    """A fleet with a small window."""
    return InProcessFleet(work, catalog=replace(catalog_of(work), tenant_window=window))


def under_way(fleet: InProcessFleet, tenant: str, priority: str = "normal") -> int:
    """Messages of a tenant in a queue, received or not."""
    return sum(f'"{tenant}"' in body for body in fleet.queues.bodies(f"fleet-work-{priority}"))


def test_each_goal_gets_half_of_what_the_others_leave() -> None:
    """A half, a quarter, an eighth … but never less than one in thirty-two; other tenants have windows of their own."""
    fleet = fleet_of()
    held = []
    for _ in range(7):
        before = under_way(fleet, "acme")
        fleet.submit({"plan": {"tasks": tasks(100)}})
        held.append(under_way(fleet, "acme") - before)
    fleet.submit({"plan": {"tasks": tasks(100)}}, tenant="other")

    assert held == [32, 16, 8, 4, 2, 2, 2]
    assert under_way(fleet, "other") == 32


def test_a_narrow_goal_is_not_held_back_and_asks_nothing() -> None:
    """As many tasks as the least part of a window has places cost no look at other goals."""
    fleet = fleet_of()
    fleet.submit({"plan": {"tasks": tasks(100)}})
    fleet.faults.arm(None)

    fleet.submit({"plan": {"tasks": tasks(2)}})

    assert "goals.alive" not in fleet.faults.calls
    assert under_way(fleet, "acme") == 34
    assert Admission(fleet.goals, WINDOW, fleet.clock).window_for("acme", "g", 2) is None


def test_many_narrow_goals_are_held_back_like_a_wide_one() -> None:
    """What they have together is what counts: a thousand goals of one task more than a look costs take no more than a window
    and a little for each."""
    fleet = fleet_of(640)
    for _ in range(200):
        fleet.submit({"plan": {"tasks": tasks(20)}})
        fleet.clock.advance(0.01)

    # Without a window it would be 4,000. Each goal has its tasks until the window is used up, and then less and less.
    assert under_way(fleet, "acme") <= 640 + 640
    fleet.submit({"plan": {"tasks": tasks(20)}}, tenant="other")
    assert under_way(fleet, "other") == 20


@pytest.mark.parametrize("count", [250, 1000])
def test_beyond_counting_each_goal_has_one_place(count: int) -> None:
    """So many goals can't be told one by one any more."""
    fleet = fleet_of(640)
    for number in range(count):
        fleet.goals.create(Goal(f"g{number:04}", "acme", "n", GoalState.RUNNING, fleet.clock(), 20, 1, "normal", "fail"))

    assert fleet.platform.accepter._admission.window_for("acme", "new", 300) == 1


def test_goals_that_are_still_being_planned_count() -> None:
    """Their tasks are as good as on their way; goals that have ended don't count."""
    fleet = fleet_of()
    for number, state in enumerate(GoalState):
        goal = Goal(f"g{number}", "acme", "n", state, fleet.clock(), 100, 1, "normal", "fail")
        fleet.goals.create(goal)

    assert Admission(fleet.goals, WINDOW, fleet.clock).window_for("acme", "new", 100) == WINDOW // 8


def test_what_was_just_accepted_counts_before_the_index_shows_it() -> None:
    """Goals come faster than an index follows; a goal that it shows by then counts once."""
    fleet = fleet_of()
    admission = Admission(fleet.goals, WINDOW, fleet.clock)

    assert [admission.window_for("acme", f"g{number}", 100) for number in range(3)] == [32, 16, 8]
    for number in range(3):
        fleet.goals.create(Goal(f"g{number}", "acme", "n", GoalState.RUNNING, fleet.clock(), 100, 1, "normal", "fail"))
    assert admission.window_for("acme", "g3", 100) == 4
    fleet.clock.advance(INDEX_DELAY.total_seconds())
    assert admission.window_for("acme", "g4", 100) == 4  # g3 was never stored


def test_narrow_goals_cost_few_looks() -> None:
    """One for as many tasks as the least part of a window has, and one in two seconds once much is under way."""
    fleet = fleet_of(640)
    admission = Admission(fleet.goals, 640, fleet.clock)
    looks = 0
    alive = fleet.goals.alive

    def counted(tenant: str, limit: int) -> Sequence[Width]:
        nonlocal looks
        looks += 1
        return alive(tenant, limit)

    fleet.goals.alive = counted  # type: ignore[method-assign]
    for number in range(80):
        fleet.clock.advance(10)
        assert admission.window_for("acme", f"g{number}", 1) is None
    assert looks == 3

    for number in range(1000):
        admission.window_for("flood", f"g{number}", 20)
        fleet.clock.advance(0.01)
    assert looks <= 3 + 6


def test_a_part_becomes_free_with_its_goal() -> None:
    """What is over takes up nothing."""
    fleet = fleet_of()
    first = fleet.submit({"plan": {"tasks": tasks(100)}})
    fleet.settle()
    assert fleet.goal(first.id).counts == {"SUCCEEDED": 100}
    fleet.clock.advance(1)

    fleet.submit({"plan": {"tasks": tasks(100)}})

    assert under_way(fleet, "acme") == 32


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(3, 90), min_size=1, max_size=5),
    st.sampled_from([32, 64]),
    st.integers(1, 10),
)
def test_a_tenants_goals_together_stay_within_its_window(widths: list[int], window: int, batch: int) -> None:
    """At every moment until all are done, sub-plans included, and nothing is left behind."""
    fleet = fleet_of(window)
    fleet.batch = batch
    goals = [fleet.submit({"plan": {"tasks": tasks(width)}}) for width in widths]
    while fleet.queues.busy():
        assert under_way(fleet, "acme") <= window
        for queue in fleet.queues.busy():
            fleet.invoke(queue)
        fleet.clock.advance(0.05)
    assert [fleet.goal(goal.id).counts for goal in goals] == [{"SUCCEEDED": width} for width in widths]


def test_the_window_is_each_prioritys_own() -> None:
    """What waits at low priority takes no place from what is urgent."""
    fleet = fleet_of()
    low, high = tasks(100, priority="low"), [{**one, "id": f"h{one['id']}", "priority": "high"} for one in tasks(100)]

    fleet.submit({"plan": {"tasks": [*low, *high]}})

    assert (under_way(fleet, "acme", "low"), under_way(fleet, "acme", "high")) == (32, 32)


def test_a_sub_plan_is_held_back_as_well() -> None:
    """An eighth of the window, beside the part of the goal it belongs to."""
    fleet = fleet_of()
    goal = fleet.submit({"plan": {"tasks": [{"id": "a", "capability": "work.spread", "input": {"width": 100}}]}})
    fleet.invoke("fleet-work-normal")

    assert under_way(fleet, "acme") == 8
    fleet.settle()
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


@pytest.mark.parametrize("lost", [0, 20, 31])
def test_the_healer_sends_what_was_lost_and_not_what_is_held_back(lost: int) -> None:
    """Held back is what the plan says waits: it is in no frontier."""
    fleet = fleet_of()
    fleet.queues.lose = {lost}
    goal = fleet.submit({"plan": {"tasks": tasks(100)}})
    fleet.settle()
    assert fleet.goal(goal.id).state is GoalState.RUNNING

    fleet.clock.advance(3600)
    fleet.heal()  # sees the queues empty
    fleet.clock.advance(3600)
    report = fleet.heal()
    fleet.settle()

    assert fleet.goal(goal.id).counts == {"SUCCEEDED": 100}
    assert report.sent in {0, 1}

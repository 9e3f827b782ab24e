"""Priorities under load: each has queues of its own, so that nothing urgent stands behind what can wait."""

from typing import Any

from agentfleet.agent import Agent
from agentfleet.domain.goal import GoalState
from tests.fakes.fleet import InProcessFleet

work = Agent("work")


@work.capability("work.do", idempotent=True)
async def do(input: dict[str, Any]) -> None:
    """Nothing."""


def goal(count: int, priority: str) -> dict[str, Any]:
    """A chain of stages, each as wide as the next."""
    stages = [
        {"id": f"s{stage}.{n}", "capability": "work.do", "depends_on": [f"s{stage - 1}.{n}"] if stage else []}
        for stage in range(3)
        for n in range(count)
    ]
    return {"plan": {"tasks": stages}, "priority": priority}


def test_a_high_goal_ends_before_a_backlog_of_low_ones() -> None:
    """It comes last and ends first, with hundreds of low and normal tasks still waiting."""
    fleet = InProcessFleet(work)
    low = [fleet.submit(goal(20, "low")).id for _ in range(15)]
    normal = fleet.submit(goal(100, "normal")).id
    high = fleet.submit(goal(10, "high")).id

    while not fleet.goal(high).state.is_final:
        for queue in fleet.queues.busy():
            fleet.invoke(queue)  # one agent for each queue: a batch of each at a time
        fleet.clock.advance(0.05)

    assert fleet.goal(high).state is GoalState.SUCCEEDED
    assert not fleet.goal(normal).state.is_final
    assert sum(not fleet.goal(one).state.is_final for one in low) == 15
    assert sum(fleet.queues.depth("fleet-work-low")) > 200
    fleet.settle()
    assert {fleet.goal(one).state for one in (*low, normal)} == {GoalState.SUCCEEDED}


def test_where_environments_are_few_high_waits_for_one_that_low_holds() -> None:
    """A pool of size 1 has one environment for its three queues: what is urgent waits while that is at something else, and
    takes turns with the rest. It never waits for their backlogs."""
    fleet = InProcessFleet(work)
    low = [fleet.submit(goal(20, "low")).id for _ in range(15)]
    fleet.submit(goal(100, "normal"))
    fleet.invoke("fleet-work-low")
    high = fleet.submit(goal(10, "high")).id

    waited = 0
    while not fleet.goal(high).state.is_final:
        for queue in reversed(fleet.queues.busy()):  # one environment: an invocation of each poller in turn, high's as the last
            waited += "high" not in queue
            fleet.invoke(queue)
        fleet.clock.advance(0.05)

    # Three stages of ten tasks, a batch each: before each of them one of normal and one of low.
    assert waited == 6
    assert not any(fleet.goal(one).state.is_final for one in low)


def test_a_tasks_own_priority_wins_over_its_goals() -> None:
    """An urgent task of a low goal is in the high queue, and the rest is not."""
    fleet = InProcessFleet(work)
    tasks = [{"id": f"t{n}", "capability": "work.do", "priority": "high" if n == 3 else None} for n in range(5)]

    fleet.submit({"plan": {"tasks": tasks}, "priority": "low"})

    assert [len(fleet.queues.bodies(f"fleet-work-{priority}")) for priority in ("high", "normal", "low")] == [1, 0, 4]

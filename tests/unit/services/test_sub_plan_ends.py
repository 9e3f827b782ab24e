"""Sub-plans end when what they are part of has ended, whoever died on the way."""

from typing import Any

import pytest

from agentfleet.agent import Agent, SubPlan
from agentfleet.domain.goal import GoalState
from tests.fakes.fleet import InProcessFleet, Killed

QUEUE = "fleet-work-normal"
pool = Agent("work")


@pool.capability("work.echo", idempotent=True)
async def echo(input: dict[str, Any]) -> Any:
    """What was given."""
    return input.get("value")


@pool.capability("work.nest", idempotent=True)
async def nest(input: dict[str, Any]) -> SubPlan:
    """Delegates to one task, so many goals deep."""
    inner = {"capability": "work.nest", "input": {"depth": input["depth"] - 1}}
    leaf = {"capability": "work.echo", "input": {"value": "leaf"}}
    return SubPlan([{"id": "inner", **(inner if input["depth"] else leaf)}])


def started(depth: int) -> tuple[InProcessFleet, str]:
    """A fleet with a goal whose one task delegates and has no retries, not yet received."""
    fleet = InProcessFleet(pool)
    task = {"id": "outer", "capability": "work.nest", "input": {"depth": depth}, "retries": 0}
    return fleet, fleet.submit({"plan": {"tasks": [task]}}).id


def invoke_and_die(fleet: InProcessFleet, call: str, calls: list[str]) -> None:
    """One invocation whose environment dies right after its first such call; `calls` are those of a quiet one."""
    fleet.faults.arm(calls.index(call))
    with pytest.raises(Killed):
        fleet.invoke(QUEUE)
    fleet.kill()


def calls_of(fleet: InProcessFleet) -> list[str]:
    """The calls of one invocation where nothing goes wrong."""
    fleet.faults.arm(None)
    fleet.invoke(QUEUE)
    return list(fleet.faults.calls)


def cancel(fleet: InProcessFleet, goal_id: str) -> None:
    """As a user does."""
    fleet.faults.arm(None)
    fleet.platform.finisher.cancel(fleet.goal(goal_id))


def test_a_half_made_sub_plan_ends_with_its_goal() -> None:
    """Its maker died before any message of it was sent, and the goal was cancelled meanwhile."""
    fleet, goal_id = started(depth=0)
    invoke_and_die(fleet, "goals.create", calls_of(started(depth=0)[0]))
    cancel(fleet, goal_id)

    fleet.settle()

    assert {goal.state for goal in fleet.goals.goals.values()} == {GoalState.CANCELLED}
    assert len(fleet.goals.goals) == 2


def orphaned() -> tuple[InProcessFleet, str]:
    """The innermost of three goals has a message left, the outermost has been cancelled."""
    fleet, goal_id = started(depth=1)
    fleet.invoke(QUEUE)
    fleet.invoke(QUEUE)
    cancel(fleet, goal_id)
    fleet.clock.advance(5)
    return fleet, goal_id


def test_a_goal_between_a_cancelled_one_and_its_sub_plan_ends() -> None:
    """Who cancelled the sub-plan died before telling the goal above it; the redelivery tells."""
    fleet, goal_id = orphaned()
    invoke_and_die(fleet, "goals.replace", calls_of(orphaned()[0]))
    fleet.faults.arm(None)

    fleet.settle()

    assert len(fleet.goals.goals) == 3
    assert all(goal.state.is_final for goal in fleet.goals.goals.values())
    assert fleet.goal(goal_id).state is GoalState.CANCELLED


def test_a_queue_that_takes_no_root_costs_a_delegating_task_nothing() -> None:
    """Also on its last attempt: its message comes again and the sub-plan goes on."""
    fleet, goal_id = started(depth=0)
    fleet.queues.fail_sends(QUEUE, 1)

    fleet.settle()

    assert fleet.goal(goal_id).state is GoalState.SUCCEEDED
    assert fleet.goal(goal_id).output == "leaf"

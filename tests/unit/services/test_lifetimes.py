"""How long goals live, and what happens where something that they need has not lived as long."""

from datetime import timedelta
from typing import Any

import pytest

from agentfleet.adapters.work_table import KEPT, LIFETIME
from agentfleet.agent import Agent
from agentfleet.domain.goal import LONGEST_LIFE, Goal, GoalState
from agentfleet.domain.task import MAX_DEADLINE
from tests.fakes.fleet import InProcessFleet

pool = Agent("work")
seen: list[Any] = []


@pool.capability("work.echo", idempotent=True)
async def echo(input: dict[str, Any]) -> Any:
    """What was given; remembered."""
    seen.append(input["value"])
    return input["value"]


@pool.capability("work.undo", idempotent=True)
async def undo(input: dict[str, Any]) -> None:
    """Remembers what it was given."""
    seen.append(input)


def step(name: str, value: Any, **rest: Any) -> dict[str, Any]:
    """A task that echoes."""
    return {"id": name, "capability": "work.echo", "input": {"value": value}, **rest}


PLAN = {"tasks": [step("a", 1), step("b", {"$from": "a"}), step("c", {"$from": "b"})], "output": [{"$from": "a"}]}


@pytest.fixture
def fleet() -> InProcessFleet:
    """A fleet, and nothing remembered."""
    seen.clear()
    return InProcessFleet(pool)


def failure_of(goal: Goal) -> tuple[GoalState, str, str | None]:
    """How a goal failed, and on which task."""
    assert goal.failure is not None
    return goal.state, goal.failure.error, goal.failure.task


def test_what_a_goal_did_first_is_kept_as_long_as_the_goal() -> None:
    """A goal lives for thirty days at most and is kept for as many after; what is written at its beginning for both."""
    assert timedelta(seconds=MAX_DEADLINE) == LONGEST_LIFE
    assert LIFETIME >= LONGEST_LIFE + KEPT


def test_a_goal_without_a_deadline_fails_after_its_longest_life(fleet: InProcessFleet) -> None:
    """Paused as it is, while all that belongs to it is still there, and whoever follows it is told."""
    goal = fleet.submit({"plan": PLAN})
    fleet.invoke("fleet-work-normal")
    fleet.platform.control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()
    fleet.clock.now = goal.created + LONGEST_LIFE - timedelta(seconds=1)
    fleet.heal()
    assert fleet.goal(goal.id).state is GoalState.RUNNING

    fleet.clock.advance(1)
    fleet.heal()

    assert failure_of(fleet.goal(goal.id)) == (GoalState.FAILED, "DeadlineExceeded", None)
    assert [topic for topic, _ in fleet.bus.published] == ["GoalAccepted", "GoalFailed"]


def test_a_goal_lives_longer_than_it_asks_for_in_no_case(fleet: InProcessFleet) -> None:
    """A deadline of its own counts from its beginning and is what everybody sees."""
    goal = fleet.submit({"plan": PLAN, "deadline": 60})

    assert goal.due == goal.deadline == goal.created + timedelta(seconds=60)


def test_a_task_whose_needed_result_is_gone_fails_and_says_so(fleet: InProcessFleet) -> None:
    """It does not run on nulls, whatever attempts it has left."""
    goal = fleet.submit({"plan": PLAN})
    fleet.invoke("fleet-work-normal")
    del fleet.results.results[goal.id, 0]

    fleet.settle()

    assert (failure_of(fleet.goal(goal.id)), seen) == ((GoalState.FAILED, "ResultMissing", "b"), [1])
    assert "the result of a," in str(fleet.goal(goal.id).failure)


def test_a_goal_whose_output_lacks_a_result_fails_and_says_so(fleet: InProcessFleet) -> None:
    """Rather than to succeed with a null in its place; its end is told once."""
    goal = fleet.submit({"plan": PLAN})
    fleet.invoke("fleet-work-normal")
    fleet.invoke("fleet-work-normal")
    del fleet.results.results[goal.id, 0]

    fleet.settle()

    assert (failure_of(fleet.goal(goal.id)), seen) == ((GoalState.FAILED, "ResultMissing", None), [1, 1, 1])
    assert [topic for topic, _ in fleet.bus.published] == ["GoalAccepted", "GoalFailed"]


def test_a_goal_that_takes_back_what_it_did_does_so_then_too(fleet: InProcessFleet) -> None:
    """What an undoing refers to may well have no result: it is made of what there is."""
    undone = {"capability": "work.undo", "input": {"a": {"$from": "a"}, "c": {"$from": "c"}}}
    tasks = [step("a", 1), step("b", 2, depends_on=["a"], compensation=undone), step("c", {"$from": "a"}, depends_on=["b"])]
    goal = fleet.submit({"plan": {"tasks": tasks}, "on_failure": "compensate"})
    fleet.invoke("fleet-work-normal")
    fleet.invoke("fleet-work-normal")
    del fleet.results.results[goal.id, 0]

    fleet.settle()

    assert failure_of(fleet.goal(goal.id)) == (GoalState.FAILED, "ResultMissing", "c")
    assert seen == [1, 2, {"a": None, "c": None}]

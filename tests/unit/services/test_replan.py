"""Tasks that fail for good and are done in another way: the planner is asked, its answer takes the task's place."""

from contextlib import suppress
from typing import Any

import pytest

from agentfleet.agent import Agent
from agentfleet.domain.errors import InvalidRequest, PermanentError
from agentfleet.domain.goal import Goal, GoalState
from functions.plan import handler as plan
from tests.fakes.fleet import InProcessFleet, Killed

work = Agent("work")


@work.capability("work.echo", idempotent=True, chunk=10)
async def echo(input: dict[str, Any]) -> Any:
    """What was given."""
    return input


@work.capability("work.broken", idempotent=True, chunk=10)
async def broken(input: dict[str, Any]) -> None:
    """Never works."""
    raise PermanentError(f"can't do {input.get('value')}")


def broken_task(*alternatives: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A task that fails and may be done otherwise."""
    return {
        "id": "x",
        "capability": "work.broken",
        "input": {"value": {"$from": "a", "path": "value"}},
        "alternatives": list(alternatives),
        "on_failure": "replan",
        **more,
    }


A = {"id": "a", "capability": "work.echo", "input": {"value": 7}}
END = {"id": "end", "capability": "work.echo", "input": {"got": {"$from": "x"}}}
ECHO = {"capability": "work.echo", "input": {"how": "otherwise"}}
BROKEN = {"capability": "work.broken", "input": {}}


def ended(*tasks: dict[str, Any], **request: Any) -> Goal:
    """The goal of these tasks when all is done, on a fleet with and one without a planner's rules."""
    fleet = InProcessFleet(work, plan.agent)
    goal = fleet.submit({"plan": {"tasks": list(tasks)}, **request})
    fleet.settle()
    return fleet.goal(goal.id)


def test_an_alternative_takes_the_place_of_what_failed() -> None:
    """It gets the same input, resolved, with what it says on top; what depends on the task goes on with its output."""
    goal = ended(A, broken_task(ECHO), END)

    assert goal.state is GoalState.SUCCEEDED
    assert goal.output == {"got": {"value": 7, "how": "otherwise"}}


def test_alternatives_are_tried_in_their_order() -> None:
    """The second when the first fails too."""
    goal = ended(A, broken_task(BROKEN, ECHO), END)

    assert goal.output == {"got": {"value": 7, "how": "otherwise"}}


def test_when_nothing_helps_the_goal_fails_and_says_what_was_wrong() -> None:
    """The planner's failure names the task's own."""
    goal = ended(A, broken_task(), END)

    assert goal.state is GoalState.FAILED
    assert goal.failure is not None
    assert "no other way is known to do work.broken, which failed: PermanentError: can't do 7" in goal.failure.message


def test_replanning_ends() -> None:
    """Each round nests two goals, and goals nest five deep: after two rounds the last failure stands."""
    goal = ended(A, broken_task(BROKEN, BROKEN, BROKEN, BROKEN, ECHO), END)

    assert goal.state is GoalState.FAILED
    assert goal.failure is not None
    assert "can't do 7" in goal.failure.message


def test_a_goals_policy_holds_for_its_tasks() -> None:
    """Those that say nothing themselves; a task that says otherwise is not replanned."""
    lazy = broken_task(ECHO)
    del lazy["on_failure"]

    assert ended(A, lazy, END, on_failure="replan").state is GoalState.SUCCEEDED
    assert ended(A, {**lazy, "on_failure": "fail"}, END, on_failure="replan").state is GoalState.FAILED


def test_without_a_planner_a_failure_is_a_failure() -> None:
    """A fleet where no pool offers plan.repair."""
    fleet = InProcessFleet(work)
    goal = fleet.submit({"plan": {"tasks": [A, broken_task(ECHO)]}})
    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.FAILED
    assert fleet.goal(goal.id).failure is not None


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("call", range(40))
def test_a_death_at_any_call_changes_nothing(call: int, before: bool) -> None:
    """Agents die at each of their calls in turn: the outcome is the same."""
    fleet = InProcessFleet(work, plan.agent)
    goal = fleet.submit({"plan": {"tasks": [A, broken_task(ECHO), END]}})
    fleet.faults.arm(call, before=before)
    with suppress(Killed):
        fleet.settle()
    fleet.kill()
    fleet.settle()

    assert fleet.goal(goal.id).output == {"got": {"value": 7, "how": "otherwise"}}


def test_an_unknown_alternative_is_refused() -> None:
    """When the goal is submitted, by its place."""
    with pytest.raises(InvalidRequest, match=r"alternatives\[0\].capability: no pool can do 'no.such'"):
        ended(A, broken_task({"capability": "no.such"}))


def test_a_pools_rules_know_other_ways() -> None:
    """By capability and error; what has failed, and what the task names itself, is not offered again."""
    rules: list[dict[str, Any]] = [
        {"capability": "work.*", "error": "Permanent*", "use": [{"capability": "work.broken"}, ECHO]},
        {"capability": "work.*", "error": "Timeout*", "use": [{"capability": "work.late"}]},
        {"capability": "data.*", "use": [{"capability": "data.other"}]},
    ]
    failed = plan.FailedTask(
        task="x", capability="work.broken", input={"value": 1}, error="PermanentError", message="no", attempts=1
    )

    assert [way.capability for way in plan._ruled(failed, rules)] == ["work.echo"]

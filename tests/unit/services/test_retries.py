"""Retries are for attempts that failed, and for nothing else that brings a message back."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from agentfleet.agent import Agent, TaskContext
from agentfleet.domain.dead_letters import MAX_RECEIVES
from agentfleet.domain.errors import RetryableError
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.messages import TaskMessage
from tests.fakes.fleet import InProcessFleet
from tests.fakes.queues import FakeQueues

QUEUE = "fleet-work-normal"

pool = Agent("work")
failures: list[int] = []


@pool.capability("work.flaky", idempotent=True)
async def flaky(input: dict[str, Any], context: TaskContext) -> int:
    """Fails so many times; gives its attempt."""
    if len(failures) < input["fails"]:
        failures.append(context.attempt)
        raise RetryableError("not yet", delay=5.0)
    return context.attempt


@pytest.fixture
def fleet() -> InProcessFleet:
    """A fleet with one pool, whose queues give up a message as the deployed ones do."""
    failures.clear()
    found = InProcessFleet(pool)
    found.queues.max_receives = MAX_RECEIVES
    return found


def submit(fleet: InProcessFleet, fails: int, retries: int, tasks: int = 1) -> Goal:
    """A goal of tasks that fail so many times, all together."""
    task = {"capability": "work.flaky", "input": {"fails": fails}, "retries": retries}
    return fleet.submit({"plan": {"tasks": [{"id": f"t{number}", **task} for number in range(tasks)]}})


def receive_in_vain(queues: FakeQueues, times: int) -> None:
    """What Lambda does with messages when it throttles the function, or when the function dies: each counts as a receive."""
    for _ in range(times):
        assert queues.take(QUEUE)
        queues.expire_visibility(QUEUE)


def test_receives_that_nobody_answered_for_use_up_no_retry(fleet: InProcessFleet) -> None:
    """A task whose pool was throttled, or killed, more often than it may be tried again still has all its tries."""
    goal = submit(fleet, fails=2, retries=2)
    receive_in_vain(fleet.queues, MAX_RECEIVES - 1)

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert failures == [MAX_RECEIVES, MAX_RECEIVES + 1]
    assert fleet.result_of(goal.id, 0).attempt == MAX_RECEIVES + 2


def test_neither_do_they_between_two_attempts(fleet: InProcessFleet) -> None:
    """And a retry begins with all the receives that a queue grants."""
    goal = submit(fleet, fails=1, retries=1)
    receive_in_vain(fleet.queues, MAX_RECEIVES - 1)
    fleet.invoke(QUEUE)
    fleet.clock.advance(10)
    receive_in_vain(fleet.queues, MAX_RECEIVES - 1)

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


def test_so_many_failures_are_borne_and_no_more(fleet: InProcessFleet) -> None:
    """The result tells of the last of them."""
    goal = submit(fleet, fails=9, retries=2)
    receive_in_vain(fleet.queues, 3)

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.FAILED
    assert len(failures) == 3


def test_a_failed_attempt_goes_round_as_a_message_that_says_so(fleet: InProcessFleet) -> None:
    """Kept back for its delay, in place of the one that was received."""
    submit(fleet, fails=1, retries=1)

    fleet.invoke(QUEUE)

    [body] = fleet.queues.bodies(QUEUE)
    assert {name: json.loads(body).get(name, 0) for name in ("spent", "failed", "postponed")} == {
        "spent": 1,
        "failed": 1,
        "postponed": 0,
    }
    assert fleet.queues.next_visible() == fleet.clock() + timedelta(seconds=5)


def test_what_fails_together_is_sent_again_in_one_request(fleet: InProcessFleet) -> None:
    """Ten messages a request, as when they were first sent."""
    goal = submit(fleet, fails=10, retries=1, tasks=10)
    requests: list[int] = []
    send = fleet.queues.send_tasks

    def counted(messages: Sequence[TaskMessage]) -> None:
        requests.append(len(messages))
        send(messages)

    fleet.queues.send_tasks = counted  # type: ignore[method-assign]

    fleet.invoke(QUEUE)
    fleet.settle()

    assert requests == [10]
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


def test_a_retry_that_cannot_be_sent_is_left_to_its_queue(fleet: InProcessFleet) -> None:
    """It comes again after the same delay, and the attempt that failed is not counted: better one too many than one too few."""
    goal = submit(fleet, fails=1, retries=0, tasks=1)
    other = submit(fleet, fails=2, retries=1, tasks=1)
    fleet.queues.fail_sends(QUEUE, 1)

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.FAILED
    assert fleet.goal(other.id).state is GoalState.SUCCEEDED

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
from agentfleet.domain.result import RESENT
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
        raise RetryableError("not yet", delay=input["delay"])
    return context.attempt


@pytest.fixture
def fleet() -> InProcessFleet:
    """A fleet with one pool, whose queues give up a message as the deployed ones do."""
    failures.clear()
    found = InProcessFleet(pool)
    found.queues.max_receives = MAX_RECEIVES
    return found


def submit(fleet: InProcessFleet, fails: int, retries: int, tasks: int = 1, delay: float = 5.0) -> Goal:
    """A goal of tasks that fail so many times, all together."""
    task = {"capability": "work.flaky", "input": {"fails": fails, "delay": delay}, "retries": retries}
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


@pytest.mark.parametrize(("fails", "delay", "backlog"), [(2, 300.0, 0), (2, 600.0, 0), (2, 60.0, 3600), (1, 900.0, 7200)])
def test_the_healer_sends_nothing_that_waits_for_its_next_try(
    fleet: InProcessFleet, fails: int, delay: float, backlog: int
) -> None:
    """A message sent for what has made no progress is younger than that: that it is there is noted beside the plan."""
    goal = submit(fleet, fails=fails, retries=2, delay=delay)
    fleet.clock.advance(backlog)
    sent = 0

    while fleet.goal(goal.id).state.is_alive:
        for queue in fleet.queues.busy():
            fleet.invoke(queue)
        sent += fleet.heal().sent
        fleet.clock.advance(60)

    assert sent == 0
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert len(failures) == fails


def test_a_retry_that_is_lost_is_found_missing(fleet: InProcessFleet) -> None:
    """Later than other losses: it might have been kept back for as long as a queue can."""
    goal = submit(fleet, fails=1, retries=1)
    fleet.invoke(QUEUE)
    began = fleet.clock()
    fleet.queues.purge()

    while not fleet.heal().sent:
        fleet.clock.advance(60)
    waited = fleet.clock() - began
    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert waited < timedelta(minutes=30)


@pytest.mark.parametrize("delay", [-3.0, 0.0])
def test_a_delay_that_is_none_is_the_policys_own(fleet: InProcessFleet, delay: float) -> None:
    """Whoever counts the seconds to a reset that has been is not tried again at once, nor never."""
    goal = submit(fleet, fails=1, retries=1, delay=delay)

    fleet.invoke(QUEUE)

    upcoming = fleet.queues.next_visible()
    assert upcoming is not None
    assert upcoming - fleet.clock() >= timedelta(seconds=1)
    fleet.settle()
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


def test_of_what_is_sent_again_only_what_is_refused_stays(fleet: InProcessFleet) -> None:
    """The others of the same request have their message: a second one would go round beside it."""
    submit(fleet, fails=10, retries=1, tasks=10)
    fleet.queues.fail_sends(QUEUE, 1)

    fleet.invoke(QUEUE)

    units = sorted(json.loads(body)["unit"] for body in fleet.queues.bodies(QUEUE))
    assert units == list(range(10))


def test_it_is_noted_once_for_all_that_goes_round(fleet: InProcessFleet) -> None:
    """One write per goal and environment every half a minute, however many tasks fail."""
    goal = submit(fleet, fails=20, retries=2, tasks=10, delay=1.0)

    fleet.settle()

    [noted] = fleet.claims.held(goal.id, goal.shards, [10]).values()
    assert (noted.owner, noted.fence) == (RESENT, 1)

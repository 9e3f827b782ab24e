"""What fails for one goal's messages is no other's matter, and two deliveries of one message are two agents' work."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agentfleet.agent import Agent, TaskContext, read_deliveries
from agentfleet.composition_pools import pool_runner
from agentfleet.domain.errors import CircuitOpen, RetryableError
from agentfleet.domain.goal import Goal, GoalState
from tests.fakes.fleet import INVOCATION, InProcessFleet

QUEUE = "fleet-work-normal"

pool = Agent("work")
fences: list[int | None] = []
meanwhile: list[Callable[[], None]] = []


@pool.capability("work.echo", idempotent=True)
async def echo(input: dict[str, Any]) -> Any:
    """What was given."""
    return input.get("value")


@pool.capability("work.pay")
async def pay(input: dict[str, Any], context: TaskContext) -> int | None:
    """Fails until an attempt."""
    fences.append(context.fence)
    if context.attempt < input.get("until", 1):
        raise RetryableError("not yet", delay=1.0)
    return context.fence


@pool.capability("work.slow_pay", timeout=0.05)
async def slow_pay(input: dict[str, Any], context: TaskContext) -> int | None:
    """Takes too long at first."""
    fences.append(context.fence)
    if context.attempt == 1:
        await asyncio.Event().wait()
    return context.fence


@pool.capability("work.refused")
async def refused(input: dict[str, Any], context: TaskContext) -> int | None:
    """What it needs is down at first."""
    fences.append(context.fence)
    if len(fences) == 1:
        raise CircuitOpen("calls to the bank failed of late", 2.0)
    return context.fence


@pool.capability("work.meanwhile")
def at_work(input: dict[str, Any], context: TaskContext) -> None:
    """While it is at work, something happens once."""
    fences.append(context.fence)
    if meanwhile:
        meanwhile.pop()()


@pytest.fixture
def fleet() -> InProcessFleet:
    """A fleet with one pool."""
    fences.clear()
    return InProcessFleet(pool)


def submit(fleet: InProcessFleet, capability: str, tenant: str = "acme", **input: Any) -> Goal:
    """A goal of two tasks, the second of which waits for the first."""
    first = {"id": "a", "capability": capability, "input": input}
    return fleet.submit(
        {"plan": {"tasks": [first, {"id": "b", "capability": "work.echo", "input": {"value": {"$from": "a"}}}]}}, tenant=tenant
    )


class OutageError(Exception):
    """What a store raises when it is throttled for too long."""


def failing_for(port: Any, method: str, fails: Callable[..., bool]) -> Callable[[], None]:
    """Have a method fail when `fails` says so of its arguments; gives what ends it."""
    real = getattr(port, method)

    def call(*arguments: Any, **named: Any) -> Any:
        if fails(*arguments):
            raise OutageError(f"{method} is throttled")
        return real(*arguments, **named)

    setattr(port, method, call)
    return lambda: setattr(port, method, real)


OUTAGES: dict[str, tuple[str, str, Callable[[str], Callable[..., bool]]]] = {
    "plan": ("plans", "read", lambda goal: lambda name: name == goal),
    "goal": ("goals", "get", lambda goal: lambda names: goal in names),
    "claim": ("claims", "claim", lambda goal: lambda name, *_: name == goal),
    "result": ("results", "put", lambda goal: lambda _, results: results[0].goal_id == goal),
}


@pytest.mark.parametrize("outage", sorted(OUTAGES))
def test_an_outage_of_one_goals_data_leaves_other_goals_alone(fleet: InProcessFleet, outage: str) -> None:
    """Another tenant's goal in the same batches goes on; the one concerned comes again soon, and ends once it can."""
    ours = submit(fleet, "work.pay")
    theirs = submit(fleet, "work.pay", tenant="other")
    port, method, fails = OUTAGES[outage]
    mend = failing_for(getattr(fleet, port), method, fails(ours.id))

    for _ in range(4):
        if QUEUE in fleet.queues.busy():
            fleet.invoke(QUEUE)
    upcoming = fleet.queues.next_visible()

    assert fleet.goal(theirs.id).state is GoalState.SUCCEEDED
    assert upcoming is not None
    assert upcoming - fleet.clock() < timedelta(minutes=1)
    mend()
    fleet.settle()
    assert fleet.goal(ours.id).state is GoalState.SUCCEEDED


def test_an_outage_of_results_that_are_read_leaves_other_goals_alone(fleet: InProcessFleet) -> None:
    """Inputs are fetched goal by goal."""
    ours, theirs = submit(fleet, "work.echo"), submit(fleet, "work.echo", tenant="other")
    fleet.invoke(QUEUE)
    mend = failing_for(fleet.results, "get", lambda goal, *_: goal == ours.id)

    fleet.invoke(QUEUE)

    assert fleet.goal(theirs.id).state is GoalState.SUCCEEDED
    mend()
    fleet.settle()
    assert fleet.goal(ours.id).state is GoalState.SUCCEEDED


def test_whatever_fails_the_invocation_answers(fleet: InProcessFleet) -> None:
    """A stage that fails as a whole gives everything back, hidden for moments; nothing of it is lost."""
    goal = submit(fleet, "work.pay")
    mend = failing_for(fleet.platform.switch, "stopping", lambda *_: True)

    fleet.invoke(QUEUE)
    upcoming = fleet.queues.next_visible()

    assert upcoming is not None
    assert upcoming - fleet.clock() < timedelta(minutes=1)
    mend()
    fleet.settle()
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


def test_messages_that_cannot_be_hidden_are_returned_all_the_same(fleet: InProcessFleet) -> None:
    """They come again when the queue's own time is over; what went wrong is told."""
    submit(fleet, "work.pay")
    records = fleet.queues.take(QUEUE, 10)
    failing_for(fleet.claims, "claim", lambda *_: True)
    failing_for(fleet.queues, "hide", lambda *_: True)
    runner = pool_runner(fleet.platform, "work", "work-1", pool.capabilities)

    batch = asyncio.run(runner.run(read_deliveries({"Records": records}), fleet.clock() + INVOCATION))

    assert batch.failures == [{"itemIdentifier": records[0]["messageId"]}]
    assert [str(error) for error in batch.mishaps] == ["hide is throttled"]


def test_two_deliveries_of_one_message_are_not_both_carried_out(fleet: InProcessFleet) -> None:
    """A queue may deliver a message once more while its agent is at work: the second agent finds the unit taken."""
    goal = submit(fleet, "work.meanwhile")
    fleet.queues.duplicate(QUEUE)
    first, second = (fleet.queues.take(QUEUE, 1) for _ in range(2))
    assert first[0]["messageId"] == second[0]["messageId"]
    other = pool_runner(fleet.platform, "work", "work-2", pool.capabilities)

    def deliver() -> None:
        batch = asyncio.run(other.run(read_deliveries({"Records": second}), fleet.clock() + INVOCATION))
        errors.extend(str(one.error) for one in batch.again)

    errors: list[str] = []
    meanwhile.append(deliver)
    fleet.process(QUEUE, first)

    assert errors == [f"another agent holds unit 0 of goal {goal.id}"]
    fleet.settle()
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert fences == [1]


def test_a_failed_attempt_lets_its_claim_go(fleet: InProcessFleet) -> None:
    """The retry need not sit out the lease of the attempt before."""
    started = fleet.clock()
    goal = submit(fleet, "work.pay", until=3)

    fleet.settle()

    assert (fleet.goal(goal.id).state, fleet.goal(goal.id).counts) == (GoalState.SUCCEEDED, {"SUCCEEDED": 2})
    assert fences == [1, 2, 3]
    assert fleet.clock() - started < timedelta(seconds=10)


def test_a_refused_task_lets_its_claim_go(fleet: InProcessFleet) -> None:
    """The message that takes its place, maybe in another pool, need not sit out the lease; no attempt is used up."""
    started = fleet.clock()
    goal = submit(fleet, "work.refused")

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert (fences, fleet.result_of(goal.id, 0).attempt) == ([1, 2], 1)
    assert fleet.clock() - started < timedelta(seconds=10)


def test_what_took_too_long_keeps_its_claim_to_the_end_of_its_lease(fleet: InProcessFleet) -> None:
    """It may still act; the retry comes when the lease is over, and costs no attempt before that."""
    started = fleet.clock()
    goal = submit(fleet, "work.slow_pay")

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert fences == [1, 2]
    assert fleet.result_of(goal.id, 0).attempt == 2
    assert fleet.clock() - started >= INVOCATION


def test_a_claim_that_cannot_be_released_is_waited_for(fleet: InProcessFleet) -> None:
    """The message stays hidden until the lease is over, rather than to be refused."""
    goal = submit(fleet, "work.pay", until=2)
    failing_for(fleet.claims, "release", lambda *_: True)

    fleet.settle()

    assert fleet.result_of(goal.id, 0).attempt == 2
    assert fences == [1, 2]

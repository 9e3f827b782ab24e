"""Environments killed at every call they make: the goal still ends right, every result and claimed side effect once."""

from collections import Counter
from typing import Any

import pytest

from agentfleet.agent import Agent, SubPlan, TaskContext
from agentfleet.domain.goal import GoalState
from tests.fakes.fleet import InProcessFleet, Killed

pool = Agent("work")
ledger: Counter[str] = Counter()


@pool.capability("work.echo", idempotent=True)
async def echo(input: dict[str, Any]) -> Any:
    """What was given."""
    return input.get("value")


@pool.capability("work.pay")
def pay(input: dict[str, Any], context: TaskContext) -> str:
    """A side effect that takes the idempotency key, as a payment service does."""
    context.blobs.store.put(f"payments/{context.idempotency_key}", b"1", "text/plain")
    return context.idempotency_key


@pool.capability("work.split", idempotent=True)
async def split(input: dict[str, Any]) -> SubPlan:
    """Delegates to two tasks."""
    return SubPlan(
        [{"id": "x", "capability": "work.echo", "input": {"value": 1}}, {"id": "y", "capability": "work.pay"}],
        {"$from": "x"},
    )


GOAL = {
    "plan": {
        "tasks": [
            {"id": "a", "capability": "work.echo", "input": {"value": "a"}},
            {"id": "b.1", "capability": "work.echo", "depends_on": ["a"]},
            {"id": "b.2", "capability": "work.pay", "depends_on": ["a"]},
            {"id": "b.3", "capability": "work.split", "depends_on": ["a"]},
            {
                "id": "c",
                "capability": "work.echo",
                "input": {"value": [{"$from": "a"}, {"$from": "b.3"}]},
                "depends_on": ["b.*"],
            },
        ]
    }
}


def run(fleet: InProcessFleet) -> str:
    """Submit with a key and run to rest; whoever is killed is started again as the platform would: by redelivery."""
    try:
        goal_id = fleet.submit(GOAL, key="k").id
    except Killed:
        goal_id = fleet.submit(GOAL, key="k").id
    while True:
        try:
            fleet.settle()
        except Killed:
            fleet.kill()
        else:
            return goal_id


def calls_of_a_quiet_run() -> list[str]:
    """Every call that leaves the process when nothing goes wrong."""
    fleet = InProcessFleet(pool)
    fleet.faults.arm(None)
    run(fleet)
    return list(fleet.faults.calls)


CALLS = calls_of_a_quiet_run()


def test_the_quiet_run_makes_the_calls_that_the_kills_are_placed_at() -> None:
    """The sweep below covers accepting, claiming, storing, joining, sending, delegating and finishing."""
    assert {
        "plans.put",
        "goals.create",
        "goals.replace",
        "claims.claim",
        "results.put",
        "joins.add",
        "queues.send_tasks",
        "bus.publish",
        "blobs.put",
    } <= set(CALLS)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("batch", [1, 10])
@pytest.mark.parametrize("call", range(len(CALLS)))
def test_killed_at_any_call_the_goal_ends_right(call: int, batch: int, before: bool) -> None:
    """One death at one call: the result is that of the quiet run, and each payment was made under one key."""
    fleet = InProcessFleet(pool)
    fleet.batch = batch
    fleet.faults.arm(call, before=before)

    goal_id = run(fleet)

    ended = fleet.goal(goal_id)
    assert (ended.state, ended.output) == (GoalState.SUCCEEDED, ["a", 1])
    assert ended.counts == {"SUCCEEDED": 5}
    assert len([uri for uri, _ in fleet.blobs.list("payments/")]) == 2
    assert {goal.state for goal in fleet.goals.goals.values()} == {GoalState.SUCCEEDED}
    assert fleet.bus.topics().count("GoalSucceeded") >= 1
    assert [queue for queue in ("fleet-work-dead", "fleet-release-dead") if fleet.queues.bodies(queue)] == []


@pytest.mark.parametrize("seed", range(20))
def test_every_message_delivered_several_times_in_any_order_changes_nothing(seed: int) -> None:
    """Duplicates and reordering: one result per task, one end."""
    import random

    rng = random.Random(seed)
    fleet = InProcessFleet(pool)
    fleet.batch = rng.choice([1, 3, 10])
    goal_id = fleet.submit(GOAL, key="k").id
    for queue in ("fleet-work-normal",):
        fleet.queues.duplicate(queue, times=2)

    def shuffled(busy: list[str]) -> list[str]:
        for queue in busy:
            if rng.random() < 0.3:
                fleet.queues.duplicate(queue)
        return rng.sample(busy, len(busy))

    fleet.settle(shuffled)

    assert fleet.goal(goal_id).output == ["a", 1]
    assert len(fleet.blobs.list("payments/")) == 2

"""Whole goals on the whole platform in one process: what a user can count on when nothing breaks, and when tasks do."""

from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import Agent, SubPlan, TaskContext
from agentfleet.domain.errors import DeliveryFailed, InvalidRequest, PermanentError, RetryableError
from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import TaskState
from tests.fakes.fleet import InProcessFleet

pool = Agent("work")


@pool.capability("work.add", idempotent=True)
def add(input: dict[str, Any]) -> int:
    """The sum of the numbers."""
    return sum(input["numbers"])


@pool.capability("work.echo", idempotent=True, chunk=10)
async def echo(input: dict[str, Any]) -> Any:
    """What was given."""
    return input.get("value")


@pool.capability("work.flaky", idempotent=True)
async def flaky(input: dict[str, Any], context: TaskContext) -> int:
    """Fails until an attempt."""
    if context.attempt < input["until"]:
        raise RetryableError("not yet", delay=input.get("delay"))
    return context.attempt


@pool.capability("work.broken")
async def broken(input: dict[str, Any]) -> None:
    """Never works."""
    raise PermanentError(f"broken: {input.get('why')}")


@pool.capability("work.spread", idempotent=True)
async def spread(input: dict[str, Any]) -> SubPlan:
    """Delegates."""
    inner = {"capability": "work.spread", "input": {"depth": input["depth"] - 1}}
    leaf = {"capability": "work.echo", "input": {"value": "leaf"}}
    step = inner if input["depth"] else leaf
    return SubPlan([{"id": "a", **step}, {"id": "b", "capability": "work.echo", "input": {"value": 2}}], {"$from": "a"})


@pool.capability("work.endless", idempotent=True, timeout=0.05)
async def endless(input: dict[str, Any]) -> None:
    """Takes too long."""
    import asyncio

    await asyncio.Event().wait()


@pool.capability("work.bad_output", idempotent=True)
async def bad_output(input: dict[str, Any]) -> Any:
    """Returns what JSON has not."""
    return {"x": object()}


def goal_of(*tasks: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """A request; tasks are work.echo unless they say otherwise."""
    return {"plan": {"tasks": [{"capability": "work.echo", **task} for task in tasks]}, **rest}


@pytest.fixture
def fleet() -> InProcessFleet:
    """A fleet with one pool."""
    return InProcessFleet(pool)


def test_a_diamond_hands_outputs_along(fleet: InProcessFleet) -> None:
    """Outputs reach the tasks that refer to them, by path and by family, and the last one's is the goal's."""
    goal = fleet.submit(
        goal_of(
            {"id": "top", "input": {"value": {"rows": [1, 2, 3]}}},
            {"id": "part.left", "capability": "work.add", "input": {"numbers": {"$from": "top", "path": "rows[0:2]"}}},
            {"id": "part.right", "capability": "work.add", "input": {"numbers": [{"$from": "top", "path": "rows[2]"}]}},
            {"id": "sum", "capability": "work.add", "input": {"numbers": {"$from": "part.*"}}},
        )
    )

    fleet.settle()

    ended = fleet.goal(goal.id)
    assert (ended.state, ended.output, ended.counts) == (GoalState.SUCCEEDED, 6, {"SUCCEEDED": 4})
    assert ended.finished is not None
    assert fleet.bus.topics() == ["GoalAccepted", "GoalSucceeded"]


def test_a_wide_fan_goes_through_the_release_queue_and_comes_back_together(fleet: InProcessFleet) -> None:
    """Two thousand single tasks out and in: every one has one result, and the goal ends once."""
    parts = [{"id": f"t.{n}", "capability": "work.add", "input": {"numbers": [n]}, "depends_on": ["root"]} for n in range(2000)]
    goal = fleet.submit(goal_of({"id": "root"}, *parts, {"id": "end", "depends_on": ["t.*"], "input": {"value": "all"}}))

    fleet.settle()

    ended = fleet.goal(goal.id)
    assert (ended.state, ended.output, ended.counts) == (GoalState.SUCCEEDED, "all", {"SUCCEEDED": 2002})
    assert fleet.bus.topics().count("GoalSucceeded") == 1


def test_a_failing_task_is_tried_again_and_then_succeeds(fleet: InProcessFleet) -> None:
    """The receive count is the attempt; a given delay is kept to."""
    goal = fleet.submit(goal_of({"id": "f", "capability": "work.flaky", "input": {"until": 3, "delay": 40}, "retries": 2}))
    before = fleet.clock()

    fleet.settle()

    assert fleet.goal(goal.id).output == 3
    assert 80 <= (fleet.clock() - before).total_seconds() < 90


def test_after_the_last_attempt_the_goal_fails_with_task_and_reason(fleet: InProcessFleet) -> None:
    """Used-up retries write FAILED, and the goal's policy ends it; what was waiting never runs."""
    goal = fleet.submit(
        goal_of(
            {"id": "f", "capability": "work.flaky", "input": {"until": 9}, "retries": 1},
            {"id": "after", "depends_on": ["f"]},
        )
    )

    fleet.settle()

    ended = fleet.goal(goal.id)
    assert ended.state is GoalState.FAILED
    assert ended.failure is not None
    assert (ended.failure.task, ended.failure.error, ended.failure.message) == ("f", "RetryableError", "not yet")
    assert ended.counts == {"FAILED": 1}
    assert fleet.bus.published[-1][0] == "GoalFailed"
    assert fleet.bus.published[-1][1]["message"] == "not yet"


def test_a_permanent_error_is_not_tried_again(fleet: InProcessFleet) -> None:
    """PermanentError fails the task at its first attempt, whatever retries are left."""
    goal = fleet.submit(goal_of({"id": "b", "capability": "work.broken", "input": {"why": "on purpose"}, "retries": 5}))

    fleet.settle()

    assert fleet.result_of(goal.id, 0).attempt == 1
    assert fleet.goal(goal.id).state is GoalState.FAILED


def test_a_skipped_failure_lets_the_goal_go_on_without_it(fleet: InProcessFleet) -> None:
    """on_failure=skip: dependents run, references give null or their default, and the goal succeeds."""
    goal = fleet.submit(
        goal_of(
            {"id": "b", "capability": "work.broken", "on_failure": "skip"},
            {"id": "c", "input": {"value": [{"$from": "b"}, {"$from": "b", "path": "x", "default": "instead"}]}},
        )
    )

    fleet.settle()

    ended = fleet.goal(goal.id)
    assert (ended.state, ended.output) == (GoalState.SUCCEEDED, [None, "instead"])
    assert ended.counts == {"FAILED": 1, "SUCCEEDED": 1}


def test_a_condition_that_does_not_hold_skips_its_task(fleet: InProcessFleet) -> None:
    """when: a falsy value means SKIPPED with a null output; dependents go on."""
    goal = fleet.submit(
        goal_of(
            {"id": "choose", "input": {"value": {"branch": "left"}}},
            {"id": "left", "when": {"$from": "choose", "path": "branch == 'left'"}, "input": {"value": "L"}},
            {"id": "right", "when": {"$from": "choose", "path": "branch == 'right'"}, "input": {"value": "R"}},
            {"id": "end", "input": {"value": [{"$from": "left"}, {"$from": "right"}]}},
        )
    )

    fleet.settle()

    assert fleet.goal(goal.id).output == ["L", None]
    assert fleet.goal(goal.id).counts == {"SUCCEEDED": 3, "SKIPPED": 1}


def test_a_task_may_answer_with_a_sub_plan_several_deep(fleet: InProcessFleet) -> None:
    """Delegation: the task is done when its sub-plan is, with the sub-plan's output; sub-goals are not listed."""
    goal = fleet.submit(
        goal_of(
            {"id": "s", "capability": "work.spread", "input": {"depth": 2}},
            {"id": "end", "input": {"value": [{"$from": "s"}]}},
        )
    )

    fleet.settle()

    assert fleet.goal(goal.id).output == ["leaf"]
    assert [one.id for one in fleet.goals.list("acme", None, 100, None).items] == [goal.id]


def test_delegation_without_end_is_stopped(fleet: InProcessFleet) -> None:
    """A sub-plan that would be too deep fails its task, and every goal above it."""
    goal = fleet.submit(goal_of({"id": "s", "capability": "work.spread", "input": {"depth": 99}}))

    fleet.settle()

    ended = fleet.goal(goal.id)
    assert ended.state is GoalState.FAILED
    assert ended.failure is not None
    assert "at most 5" in ended.failure.message


def test_a_task_that_takes_too_long_is_timed_out(fleet: InProcessFleet) -> None:
    """The capability's timeout ends an attempt."""
    goal = fleet.submit(goal_of({"id": "e", "capability": "work.endless", "retries": 0}))

    fleet.settle()

    failure = fleet.goal(goal.id).failure
    assert failure is not None
    assert failure.error == "TaskTimeout"


def test_an_output_that_is_not_json_fails_its_task_with_the_reason(fleet: InProcessFleet) -> None:
    """A bad output is the capability's mistake, named; it is not tried again."""
    goal = fleet.submit(goal_of({"id": "o", "capability": "work.bad_output"}))

    fleet.settle()

    failure = fleet.goal(goal.id).failure
    assert failure is not None
    assert "work.bad_output" in failure.message


def test_cancelling_drops_what_was_waiting(fleet: InProcessFleet) -> None:
    """After a cancellation no task of the goal runs, its sub-plans' included, and the queues empty themselves."""
    goal = fleet.submit(goal_of({"id": "s", "capability": "work.spread", "input": {"depth": 1}}))
    fleet.invoke("fleet-work-normal")
    fleet.platform.finisher.cancel(fleet.goal(goal.id))
    fleet.clock.advance(2)

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.CANCELLED
    assert all(one.state is GoalState.CANCELLED for one in fleet.goals.goals.values())
    assert fleet.bus.topics() == ["GoalAccepted", "GoalCancelled"]


def test_the_same_key_gives_the_same_goal_once(fleet: InProcessFleet) -> None:
    """A repeated submission finds its goal and starts nothing, in whatever words it says the same."""
    first = fleet.submit(goal_of({"id": "a", "input": {"value": 1}}), key="order-1")
    fleet.settle()
    sent = fleet.queues.sent

    again = fleet.submit(goal_of({"input": {"value": 1}, "id": "a", "depends_on": []}, priority="normal"), key="order-1")
    other_tenant = fleet.submit(goal_of({"id": "a"}), key="order-1", tenant="rival")

    assert again == fleet.goal(first.id)
    assert fleet.queues.sent == sent + 1
    assert other_tenant.id != first.id


def test_a_key_that_comes_with_another_request_is_refused(fleet: InProcessFleet) -> None:
    """Whoever mixes keys up hears of it. A goal that was made before goals knew their requests takes any."""
    first = fleet.submit(goal_of({"id": "a", "input": {"value": 1}}), key="order-1")

    with pytest.raises(InvalidRequest, match=f"another request, which made goal {first.id}"):
        fleet.submit(goal_of({"id": "a", "input": {"value": 2}}), key="order-1")
    fleet.goals.goals[first.id] = replace(fleet.goal(first.id), asked=None)

    assert fleet.submit(goal_of({"id": "a", "input": {"value": 2}}), key="order-1").id == first.id


def test_of_many_agents_that_end_a_goal_at_once_one_counts_its_results(fleet: InProcessFleet) -> None:
    """Where all its tasks fail together, each of their agents knows the goal as it was before."""
    goal = fleet.submit(goal_of({"id": "a"}, {"id": "b"}))
    seen = fleet.goal(goal.id)
    fleet.faults.arm(None)

    for _ in range(50):
        fleet.platform.finisher.end(seen, GoalState.FAILED)

    assert fleet.faults.calls.count("results.tally") == 1
    assert fleet.bus.topics() == ["GoalAccepted", "GoalFailed"]


def test_what_is_refused_leaves_nothing_behind(fleet: InProcessFleet) -> None:
    """A bad request stores no goal, no plan, no message."""
    with pytest.raises(InvalidRequest):
        fleet.submit(goal_of({"id": "a", "depends_on": ["b"]}))

    assert (fleet.goals.goals, fleet.plans.plans, fleet.queues.sent) == ({}, {}, 0)


def test_a_send_that_fails_is_made_up_for_by_redelivery(fleet: InProcessFleet) -> None:
    """The message whose releases could not be sent comes again, finds its result, and releases."""
    goal = fleet.submit(goal_of({"id": "a"}, {"id": "b", "depends_on": ["a"]}))
    fleet.queues.fail_sends("fleet-work-normal", 1)

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert fleet.result_of(goal.id, 0).attempt == 1


def test_a_submission_that_could_not_release_is_completed_by_its_repetition(fleet: InProcessFleet) -> None:
    """A goal left in PLANNING by a failed send goes on when submitted again with its key."""
    fleet.queues.fail_sends("fleet-work-normal", 1)
    with pytest.raises(DeliveryFailed):
        fleet.submit(goal_of({"id": "a"}), key="k")

    goal = fleet.submit(goal_of({"id": "a"}), key="k")
    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


def test_messages_that_nobody_can_read_end_in_the_dead_letter_queue(fleet: InProcessFleet) -> None:
    """Poison is returned, never swallowed, and doesn't hold up its batch."""
    for body in ("not json", '{"goal": 1}', '{"goal": "gnone", "unit": 0, "tenant": "acme"}'):
        fleet.queues.put("fleet-work-normal", body)
    goal = fleet.submit(goal_of({"id": "a"}))

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert len(fleet.queues.bodies("fleet-work-dead")) == 3


def test_one_failing_task_of_a_batch_does_not_touch_the_others(fleet: InProcessFleet) -> None:
    """Partial failure: only the failed message is received again."""
    tasks = [{"id": f"ok{n}", "capability": "work.add", "input": {"numbers": [n]}} for n in range(5)]
    goal = fleet.submit(goal_of(*tasks, {"id": "f", "capability": "work.flaky", "input": {"until": 2}}))

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert [fleet.result_of(goal.id, unit).attempt for unit in range(6)] == [1, 1, 1, 1, 1, 2]


def test_priorities_go_to_their_own_queues(fleet: InProcessFleet) -> None:
    """A task's priority beats the goal's; both decide the queue."""
    fleet.submit(goal_of({"id": "a"}, {"id": "b", "priority": "high"}, priority="low"))

    assert fleet.queues.busy() == ["fleet-work-high", "fleet-work-low"]


def test_chunks_report_each_of_their_tasks(fleet: InProcessFleet) -> None:
    """Ten micro-tasks share a message and a result, and each has its own outcome in it."""
    goal = fleet.submit(goal_of(*[{"id": f"t{n}", "input": {"value": n}} for n in range(10)]))
    sent = fleet.queues.sent

    fleet.settle()

    result = fleet.result_of(goal.id, 0)
    assert sent == 1
    assert [(one.state, one.output) for one in result.outcomes] == [(TaskState.SUCCEEDED, n) for n in range(10)]


def test_a_before_hook_can_stop_a_task() -> None:
    """Hooks see the checked input, and their error is the task's failure."""
    agent = Agent("work")
    seen: list[tuple[str, Any]] = []

    @agent.capability("work.echo", idempotent=True)
    async def echo_again(input: dict[str, Any]) -> Any:
        return input.get("value")

    @agent.before_task
    def check(context: TaskContext, value: Any) -> None:
        seen.append((context.task_id, value))
        if value.get("value") == "bad":
            raise PermanentError("refused by the hook")

    fleet = InProcessFleet(agent)
    goal = fleet.submit(goal_of({"id": "a", "input": {"value": "bad"}}))

    fleet.settle()

    failure = fleet.goal(goal.id).failure
    assert seen == [("a", {"value": "bad"})]
    assert failure is not None
    assert failure.message == "refused by the hook"

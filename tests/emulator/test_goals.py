"""Goals on the deployed stack: shapes of plans, failures, duplicates, cancellation, size."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import TaskState
from client.api import FleetClient
from tests.emulator.conftest import Aws, until

Task = dict[str, Any]


def step(name: str, value: Any = None, **rest: Any) -> Task:
    """A task that gives back its value."""
    return {"id": name, "capability": "flow.step", "input": {"value": value}, **rest}


def run(client: FleetClient, *tasks: Task, seconds: float = 120, **rest: Any) -> Any:
    """Submit, wait, give the result."""
    goal = client.submit({"plan": {"tasks": list(tasks)}, **rest})
    return client.wait(goal.id, timeout=seconds)


def test_a_diamond_hands_its_outputs_down(client: FleetClient) -> None:
    """References and families work across queues and environments."""
    result = run(
        client,
        step("top", {"rows": [1, 2, 3]}),
        step("side.left", {"$from": "top", "path": "rows[0]"}),
        step("side.right", {"$from": "top", "path": "rows[2]"}),
        step("end", {"$from": "side.*"}),
    )

    assert (result.goal.state, result.output) == (GoalState.SUCCEEDED, [1, 3])


def test_a_chain_of_thirty_steps_carries_a_value_through(client: FleetClient) -> None:
    """Each step releases the next one itself."""
    tasks = [step("s0", ["start"])]
    tasks += [step(f"s{n}", {"$from": f"s{n - 1}"}) for n in range(1, 30)]

    result = run(client, *tasks)

    assert (result.goal.state, result.output, result.goal.counts) == (
        GoalState.SUCCEEDED,
        ["start"],
        {TaskState.SUCCEEDED: 30},
    )


@pytest.mark.parametrize("capability", ["flow.step", "flow.noop"])
def test_five_hundred_tasks_fan_out_and_in(client: FleetClient, capability: str) -> None:
    """Singles and chunks: every output arrives, in plan order."""
    parts = [{"id": f"part.{n}", "capability": capability, "input": {"value": n}, "depends_on": ["root"]} for n in range(500)]
    result = run(client, step("root"), *parts, step("end", {"$from": "part.*"}))

    assert result.goal.counts == {TaskState.SUCCEEDED: 502}
    assert client.task(result.goal.id, "end").output == list(range(500))


def test_retries_wait_and_then_succeed_and_used_up_ones_fail_the_goal(client: FleetClient) -> None:
    """The last attempt writes FAILED with task and reason."""
    flaky = {"id": "flaky", "capability": "flow.fail", "input": {"until_attempt": 3, "delay": 1}, "retries": 2}
    hopeless = {"id": "hopeless", "capability": "flow.fail", "input": {"message": "no use", "delay": 0.5}, "retries": 1}

    good, bad = run(client, flaky), run(client, hopeless, step("after", {"$from": "hopeless"}))

    assert good.goal.state is GoalState.SUCCEEDED
    assert client.task(good.goal.id, "flaky").attempt == 3
    assert bad.goal.state is GoalState.FAILED
    assert bad.goal.failure is not None
    assert (bad.goal.failure.task, bad.goal.failure.message) == ("hopeless", "no use")
    assert client.task(bad.goal.id, "hopeless").attempt == 2


def test_a_failure_that_may_be_skipped_leaves_a_default(client: FleetClient) -> None:
    """The goal goes on and says what it left out."""
    broken = {"id": "broken", "capability": "flow.fail", "input": {"permanent": True}, "on_failure": "skip"}

    result = run(client, broken, step("end", {"$from": "broken", "default": "instead"}))

    assert (result.goal.state, result.output) == (GoalState.SUCCEEDED, "instead")
    assert result.goal.counts == {TaskState.SUCCEEDED: 1, TaskState.FAILED: 1}


def test_what_fails_for_good_is_done_in_another_way(client: FleetClient) -> None:
    """The planner of the deployed fleet is asked, and its answer takes the task's place."""
    broken = {
        "id": "x",
        "capability": "flow.fail",
        "input": {"permanent": True},
        "on_failure": "replan",
        "alternatives": [{"capability": "flow.fail", "input": {"permanent": False, "until_attempt": 1}}],
    }

    assert run(client, broken, step("end", {"$from": "x", "path": "attempt"})).output == 1


def test_a_map_runs_as_a_goal_of_its_own(client: FleetClient) -> None:
    """A sub-plan's output becomes that of the task that returned it."""
    spread = {"id": "m", "capability": "flow.map", "input": {"items": [3, 4, 5], "capability": "flow.step"}}

    result = run(client, spread, step("end", {"$from": "m"}))

    assert result.output == [3, 4, 5]


def test_a_side_effect_of_a_claimed_task_is_keyed_and_fenced(client: FleetClient) -> None:
    """A capability that isn't idempotent gets a claim before it runs."""
    result = run(client, {"id": "r", "capability": "flow.record", "input": {"value": "paid"}})

    assert result.output["fence"] == 1
    assert [file.name for file in result.files] == [f"r/record-{result.output['key']}.json"]


def test_cancelling_stops_what_waits(client: FleetClient) -> None:
    """A cancelled goal stays cancelled, and its later tasks never run."""
    wait = {"id": "wait", "capability": "flow.wait", "input": {"seconds": 3}}
    goal = client.submit({"plan": {"tasks": [wait, step("after", {"$from": "wait"})]}})

    cancelled = client.cancel(goal.id)
    again = client.cancel(goal.id)

    assert cancelled.state is again.state is GoalState.CANCELLED
    until(lambda: not any(pool.in_flight + pool.waiting for pool in client.pools()))
    assert client.task(goal.id, "after").state is TaskState.WAITING


def test_twenty_goals_at_once_all_end_right(client: FleetClient) -> None:
    """Goals don't get into each other's way."""

    def one(number: int) -> Any:
        tasks = [step("a", number), *[step(f"b.{n}", n, depends_on=["a"]) for n in range(10)]]
        return run(client, *tasks, step("end", [{"$from": "a"}, {"$from": "b.*"}])).output

    with ThreadPoolExecutor(20) as threads:
        outputs = list(threads.map(one, range(20)))

    assert outputs == [[number, list(range(10))] for number in range(20)]


def test_a_plan_of_twenty_thousand_tasks_finishes(client: FleetClient) -> None:
    """A goal larger than any item: segments in S3, release in parts, joins in a tree."""
    parts = [{"id": f"t.{n}", "capability": "flow.noop", "depends_on": ["root"]} for n in range(19_998)]

    result = run(client, step("root"), *parts, step("end", "all", depends_on=["t.*"]), seconds=300)

    assert (result.goal.state, result.output) == (GoalState.SUCCEEDED, "all")
    assert result.goal.counts == {TaskState.SUCCEEDED: 20_000}


def test_a_poison_message_ends_in_the_dead_letter_queue_and_harms_nobody(client: FleetClient, aws: Aws) -> None:
    """What no agent can read is kept for a person; work beside it goes on."""
    sqs = aws("sqs")
    url = sqs.get_queue_url(QueueName="fleet-flow-normal")["QueueUrl"]
    dead = sqs.get_queue_url(QueueName="fleet-flow-dead")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="not a task", MessageGroupId="default")

    assert run(client, step("beside", 1)).output == 1
    found = until(
        lambda: sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=1, AttributeNames=["All"]).get("Messages"), seconds=120
    )

    assert [message["Body"] for message in found] == ["not a task"]
    sqs.delete_message(QueueUrl=dead, ReceiptHandle=found[0]["ReceiptHandle"])


def test_a_goal_is_paused_resumed_and_forked(client: FleetClient) -> None:
    """An owner's hand: nothing new starts while paused; a fork keeps what it is told and runs the rest."""
    wait = {"id": "wait", "capability": "flow.wait", "input": {"seconds": 1.5, "value": "waited"}}
    goal = client.submit({"plan": {"tasks": [wait, step("after", {"$from": "wait"})]}})
    client.pause(goal.id)
    until(lambda: client.task(goal.id, "wait").state is TaskState.SUCCEEDED or not client.pool("flow").in_flight)
    assert client.task(goal.id, "after").state in {TaskState.WAITING, TaskState.READY}

    client.resume(goal.id)
    result = client.wait(goal.id, timeout=60)
    fork = client.fork(goal.id, ["wait"], {"after": {"value": "changed"}})
    forked = client.wait(fork.id, timeout=60)

    assert (result.output, forked.output, forked.goal.origin) == ("waited", "changed", goal.id)
    assert client.task(fork.id, "wait").attempt == 1

"""Losses on the deployed stack: queues emptied in the middle of a goal, and messages that nobody could handle."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from tests.emulator.conftest import Aws, until


def url_of(aws: Aws, queue: str) -> str:
    """A queue's URL."""
    return str(aws("sqs").get_queue_url(QueueName=queue)["QueueUrl"])


def heal(aws: Aws) -> dict[str, Any]:
    """One run of heal_work that takes a second's quiet for enough: nothing else is going on."""
    answer = aws("lambda").invoke(FunctionName="fleet-heal-work", Payload=json.dumps({"quiet_seconds": 1}))
    told: dict[str, Any] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, told
    return told


@pytest.fixture(autouse=True)
def unscheduled(aws: Aws) -> Iterator[None]:
    """The healer runs when a test says so, and at no other time."""
    events = aws("events")
    rules = [rule["Name"] for rule in events.list_rules()["Rules"] if rule.get("ScheduleExpression") == "rate(2 minutes)"]
    assert len(rules) == 1
    events.disable_rule(Name=rules[0])
    yield
    events.enable_rule(Name=rules[0])


def test_a_goal_whose_messages_are_lost_is_healed(client: FleetClient, aws: Aws) -> None:
    """Its queue is purged while its first task runs slowly elsewhere; the healer sends what no queue holds."""
    sqs = aws("sqs")
    triggers = aws("lambda").list_event_source_mappings(FunctionName="fleet-flow")["EventSourceMappings"]
    for trigger in triggers:
        aws("lambda").update_event_source_mapping(UUID=trigger["UUID"], Enabled=False)
    try:
        steps = [{"id": f"s.{n}", "capability": "flow.step", "input": {"value": n}} for n in range(5)]
        end = {"id": "end", "capability": "flow.step", "input": {"value": {"$from": "s.*"}}}
        goal = client.submit({"plan": {"tasks": [*steps, end]}})
        sqs.purge_queue(QueueUrl=url_of(aws, "fleet-flow-normal"))
    finally:
        for trigger in triggers:
            aws("lambda").update_event_source_mapping(UUID=trigger["UUID"], Enabled=True)
    assert client.goal(goal.id).state is GoalState.RUNNING

    # Goals of other tests may stand still as well: what counts is that this one moves again.
    sent = 0

    def healed() -> bool:
        nonlocal sent
        sent += heal(aws)["MessagesSentAgain"]
        return goal.id in {incident.goal for incident in client.incidents().healed}

    until(healed, 120)
    result = client.wait(goal.id, timeout=60)

    assert sent >= 1
    assert (result.goal.state, result.output) == (GoalState.SUCCEEDED, [0, 1, 2, 3, 4])


def test_dead_letters_are_diagnosed_and_redriven(client: FleetClient, aws: Aws) -> None:
    """A task's message in the dead-letter queue is sent again by the healer; what can't be read waits to be buried."""
    sqs = aws("sqs")
    dead = url_of(aws, "fleet-flow-dead")
    goal = client.submit({"plan": {"tasks": [{"id": "a", "capability": "flow.wait", "input": {"seconds": 20}}]}})
    for body in (json.dumps({"goal": goal.id, "unit": 0, "tenant": "default"}), "no message of ours"):
        sqs.send_message(QueueUrl=dead, MessageBody=body)

    listed = {letter.cause: letter for letter in client.dead_letters("flow").letters}
    told = heal(aws)
    buried = client.bury("flow", listed["UNREADABLE"].key, "a test's")  # type: ignore[index]

    assert set(listed) == {"RETURNED", "UNREADABLE"}
    assert told["Letters"] == {"REDRIVE": 1, "KEEP": 1}
    assert buried.body == "no message of ours"
    assert client.dead_letters("flow").letters == ()
    assert client.cancel(goal.id).state is GoalState.CANCELLED


def test_a_goal_of_an_event_that_was_not_accepted_is_submitted_again(client: FleetClient, aws: Aws) -> None:
    """It lies among the dead letters of `submissions`, and is one goal however often it is sent."""
    dead = url_of(aws, "fleet-submissions-dead")
    detail = {"plan": {"tasks": [{"id": "a", "capability": "flow.step", "input": {"value": 7}}], "output": {"$from": "a"}}}
    event = {"version": "0", "id": "an-event-of-a-test", "detail-type": "GoalSubmitted", "source": "shop", "detail": detail}
    for _ in range(2):
        aws("sqs").send_message(QueueUrl=dead, MessageBody=json.dumps(event))

    listed = client.dead_letters("submissions").letters
    sent = client.redrive("submissions", "an-event-of-a-test")

    assert {(letter.cause, letter.key) for letter in listed} == {("NOT_ACCEPTED", "an-event-of-a-test")}
    [goal] = {letter.goal for letter in sent.letters}
    assert goal is not None
    assert client.wait(goal, timeout=60).goal.state is GoalState.SUCCEEDED
    assert client.dead_letters("submissions").letters == ()

"""The fleet manager on the deployed stack: it really moves the triggers."""

import json
from collections.abc import Iterator

import pytest

from agentfleet.adapters.scaling import DynamoScalings
from agentfleet.domain.scaling import Action, Memory, ScalingRecord
from client.api import FleetClient
from tests.emulator.conftest import Aws, until


def manage(aws: Aws) -> dict[str, str]:
    """One pass of the deployed function. Gives pool → action."""
    answer = aws("lambda").invoke(FunctionName="fleet-manage-fleet", Payload=b"{}")
    body = answer["Payload"].read()
    assert "FunctionError" not in answer, body
    actions: dict[str, str] = json.loads(body)
    return actions


@pytest.fixture
def small_flow(client: FleetClient, aws: Aws) -> Iterator[None]:
    """The flow pool with two agents per priority, as if the fleet manager itself had decided so; restored afterwards."""
    records = DynamoScalings(aws("dynamodb"), "fleet-registry")
    before = client.pool("flow").concurrency
    client.scale_pool("flow", 2)
    until(lambda: client.pool("flow").settled)
    records.put("flow", ScalingRecord(Memory(2)))
    yield
    client.scale_pool("flow", before)
    records.put("flow", ScalingRecord(Memory(before)))


@pytest.mark.usefixtures("small_flow")
def test_a_late_backlog_moves_the_triggers_and_says_why(client: FleetClient, aws: Aws) -> None:
    """SQS's metric says that messages are late: the trigger's concurrency rises by a step, and pool and API tell the reason."""
    tasks = [{"id": f"wait.{n}", "capability": "flow.wait", "input": {"seconds": 4}} for n in range(120)]
    goal = client.submit({"plan": {"tasks": tasks}})

    def is_full() -> bool:
        pool = client.pool("flow")
        return pool.waiting > 0 and pool.in_flight >= 2

    until(is_full)
    # The emulator measures no ages, so the test tells what SQS would.
    queue = {"MetricName": "ApproximateAgeOfOldestMessage", "Dimensions": [{"Name": "QueueName", "Value": "fleet-flow-normal"}]}
    aws("cloudwatch").put_metric_data(Namespace="AWS/SQS", MetricData=[{**queue, "Value": 45.0}])

    assert manage(aws)["flow"] == "up"

    (decision, *_) = client.pool("flow").decisions
    assert (decision.action, decision.before, decision.concurrency, decision.applied) == (Action.UP, 2, 11, True)
    assert "the oldest for 45 s" in decision.reason
    mappings = aws("lambda").list_event_source_mappings(FunctionName="fleet-flow")["EventSourceMappings"]
    assert {mapping["ScalingConfig"]["MaximumConcurrency"] for mapping in mappings} == {11}
    assert client.wait(goal.id, timeout=120).goal.state == "SUCCEEDED"


def test_a_fleet_and_a_hand_are_left_alone(client: FleetClient, aws: Aws) -> None:
    """A pool that a fleet holds keeps its size, and the reason names the fleet."""
    fleet = client.spawn_fleet(7, ["flow.wait"])
    try:
        assert manage(aws)["flow"] == "hold"
        (decision, *_) = client.pool("flow").decisions
        assert decision.reason == f"held by fleet {fleet.id} until it is released"
        assert client.pool("flow").concurrency == 7
    finally:
        client.release_fleet(fleet.id)


def test_a_schedule_calls_it_each_minute(client: FleetClient, aws: Aws) -> None:
    """The rule is there and on; what it calls has looked at every pool."""
    (rule,) = aws("events").list_rules(NamePrefix="fleet-manage-fleet")["Rules"]
    manage(aws)

    assert (rule["State"], rule["ScheduleExpression"]) == ("ENABLED", "rate(1 minute)")
    assert all(pool.decisions for pool in client.pools())

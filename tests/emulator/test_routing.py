"""Routing on the deployed stack: health in the registry, draining, and who offers what."""

import json
from datetime import UTC, datetime
from typing import Any

from agentfleet.adapters.routing import DynamoRouting
from agentfleet.domain.pool_health import HealthState, PoolHealth
from client.api import FleetClient
from tests.emulator.conftest import Aws, until
from tests.emulator.test_scaling import manage


def test_a_pass_writes_health_and_a_pool_is_drained_and_taken_back(client: FleetClient, aws: Aws) -> None:
    """The fleet manager may write it, the API reads it; the only pool of a capability gets its work even while it drains."""
    manage(aws)
    stored = aws("dynamodb").query(
        TableName="fleet-registry",
        KeyConditionExpression="pk = :routing",
        ExpressionAttributeValues={":routing": {"S": "ROUTING"}},
    )["Items"]
    assert {item["sk"]["S"] for item in stored} >= {"HEALTH#data", "HEALTH#flow", "HEALTH#web"}

    assert client.drain_pool("flow").health is HealthState.DRAINING
    try:
        [offer] = client.discover("flow.wait")
        assert (offer.pool, offer.health, offer.share) == ("flow", HealthState.DRAINING, 1.0)
        goal = client.submit({"plan": {"tasks": [{"id": "w", "capability": "flow.wait", "input": {"seconds": 0}}]}})
        assert client.wait(goal.id, timeout=60).goal.state == "SUCCEEDED"
    finally:
        assert client.undrain_pool("flow").health is HealthState.HEALTHY
    [task] = client.tasks(goal.id).tasks
    assert task.pool == "flow"
    assert (task.agent or "").startswith("flow-")


def lost_lines(aws: Aws, since: datetime) -> list[dict[str, Any]]:
    """What the flow pool's agents said of lost invocations, in CloudWatch's embedded metric format."""
    request = {"logGroupName": "/aws/lambda/fleet-flow", "startTime": int(since.timestamp() * 1000)}
    events = aws("logs").filter_log_events(**request)["events"]
    return [json.loads(one["message"]) for one in events if "LostInvocations" in one["message"]]


def publish(aws: Aws, namespace: str, metric: str, dimensions: dict[str, str], value: float) -> None:
    """One value of a metric, now."""
    named = [{"Name": name, "Value": of} for name, of in dimensions.items()]
    aws("cloudwatch").put_metric_data(
        Namespace=namespace, MetricData=[{"MetricName": metric, "Dimensions": named, "Value": value}]
    )


def test_a_pool_whose_tasks_fail_is_found_unhealthy(client: FleetClient, aws: Aws) -> None:
    """What its agents log is the metric that the fleet manager asks for; Lambda itself counts no failed invocation.

    The emulator makes no metrics of log lines and counts no invocations, so the test tells what CloudWatch would have made
    of these very lines.
    """
    since = datetime.now(UTC)
    fails = {"capability": "flow.fail", "retries": 0, "on_failure": "skip"}
    goal = client.submit({"plan": {"tasks": [{"id": f"f{n}", **fails} for n in range(30)]}})
    client.wait(goal.id, timeout=60)
    waits = client.submit({"plan": {"tasks": [{"id": "w", "capability": "flow.wait", "input": {"seconds": 20}}]}})
    until(lambda: client.pool("flow").in_flight)

    lines = until(lambda: lost_lines(aws, since))
    assert all(line["LostInvocations"] == 1 for line in lines)
    for line in lines * 10:
        [declared] = line["_aws"]["CloudWatchMetrics"]
        [dimensions] = declared["Dimensions"]
        own = {name: line[name] for name in dimensions}
        publish(aws, declared["Namespace"], declared["Metrics"][0]["Name"], own, line["LostInvocations"])
    publish(aws, "AWS/Lambda", "Invocations", {"FunctionName": "fleet-flow"}, 10 * len(lines))
    try:
        manage(aws)

        pool = until(lambda: (pool := client.pool("flow")).health is HealthState.UNHEALTHY and pool, 20)
        assert f"the tasks of {10 * len(lines)} of {10 * len(lines)} invocations failed" in pool.health_reason
    finally:
        client.cancel(waits.id)
        well = PoolHealth(HealthState.HEALTHY, datetime.now(UTC), since)
        DynamoRouting(aws("dynamodb"), "fleet-registry").put_health("flow", well)

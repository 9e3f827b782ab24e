"""Routing on the deployed stack: health in the registry, draining, and who offers what."""

from agentfleet.domain.pool_health import HealthState
from client.api import FleetClient
from tests.emulator.conftest import Aws
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

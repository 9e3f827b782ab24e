"""The three doors, each into the same platform: HTTP, events, the SDK."""

import json
import uuid
from typing import Any

import httpx
import pytest

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.coordinator import AgentCoordinator
from client.local import LocalCloud
from tests.emulator.conftest import until

GOAL: dict[str, Any] = {"name": "hello", "plan": {"tasks": [{"id": "a", "capability": "flow.noop", "input": {"value": 42}}]}}


@pytest.fixture
def http(cloud: LocalCloud) -> httpx.Client:
    """A plain HTTP client with the key of the tenant "default"."""
    return httpx.Client(base_url=cloud.api_url, headers={"Authorization": f"Bearer {cloud.api_key}"}, timeout=30)


def test_nobody_gets_in_without_a_key(cloud: LocalCloud) -> None:
    """No key, a wrong key, a key in the wrong place: refused, whatever the route."""
    for headers in ({}, {"Authorization": "Bearer guess"}, {"cookie": f"key={cloud.api_key}"}):
        for path in ("/goals", "/openapi.json", "/nowhere"):
            assert httpx.get(cloud.api_url + path, headers=headers).status_code in {401, 403}


def test_a_goal_by_http_is_accepted_once_per_key(http: httpx.Client, client: FleetClient) -> None:
    """The same Idempotency-Key gives the same goal: 202 first, 200 after."""
    key = str(uuid.uuid4())

    first, second = (http.post("/goals", json=GOAL, headers={"Idempotency-Key": key}) for _ in range(2))

    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert client.wait(first.json()["id"], timeout=60).output == 42


def test_a_goal_by_event_is_accepted_once_and_its_end_is_told(cloud: LocalCloud, client: FleetClient) -> None:
    """GoalSubmitted on the bus becomes a goal; GoalSucceeded says so."""
    sqs, events = cloud.client("sqs"), cloud.client("events")
    bus = cloud.outputs["Bus"]
    name = f"test-{uuid.uuid4().hex[:8]}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": ["agentfleet"]}))
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "q", "Arn": arn}])
    detail = {**GOAL, "name": name}
    entry = {"EventBusName": bus, "Source": "shop", "DetailType": "GoalSubmitted", "Detail": json.dumps(detail)}

    events.put_events(Entries=[entry])

    told: dict[str, Any] = {}

    def hear() -> bool:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            body = json.loads(message["Body"])
            if body["detail"].get("name") == name:
                told[body["detail-type"]] = body["detail"]
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return {"GoalAccepted", "GoalSucceeded"} <= set(told)

    until(hear)
    events.remove_targets(Rule=name, EventBusName=bus, Ids=["q"])
    events.delete_rule(Name=name, EventBusName=bus)
    sqs.delete_queue(QueueUrl=url)
    result = client.result(told["GoalSucceeded"]["goal"])
    assert (result.goal.name, result.output, told["GoalSucceeded"]["counts"]) == (name, 42, {"SUCCEEDED": 1})


def test_a_bad_event_is_answered_on_the_bus(cloud: LocalCloud) -> None:
    """GoalRejected names what was wrong, since an event has nobody to answer to."""
    sqs, events = cloud.client("sqs"), cloud.client("events")
    bus, name = cloud.outputs["Bus"], f"test-{uuid.uuid4().hex[:8]}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"detail-type": ["GoalRejected"]}))
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "q", "Arn": arn}])
    detail = json.dumps({"plan": {"tasks": [{"id": "a", "capability": "no.such"}]}})

    events.put_events(Entries=[{"EventBusName": bus, "Source": "t", "DetailType": "GoalSubmitted", "Detail": detail}])

    messages = until(lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages"))
    events.remove_targets(Rule=name, EventBusName=bus, Ids=["q"])
    events.delete_rule(Name=name, EventBusName=bus)
    sqs.delete_queue(QueueUrl=url)
    problems = json.loads(messages[0]["Body"])["detail"]["problems"]
    assert problems[0]["field"] == "tasks[a].capability"


async def _with_the_sdk(cloud: LocalCloud) -> list[Any]:
    config = {"api_url": cloud.api_url, "api_key": cloud.api_key}
    async with AgentCoordinator(config) as coordinator:
        fleet = await coordinator.spawn_fleet(size=7, capabilities=["flow.noop"])
        assert all(pool.concurrency == 7 and pool.settled for pool in await fleet.read_pools())
        await coordinator.distribute_goal(GOAL, fleet)
        await coordinator.distribute_goal({**GOAL, "name": "again"}, fleet)
        results = await coordinator.collect_results()
        await fleet.resize(9)
        assert all(pool.concurrency == 9 for pool in await fleet.read_pools())
        await fleet.release()
        assert all(pool.concurrency != 9 for pool in await fleet.read_pools())
        return list(results)


def test_the_sdk_spawns_a_fleet_distributes_goals_and_collects(cloud: LocalCloud) -> None:
    """The seed's own example: spawn_fleet, distribute_goal, collect_results."""
    import asyncio

    results = asyncio.run(_with_the_sdk(cloud))

    assert [(result.goal.state, result.output) for result in results] == [(GoalState.SUCCEEDED, 42)] * 2


def test_the_openapi_document_is_served_and_knows_every_route(http: httpx.Client) -> None:
    """What a client generator needs."""
    document = http.get("/openapi.json").json()

    paths = {path: set(operations) for path, operations in document["paths"].items()}
    assert {"/goals", "/goals/{goal_id}", "/agents", "/pools", "/fleets", "/knowledge"} <= set(paths)
    assert {"get", "post"} <= paths["/goals"]

"""The three doors, each into the same platform: HTTP, events, the SDK."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.coordinator import AgentCoordinator
from client.local import LocalCloud
from tests.emulator.conftest import Aws, until

GOAL: dict[str, Any] = {"name": "hello", "plan": {"tasks": [{"id": "a", "capability": "flow.noop", "input": {"value": 42}}]}}


@pytest.fixture
def http(cloud: LocalCloud) -> Iterator[httpx.Client]:
    """A plain HTTP client with the key of the tenant "default"."""
    headers = {"Authorization": f"Bearer {cloud.api_key}"}
    with httpx.Client(base_url=cloud.api_url, headers=headers, timeout=30) as client:
        yield client


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


class BusEar:
    """Hears what is published on the fleet's bus while it is open."""

    def __init__(self, cloud: LocalCloud, aws: Aws) -> None:
        self.bus, self.name = cloud.outputs["Bus"], f"test-{uuid.uuid4().hex[:8]}"
        self.sqs, self.events = aws("sqs"), aws("events")
        self.heard: list[dict[str, Any]] = []

    def __enter__(self) -> "BusEar":
        self.url = self.sqs.create_queue(QueueName=self.name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.events.put_rule(Name=self.name, EventBusName=self.bus, EventPattern=json.dumps({"source": ["agentfleet"]}))
        self.events.put_targets(Rule=self.name, EventBusName=self.bus, Targets=[{"Id": "ear", "Arn": arn}])
        return self

    def __exit__(self, *_: object) -> None:
        self.events.remove_targets(Rule=self.name, EventBusName=self.bus, Ids=["ear"])
        self.events.delete_rule(Name=self.name, EventBusName=self.bus)
        self.sqs.delete_queue(QueueUrl=self.url)

    def send(self, detail: dict[str, Any]) -> None:
        """Submit a goal as an event of somebody else's."""
        entry = {"Source": "shop", "DetailType": "GoalSubmitted", "Detail": json.dumps(detail)}
        self.events.put_events(Entries=[{"EventBusName": self.bus, **entry}])

    def hear(self, topic: str, **wanted: Any) -> dict[str, Any]:
        """The detail of an event of this type with these values, waited for."""

        def find() -> Any:
            for message in self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
                "Messages", []
            ):
                self.heard.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            details = [event["detail"] for event in self.heard if event["detail-type"] == topic]
            return next((detail for detail in details if wanted.items() <= detail.items()), None)

        detail: dict[str, Any] = until(find)
        return detail


def test_a_goal_by_event_is_accepted_and_its_end_is_told(cloud: LocalCloud, client: FleetClient, aws: Aws) -> None:
    """GoalSubmitted on the bus becomes a goal; GoalAccepted and GoalSucceeded say so."""
    name = f"by-event-{uuid.uuid4().hex[:8]}"
    with BusEar(cloud, aws) as ear:
        ear.send({**GOAL, "name": name})
        accepted, ended = ear.hear("GoalAccepted", name=name), ear.hear("GoalSucceeded", name=name)

    result = client.result(ended["goal"])
    assert accepted["goal"] == ended["goal"]
    assert (result.goal.name, result.output, ended["counts"]) == (name, 42, {"SUCCEEDED": 1})


def test_the_same_event_delivered_twice_is_one_goal(cloud: LocalCloud, client: FleetClient, aws: Aws) -> None:
    """EventBridge delivers at least once; the event's id is the idempotency key."""
    sqs, name = aws("sqs"), f"twice-{uuid.uuid4().hex[:8]}"
    event = {"id": str(uuid.uuid4()), "detail-type": "GoalSubmitted", "source": "shop", "detail": {**GOAL, "name": name}}
    url = sqs.get_queue_url(QueueName="fleet-submissions")["QueueUrl"]

    for _ in range(2):
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))

    goals = until(lambda: [goal for goal in client.goals(limit=50).goals if goal.name == name and goal.state.is_final])
    until(
        lambda: (
            not int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"])
        )
    )
    assert len(goals) == 1
    assert len([goal for goal in client.goals(limit=50).goals if goal.name == name]) == 1


def test_a_bad_event_is_answered_on_the_bus(cloud: LocalCloud, aws: Aws) -> None:
    """GoalRejected names what was wrong, since an event has nobody to answer to."""
    with BusEar(cloud, aws) as ear:
        ear.send({"plan": {"tasks": [{"id": "a", "capability": "no.such"}]}})
        rejected = ear.hear("GoalRejected")

    assert rejected["problems"][0]["field"] == "tasks[a].capability"


async def _with_the_sdk(cloud: LocalCloud, sizes: Callable[[], set[int]]) -> list[Any]:
    config = {"api_url": cloud.api_url, "api_key": cloud.api_key}
    async with AgentCoordinator(config) as coordinator:
        fleet = await coordinator.spawn_fleet(size=7, capabilities=["flow.noop"])
        assert (fleet.pools, sizes()) == (("flow",), {7})
        await coordinator.distribute_goal(GOAL, fleet)
        await coordinator.distribute_goal({**GOAL, "name": "again"}, fleet)
        results = await coordinator.collect_results()
        await fleet.resize(9)
        assert sizes() == {9}
        await fleet.release()
        return list(results)


def test_the_sdk_spawns_a_fleet_distributes_goals_and_collects(cloud: LocalCloud, client: FleetClient, aws: Aws) -> None:
    """The seed's own example: spawn_fleet, distribute_goal, collect_results; the triggers really have the size asked for."""
    functions = aws("lambda")
    before = client.pool("flow").concurrency

    def sizes() -> set[int]:
        mappings = functions.list_event_source_mappings(FunctionName="fleet-flow")["EventSourceMappings"]
        return {mapping["ScalingConfig"]["MaximumConcurrency"] for mapping in mappings}

    results = asyncio.run(_with_the_sdk(cloud, sizes))

    assert [(result.goal.state, result.output) for result in results] == [(GoalState.SUCCEEDED, 42)] * 2
    until(lambda: sizes() == {before})


def test_the_openapi_document_is_served_and_knows_every_route(http: httpx.Client) -> None:
    """What a client generator needs."""
    document = http.get("/openapi.json").json()

    paths = {path: set(operations) for path, operations in document["paths"].items()}
    assert {"/goals", "/goals/{goal_id}", "/agents", "/pools", "/fleets", "/knowledge"} <= set(paths)
    assert {"get", "post"} <= paths["/goals"]

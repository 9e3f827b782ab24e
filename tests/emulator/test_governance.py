"""Bounds on the deployed stack: approvals over new environments, the kill switch, operators, budgets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentfleet.domain.goal import GoalState
from agentfleet.domain.history import APPROVALS, EventKind
from agentfleet.domain.result import TaskState
from agentfleet.services.audit_views import EventView
from client.api import FleetClient
from client.config import ClientConfig
from client.errors import ConflictError, UnauthorizedError
from client.local import LocalCloud
from tests.emulator.conftest import Aws, until

STEP = {"capability": "flow.step", "input": {"value": 1}}


@pytest.fixture
def guest(cloud: LocalCloud, aws: Aws) -> Iterator[FleetClient]:
    """A tenant that is no operator, with a key of its own."""
    secrets = aws("secretsmanager")
    arn = cloud.outputs["ApiKeySecretArn"]
    before = secrets.get_secret_value(SecretId=arn)["SecretString"]
    secrets.put_secret_value(SecretId=arn, SecretString=json.dumps({**json.loads(before), "guest": "key-of-the-guest"}))
    with FleetClient(ClientConfig(api_url=cloud.api_url, api_key="key-of-the-guest")) as client:
        until(lambda: _is_known(client))
        yield client
    secrets.put_secret_value(SecretId=arn, SecretString=before)


def _is_known(client: FleetClient) -> bool:
    try:
        client.health()
    except UnauthorizedError:
        return False
    return True


def agent_of(client: FleetClient, goal_id: str, task: str) -> str | None:
    """The environment that did a task."""
    return client.task(goal_id, task).agent


def renew(aws: Aws, function: str) -> None:
    """What a deployment does to a function: its environments are replaced."""
    functions = aws("lambda")
    now = functions.get_function_configuration(FunctionName=function)
    functions.update_function_configuration(FunctionName=function, MemorySize=now["MemorySize"] + 64)
    until(lambda: functions.get_function_configuration(FunctionName=function)["LastUpdateStatus"] == "Successful")


def approvals_told(client: FleetClient, goal_id: str) -> list[tuple[str, tuple[str, ...], str | None, str | None]]:
    """What the history says of a goal's approvals, once it holds a decision."""

    def told() -> list[EventView]:
        events = [one for one in client.history(goal_id).events if one.kind in APPROVALS]
        return events if any(one.kind is not EventKind.ASKED for one in events) else []

    return [(one.kind.value, one.tasks, one.facts.get("by"), one.facts.get("note")) for one in until(told)]


def test_an_approval_survives_new_environments(client: FleetClient, aws: Aws) -> None:
    """The task waits in the table alone: queues are empty, functions are replaced, and it runs once it may."""
    goal = client.submit(
        {
            "plan": {
                "tasks": [
                    {"id": "first", **STEP},
                    {
                        "id": "ask",
                        "capability": "flow.approve",
                        "input": {"question": "Go on?", "value": {"$from": "first"}},
                    },
                    {"id": "last", "capability": "flow.step", "input": {"value": {"$from": "ask"}}},
                ],
                "output": {"$from": "last"},
            }
        }
    )
    until(lambda: client.goal(goal.id).counts == {
        TaskState.SUCCEEDED: 1, TaskState.WAITING_FOR_APPROVAL: 1, TaskState.WAITING: 1
    })  # fmt: skip
    before = agent_of(client, goal.id, "first")
    for function in ("fleet-flow", "fleet-serve-api"):
        renew(aws, function)
    pool = until(lambda: (found := client.pool("flow")).waiting + found.in_flight == 0 and found)

    [waiting] = [one for one in client.approvals().approvals if one.goal == goal.id]
    decided = client.approve(waiting.ref, "looks right")
    result = client.wait(goal.id, timeout=60)

    assert pool.dead == 0
    assert (waiting.ref, waiting.input) == (f"{goal.id}.ask", {"question": "Go on?", "value": 1})
    assert (decided.by, decided.note) == ("default", "looks right")
    assert (result.goal.state, result.output) == (GoalState.SUCCEEDED, 1)
    assert agent_of(client, goal.id, "ask") != before
    assert client.approve(waiting.ref).note == "looks right"
    with pytest.raises(ConflictError):
        client.reject(waiting.ref, "too late")
    assert approvals_told(client, goal.id) == [
        ("ApprovalAsked", ("ask",), None, None),
        ("ApprovalDecided", ("ask",), "default", "looks right"),
    ]
    assert client.verify(goal.id).holds


def test_a_rejected_task_fails(client: FleetClient) -> None:
    """With who and why."""
    goal = client.submit({"plan": {"tasks": [{"id": "a", "capability": "flow.approve", "input": {"question": "?"}}]}})
    until(lambda: any(one.goal == goal.id for one in client.approvals().approvals))

    client.reject(f"{goal.id}.a", "no")

    failure = client.wait(goal.id, timeout=60).goal.failure
    assert failure is not None
    assert (failure.error, failure.message) == ("ApprovalRejected", "rejected by default: no")
    assert approvals_told(client, goal.id)[1:] == [("ApprovalDecided", ("a",), "default", "no")]


def test_a_request_that_is_approved_by_hand_is_told_so(client: FleetClient, aws: Aws) -> None:
    """The table says that it was approved; the history says that nobody's key did that, and holds."""
    goal = client.submit({"plan": {"tasks": [{"id": "a", "capability": "flow.approve", "input": {"question": "?"}}]}})
    until(lambda: any(one.goal == goal.id for one in client.approvals().approvals))

    aws("dynamodb").update_item(
        TableName="fleet-registry",
        Key={"pk": {"S": f"APPROVAL#{goal.id}"}, "sk": {"S": "000000"}},
        UpdateExpression="SET decision = :yes",
        ExpressionAttributeValues={":yes": {"S": "APPROVED"}},
    )

    assert [kind for kind, *_ in approvals_told(client, goal.id)] == ["ApprovalAsked", "ApprovalChanged"]
    assert client.verify(goal.id).holds
    client.cancel(goal.id)


@pytest.fixture
def unkilled(client: FleetClient) -> Iterator[None]:
    """Whatever was stopped goes on."""
    yield
    for kill in client.kills().kills:
        client.unkill(kill.kind, kill.name)


@pytest.mark.usefixtures("unkilled")
def test_a_stopped_tenant_is_kept_and_goes_on(client: FleetClient, guest: FleetClient) -> None:
    """Its chain stands still within seconds, others run on, nothing new is taken; then it ends without a lost attempt."""
    wait: dict[str, Any] = {"capability": "flow.wait", "input": {"seconds": 5}}
    goal = guest.submit({"plan": {"tasks": [{"id": "a", **wait}, {"id": "b", "depends_on": ["a"], "retries": 0, **STEP}]}})
    client.kill("tenant", "guest", reason="a test")

    # Twice the time that the stopped goal would have taken.
    other = client.submit({"plan": {"tasks": [{"id": "a", **wait}, {"id": "b", "depends_on": ["a"], **wait}]}})
    assert client.wait(other.id, timeout=90).goal.state is GoalState.SUCCEEDED
    with pytest.raises(UnauthorizedError, match=r"tenant guest has been stopped since .*: a test"):
        guest.submit({"plan": {"tasks": [{"id": "a", **STEP}]}})
    assert guest.goal(goal.id).state is GoalState.RUNNING
    client.unkill("tenant", "guest")

    assert guest.wait(goal.id, timeout=120).goal.state is GoalState.SUCCEEDED
    assert guest.task(goal.id, "b").attempt == 1
    orders = client.kill_history()
    assert orders.broken is None
    mine = [one for one in orders.events if one.facts.get("name") == "guest" and one.facts["reason"] == "a test"]
    assert [one.kind for one in mine] == [EventKind.KILLED, EventKind.LIFTED]
    assert (mine[0].facts["by"], mine[1].facts["lifted_by"]) == ("default", "default")


def test_a_tenant_that_is_no_operator_changes_nothing_that_all_share(guest: FleetClient) -> None:
    """403 through gateway and authorizer."""
    for refused in (
        lambda: guest.scale_pool("flow", 3),
        lambda: guest.kill("all", reason="no"),
        guest.heal,
    ):
        with pytest.raises(UnauthorizedError, match="operators"):
            refused()
    assert guest.budget().accounts[0].name.startswith("tenant guest on ")


def test_a_budget_is_kept_with_its_goal(client: FleetClient) -> None:
    """Limits come back, and more may be granted."""
    goal = client.submit({"plan": {"tasks": [{"id": "a", **STEP}]}, "budget": {"dollars": 0.25, "tokens": 10, "depth": 1}})

    view = client.add_to_budget(goal.id, dollars=0.5)

    balances = {one.measure: one for one in view.accounts[0].balances}
    assert (balances["dollars"].limit, balances["dollars"].left, balances["tokens"].left) == (0.75, 0.75, 10)
    assert (view.depth, balances["seconds"].limit) == (1, None)

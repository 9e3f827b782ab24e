"""The SDK's clients: typed answers, retries that never do twice what must be done once, and telling errors."""

import asyncio
import gzip
import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec.structs import replace

from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import TaskState
from agentfleet.domain.task import parse_request
from agentfleet.services.knowledge_views import DocumentOrder
from client.api import AsyncFleetClient, FleetClient
from client.config import ClientConfig
from client.errors import (
    ApiUnreachable,
    ConflictError,
    FleetApiError,
    InvalidRequestError,
    NotFoundError,
    UnauthorizedError,
    WaitTimeout,
)
from client.retries import delay
from tests.unit.api.world import World

if TYPE_CHECKING:
    from tests.unit.client.conftest import Gateway


def plan(*tasks: dict[str, Any]) -> dict[str, Any]:
    """A goal of these tasks, work.echo unless they say otherwise."""
    return {"plan": {"tasks": [{"capability": "work.echo", **task} for task in tasks]}}


def test_a_goal_from_submission_to_result(client: FleetClient) -> None:
    """Submitted, watched until it ends, with its output; every step is typed."""
    seen: list[GoalState] = []
    goal = client.submit(plan({"id": "a", "input": {"value": 7}}, {"id": "b", "input": {"value": {"$from": "a"}}}))

    result = client.wait(goal.id, progress=lambda view: seen.append(view.state))

    assert (goal.state, result.goal.state, result.output) == (GoalState.RUNNING, GoalState.SUCCEEDED, 7)
    assert seen[0] is GoalState.RUNNING
    assert seen[-1] is GoalState.SUCCEEDED
    assert [task.state for task in client.all_tasks(goal.id)] == [TaskState.SUCCEEDED] * 2
    assert client.task(goal.id, "a").output == 7
    assert [one.id for one in client.goals().goals] == [goal.id]


def test_a_goal_request_is_sent_as_well_as_a_mapping(client: FleetClient) -> None:
    """The domain's own model is taken as it is."""
    assert client.submit(parse_request(plan({"id": "a"}))).tasks == 1


def test_a_submission_that_is_sent_twice_makes_one_goal(client: FleetClient, gateway: "Gateway") -> None:
    """When the answer is lost the request is repeated with the key that it had, and the goal is the same."""
    real = gateway.__class__.__call__

    def lose_first_answer(request: httpx.Request) -> httpx.Response:
        answer = real(gateway, request)
        if len(gateway.requests) == 1:
            raise httpx.ReadTimeout("the answer is lost", request=request)
        return answer

    lossy = FleetClient(client.config, transport=httpx.MockTransport(lose_first_answer))
    goal = lossy.submit(plan({"id": "a"}))

    keys = {request.headers["idempotency-key"] for request in gateway.requests}
    assert (len(gateway.requests), len(keys)) == (2, 1)
    assert [one.id for one in client.goals().goals] == [goal.id]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_troubles_are_tried_again(client: FleetClient, gateway: "Gateway", status: int) -> None:
    """Throttling and server errors pass; the caller doesn't notice."""
    gateway.script = [httpx.Response(status), httpx.ConnectError("refused")]

    assert client.health().status == "ok"
    assert len(gateway.requests) == 3


def test_retries_end(client: FleetClient, gateway: "Gateway") -> None:
    """After the last retry the error is the caller's."""
    gateway.script = [httpx.Response(503, json={"error": "unavailable", "message": "later"})] * 5
    with pytest.raises(FleetApiError, match="later") as refused:
        client.health()
    assert (refused.value.status, refused.value.error) == (503, "unavailable")

    gateway.script = [httpx.ConnectError("refused")] * 5
    with pytest.raises(ApiUnreachable, match=r"no answer from https://api\.example\.test: refused"):
        client.health()


@pytest.mark.parametrize("trouble", [httpx.ReadTimeout("late"), httpx.Response(500)])
def test_what_might_have_happened_is_not_repeated(client: FleetClient, gateway: "Gateway", trouble: Any) -> None:
    """A spawned fleet can't be told from a second one, so that it is repeated only when it was surely not taken."""
    gateway.script = [trouble]
    with pytest.raises((ApiUnreachable, FleetApiError)):
        client.spawn_fleet(5)
    assert len(gateway.requests) == 1

    gateway.script = [httpx.ConnectError("refused"), httpx.Response(429)]
    assert client.spawn_fleet(5).size == 5


def test_large_submissions_travel_compressed(client: FleetClient, gateway: "Gateway") -> None:
    """Above 64 KB the body is gzipped, under a type that the gateway hands over untouched."""
    client.submit(plan({"id": "a"}))
    goal = client.submit(plan(*({"id": f"t{n}", "input": {"value": "x" * 50}} for n in range(2_000))))

    small, large = gateway.requests
    assert "content-encoding" not in small.headers
    assert (large.headers["content-encoding"], large.headers["content-type"]) == ("gzip", "application/octet-stream")
    assert len(large.content) < 65_536 < len(gzip.decompress(large.content))
    assert goal.tasks == 2_000


def test_errors_have_types_and_name_every_problem(client: FleetClient, world: World) -> None:
    """Invalid, not found, conflict, unauthorized: each its own exception with what the API said."""
    with pytest.raises(InvalidRequestError) as invalid:
        client.submit({"plan": {"tasks": [{"id": "a", "capability": "no.such"}, {"id": "a", "capability": "work.echo"}]}})
    assert {problem.field for problem in invalid.value.problems} == {"tasks[a].capability", "tasks[a].id"}
    assert invalid.value.status == 422

    with pytest.raises(NotFoundError, match="there is no goal 'gnope'"):
        client.goal("gnope")
    goal = client.submit(plan({"id": "a"}))
    with pytest.raises(ConflictError, match="RUNNING"):
        client.result(goal.id)
    client.cancel(goal.id)
    assert client.cancel(goal.id).state is GoalState.CANCELLED


def test_a_wrong_key_is_unauthorized(gateway: "Gateway", config: ClientConfig) -> None:
    """The gateway's own words for it aren't the API's, and are understood too."""
    stranger = FleetClient(ClientConfig(config.api_url, "wrong"), transport=httpx.MockTransport(gateway))

    with pytest.raises(UnauthorizedError, match="does not know this key"):
        stranger.goals()
    assert "wrong" not in repr(stranger.config)


def test_an_answer_that_breaks_the_promise_is_an_error(client: FleetClient, gateway: "Gateway") -> None:
    """Something that isn't the API answers: said so, not crashed."""
    gateway.script = [httpx.Response(200, text="<html>proxy login</html>")]

    with pytest.raises(FleetApiError, match="not what the API promises"):
        client.pools()


def test_an_error_page_of_something_else_is_shown_in_part(client: FleetClient, gateway: "Gateway") -> None:
    """A status without a body of ours keeps its number and text."""
    gateway.script = [httpx.Response(418, text="teapot")]

    with pytest.raises(FleetApiError, match="HTTP 418: teapot"):
        client.pools()


def test_files_and_large_outputs_come_without_our_key(client: FleetClient, world: World) -> None:
    """Links carry their own right: what is behind them is fetched without the API's key."""
    goal = client.submit(plan({"id": "a", "input": {"value": 1}})).id
    world.fleet.blobs.put(f"blobs/acme/{goal}/a/x.txt", b"hello", "text/plain")
    client.wait(goal)
    ended = world.fleet.goals.goals[goal]
    world.fleet.goals.goals[goal] = replace(ended, output=["y" * 4_100_000])

    result = client.result(goal)

    assert client.download(result.files[0]) == b"hello"
    assert result.output == ["y" * 4_100_000]


def test_waiting_ends_when_the_caller_has_no_more_time(client: FleetClient) -> None:
    """A timeout leaves the goal running and says so."""
    goal = client.submit(plan({"id": "a"}))

    with pytest.raises(WaitTimeout, match="still RUNNING after 0 s; it goes on"):
        client.wait(goal.id, timeout=0)


def test_pools_fleets_playbooks_and_documents(client: FleetClient, world: World) -> None:
    """Everything else that the API has, typed."""
    world.busy("x/y")
    fleet = client.spawn_fleet(12, ["work.echo"])

    assert client.resize_fleet(fleet.id, 13).size == 13
    assert [one.id for one in client.fleets()] == [fleet.id]
    assert client.fleet(fleet.id).ready
    assert client.release_fleet(fleet.id).released
    assert client.scale_pool("work", 11).concurrency == client.pool("work").concurrency == 11
    assert [pool.name for pool in client.pools()] == ["web", "work"]
    assert client.logs("work") == ()
    assert [agent.id for agent in client.agents("work.echo", "work")] == ["work-x"]
    assert [one.name for one in client.playbooks()] == ["greet"]
    assert client.playbook("greet").plan["tasks"]
    order = {"title": "T", "text": "Some words of owls."}
    document = client.add_document(order)
    assert client.add_document(DocumentOrder.model_validate(order)) == document
    assert [one.id for one in client.documents("general")] == [document.id]
    assert client.search("words", ["general"], 5).findings[0].place.document == document.id
    assert client.ask("owls?").citations[0].document == document.id
    client.delete_document("general", document.id)
    with pytest.raises(NotFoundError):
        client.delete_document("general", document.id)


def test_an_id_is_one_step_of_a_path(client: FleetClient, gateway: "Gateway") -> None:
    """Whatever an id holds, it can't reach another route; an empty one asks nothing."""
    with pytest.raises(NotFoundError):
        client.goal("../pools?x=1#y")
    assert gateway.requests[0].url.raw_path.startswith(b"/goals/..%2Fpools%3Fx")
    with pytest.raises(ValueError, match="must not be empty"):
        client.goal(" ")


def test_the_delay_grows_is_random_and_heeds_the_answer() -> None:
    """Exponential with full jitter up to ten seconds; Retry-After wins."""
    assert [delay(attempt, None, 1.0) for attempt in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert delay(3, None, 0.5) == 0.8
    assert 0 <= delay(3, None) <= 1.6
    assert delay(0, httpx.Response(429, headers={"retry-after": "7"})) == 7
    assert delay(0, httpx.Response(429, headers={"retry-after": "600"})) == 10


def test_the_async_client_has_the_same_methods() -> None:
    """Name by name and parameter by parameter."""

    def shape(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert shape(FleetClient) == shape(AsyncFleetClient)


def test_the_async_client_works_alike(make_async: Callable[[], AsyncFleetClient], gateway: "Gateway") -> None:
    """The same calls from coroutines, retries included."""
    gateway.script = [httpx.Response(503)]

    async def run() -> Any:
        async with make_async() as client:
            goal = await client.submit(plan({"id": "a", "input": {"value": 1}}))
            result = await client.wait(goal.id)
            tasks = [task.id async for task in client.all_tasks(goal.id)]
            with pytest.raises(NotFoundError):
                await client.goal("gnope")
            gateway.script = [httpx.ReadTimeout("late")]
            with pytest.raises(ApiUnreachable):
                await client.spawn_fleet(3)
            return result.output, tasks, [pool.name for pool in await client.pools()]

    assert asyncio.run(run()) == (1, ["a"], ["web", "work"])
    assert json.loads(gateway.requests[0].content)["plan"]

"""Goals over HTTP: submitting, watching, results, cancelling."""

import base64
import gzip
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.api.world import World, recorded


def test_a_submitted_goal_is_accepted_once_per_idempotency_key(world: World) -> None:
    """The first submission is a 202 with the goal; the same key again is a 200 with the same goal."""
    event = recorded("http_api_post_goal")

    first, second = world.send(event), world.send(event)

    assert (first.status, second.status) == (202, 200)
    assert first.body["id"] == second.body["id"]
    assert first.body["name"] == "two steps"
    assert first.body["state"] == "RUNNING"
    assert first.body["labels"] == {"team": "blue"}
    assert first.headers["location"] == f"/goals/{first.body['id']}"


def test_without_a_key_every_submission_is_a_goal_of_its_own(world: World) -> None:
    """Nothing but a key says that two submissions are the same."""
    assert world.submit({"id": "a"}) != world.submit({"id": "a"})


@pytest.mark.parametrize("name", ["http_api_post_goal_gzip", "http_api_post_goal_curl"])
def test_bodies_arrive_however_the_gateway_wraps_them(world: World, name: str) -> None:
    """Gzipped, or in base64 because of curl's content type: the goal inside counts."""
    answer = world.send(recorded(name))

    assert (answer.status, answer.body["name"], answer.body["tasks"]) == (202, "two steps", 2)


def test_a_body_that_unpacks_past_the_limit_is_refused(world: World) -> None:
    """A small body that unpacks to more than 32 MB is a 413, and is not unpacked further."""
    event = recorded("http_api_post_goal_gzip")
    event["body"] = base64.b64encode(gzip.compress(b" " * (33 * 1024 * 1024))).decode()

    answer = world.send(event)

    assert (answer.status, answer.body["error"], answer.fields) == (413, "invalid_request", ["body"])


@pytest.mark.parametrize(
    ("headers", "body", "is_base64", "status"),
    [
        ({"content-encoding": "gzip"}, base64.b64encode(b"not gzip").decode(), True, 400),
        ({"content-encoding": "gzip"}, base64.b64encode(gzip.compress(b"{}", mtime=0)[:-9]).decode(), True, 400),
        ({"content-encoding": "gzip"}, "\ufffd\ufffd", False, 400),
        ({"content-encoding": "br"}, base64.b64encode(b"{}").decode(), True, 415),
        ({}, "not base64!", True, 400),
        ({}, base64.b64encode(b"\xff\xfe").decode(), True, 400),
    ],
)
def test_a_body_that_cannot_be_unpacked_says_so(
    world: World, headers: dict[str, str], body: str, is_base64: bool, status: int
) -> None:
    """Broken gzip, base64 and text are errors of the sender, in the shape of every error."""
    event = recorded("http_api_post_goal")
    event["headers"].update(headers)
    event["body"], event["isBase64Encoded"] = body, is_base64

    answer = world.send(event)

    assert answer.status == status
    assert answer.body["error"] == "invalid_request"
    assert answer.fields == ["body"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "request"),
        ([], "request"),
        ("{", "body"),
        ('{"plan": {"tasks": [{"id": "a", "capability": "work.echo", "input": {"x": NaN}}]}}', "body"),
        ({"plan": {"tasks": []}}, "plan.tasks"),
        ({"plan": {"tasks": [{"id": "a", "capability": "work.ecoh"}]}}, "tasks[a].capability"),
        ({"plan": {"tasks": [{"id": "a", "capability": "work.echo", "retries": 99}]}}, "plan.tasks[a].retries"),
        ({"playbook": "greet"}, "parameters.who"),
        ({"playbook": "gret", "parameters": {}}, "playbook"),
        ({"plan": {"tasks": [{"id": "a", "capability": "work.echo"}]}, "tenant": "evil"}, "tenant"),
    ],
)
def test_what_is_wrong_with_a_goal_is_named_by_field(world: World, body: Any, field: str) -> None:
    """A goal that can't be accepted is a 422 that names the field, with tasks by their ids."""
    answer = world.call("POST", "/goals", body)

    assert (answer.status, answer.body["error"]) == (422, "invalid_request")
    assert answer.fields[0] == field
    assert answer.body["message"]


def test_a_missing_body_and_a_bad_key_are_named(world: World) -> None:
    """An empty body and an idempotency key over 255 characters are each told apart."""
    assert world.call("POST", "/goals").status == 422
    answer = world.call("POST", "/goals", {"playbook": "greet"}, headers={"Idempotency-Key": "k" * 256})
    assert (answer.status, answer.fields) == (422, ["idempotency-key"])


def test_a_queue_that_takes_nothing_asks_for_the_same_again(world: World) -> None:
    """If the first tasks can't be sent the answer is 503, and the same key carries the goal on."""
    world.fleet.queues.fail_sends("fleet-work-normal", 1)
    body = {"plan": {"tasks": [{"id": "a", "capability": "work.echo"}]}}

    refused = world.call("POST", "/goals", body, headers={"idempotency-key": "k"})
    carried = world.call("POST", "/goals", body, headers={"idempotency-key": "k"})

    assert (refused.status, refused.body["error"]) == (503, "unavailable")
    assert (carried.status, carried.body["state"]) == (200, "RUNNING")


def test_a_goal_shows_its_progress_and_then_its_result(world: World) -> None:
    """Counts move from ready to succeeded; the result is a 409 until the goal has ended."""
    goal = world.submit({"id": "a", "input": {"value": 7}}, {"id": "b", "input": {"value": {"$from": "a"}}}, {"id": "c"})

    before = world.call("GET", f"/goals/{goal}")
    early = world.call("GET", f"/goals/{goal}/result")
    world.step()
    middle = world.call("GET", f"/goals/{goal}")
    world.fleet.settle()
    after = world.call("GET", f"/goals/{goal}")
    result = world.call("GET", f"/goals/{goal}/result")

    assert before.body["counts"] == {"READY": 2, "WAITING": 1}
    assert (early.status, early.body["error"]) == (409, "conflict")
    assert middle.body["counts"] == {"SUCCEEDED": 2, "READY": 1}
    assert (after.body["state"], after.body["counts"]) == ("SUCCEEDED", {"SUCCEEDED": 3})
    assert after.body["duration"] > 0
    assert result.body["output"] == {"b": 7, "c": None}
    assert result.body["goal"]["state"] == "SUCCEEDED"


def test_a_result_links_to_the_goals_files(world: World) -> None:
    """Files that tasks put under the goal's prefix come with their names, sizes and links for an hour."""
    goal = world.submit({"id": "a"})
    world.fleet.blobs.put(f"blobs/acme/{goal}/a/report.html", b"<html>", "text/html")
    world.fleet.blobs.put("blobs/gother/a/secret.txt", b"x", "text/plain")
    world.fleet.settle()

    [file] = world.call("GET", f"/goals/{goal}/result").body["files"]

    assert (file["name"], file["size"]) == ("a/report.html", 6)
    assert file["url"].endswith("expires=3600")


def test_an_output_too_large_for_an_answer_becomes_a_link(world: World) -> None:
    """A function's answer has a limit; a larger output is null and behind a link."""
    goal = world.submit({"id": "a", "input": {"value": "x" * 60_000}})
    world.fleet.settle()
    large = world.fleet.goal(goal)
    world.fleet.goals.goals[goal] = replace(large, output="y" * 4_100_000)

    result = world.call("GET", f"/goals/{goal}/result").body

    assert result["output"] is None
    assert "outputs/" in result["output_url"]


def test_cancelling_is_idempotent_and_refused_after_another_end(world: World) -> None:
    """A running goal can be cancelled, again too; one that succeeded can't."""
    running, done = world.submit({"id": "a"}), ""
    cancelled = world.call("DELETE", f"/goals/{running}")
    again = world.call("DELETE", f"/goals/{running}")
    done = world.submit({"id": "a"})
    world.fleet.settle()
    refused = world.call("DELETE", f"/goals/{done}")

    assert (cancelled.status, cancelled.body["state"], again.status) == (200, "CANCELLED", 200)
    assert (refused.status, refused.body["error"]) == (409, "conflict")


@pytest.mark.parametrize("path", ["", "/tasks", "/result"])
def test_goals_of_others_do_not_exist(world: World, path: str) -> None:
    """Another tenant's goal is a 404 like one that never was, and can't be cancelled."""
    goal = world.submit({"id": "a"})

    assert world.call("GET", f"/goals/{goal}{path}", tenant="evil").status == 404
    assert world.call("GET", f"/goals/gnone{path}").status == 404
    assert world.call("DELETE", f"/goals/{goal}", tenant="evil").status == 404
    assert world.call("GET", f"/tasks/{goal}.a", tenant="evil").status == 404
    assert world.call("GET", "/goals", tenant="evil").body == {"goals": [], "cursor": None}


def test_goals_are_listed_newest_first_page_by_page(world: World) -> None:
    """Pages follow each other by cursor, and a state narrows them."""
    ids = []
    for _ in range(3):
        world.fleet.clock.advance(1)
        ids.append(world.submit({"id": "a"}))
    world.call("DELETE", f"/goals/{ids[0]}")

    first = world.call("GET", "/goals", limit=2).body
    second = world.call("GET", "/goals", limit=2, cursor=first["cursor"]).body
    running = world.send(recorded("http_api_get_goals")).body

    assert [goal["id"] for goal in first["goals"] + second["goals"]] == ids[::-1]
    assert second["cursor"] is None
    assert [goal["id"] for goal in running["goals"]] == ids[:0:-1]


@pytest.mark.parametrize(("query", "field"), [({"limit": 0}, "limit"), ({"limit": "x"}, "limit"), ({"state": "GONE"}, "state")])
def test_a_bad_query_names_its_parameter(world: World, query: dict[str, Any], field: str) -> None:
    """Limits and states out of range are 422s that name the parameter."""
    answer = world.call("GET", "/goals", **query)

    assert (answer.status, answer.fields) == (422, [field])

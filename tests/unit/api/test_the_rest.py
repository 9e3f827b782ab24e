"""Playbooks, knowledge, and what holds for every route: errors in one shape, a key, and a document that says it all."""

import json
from typing import Any

import pytest
from openapi_spec_validator import validate

from functions.serve_api import handler
from tests.unit.api.world import World, recorded


def test_playbooks_say_what_they_ask_for(world: World) -> None:
    """Listed with their parameters, described with their plan."""
    [listed] = world.call("GET", "/playbooks").body["playbooks"]
    described = world.call("GET", "/playbooks/greet").body

    assert listed["parameters"]["who"] == {"type": "string", "description": "whom", "default": None, "required": True}
    assert listed["parameters"]["times"]["required"] is False
    assert described["plan"]["tasks"][0]["id"] == "say"
    assert world.call("GET", "/playbooks/nope").status == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/nope"), ("PUT", "/goals"), ("POST", "/"), ("GET", "/goals/x/y/z")])
def test_unknown_routes_answer_in_the_shape_of_every_error(world: World, method: str, path: str) -> None:
    """A route or method that doesn't exist is a JSON 404 that says where to look."""
    answer = world.call(method, path)

    assert (answer.status, answer.body["error"], answer.body["problems"]) == (404, "not_found", [])
    assert "openapi.json" in answer.body["message"]


def test_every_route_that_is_about_a_tenant_needs_one(world: World) -> None:
    """Without an authorizer's tenant nothing is served except what is the same for everybody: health and description."""
    document = json.loads(handler.openapi_document())
    bodies: dict[str, Any] = {
        "/goals": {"playbook": "greet", "parameters": {"who": "x"}},
        "/knowledge": {"title": "t", "text": "x"},
        "/goals/{goal_id}/fork": {"keep": ["*"]},
        "/uploads": {"name": "a.zip", "content": "UEs="},
        "/fleets": {"size": 3},
        "/fleets/{fleet_id}": {"size": 3},
        "/pools/{name}": {"concurrency": 3},
        "/dead-letters/{pool}/redrive": {},
        "/goals/{goal_id}/budget": {"dollars": 1},
        "/approvals/{ref}/approve": {},
        "/approvals/{ref}/reject": {"reason": "r"},
        "/kills": {"kind": "all", "reason": "r"},
        "/kills/lift": {"kind": "all"},
        "/dead-letters/{pool}/bury": {"key": "k", "reason": "r"},
        "/memory/facts": {"text": "t"},
        "/memory/sessions/{session_id}": {"messages": [{}]},
    }
    for path, item in document["paths"].items():
        for method in item:
            body = bodies.get(path) if method in {"post", "patch"} else None
            query = {"/knowledge/search": {"query": "x"}, "/knowledge/ask": {"question": "x"}}.get(path, {})
            answer = world.call(method.upper(), path.replace("{", "").replace("}", ""), body, tenant=None, **query)
            assert answer.status == (200 if path == "/health" else 401), (method, path)
    assert world.call("GET", "/openapi.json", tenant=None).status == 200
    assert not world.fleet.goals.goals
    assert not world.fleets.fleets


def test_an_unexpected_error_tells_nothing_but_where_to_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is a 500 with the request's id, without a word of the error itself."""

    def explode() -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("agentfleet.bootstrap.api", explode)
    answer = world.call("GET", "/goals")

    assert (answer.status, answer.body["error"]) == (500, "internal_error")
    assert "JKJaXmPLvHcESHA=" in answer.body["message"]
    assert "swordfish" not in json.dumps(answer.body)


def test_a_body_of_another_type_is_refused(world: World) -> None:
    """Only JSON is taken, whatever the body holds."""
    answer = world.call("POST", "/fleets", "size=3", headers={"content-type": "text/plain"})

    assert (answer.status, answer.body["error"]) == (415, "invalid_request")


def test_headers_may_come_in_any_case(world: World) -> None:
    """Gateways differ in how they write header names."""
    event = recorded("http_api_post_goal")
    event["headers"] = {name.title(): value for name, value in event["headers"].items()}

    assert [world.send(event).status, world.send(event).status] == [202, 200]


def test_the_description_is_valid_and_complete(world: World) -> None:
    """OpenAPI 3.1, every operation with an id, a summary, its answer's shape and one shape for errors."""
    document = world.call("GET", "/openapi.json").body

    validate(document)
    operations = [(path, operation) for path, item in document["paths"].items() for operation in item.values()]
    assert len({operation["operationId"] for _, operation in operations}) == len(operations) == 65
    assert set(document["components"]["securitySchemes"]) == {"bearer"}
    assert document["security"] == [{"bearer": []}]
    for path, operation in operations:
        assert operation["summary"], path
        for status, response in operation["responses"].items():
            if status == "204":
                assert "content" not in response
                continue
            schema = response["content"]["application/json"]["schema"]["$ref"]
            assert schema.endswith("/ErrorView") == (int(status) >= 400), (path, status)
    body = document["paths"]["/goals"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/GoalRequest"}

"""The MCP server's function, called with the HTTP API's events as a client of the protocol causes them."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from agentfleet.services.tools import ToolBox
from functions.serve_mcp import handler as function
from tests.unit.api.world import World, recorded

CONTEXT: Any = SimpleNamespace(function_name="fleet-serve-mcp", aws_request_id="test")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A fleet in one process behind the function."""
    world = World()
    api = world.api
    find, clock = world.knowledge.finder.find, world.fleet.clock
    box = ToolBox(world.catalog, api.accept, api.inspect, api.control, find, clock, lambda _: world.step())
    monkeypatch.setattr(function, "tools", lambda: box)
    monkeypatch.setattr(function, "utc_now", world.fleet.clock)
    return world


def ask(method: str, params: dict[str, Any] | None = None, *, verb: str = "POST") -> tuple[int, Any]:
    """One request of the protocol: status, and what the answer says."""
    event = recorded("http_api_get_goals")
    http = event["requestContext"]["http"]
    http["method"], http["path"], event["rawPath"] = verb, "/mcp", "/mcp"
    event["requestContext"]["authorizer"]["lambda"]["tenant"] = "acme"
    event["headers"] |= {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": "2025-06-18",
    }
    event["body"] = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}})
    response = function.handler(event, CONTEXT)
    return response["statusCode"], json.loads(response["body"]) if response["body"] else None


def test_tools_are_listed_with_schemas(world: World) -> None:
    """As the protocol spells them."""
    status, answer = ask("tools/list")

    tools = {tool["name"]: tool for tool in answer["result"]["tools"]}
    assert status == 200
    assert tools["submit_goal"]["inputSchema"]["properties"].keys() == {
        "name",
        "plan",
        "playbook",
        "parameters",
        "goal",
        "idempotency_key",
    }
    assert tools["get_goal"]["annotations"]["readOnlyHint"] is True


def test_a_tool_is_called(world: World) -> None:
    """The output as text and, where it is an object, as data."""
    _, answer = ask("tools/call", {"name": "work__echo", "arguments": {"value": {"n": 1}}})

    assert answer["result"]["structuredContent"] == {"n": 1}
    assert json.loads(answer["result"]["content"][0]["text"]) == {"n": 1}
    assert answer["result"]["isError"] is False


def test_one_environment_answers_many_requests(world: World) -> None:
    """Nothing of one request is left for the next, an error neither."""
    for number in range(3):
        _, wrong = ask("tools/call", {"name": "nothing"})
        _, answer = ask("tools/call", {"name": "work__echo", "arguments": {"value": number}})
        assert wrong["result"]["isError"] is True
        assert answer["result"]["content"][0]["text"] == str(number)


def test_an_unknown_method_is_the_protocols_error(world: World) -> None:
    """-32601 of JSON-RPC."""
    _, answer = ask("no/such")

    assert answer["error"]["code"] == -32601

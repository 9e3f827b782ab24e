"""The deployed fleet through the protocol's own client: what any MCP host would do."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.local import LocalCloud

WORDS = 'Measure the packages "json" and "tomllib" of the standard library and report on them'
FINAL = {state.value for state in GoalState if state.is_final}


@asynccontextmanager
async def connected(cloud: LocalCloud) -> AsyncIterator[Client]:
    """A client with the key of the tenant "default"."""
    headers = {"Authorization": f"Bearer {cloud.api_key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{cloud.api_url}/mcp", http_client=http)) as client,
    ):
        yield client


def test_the_official_client_calls_the_fleet(cloud: LocalCloud) -> None:
    """It connects, lists what there is, runs a capability, and submits a goal that it then asks about."""

    async def session() -> tuple[set[str], Any, Any, dict[str, Any]]:
        async with connected(cloud) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            step = await client.call_tool("flow__collect", {"items": [[1], [2, 3]], "flatten": True})
            wrong = await client.call_tool("flow__collect", {"items": 7})
            plan = {"tasks": [{"id": "a", "capability": "flow.noop", "input": {"value": 42}}]}
            goal = await told(client, "submit_goal", plan=plan)
            await ended(client, goal["id"])
            return tools, step, wrong, await told(client, "get_result", goal_id=goal["id"])

    tools, step, wrong, result = asyncio.run(session())

    assert {"submit_goal", "search_knowledge", "data__query", "http__fetch"} <= tools
    assert (step.is_error, step.structured_content) == (False, {"items": [1, 2, 3], "count": 3})
    assert wrong.is_error
    assert "items" in wrong.content[0].text
    assert result["output"] == 42


def test_a_goal_in_words_is_submitted_once_and_watched(cloud: LocalCloud) -> None:
    """A call that is repeated with its key gives the same goal; get_goal says how far it is until its result is there."""
    asked = {"goal": WORDS, "idempotency_key": secrets.token_hex(8)}

    async def session() -> tuple[list[str], dict[str, Any], dict[str, Any]]:
        async with connected(cloud) as client:
            ids = [(await told(client, "submit_goal", **asked))["id"] for _ in range(2)]
            goal = await ended(client, ids[0])
            return ids, goal, await told(client, "get_result", goal_id=ids[0])

    ids, goal, result = asyncio.run(session())

    assert ids[0] == ids[1]
    assert (goal["state"], goal["words"]) == ("SUCCEEDED", asked["goal"]), goal
    assert result["goal"]["id"] == ids[0]
    assert result["output"]


def test_knowledge_is_searched(cloud: LocalCloud, client: FleetClient) -> None:
    """What was kept by the HTTP API is found by the tool, with its place, in the domain that is named."""
    client.add_document({"domain": "mcp", "title": "storks.txt", "text": "Storks build their nests on chimneys."})

    async def session() -> dict[str, Any]:
        async with connected(cloud) as mcp:
            return await told(mcp, "search_knowledge", query="Where do storks nest?", domain="mcp")

    found = asyncio.run(session())

    assert found["findings"][0]["place"]["title"] == "storks.txt"
    assert "chimneys" in found["findings"][0]["text"]


async def told(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers, which must not be an error."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    return answer.structured_content or {}


async def ended(client: Client, goal_id: str, seconds: float = 120.0) -> dict[str, Any]:
    """A goal in the state in which it ends, as get_goal tells. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while (goal := await told(client, "get_goal", goal_id=goal_id))["state"] not in FINAL:
            await asyncio.sleep(0.1)
    return goal


def test_nobody_gets_in_without_a_key(cloud: LocalCloud) -> None:
    """The gateway's authorizer stands before this route as before all others."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    answer = httpx2.post(f"{cloud.api_url}/mcp", content=body, headers={"content-type": "application/json"})

    assert answer.status_code in {401, 403}

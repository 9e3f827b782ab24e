"""The deployed fleet through the protocol's own client: what any MCP host would do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from client.local import LocalCloud


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
            goal = (await client.call_tool("submit_goal", {"plan": plan})).structured_content or {}
            for _ in range(100):
                result = await client.call_tool("get_result", {"goal_id": goal["id"]})
                if not result.is_error:
                    break
                await asyncio.sleep(0.2)
            return tools, step, wrong, result.structured_content or {}

    tools, step, wrong, result = asyncio.run(session())

    assert {"submit_goal", "search_knowledge", "data__query", "http__fetch"} <= tools
    assert (step.is_error, step.structured_content) == (False, {"items": [1, 2, 3], "count": 3})
    assert wrong.is_error
    assert "items" in wrong.content[0].text
    assert result["output"] == 42


def test_nobody_gets_in_without_a_key(cloud: LocalCloud) -> None:
    """The gateway's authorizer stands before this route as before all others."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    answer = httpx2.post(f"{cloud.api_url}/mcp", content=body, headers={"content-type": "application/json"})

    assert answer.status_code in {401, 403}

"""MCP servers as tools: against the fleet's own MCP server, running in this process, spoken to over HTTP."""

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from msgspec.structs import replace

from agentfleet.adapters.mcp_servers import StrandsToolServer
from agentfleet.domain.catalog import ToolServerSpec
from agentfleet.domain.errors import RetryableError
from agentfleet.services.tools import Tool, ToolAnswer
from functions.serve_mcp import handler as function
from tests.fakes.fleet import Killed
from tests.fakes.models import call, say, told
from tests.unit.agents.fleet import AgentFleet

pytestmark = [
    pytest.mark.enable_socket,
    # What the client's own threads leave behind of a connection is not ours to close.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TOKEN = "token-of-the-fleet"


@pytest.fixture(autouse=True)
def _swept() -> Iterator[None]:
    """What the client leaves behind is found here, and not by some later test."""
    yield
    gc.collect()


class Box:
    """The tools that the server offers, and what was asked of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.tools = (
            Tool("data__query", "Asks", {"type": "object"}, read_only=True),
            Tool("wipe", "Wipes", {"type": "object"}),
        )

    def call(self, name: str, call: Any) -> ToolAnswer:
        self.calls.append((name, dict(call.arguments)))
        return ToolAnswer({"rows": [1, 2]}) if name == "data__query" else ToolAnswer("no", is_error=True)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Box]]:
    """A running server that wants a token: its address, and its tools."""
    box = Box()
    monkeypatch.setattr(function, "tools", lambda: box)
    function._tenant.set("acme")
    listening = socket.create_server(("127.0.0.1", 0))
    manager = StreamableHTTPSessionManager(function.server, json_response=True, stateless=True)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        function._tenant.set("acme")
        if dict(scope["headers"]).get(b"authorization") != f"Bearer {TOKEN}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await manager.handle_request(scope, receive, send)

    async def serve() -> None:
        async with manager.run():
            await server.serve(sockets=[listening])

    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", box
    server.should_exit = True
    thread.join()
    listening.close()


def server_of(url: str, token: str = TOKEN, *tools: str) -> StrandsToolServer:
    """The adapter for a server."""
    spec = ToolServerSpec(name="fleet", url=url, tools=tools, timeout=5)
    return StrandsToolServer(spec, lambda: token, lambda: datetime.now(UTC))


def test_tools_are_listed_and_called(served: tuple[str, Box]) -> None:
    """Structured answers as data, errors in words and marked as such."""
    server = server_of(served[0])

    assert [(one["name"], one["description"], one["read_only"]) for one in server.tools()] == [
        ("data__query", "Asks", True),
        ("wipe", "Wipes", False),
    ]
    assert server.call("data__query", {"sql": "x"}, 5) == ({"rows": [1, 2]}, False)
    assert server.call("wipe", {}, 5) == ("no", True)
    assert served[1].calls == [("data__query", {"sql": "x"}), ("wipe", {})]


def test_a_server_that_is_not_there_or_knows_nobody_is_a_clear_error(served: tuple[str, Box]) -> None:
    """It names the server and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    for server in (server_of(f"http://127.0.0.1:{port}/mcp"), server_of(served[0], "wrong")):
        with pytest.raises(RetryableError, match="MCP server fleet at http://127"):
            server.call("data__query", {}, 2)


def with_server(script: Any, server: Any, *tools: str) -> AgentFleet:
    """A fleet whose agents may call some of a server's tools."""
    fleet = AgentFleet(script)
    spec = fleet.platform.catalog.pools["agents"]
    spec = replace(spec, servers=(ToolServerSpec(name="fleet", url="http://x", tools=tools),))
    pools = {**fleet.platform.catalog.pools, "agents": spec}
    fleet.platform.catalog = replace(fleet.platform.catalog, pools=pools)
    fleet.servers = {"fleet": server}
    return fleet


def test_an_agent_calls_a_servers_tools_by_policy(served: tuple[str, Box]) -> None:
    """What the block does not list is neither shown nor called, though the server has it."""
    turns = [call(("mcp__fleet__data__query", {"sql": "x"})), call(("mcp__fleet__wipe", {})), say("Two rows.")]
    fleet = with_server(turns, server_of(served[0]), "data__*")

    goal = fleet.ask()

    assert goal.output["answer"] == "Two rows."
    assert [one["ok"] for one in goal.output["tool_calls"]] == [True, False]
    assert served[1].calls == [("data__query", {"sql": "x"})]
    assert fleet.refusals == [("mcp.fleet.wipe", "ToolNotAllowed")]
    assert "mcp__fleet__wipe" not in [tool.name for tool in fleet.model.requests[0].tools]
    assert '"rows": [1, 2]' in told(fleet.model.requests[1])


class DeadServer:
    """Fails whatever it is asked."""

    timeout = 5.0

    def __init__(self, error: BaseException, before: Callable[[], None] = lambda: None) -> None:
        self.error = error
        self.before = before
        self.calls = 0

    def tools(self) -> Any:
        return [{"name": "pay", "description": "Pays", "input": {"type": "object"}}]

    def call(self, name: str, arguments: Any, timeout: float) -> Any:
        self.calls += 1
        self.before()
        raise self.error


def test_a_dead_server_is_an_answer_and_opens_its_breaker() -> None:
    """After some failures it is not asked any more."""
    server = DeadServer(RetryableError("MCP server fleet can't be asked: it is down"))
    turns = [call(("mcp__fleet__pay", {"n": number})) for number in range(8)]
    fleet = with_server([*turns, say("It is down.")], server, "pay")

    goal = fleet.ask(max_turns=20)

    assert goal.output["answer"] == "It is down."
    assert "could not be asked: MCP server fleet" in told(fleet.model.requests[1])
    assert server.calls < 8
    assert "left alone" in told(fleet.model.requests[8])


def test_a_call_in_whose_middle_the_agent_died_is_not_made_again() -> None:
    """Nobody can say whether it took effect, and the model is told so."""
    server = DeadServer(Killed("in the middle of a payment"))
    fleet = with_server([call(("mcp__fleet__pay", {})), say("I don't know.")], server, "pay")
    server.before = fleet.faults.die

    goal = fleet.ask()

    assert goal.output["answer"] == "I don't know."
    assert server.calls == 1
    assert "not known whether this call took effect" in told(fleet.model.requests[-1])

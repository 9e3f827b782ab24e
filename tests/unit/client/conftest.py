"""Clients whose requests are answered by the API's own function, over a fleet in this process."""

import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from agentfleet import bootstrap
from agentfleet.agent import Agent
from client.api import AsyncFleetClient, FleetClient
from client.config import ClientConfig
from functions.serve_api import handler
from tests.unit.api.world import World, recorded

KEY = "test-key-of-acme"


class Gateway:
    """What an HTTP API does between a client and the function. `script` comes first: answers to give instead."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[httpx.Request] = []
        self.script: list[httpx.Response | httpx.TransportError] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, httpx.TransportError):
                raise answer
            return answer
        if request.url.host == "fleet-bucket.example.test":
            return self._blob(request)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return httpx.Response(403, json={"message": "Forbidden"})
        response = handler.handler(self._event(request), SimpleNamespace(function_name="f", aws_request_id="r"))  # type: ignore[arg-type]
        headers = {**(response.get("headers") or {})}
        for name, values in (response.get("multiValueHeaders") or {}).items():
            headers[name] = values[0]
        return httpx.Response(response["statusCode"], headers=headers, content=(response.get("body") or "").encode())

    def _blob(self, request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers, "our key is nobody else's business"
        return httpx.Response(200, content=self.world.fleet.blobs.get(f"s3://fleet-bucket{request.url.path}"))

    @staticmethod
    def _event(request: httpx.Request) -> dict[str, Any]:
        event = recorded("http_api_get_goals")
        path = httpx.URL(request.url).path
        event["requestContext"]["http"].update(method=request.method, path=path)
        event["rawPath"], event["rawQueryString"] = path, request.url.query.decode()
        event["queryStringParameters"] = dict(parse_qsl(request.url.query.decode()))
        event["headers"] = dict(request.headers)
        event["requestContext"]["authorizer"]["lambda"]["operator"] = "yes"
        if request.content:
            is_text = request.headers.get("content-type") == "application/json"
            event["isBase64Encoded"] = not is_text
            event["body"] = request.content.decode() if is_text else base64.b64encode(request.content).decode()
        return event


@pytest.fixture
def more_agents() -> tuple[Agent, ...]:
    """Beside those of every world: for tests to override."""
    return ()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, more_agents: tuple[Agent, ...]) -> World:
    """A fleet in this process with its API. Whenever a client pauses, the fleet works a little."""
    made = World(*more_agents)
    monkeypatch.setattr(bootstrap, "api", lambda: made.api)
    monkeypatch.setattr(bootstrap, "knowledge", lambda: made.knowledge)
    monkeypatch.setattr(bootstrap, "memory", lambda: made.memory)
    event = SimpleNamespace(wait=lambda _: made.step())
    monkeypatch.setattr("client.connection.threading", SimpleNamespace(Event=lambda: event))
    return made


@pytest.fixture
def gateway(world: World) -> Gateway:
    """The way to the API."""
    return Gateway(world)


@pytest.fixture
def config() -> ClientConfig:
    """A tenant's configuration."""
    return ClientConfig("https://api.example.test", KEY)


@pytest.fixture
def client(gateway: Gateway, config: ClientConfig) -> FleetClient:
    """A client of the tenant."""
    return FleetClient(config, transport=httpx.MockTransport(gateway))


@pytest.fixture
def make_async(gateway: Gateway, config: ClientConfig, world: World) -> Callable[[], AsyncFleetClient]:
    """Makes clients for asyncio; their pauses let the fleet work, in a thread as it has an event loop of its own."""
    import asyncio

    async def pause(_: float) -> None:
        await asyncio.to_thread(world.step)

    async def answer(request: httpx.Request) -> httpx.Response:
        return gateway(request)

    def make() -> AsyncFleetClient:
        made = AsyncFleetClient(config, transport=httpx.MockTransport(answer))
        made.sleep = pause
        return made

    return make

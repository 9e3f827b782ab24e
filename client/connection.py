"""Connections to the API: send a call, try again where that is right, give what it gives."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from client import calls
from client.calls import Call
from client.config import ClientConfig, read_config
from client.errors import ApiUnreachable
from client.retries import delay, may_resend

T = TypeVar("T")

USER_AGENT: Final = "agentfleet-client/0.1"
MAX_CONNECTIONS: Final = 20


def _options(config: ClientConfig) -> dict[str, Any]:
    return {
        "base_url": config.api_url,
        "timeout": config.timeout,
        "headers": {"authorization": f"Bearer {config.api_key}", "user-agent": USER_AGENT},
        "limits": httpx.Limits(max_connections=MAX_CONNECTIONS),
    }


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    return http.build_request(call.method, call.path, params=call.params, headers=call.headers, content=call.content)


def _link(url: str, config: ClientConfig) -> httpx.Request:
    # Built without the client: a signed link carries its own right, and our key is nobody else's business.
    return httpx.Request("GET", url, extensions={"timeout": httpx.Timeout(config.timeout).as_dict()})


def _unreachable(config: ClientConfig, error: httpx.TransportError) -> ApiUnreachable:
    return ApiUnreachable(f"no answer from {config.api_url}: {error or type(error).__name__}")


def _content(answer: httpx.Response) -> bytes:
    if answer.is_error:
        raise calls.error_of(answer.status_code, answer.content)
    return answer.content


class Connection:
    """A context manager over one pool of connections; may be shared between threads."""

    def __init__(
        self, config: ClientConfig | Mapping[str, Any] | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`config` as for read_config; `transport` for tests."""
        self.config = read_config(config)
        self.sleep: Callable[[float], object] = threading.Event().wait
        self._http = httpx.Client(transport=transport, **_options(self.config))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def run(self, call: Call[T]) -> T:
        """Send a call. Raises ApiUnreachable, or the FleetApiError that fits the answer."""
        for attempt in range(self.config.retries + 1):
            is_last, answer = attempt == self.config.retries, None
            try:
                answer = self._http.send(_request(self._http, call))
            except httpx.TransportError as error:
                if is_last or not may_resend(call, error):
                    raise _unreachable(self.config, error) from error
            else:
                if is_last or not call.may_retry(answer.status_code):
                    return call.answer(answer.status_code, answer.content)
            self.sleep(delay(attempt, answer))
        raise AssertionError("the last attempt returns or raises")

    def fetch(self, url: str) -> bytes:
        """What a link gives. Raises ApiUnreachable, FleetApiError."""
        try:
            return _content(self._http.send(_link(url, self.config)))
        except httpx.TransportError as error:
            raise _unreachable(self.config, error) from error

    def fetch_json(self, url: str) -> Any:
        """The JSON value behind a link."""
        return json.loads(self.fetch(url))


class AsyncConnection:
    """The same for one event loop."""

    def __init__(
        self, config: ClientConfig | Mapping[str, Any] | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`config` as for read_config; `transport` for tests."""
        self.config = read_config(config)
        self.sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
        self._http = httpx.AsyncClient(transport=transport, **_options(self.config))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def run(self, call: Call[T]) -> T:
        """Send a call. Raises ApiUnreachable, or the FleetApiError that fits the answer."""
        for attempt in range(self.config.retries + 1):
            is_last, answer = attempt == self.config.retries, None
            try:
                answer = await self._http.send(_request(self._http, call))
            except httpx.TransportError as error:
                if is_last or not may_resend(call, error):
                    raise _unreachable(self.config, error) from error
            else:
                if is_last or not call.may_retry(answer.status_code):
                    return call.answer(answer.status_code, answer.content)
            await self.sleep(delay(attempt, answer))
        raise AssertionError("the last attempt returns or raises")

    async def fetch(self, url: str) -> bytes:
        """What a link gives. Raises ApiUnreachable, FleetApiError."""
        try:
            return _content(await self._http.send(_link(url, self.config)))
        except httpx.TransportError as error:
            raise _unreachable(self.config, error) from error

    async def fetch_json(self, url: str) -> Any:
        """The JSON value behind a link."""
        return json.loads(await self.fetch(url))

"""MCP servers by Strands' client, over streamable HTTP.

A connection is made for each use and closed after it: an environment may be frozen between two, for longer than any server
keeps one. What a server offers is remembered for some minutes.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from strands.tools.mcp import MCPClient

from agentfleet.domain.catalog import ToolServerSpec
from agentfleet.domain.errors import RetryableError
from agentfleet.ports import Clock

FRESH: Final = timedelta(minutes=5)


class StrandsToolServer:
    """A ToolServer: `StrandsToolServer(spec, token, clock)`; `token` gives the bearer token, None where there is none."""

    def __init__(self, spec: ToolServerSpec, token: Callable[[], str | None], clock: Clock) -> None:
        self._spec = spec
        self._token = token
        self._clock = clock
        self._known: tuple[datetime, Sequence[Mapping[str, Any]]] | None = None

    @property
    def timeout(self) -> float:
        """Seconds that one call may take."""
        return self._spec.timeout

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """What it offers. Raises RetryableError."""
        if self._known is not None and self._clock() - self._known[0] < FRESH:
            return self._known[1]
        found: list[Mapping[str, Any]] = []
        try:
            with self._client(self._spec.timeout) as client:
                page = client.list_tools_sync()
                found += [_described(tool) for tool in page]
                while page.pagination_token:
                    page = client.list_tools_sync(page.pagination_token)
                    found += [_described(tool) for tool in page]
        except Exception as error:
            raise self._unreachable(error) from error
        self._known = (self._clock(), found)
        return found

    def call(self, name: str, arguments: Mapping[str, Any], timeout: float) -> tuple[Any, bool]:
        """What a tool answers, and whether the answer is an error. Raises RetryableError."""
        try:
            with self._client(timeout) as client:
                result = client.call_tool_sync(name, name, dict(arguments), timedelta(seconds=timeout))
        except Exception as error:
            raise self._unreachable(error) from error
        structured = result.get("structuredContent")
        words = "\n".join(block["text"] for block in result["content"] if "text" in block)
        is_error = result["status"] == "error"
        return (structured if structured and not is_error else words), is_error

    def _client(self, timeout: float) -> MCPClient:
        token = self._token()
        headers = {"Authorization": f"Bearer {token}"} if token else None
        return MCPClient(url=self._spec.url, headers=headers, startup_timeout=max(1, int(timeout)))

    def _unreachable(self, error: Exception) -> RetryableError:
        cause: BaseException = error
        while cause.__cause__ is not None or (isinstance(cause, BaseExceptionGroup) and cause.exceptions):
            cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause
        return RetryableError(
            f"MCP server {self._spec.name} at {self._spec.url} can't be asked: {type(cause).__name__}: {cause}"
        )


def _described(tool: Any) -> Mapping[str, Any]:
    spec = tool.tool_spec
    hints = spec.get("annotations") or {}
    return {
        "name": tool.tool_name,
        "description": spec["description"],
        "input": spec["inputSchema"]["json"],
        "read_only": bool(hints.get("readOnlyHint")),
        "idempotent": bool(hints.get("idempotentHint")),
    }

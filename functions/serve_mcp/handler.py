"""The fleet as an MCP server: `POST /mcp`, streamable HTTP without sessions, so that any environment answers any request.

Each tenant's key opens it (`Authorization: Bearer`), checked by the same authorizer as the HTTP API's.
"""

from agentfleet.bootstrap import toolbox, utc_now
from agentfleet.services.tools import Call, Tool, ToolBox

import asyncio
import base64
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from typing import Any, Final

import httpx2
import mcp_types as types
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

VERSION: Final = "1.0.0"
PATH: Final = "/mcp"
BASE: Final = "http://fleet"
"""Nobody looks it up: the request is made within this process."""
PATIENCE: Final = timedelta(seconds=24)
"""Of the 29 that a request may take: a capability that needs longer goes on, and its goal's id is the answer."""
INSTRUCTIONS: Final = (
    "Agent Fleet carries out goals: graphs of tasks, each done by an agent that offers a capability. Call a capability by its "
    "own tool for one quick task; use submit_goal with a plan for several that depend on each other, then get_result."
)

logger = Logger()
_tenant: ContextVar[str] = ContextVar("tenant")


@cache
def tools() -> ToolBox:
    """Made at the first request."""
    return toolbox()


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    """Every tool: the list is short enough for one page."""
    return types.ListToolsResult(tools=[_described(tool) for tool in tools().tools])


async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Run a tool for the tenant whose request this is; waiting happens in a thread."""
    call = Call(_tenant.get(), params.arguments or {}, utc_now() + PATIENCE)
    answer = await asyncio.to_thread(tools().call, params.name, call)
    logger.info("tool", tenant=call.tenant, tool=params.name, is_error=answer.is_error)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=answer.text)],
        structured_content=answer.value if isinstance(answer.value, dict) else None,
        is_error=answer.is_error,
    )


def _described(tool: Tool) -> types.Tool:
    hints = types.ToolAnnotations(read_only_hint=tool.read_only, idempotent_hint=tool.idempotent)
    return types.Tool(name=tool.name, description=tool.description, input_schema=tool.input, annotations=hints)


server: Server[Any] = Server(
    "agent-fleet", version=VERSION, instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
)


async def answer(event: dict[str, Any]) -> httpx2.Response:
    """The server's answer to an event's request. A manager runs once in its life, so each request has its own: it keeps
    nothing anyway."""
    body = event.get("body") or ""
    content = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
    transport = httpx2.ASGITransport(app=manager.handle_request)
    async with manager.run(), httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
        method = event["requestContext"]["http"]["method"]
        return await client.request(method, PATH, headers=event["headers"], content=content)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Answer one request of the HTTP API (payload format 2.0)."""
    _tenant.set(event["requestContext"]["authorizer"]["lambda"]["tenant"])
    response = asyncio.run(answer(event))
    logger.info(f"{event['requestContext']['http']['method']} {PATH} {response.status_code}")
    return {"statusCode": response.status_code, "headers": dict(response.headers), "body": response.text}

"""The HTTP API: one request at a time, as JSON; the routes are beside this file, by topic."""

from agentfleet.domain.errors import Problem
from agentfleet.services import openapi, views
from agentfleet.services.authorize import Unauthorized, caller_of
from agentfleet.services.bodies import UnreadableBody, unpack
from agentfleet.services.openapi import answers

import json
from functools import cache
from importlib import import_module
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response, content_types
from aws_lambda_powertools.utilities.typing import LambdaContext

VERSION: Final = "1.0.0"
TOPICS: Final = ("goals", "fleets", "documents", "memory", "healing", "governance", "uploads", "errors")

logger = Logger()


def _refuse_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


app = APIGatewayHttpResolver(
    enable_validation=True,
    response_validation_error_http_code=500,
    json_body_deserializer=lambda body: json.loads(body, parse_constant=_refuse_constant),
)

for _topic in TOPICS:
    # At the root of the function's archive there is no package, in a project's tests there is.
    app.include_router(import_module(f"{__package__}.{_topic}" if __package__ else _topic).routes)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of the HTTP API (payload format 2.0)."""
    try:
        response = app.resolve(unpack(event), context)
        # An answer without a body has an empty one: the emulator's gateway takes null for a broken answer.
        response["body"] = response.get("body") or ""
    except UnreadableBody as error:
        body = views.ErrorView.of("invalid_request", str(error), (Problem("body", str(error)),))
        headers = {"Content-Type": content_types.APPLICATION_JSON}
        response = {"statusCode": error.status, "headers": headers, "body": body.model_dump_json()}
    http = event.get("requestContext", {}).get("http", {})
    # One line per request: who asked what, and how it ended. Never a body or a key.
    logger.info(f"{http.get('method')} {http.get('path')} {response['statusCode']}", tenant=_tenant_of(event))
    return response


def _tenant_of(event: dict[str, Any]) -> str | None:
    try:
        return caller_of(event).tenant
    except Unauthorized:
        return None


@app.get("/health", tags=["about"], summary="Does the API answer?", **answers())
def get_health() -> views.HealthView:
    """The same for every tenant."""
    return views.HealthView(version=VERSION)


@app.get("/openapi.json", include_in_schema=False)
def get_openapi() -> Response[Any]:
    """This API's own description, the same for every tenant."""
    return Response(200, content_type=content_types.APPLICATION_JSON, body=openapi_document())


@cache
def openapi_document() -> str:
    """The OpenAPI 3.1 document."""
    # What describes an API takes longer to load than the API, and is seldom asked for.
    from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer  # noqa: PLC0415

    document = app.get_openapi_json_schema(
        title="Agent Fleet",
        version=VERSION,
        description="Submit goals to a fleet of agents, watch them and take their results.",
        security_schemes={"bearer": HTTPBearer()},
        security=[{"bearer": []}],
    )
    return openapi.complete(document, error=views.ErrorView.__name__)

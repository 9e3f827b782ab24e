"""Routes by which files come in for tasks to work on."""

from agentfleet.domain.errors import InvalidRequest
from agentfleet.routes import Routes
from agentfleet.services.openapi import answers
from agentfleet.services.upload_views import UploadOrder, UploadView

from typing import Annotated

from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.event_handler.openapi.params import Body

routes = Routes()


@routes.post(
    "/uploads", tags=["files"], summary="Upload a file for tasks to read", **answers(success=201, description="Taken in")
)
def upload_file(order: Annotated[UploadOrder, Body()]) -> Response[UploadView]:
    """At most 4 MB. The same content under the same name gives the same URI, so a request may be sent twice."""
    owner = routes.tenant()
    try:
        body = order.body()
    except ValueError as error:
        raise InvalidRequest.of("content", str(error)) from error
    kept = routes.fleet.upload.keep(owner, order.name, body)
    return Response(201, content_type=content_types.APPLICATION_JSON, body=kept)

"""What a request is answered that can't be carried out: one body of errors for all routes, no secrets in it."""

from agentfleet.domain.errors import (
    DeliveryFailed,
    Forbidden,
    IllegalTransition,
    InvalidRequest,
    KnowledgeUnavailable,
    NotFound,
    Problem,
    Unfinished,
)
from agentfleet.domain.task import parse_request
from agentfleet.routes import Routes
from agentfleet.services import views
from agentfleet.services.authorize import Unauthorized

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestUnsupportedContentType, RequestValidationError

logger = Logger()

routes = Routes()


def _error(status: int, error: str, message: str, problems: tuple[Problem, ...] = ()) -> Response[Any]:
    body = views.ErrorView.of(error, message, problems).model_dump_json()
    return Response(status, content_type=content_types.APPLICATION_JSON, body=body)


def _invalid(error: InvalidRequest) -> Response[Any]:
    return _error(422, "invalid_request", str(error), error.problems)


def _unreadable(error: RequestValidationError) -> Response[Any]:
    event = routes.current_event
    problems: list[Problem] = []
    for detail in error.errors()[: InvalidRequest.LIMIT]:
        if detail["type"] == "json_invalid":
            return _invalid(InvalidRequest.of("body", f"is not JSON: {detail['ctx']['error']} (character {detail['loc'][-1]})"))
        place = ".".join(map(str, detail["loc"][1:])) or "body"
        value = detail.get("input")
        given = f", not {value[:80]!r}" if isinstance(value, str) and detail["type"] != "missing" else ""
        problems.append(Problem(place, detail["msg"].removeprefix("Value error, ") + given))
    if event.http_method == "POST" and event.path.rstrip("/").endswith("/goals") and problems[0].field != "Idempotency-Key":
        try:
            parse_request(event.json_body)  # says the same in the words of plans: tasks by their ids
        except InvalidRequest as better:
            return _invalid(better)
    return _invalid(InvalidRequest(problems))


def _too_deep(_: RecursionError) -> Response[Any]:
    return _invalid(InvalidRequest.of("body", "is nested too deeply; a few hundred levels are allowed"))


def _not_found(error: NotFound) -> Response[Any]:
    return _error(404, "not_found", str(error))


def _no_route(_: NotFoundError) -> Response[Any]:
    event = routes.current_event
    return _error(404, "not_found", f"there is no {event.http_method} {event.path}; GET /openapi.json lists what there is")


def _conflict(error: IllegalTransition) -> Response[Any]:
    return _error(409, "conflict", str(error))


def _unauthorized(error: Unauthorized) -> Response[Any]:
    return _error(401, "unauthorized", str(error))


def _forbidden(error: Forbidden) -> Response[Any]:
    return _error(403, "forbidden", str(error))


def _not_json(_: RequestUnsupportedContentType) -> Response[Any]:
    return _error(415, "invalid_request", "the body must be JSON: Content-Type: application/json")


def _unavailable(error: DeliveryFailed) -> Response[Any]:
    logger.warning("not delivered in full", exc_info=error)
    return _error(503, "unavailable", "a queue did not take all of it; send the same again with the same Idempotency-Key")


def _unknown(error: KnowledgeUnavailable | Unfinished) -> Response[Any]:
    logger.warning("not answered", exc_info=error)
    return _error(503, "unavailable", str(error))


def _failed(error: Exception) -> Response[Any]:
    logger.exception("unexpected error", exc_info=error)
    request_id = routes.current_event.request_context.request_id
    return _error(500, "internal_error", f"something went wrong on our side; quote request {request_id}")


for _raised, _answer in {
    InvalidRequest: _invalid,
    RequestValidationError: _unreadable,
    RequestUnsupportedContentType: _not_json,
    RecursionError: _too_deep,
    NotFound: _not_found,
    NotFoundError: _no_route,
    IllegalTransition: _conflict,
    Unauthorized: _unauthorized,
    Forbidden: _forbidden,
    DeliveryFailed: _unavailable,
    KnowledgeUnavailable: _unknown,
    Unfinished: _unknown,
    Exception: _failed,
}.items():
    routes.exception_handler(_raised)(_answer)

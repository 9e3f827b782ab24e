"""The errors of the API in its OpenAPI document: which each route may end in, and what the generator can't know of them."""

import json
import re
from typing import Any, Final

from agentfleet.services.views import ErrorView

_REFERENCE = "#/components/schemas/"
ERRORS: Final = {
    400: "The body can't be read",
    401: "No key, or not a valid one",
    403: "Not for this tenant, or stopped by an operator",
    404: "There is no such thing, or it isn't yours",
    409: "Not in the state it is in",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "What is wrong is listed by field",
    500: "Our fault",
    503: "Not possible now, or not taken in full: send it again, a goal with the same Idempotency-Key",
}


def answers(
    *errors: int, success: int = 200, description: str = "Done", also: dict[int, tuple[str, type]] | None = None
) -> dict[str, Any]:
    """The `status_code` and `responses` of a route: what it gives, and which errors it may end in."""
    others = {**(also or {}), **{status: (ERRORS[status], ErrorView) for status in (401, 422, *errors)}}
    responses: dict[int, Any] = {success: {"description": description}}
    for status, (meaning, model) in others.items():
        responses[status] = {"description": meaning, "content": {"application/json": {"model": model}}}
    return {"status_code": success, "responses": responses}


def complete(document: str, *, error: str) -> str:
    """The document with one error shape (the schema named `error`) for every failure.

    Schemas that nothing refers to any more are left out.
    """
    spec = json.loads(document)
    failure = {"content": {"application/json": {"schema": {"$ref": _REFERENCE + error}}}}
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            # The generator appends path and method to a function's name, which is unique already.
            operation["operationId"] = operation["operationId"].removesuffix(re.sub(r"\W", "_", path) + f"_{method}")
            operation["responses"].get("204", {}).pop("content", None)
            operation["responses"]["500"] = {"description": "Our fault", **failure}
            operation["responses"] = dict(sorted(operation["responses"].items()))
    _drop_unused(spec)
    return json.dumps(spec, separators=(",", ":"), ensure_ascii=False)


def _drop_unused(spec: dict[str, Any]) -> None:
    schemas = spec["components"]["schemas"]
    used: set[str] = set()
    reached = _references(spec["paths"])
    while reached:
        used |= reached
        reached = {name for known in reached for name in _references(schemas[known])} - used
    spec["components"]["schemas"] = {name: schema for name, schema in schemas.items() if name in used}


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"].removeprefix(_REFERENCE)} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    if isinstance(value, list):
        return set().union(*map(_references, value))
    return set()

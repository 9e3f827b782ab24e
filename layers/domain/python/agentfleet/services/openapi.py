"""Finish the API's OpenAPI document: what its generator can't know of our errors."""

import json
import re
from typing import Any

_REFERENCE = "#/components/schemas/"


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

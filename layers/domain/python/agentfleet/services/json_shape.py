"""Shapes for JSON schemas that users write."""

import re
from typing import Any, Final

from agentfleet.domain.errors import PermanentError
from agentfleet.domain.model import TOOL_NAME, Tool, plain_schema
from agentfleet.services.structured import Shape, ShapeError

PROBLEMS: Final = 8
"""Told to the model at once."""


def shape_of(schema: dict[str, Any]) -> Shape[dict[str, Any]]:
    """A shape for a JSON schema. Raises PermanentError saying what is wrong with it."""
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - a tenth of a second that only extracts pay

    if schema.get("type") != "object":
        raise PermanentError('schema: must be a JSON schema with "type": "object" at its top')
    try:
        Draft202012Validator.check_schema(schema)
        plain = plain_schema(schema)
    except (SchemaError, ValueError) as error:
        raise PermanentError(f"schema: {getattr(error, 'message', error)}") from error
    validator = Draft202012Validator(plain)

    def check(value: Any) -> dict[str, Any]:
        problems = [
            f"{'.'.join(map(str, problem.path)) or 'the object'}: {problem.message}"
            for problem in list(validator.iter_errors(value))[:PROBLEMS]
        ]
        if problems:
            raise ShapeError("; ".join(problems))
        found: dict[str, Any] = value
        return found

    title = str(schema.get("title", "extract"))
    name = title if re.match(TOOL_NAME, title) else "extract"
    return Shape(
        Tool(name=name, description=str(schema.get("description") or "What the text says."), input_schema=plain), check
    )

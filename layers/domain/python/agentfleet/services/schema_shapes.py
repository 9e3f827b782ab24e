"""Shapes by JSON schema, for answers that a model must give: what is wrong with one is said in words that it can mend."""

import re
from typing import Any, Final

from jsonschema import Draft202012Validator, SchemaError

from agentfleet.domain.errors import PermanentError
from agentfleet.domain.model import TOOL_NAME, Tool, plain_schema
from agentfleet.services.structured import Shape, ShapeError

PROBLEMS: Final = 8


def schema_shape(schema: dict[str, Any], field: str, name: str, description: str) -> Shape[dict[str, Any]]:
    """A shape for a JSON schema of type object, with a name and a description for where the schema has none.

    Raises PermanentError saying what is wrong with it; `field` is where it was given.
    """
    if schema.get("type") != "object":
        raise PermanentError(f'{field}: must be a JSON schema with "type": "object" at its top')
    try:
        Draft202012Validator.check_schema(schema)
        plain = plain_schema(schema)
    except (SchemaError, ValueError) as error:
        raise PermanentError(f"{field}: {getattr(error, 'message', error)}") from error
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

    title = str(schema.get("title", ""))
    named = title if re.match(TOOL_NAME, title) else name
    return Shape(Tool(name=named, description=str(schema.get("description") or description), input_schema=plain), check)

"""Do the inputs of planned tasks fit what their capabilities take? As far as the schemas in the catalog tell.

What a schema doesn't say is allowed: an agent checks every input itself when it gets it. This is here so that whoever makes a
plan hears of a mistake before anything runs.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from agentfleet.domain import references
from agentfleet.domain.errors import closest

Schema = Mapping[str, Any]
Outputs = Callable[[str], Schema | None]
"""Task id, or family (`part.*`) → the schema of its output; None for a task that there isn't."""

ANYTHING: Final[Schema] = {}
_STEP: Final = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_]*)|\[(-?\d+|\*|-?\d*:-?\d*)?\]")
_WHOLE: Final = re.compile(r"-?\d{1,15}")
_PLAIN: Final = re.compile(rf"(?:{_STEP.pattern})*")
_KINDS: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
_BOUNDS: Final[tuple[tuple[str, str, Callable[[Any, Any], bool]], ...]] = (
    ("minimum", "must be at least", lambda value, bound: value >= bound),
    ("maximum", "must be at most", lambda value, bound: value <= bound),
    ("exclusiveMinimum", "must be more than", lambda value, bound: value > bound),
    ("exclusiveMaximum", "must be less than", lambda value, bound: value < bound),
)
_SIZES: Final = (("minLength", "maxLength", str), ("minItems", "maxItems", list), ("minProperties", "maxProperties", dict))


def input_problems(value: Any, schema: Schema, outputs: Outputs, where: str = "input") -> Iterator[tuple[str, str]]:
    """Everything wrong with an input, as place and message. References are judged by what they refer to."""
    if references.is_reference(value):
        yield from _reference_problems(value, schema, outputs, where)
        return
    if "anyOf" in schema:
        yield from _choice_problems(value, schema["anyOf"], outputs, where)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield where, f"must be one of {', '.join(map(repr, schema['enum']))}, not {value!r:.80}"
        return
    allowed = types_of(schema)
    if allowed is not None and not _is_of(value, allowed):
        yield where, f"must be {_named(allowed)}, not {value!r:.80}"
        return
    match value:
        case dict():
            yield from _object_problems(value, schema, outputs, where)
        case list():
            for number, inner in enumerate(value):
                yield from input_problems(inner, schema.get("items", ANYTHING), outputs, f"{where}[{number}]")
        case str() if "pattern" in schema and not re.search(schema["pattern"], value):
            yield where, f"must match {schema['pattern']}, not {value!r:.80}"
    yield from _bound_problems(value, schema, where)


def _object_problems(value: Mapping[str, Any], schema: Schema, outputs: Outputs, where: str) -> Iterator[tuple[str, str]]:
    fields: Mapping[str, Any] = schema.get("properties", {})
    rest = schema.get("additionalProperties", ANYTHING)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where}.{name}", "is required"
    for name, inner in value.items():
        if name in fields:
            yield from input_problems(inner, fields[name], outputs, f"{where}.{name}")
        elif rest is False:
            yield f"{where}.{name}", f"is not a field; {closest(name, list(fields))}"
        elif isinstance(rest, Mapping):
            yield from input_problems(inner, rest, outputs, f"{where}.{name}")


def _choice_problems(value: Any, choices: Sequence[Schema], outputs: Outputs, where: str) -> Iterator[tuple[str, str]]:
    found = [list(input_problems(value, choice, outputs, where)) for choice in choices]
    if not all(found):
        return
    near = [
        problems
        for choice, problems in zip(choices, found, strict=True)
        if (kinds := types_of(choice)) is None or _is_of(value, kinds)
    ]
    if near:
        yield from min(near, key=len)
    else:
        kinds = types_of({"anyOf": choices})
        yield where, f"must be {_named(kinds) if kinds else 'something else'}, not {value!r:.80}"


def _bound_problems(value: Any, schema: Schema, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        for name, words, holds in _BOUNDS:
            if name in schema and not holds(value, schema[name]):
                yield where, f"{words} {schema[name]}, not {value}"
    for least, most, kind in _SIZES:
        if isinstance(value, kind) and not schema.get(least, 0) <= len(value) <= schema.get(most, len(value)):
            bounds = f"{schema.get(least, 0)} to {schema.get(most, 'any number')}"
            yield where, f"must have {bounds} {'characters' if kind is str else 'elements'}, not {len(value)}"


def _reference_problems(value: dict[str, Any], schema: Schema, outputs: Outputs, where: str) -> Iterator[tuple[str, str]]:
    try:
        reference = references.parse(value, where)
    except references.BadReference as error:
        yield error.where, str(error)
        return
    output = outputs(reference.source)
    if output is None:
        return  # compile_plan says that there is no such task
    given, missing = schema_at(output, reference.path or "")
    if missing:
        yield where, f"{reference.source} gives no {missing[0]!r}; it gives {', '.join(missing[1]) or 'nothing that is named'}"
        return
    wanted, found = types_of(schema), types_of(given)
    if wanted is not None and found is not None and not any(_is_kind(one, wanted) for one in found):
        yield where, f"must be {_named(wanted)}, but {reference.source}'s {reference.path or 'output'} is {_named(found)}"


def schema_at(schema: Schema, path: str) -> tuple[Schema, tuple[str, tuple[str, ...]] | None]:
    """What lies at a JMESPath below a value of this schema; and the first name that isn't there, with those that are.

    Only plain paths are followed (`rows[0].name`, `pages[].title`); beyond anything else all is possible.
    """
    lists = 0
    if not _PLAIN.fullmatch(path):
        return ANYTHING, None
    for step in _STEP.finditer(path):
        if "anyOf" in schema:
            choices = [one for one in schema["anyOf"] if types_of(one) != frozenset({"null"})]
            if len(choices) != 1:
                return ANYTHING, None
            schema = choices[0]
        if name := step[1]:
            fields = schema.get("properties")
            if fields is None:
                rest = schema.get("additionalProperties")
                schema = rest if isinstance(rest, Mapping) else ANYTHING
            elif name not in fields:
                return ANYTHING, (name, tuple(fields))
            else:
                schema = fields[name]
        elif step[2] and ":" not in step[2] and step[2] != "*":
            schema = schema.get("items", ANYTHING)
        else:
            lists += 1
            schema = schema.get("items", ANYTHING)
    for _ in range(min(lists, 1)):
        schema = {"type": "array", "items": schema}
    return schema, None


def types_of(schema: Schema) -> frozenset[str] | None:
    """The JSON types that a schema allows; None: any."""
    if "anyOf" in schema:
        found = [types_of(one) for one in schema["anyOf"]]
        return None if None in found else frozenset().union(*(one for one in found if one is not None))
    if "enum" in schema:
        return frozenset(_KINDS.get(type(one), "object") for one in schema["enum"])
    kind = schema.get("type")
    if kind is None:
        return None
    return frozenset({kind} if isinstance(kind, str) else kind)


def fitted(value: Any, schema: Schema, outputs: Outputs) -> Any:
    """The value, mended where that is safe: a list of one is made of what is alone, `"3"` is the number 3, and an empty
    value that a field can't have is left out where the field need not be given.

    Those are the slips that small models make most.
    """
    if isinstance(value, dict) and not references.is_reference(value):
        fields = schema.get("properties", {})
        mended = {name: fitted(inner, fields.get(name, ANYTHING), outputs) for name, inner in value.items()}
        return {
            name: inner
            for name, inner in mended.items()
            if inner
            or name in schema.get("required", ())
            or not any(input_problems(inner, fields.get(name, ANYTHING), outputs))
        }
    kinds = types_of(schema)
    if kinds is not None and isinstance(value, str) and kinds & {"integer", "number"} and "string" not in kinds:
        return int(value) if _WHOLE.fullmatch(value) else value
    if kinds is None or kinds - {"null"} != {"array"} or isinstance(value, list) or not value:
        return value
    alone = list(input_problems(value, schema, outputs))
    return [value] if alone and not list(input_problems([value], schema, outputs)) else value


def _is_of(value: Any, kinds: frozenset[str]) -> bool:
    return _is_kind(_KINDS.get(type(value), "object"), kinds)


def _is_kind(kind: str, kinds: frozenset[str]) -> bool:
    """A number may be whole; and what may be null may also be there."""
    return kind in kinds or (kind in {"integer", "number"} and bool(kinds & {"number", "integer"}))


def _named(kinds: frozenset[str]) -> str:
    words = {"string": "a text", "array": "a list", "object": "an object", "integer": "a whole number", "number": "a number",
             "boolean": "true or false", "null": "null"}  # fmt: skip
    return " or ".join(words[kind] for kind in words if kind in kinds)

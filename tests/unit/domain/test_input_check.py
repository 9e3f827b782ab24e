"""Inputs of planned tasks against the catalog's schemas."""

from typing import Any

import pytest

from agentfleet.domain.input_check import fitted, input_problems, schema_at, types_of
from tests.fakes.planning import CAPABILITIES, fields

SPECS = {one.name: one for one in CAPABILITIES}
FETCH, SUM = SPECS["web.fetch"], SPECS["text.sum"]


def outputs(source: str) -> Any:
    """What two tasks give, and a family of them."""
    known = {"page": FETCH.output, "sum": SUM.output, "open": {}, "page.*": {"type": "array", "items": FETCH.output}}
    return known.get(source)


def problems(value: Any, schema: Any = SUM.input) -> list[str]:
    """What is wrong, a line each."""
    return [f"{where}: {message}" for where, message in input_problems(value, schema, outputs)]


@pytest.mark.parametrize(
    "value",
    [
        {"texts": ["a"], "sentences": 3},
        {"texts": [{"$from": "page", "path": "text"}]},
        {"texts": {"$from": "page.*", "path": "[].text"}},
        {"texts": {"$from": "page", "path": "links[].title"}},
        {"texts": {"$from": "open", "path": "whatever.there.is"}},
        {"texts": {"$from": "nobody"}},
        {"texts": ["a"], "about": {"$from": "page", "path": "links[0].title"}},
        {"texts": ["a"], "sentences": {"$from": "page", "path": "length(links)"}},
    ],
)
def test_what_fits_is_left_alone(value: dict[str, Any]) -> None:
    """Values, references to parts, families; what a schema doesn't tell may be anything."""
    assert problems(value) == []


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "input.texts: is required"),
        ({"texts": "a"}, "input.texts: must be a list, not 'a'"),
        ({"texts": ["a", 2]}, "input.texts[1]: must be a text, not 2"),
        ({"texts": [], "abut": "x"}, "input.abut: is not a field; did you mean about?"),
        ({"texts": [], "sentences": -1}, "input.sentences: must be at least 0, not -1"),
        ({"texts": [], "sentences": True}, "input.sentences: must be a whole number, not True"),
        ({"texts": {"$from": "page", "path": "txt"}}, "input.texts: page gives no 'txt'; it gives url, status, text, links"),
        ({"texts": {"$from": "page", "path": "text"}}, "input.texts: must be a list, but page's text is a text"),
        ({"texts": ["a"], "about": {"$from": "page"}}, "input.about: must be a text, but page's output is an object"),
        ({"texts": {"$from": "page", "path": "a["}}, "input.texts.path: is not valid JMESPath"),
    ],
)
def test_what_does_not_fit_is_named(value: dict[str, Any], says: str) -> None:
    """Place, what is wrong, what is allowed."""
    assert any(line.startswith(says) for line in problems(value)), problems(value)


@pytest.mark.parametrize(
    ("value", "schema", "says"),
    [
        ("POST", FETCH.input["properties"]["method"], "must be one of 'GET', 'HEAD'"),
        ("", {"type": "string", "minLength": 1}, "must have 1 to any number characters, not 0"),
        ([1, 2], {"type": "array", "maxItems": 1}, "must have 0 to 1 elements, not 2"),
        ("x", {"type": "string", "pattern": "^[0-9]+$"}, "must match"),
        (1.5, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "must be a text or null"),
        ({"a": 1}, {"anyOf": [{"type": "null"}, fields(("b",), b={})]}, "input.b: is required"),
        ({"a": 1}, {"type": "object", "additionalProperties": {"type": "string"}}, "input.a: must be a text"),
    ],
)
def test_schemas_of_all_kinds(value: Any, schema: dict[str, Any], says: str) -> None:
    """Choices, sizes, patterns, further fields."""
    assert any(says in line for line in problems(value, schema)), problems(value, schema)


def test_slips_that_are_safe_to_mend_are_mended() -> None:
    """A lone value where a list is wanted, a number in quotes; only where that makes it right, all else stays as it is."""
    lone = {"texts": {"$from": "page", "path": "text"}, "sentences": "many"}

    assert fitted(lone, SUM.input, outputs) == {"texts": [{"$from": "page", "path": "text"}], "sentences": "many"}
    assert fitted({"texts": 5}, SUM.input, outputs) == {"texts": 5}
    assert fitted({"texts": ["a"], "sentences": "3", "about": "3"}, SUM.input, outputs) == {
        "texts": ["a"],
        "sentences": 3,
        "about": "3",
    }
    maybe = fields(
        ("a",), a={"type": "integer"}, b={"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}
    )
    assert fitted({"a": "", "b": ""}, maybe, outputs) == {"a": ""}
    assert fitted({"a": 1, "b": "x"}, maybe, outputs) == {"a": 1, "b": ["x"]}
    assert fitted({"a": 1, "b": None}, maybe, outputs) == {"a": 1, "b": None}
    assert fitted({"texts": ["a"]}, SUM.input, outputs) == {"texts": ["a"]}


def test_a_path_leads_to_a_schema_or_to_anything() -> None:
    """Plain paths are followed, through what may be null too; expressions are not."""
    maybe = {"anyOf": [FETCH.output, {"type": "null"}]}

    assert schema_at(maybe, "links[0].title") == ({"type": "string"}, None)
    assert types_of(schema_at(FETCH.output, "links[*].title")[0]) == frozenset({"array"})
    assert schema_at(FETCH.output, "nothing || text") == ({}, None)
    assert schema_at({"anyOf": [{}, {"type": "object"}]}, "a.b") == ({}, None)
    assert schema_at(FETCH.output, "nope")[1] == ("nope", ("url", "status", "text", "links"))

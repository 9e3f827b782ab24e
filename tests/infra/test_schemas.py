"""JSON Schemas read from source, against those that pydantic makes of the same models by running them."""

import ast
import importlib
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter

from agentfleet.domain.catalog import CapabilitySpec
from cdk.catalog import read_fleet
from cdk.schemas import ModuleSchemas
from tests.infra.templates import ROOT

SPECS = [spec for pool in read_fleet(ROOT).catalog.pools.values() for spec in pool.capabilities]
LIKE_PYDANTIC = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "default")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_what_is_read_agrees_with_what_pydantic_says(spec: CapabilitySpec) -> None:
    """The same fields, the same of them required, the same bounds on each that is of one type."""
    handler = importlib.import_module(f"functions.{spec.pool}.handler")
    function: Any = handler.agent.capabilities[spec.name].function
    schema = TypeAdapter(get_type_hints(function)["input"]).json_schema()
    while "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]

    assert spec.input.get("properties", {}).keys() == schema.get("properties", {}).keys()
    assert set(spec.input.get("required", ())) == set(schema.get("required", ()))
    assert spec.input.get("additionalProperties") == schema.get("additionalProperties")
    for name, field in schema.get("properties", {}).items():
        if "type" in field and field["type"] != "null":
            read = spec.input["properties"][name]
            assert {key: read.get(key) for key in LIKE_PYDANTIC} == {key: field.get(key) for key in LIKE_PYDANTIC}, name


MODULE = '''
from typing import Annotated, Literal, Optional
import numpy as np
from pydantic import BaseModel, Field
from shared import Base, Colour

LIMIT = 7
Names = list[str]

class Node(Base):
    """A tree.

    More of it.
    """

    names: Names = Field(max_length=LIMIT)
    """What it is
    called."""
    colour: Colour = "red"
    left: "Node | None" = None
    table: np.ndarray
    size: Annotated[int, Field(gt=0)] = Field(default=1, alias="how_many")
    maybe: Optional[float] = Field(None, ge=0.5)
    made: str = Field(default_factory=lambda: "x")
    _private: int = 0
'''
SHARED = """
from typing import Literal
from pydantic import BaseModel, ConfigDict

Colour = Literal["red", "blue"]

class Base(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str
"""


def test_aliases_imports_and_recursion(tmp_path: Path) -> None:
    """Bases and aliases of a neighbouring module count; what is not known, or would go on for ever, allows anything."""
    (tmp_path / "shared.py").write_text(SHARED)

    schema = ModuleSchemas(ast.parse(MODULE), [tmp_path]).of(ast.Name("Node"))

    assert schema == {
        "type": "object",
        "description": "A tree.",
        "additionalProperties": False,
        "required": ["id", "names", "table"],
        "properties": {
            "id": {"type": "string"},
            "names": {"type": "array", "items": {"type": "string"}, "maxItems": 7, "description": "What it is called."},
            "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "left": {"default": None},
            "table": {},
            "how_many": {"type": "integer", "exclusiveMinimum": 0, "default": 1},
            "maybe": {"anyOf": [{"type": "number", "minimum": 0.5}, {"type": "null"}], "default": None},
            "made": {"type": "string"},
        },
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("str", {"type": "string"}),
        ("None", {"type": "null"}),
        ("Any", {}),
        ("dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("int | str", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("int | Unknown", {}),
        ("a.b.C", {}),
        ("'list[bool]'", {"type": "array", "items": {"type": "boolean"}}),
        ("Literal['a', 1]", {"enum": ["a", 1]}),
    ],
)
def test_annotations(annotation: str, schema: dict[str, Any]) -> None:
    """What stands beside a parameter."""
    assert ModuleSchemas(ast.parse("")).of(ast.parse(annotation, mode="eval").body) == schema

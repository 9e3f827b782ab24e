"""DynamoDB's sizes and units, where the emulator does not say them right: the rules are the platform's own."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentfleet.domain.units import Item, item_size, read_units, value_size, write_units

__all__ = ["Item", "UnknownStatement", "inserted_item", "item_size", "read_units", "value_size", "write_units"]

_INSERT: Final = re.compile(r"""\s*INSERT\s+INTO\s+["']?(?P<table>[\w.-]+)["']?\s+VALUE\s*\{(?P<fields>.*)\}\s*""", re.I | re.S)
_FIELD: Final = re.compile(r"""\s*'(?P<name>[^']+)'\s*:\s*\?\s*""")


class UnknownStatement(ValueError):
    """A PartiQL statement whose units can't be told."""


def inserted_item(statement: str, parameters: Sequence[Mapping[str, Any]]) -> tuple[str, Item]:
    """Table and item of `INSERT INTO "table" VALUE {'name':?, …}`. Raises UnknownStatement for any other statement."""
    found = _INSERT.fullmatch(statement)
    names = [_FIELD.fullmatch(field) for field in found["fields"].split(",")] if found else []
    if found is None or len(names) != len(parameters):
        raise UnknownStatement(f"only INSERT INTO \"table\" VALUE {{'name':?, …}} can be counted, not {statement[:200]}")
    item: dict[str, Any] = {}
    for name, value in zip(names, parameters, strict=True):
        if name is None:
            raise UnknownStatement(f"every value of an INSERT must be a parameter to be counted: {statement[:200]}")
        item[name["name"]] = value
    return found["table"], item

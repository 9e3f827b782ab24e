"""References inside a task's input: `{"$from": "extract", "path": "rows[0].id", "default": []}`.

A reference names the task whose output it wants, or a family of tasks (`"part.*"`: their outputs as a list, in plan
order). `path` is JMESPath (https://jmespath.org) over that output. `default` stands in for null.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError
from msgspec import Struct

KEY: Final = "$from"
_ALLOWED: Final = frozenset({KEY, "path", "default"})
_NESTED: Final = (dict, list, tuple)
"""In nothing else there can be a reference."""


class Reference(Struct, frozen=True):
    """A parsed reference and the place it stands at (`rows.items[2]`)."""

    source: str
    path: str | None
    default: Any
    where: str

    @property
    def is_family(self) -> bool:
        """Does it ask for the outputs of every task whose id starts so?"""
        return self.source.endswith("*")

    def select(self, output: Any) -> Any:
        """The referred-to part of an output; a copy, so that two tasks never share one mutable value."""
        value = jmespath.search(self.path, output) if self.path else output
        return copy.deepcopy(self.default if value is None else value)


class BadReference(ValueError):
    """A reference that can't be read; `where` is its place inside the input."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(message)
        self.where = where


def is_reference(value: Any) -> bool:
    """Is this mapping meant as a reference?"""
    return isinstance(value, dict) and KEY in value


def parse(value: dict[str, Any], where: str) -> Reference:
    """Read one reference. Raises BadReference."""
    if unknown := sorted(set(value) - _ALLOWED):
        raise BadReference(where, f"a reference takes $from, path and default, not {', '.join(map(repr, unknown))}")
    source, path = value[KEY], value.get("path")
    if not isinstance(source, str) or not source or source == "*":
        raise BadReference(f"{where}.$from", f"must be a task id, or the start of several ending in '*', not {source!r}")
    if path is not None:
        if not isinstance(path, str):
            raise BadReference(f"{where}.path", f"must be a JMESPath string, not {type(path).__name__}")
        try:
            jmespath.compile(path)
        except JMESPathError as error:
            raise BadReference(f"{where}.path", f"is not valid JMESPath: {str(error).splitlines()[0]}") from error
    return Reference(source, path or None, value.get("default"), where)


def find(value: Any, where: str = "input") -> Iterator[Reference]:
    """Every reference inside a JSON value, in order of appearance. Raises BadReference."""
    if is_reference(value):
        yield parse(value, where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, _NESTED):
                yield from find(inner, f"{where}.{key}")
    elif isinstance(value, _NESTED):
        for index, inner in enumerate(value):
            if isinstance(inner, _NESTED):
                yield from find(inner, f"{where}[{index}]")


def resolve(value: Any, output_of: Callable[[Reference], Any]) -> Any:
    """The value with every reference replaced by what `output_of` gives for it."""
    if is_reference(value):
        reference = parse(value, "")
        return reference.select(output_of(reference))
    if isinstance(value, dict):
        return {key: resolve(inner, output_of) if isinstance(inner, _NESTED) else inner for key, inner in value.items()}
    if isinstance(value, _NESTED):
        return [resolve(inner, output_of) if isinstance(inner, _NESTED) else inner for inner in value]
    return value

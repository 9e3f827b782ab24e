"""What the API shows and takes, whatever it is about: the shapes that the server, the SDK and the OpenAPI document share."""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler

from agentfleet.domain.errors import Problem
from agentfleet.domain.goal import Failure


class _Shape(BaseModel):
    """Built when it is first used, its fields described when a schema is asked for: a cold start would do it for a hundred."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in _docstrings(cls).items():
            properties.get(cls.model_fields[name].alias or name, {}).setdefault("description", text)
        return schema


@cache
def _docstrings(shape: type[_Shape]) -> dict[str, str]:
    """A shape's fields, those that it inherits among them → the docstring below each."""
    found: dict[str, str] = {}
    for part in reversed(shape.__mro__[: shape.__mro__.index(_Shape)]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(body, ast.ClassDef)  # noqa: S101 - what else would a class's source be
        for field, text in pairwise(body.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    found[name] = inspect.cleandoc(words)
    return found


class View(_Shape):
    """What is shown. A client of an older version ignores fields that it doesn't know."""


class Order(_Shape):
    """What is taken: a field that doesn't exist is an error, not a surprise."""

    model_config = ConfigDict(extra="forbid")


class ProblemView(View):
    """One thing wrong with a request."""

    field: str
    """Where: `tasks[load].input.rows.$from`, `playbook`, `size`."""
    message: str
    """What is wrong with it and what is allowed."""


class ErrorView(View):
    """The body of every error response."""

    error: str
    """A stable word for programs: invalid_request, not_found, conflict, unauthorized, unavailable, internal_error."""
    message: str
    """A sentence for people."""
    problems: tuple[ProblemView, ...] = ()

    @classmethod
    def of(cls, error: str, message: str, problems: tuple[Problem, ...] = ()) -> Self:
        """An error body from the domain's problems."""
        shown = tuple(ProblemView(field=problem.field, message=problem.message) for problem in problems)
        return cls(error=error, message=message, problems=shown)


class FailureView(View):
    """Why a task or a goal failed."""

    error: str
    message: str
    task: str | None = None
    """The id of the task whose failure it was."""

    @classmethod
    def of(cls, failure: Failure | None) -> Self | None:
        """None for none."""
        return cls(error=failure.error, message=failure.message, task=failure.task) if failure else None


class HealthView(View):
    """The API answers."""

    status: str = "ok"
    version: str
    """Of the API."""

"""What the API shows and takes, whatever it is about: the shapes that the server, the SDK and the OpenAPI document share."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from agentfleet.domain.errors import Problem
from agentfleet.domain.goal import Failure


class View(BaseModel):
    """What is shown. A client of an older version ignores fields that it doesn't know."""

    # Built when first used: reading the docstrings of all of them takes a cold start 100 ms, and only the API shows anything.
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, defer_build=True)


class Order(BaseModel):
    """What is taken: a field that doesn't exist is an error, not a surprise."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)


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

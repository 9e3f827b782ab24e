"""What a user writes: tasks, plans and the request that carries them. Shapes only; the graph is checked by compile_plan."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from agentfleet.domain import ids
from agentfleet.domain.budget import (
    MEASURES,
    MOST_DOLLARS,
    MOST_SECONDS,
    MOST_TOKENS,
    Budget,
    Limits,
    in_units,
    measure_name,
)
from agentfleet.domain.errors import InvalidRequest, Problem
from agentfleet.domain.goal import LONGEST_LIFE, MAX_DEPTH, OnFailure
from agentfleet.domain.names import Priority

MAX_TASKS: Final = 100_000
MAX_WORDS: Final = 4_000
"""Characters of a goal in words."""
MAX_RETRIES: Final = 6
"""With them a task may be tried for a quarter of an hour; what is down for longer wants a breaker, which costs none."""
MAX_ALTERNATIVES: Final = 5
MAX_DEADLINE: Final = int(LONGEST_LIFE.total_seconds())
"""Seconds."""
MAX_TASK_SECONDS: Final = 840
"""A Lambda invocation may take 900 s; the rest is for loading, storing and releasing."""

TaskId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
CapabilityName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$", max_length=64)]
Label = Annotated[str, StringConstraints(max_length=256)]


def _no_lone_string(value: object) -> object:
    """`depends_on = "load"` would otherwise be read as four one-letter names."""
    if isinstance(value, str):
        raise ValueError(f"must be a list of task ids, such as [{value!r}]")  # noqa: TRY004 - pydantic reports ValueErrors
    return value


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Compensation(_Shape):
    """What undoes a task: run in reverse dependency order when the goal fails."""

    capability: CapabilityName
    input: dict[str, Any] = Field(default_factory=dict)


class Alternative(_Shape):
    """Another way to do what a task should have done."""

    capability: CapabilityName
    input: dict[str, Any] = Field(default_factory=dict)
    """What differs from the failed task's input, as its references were resolved."""


class TaskSpec(_Shape):
    """One step of a plan."""

    id: TaskId
    capability: CapabilityName
    input: dict[str, Any] = Field(default_factory=dict)
    depends_on: Annotated[tuple[str, ...], BeforeValidator(_no_lone_string)] = ()
    when: dict[str, Any] | None = None
    """A reference; if what it gives is falsy the task is SKIPPED and its output is null."""
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] = 2
    timeout: Annotated[float, Field(gt=0, le=MAX_TASK_SECONDS)] | None = None
    """Seconds; the capability's own when not given."""
    priority: Priority | None = None
    affinity: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    compensation: Compensation | None = None
    alternatives: Annotated[tuple[Alternative, ...], Field(max_length=MAX_ALTERNATIVES)] = ()
    """For `on_failure = "replan"`: what a rule-based planner tries next, in this order."""
    on_failure: OnFailure | None = None


class PlanSpec(_Shape):
    """A graph of tasks and what to make of their outputs."""

    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=MAX_TASKS)]
    output: Any = None
    """A template with references; by default the output of the tasks that nothing depends on."""


class BudgetSpec(_Shape):
    """What a goal, or a sub-plan, may use up. What isn't said is not limited here."""

    dollars: Annotated[float, Field(ge=0, le=MOST_DOLLARS, allow_inf_nan=False)] | None = None
    tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    seconds: Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)] | None = None
    """Of what is set aside by time, such as calls of models, added up over all tasks."""
    depth: Annotated[int, Field(ge=0, le=MAX_DEPTH)] | None = None
    """How many levels of sub-plans may lie below."""

    @classmethod
    def of(cls, budget: Budget) -> Self:
        """A goal's own budget as its submitter wrote it."""
        units = {
            measure_name(one): in_units(one, most) for one in MEASURES if (most := getattr(budget.limits, one)) is not None
        }
        return cls(**units, depth=budget.depth)

    @property
    def limits(self) -> Limits:
        """Everything but the depth."""
        return Limits.of(self.dollars, self.tokens, self.seconds)


class GoalRequest(_Shape):
    """What is submitted, by whichever door: a plan, the name of a playbook with its parameters, or what is wanted in words."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    plan: PlanSpec | None = None
    playbook: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    goal: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_WORDS)] | None = None
    """What is wanted, in words; a planner makes the plan."""
    priority: Priority = "normal"
    on_failure: OnFailure = "fail"
    deadline: Annotated[float, Field(gt=0, le=MAX_DEADLINE)] | None = None
    """Seconds from its acceptance after which the goal fails, whatever still runs."""
    labels: Annotated[dict[Label, Label], Field(max_length=20)] = Field(default_factory=dict)
    budget: BudgetSpec | None = None
    """What the goal may use up, its sub-plans included; what isn't said is as the fleet's defaults are."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("plan", "playbook", "goal") if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"not {' and '.join(given)}" if given else "none was given"
            raise ValueError(f"give one of plan (with tasks), playbook (a name) or goal (what is wanted, in words): {found}")
        if self.parameters and self.playbook is None:
            raise ValueError(f"parameters go with playbook; a {given[0]} takes none")
        return self


def problems_of(error: ValidationError, body: Any, prefix: str = "") -> list[Problem]:
    """Pydantic's errors in our words: fields as paths in which a task is named by its id, not by its number."""
    found: list[Problem] = []
    details = error.errors(include_url=False)
    broken = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
    for detail in details:
        if detail["type"] == "too_short" and detail["loc"] in broken:
            continue  # pydantic counts only the good members: their own errors say it
        if len(found) == InvalidRequest.LIMIT:
            break
        message = detail["msg"].removeprefix("Value error, ")
        value = detail.get("input")
        if isinstance(value, str | int | float | bool) and detail["type"] not in {"value_error", "missing"}:
            message += f", not {str(value)[:80]!r}"
        found.append(Problem(prefix + (_path(detail["loc"], body) or "request"), message))
    return found


def _path(location: Sequence[str | int], body: Any) -> str:
    path, here = "", body
    for step in location:
        if isinstance(step, int):
            here = here[step] if isinstance(here, list | tuple) and step < len(here) else None
            name = here.get("id") if path.endswith("tasks") and isinstance(here, dict) else None
            path += f"[{name if isinstance(name, str) else step}]"
        else:
            here = here.get(step) if isinstance(here, dict) else None
            path += f".{step}" if path else step
    return path


def parse_request(body: Any) -> GoalRequest:
    """Read a submitted JSON value. Raises InvalidRequest with every problem found."""
    if not isinstance(body, dict):
        raise InvalidRequest.of("request", f"must be a JSON object with plan, playbook or goal, not {type(body).__name__}")
    try:
        return GoalRequest.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest(problems_of(error, body)) from error


def digest_of(request: GoalRequest) -> str:
    """What a request is known by when its key comes again: the same in any order of fields, with defaults said or not."""
    return ids.digest_of(request.model_dump(mode="json", exclude_defaults=True))


def parse_budget(body: Any) -> BudgetSpec:
    """Read the budget that a task gave its sub-plan. Raises InvalidRequest."""
    try:
        return BudgetSpec.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest(problems_of(error, body, "budget.")) from error


def parse_plan(body: Mapping[str, Any]) -> PlanSpec:
    """Read a plan that stands alone, such as the one a task returned. Raises InvalidRequest."""
    try:
        return PlanSpec.model_validate(dict(body))
    except ValidationError as error:
        raise InvalidRequest(problems_of(error, body)) from error

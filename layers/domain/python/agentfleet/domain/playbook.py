"""Playbooks: plans with parameters, written once and submitted by name.

`{"$param": "uri"}` stands for a parameter and `"{{ uri }}"` for its text inside a string. A task with `foreach` (a list,
or a parameter that is one) becomes one task per element, `id.0`, `id.1` …, in which `{"$item": "name"}` is that part of
the element (JMESPath, "" for all of it), `{"$index": true}` its number, and `{{ item }}`, `{{ index }}` their texts.

What a task of `flow.map` has as its own `input` is the map's: there these four are left for its items, which are not known yet.
"""

import re
from typing import Annotated, Any, Final, Literal

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import InvalidRequest, Problem, closest
from agentfleet.domain.task import MAX_TASKS, PlanSpec, problems_of

ParameterType = Literal["string", "integer", "number", "boolean", "list", "object"]
_PYTHON: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "object": (dict,),
}
_MAP: Final = "flow.map"
_OF_ITEMS: Final = frozenset({"item", "index"})
_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class Parameter(BaseModel):
    """What a playbook asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: ParameterType
    description: str = ""
    default: Any = None
    """Absent (null): the parameter must be given."""


class _PlaybookPlan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: Annotated[list[dict[str, Any]], Field(min_length=1)]
    output: Any = None


class Playbook(BaseModel):
    """A named plan with parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: str = ""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    plan: _PlaybookPlan

    def instantiate(self, given: dict[str, Any]) -> PlanSpec:
        """The plan for these parameters. Raises InvalidRequest naming the parameter or the task's field."""
        values = self._values(given)
        tasks: list[Any] = []
        for task in self.plan.tasks:
            tasks.extend(_expand(task, values))
            if len(tasks) > MAX_TASKS:
                raise InvalidRequest.of("parameters", f"make over {MAX_TASKS:,} tasks of playbook {self.name}")
        body = {"tasks": tasks, "output": _fill(self.plan.output, values, "output")}
        try:
            return PlanSpec.model_validate(body)
        except ValidationError as error:
            raise InvalidRequest(problems_of(error, body, f"playbook[{self.name}].")) from error

    def _values(self, given: dict[str, Any]) -> dict[str, Any]:
        problems = [
            Problem(f"parameters.{name}", f"playbook {self.name} has no such parameter; {closest(name, list(self.parameters))}")
            for name in given
            if name not in self.parameters
        ]
        values: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            value = given.get(name, parameter.default)
            if value is None:
                problems.append(Problem(f"parameters.{name}", f"is required: {parameter.description or parameter.type}"))
            elif not isinstance(value, _PYTHON[parameter.type]) or (
                isinstance(value, bool) and parameter.type in {"integer", "number"}
            ):
                problems.append(Problem(f"parameters.{name}", f"must be of type {parameter.type}, not {value!r:.80}"))
            values[name] = value
        if problems:
            raise InvalidRequest(problems)
        return values


def _expand(task: dict[str, Any], values: dict[str, Any]) -> list[Any]:
    name = task.get("id", "?")
    if "foreach" not in task:
        return [_fill_task(task, values, f"tasks[{name}]")]
    template = {key: value for key, value in task.items() if key != "foreach"}
    items = _fill(task["foreach"], values, f"tasks[{name}].foreach")
    if not isinstance(items, list) or not items:
        raise InvalidRequest.of(f"tasks[{name}].foreach", f"must be a list with at least one element, not {items!r:.80}")
    return [
        _fill_task({**template, "id": f"{name}.{index}"}, {**values, "item": item, "index": index}, f"tasks[{name}.{index}]")
        for index, item in enumerate(items)
    ]


def _fill_task(task: dict[str, Any], values: dict[str, Any], where: str) -> Any:
    given = task.get("input")
    if task.get("capability") != _MAP or not isinstance(given, dict) or "input" not in given:
        return _fill(task, values, where)
    outer = {key: value for key, value in given.items() if key != "input"}
    filled = _fill({**task, "input": outer}, values, where)
    filled["input"]["input"] = _fill(given["input"], values, f"{where}.input.input", left=_OF_ITEMS)
    return filled


def _fill(value: Any, values: dict[str, Any], where: str, left: frozenset[str] = frozenset()) -> Any:
    """The value with its holes filled; those named in `left` stay as they are."""
    match value:
        case {"$param": name, **rest} if not rest:
            return _value(name, values, where)
        case {"$item": path, **rest} if not rest and "item" not in left:
            return _search(path, _value("item", values, where), where)
        case {"$index": True, **rest} if not rest and "index" not in left:
            return _value("index", values, where)
        case dict():
            return {key: _fill(inner, values, f"{where}.{key}", left) for key, inner in value.items()}
        case list():
            return [_fill(inner, values, f"{where}[{index}]", left) for index, inner in enumerate(value)]
        case str():
            return _PLACEHOLDER.sub(
                lambda found: found[0] if found[1] in left else _text(_value(found[1], values, where)), value
            )
    return value


def _value(name: Any, values: dict[str, Any], where: str) -> Any:
    if name not in values:
        known = ", ".join(sorted(values)) or "none"
        raise InvalidRequest.of(where, f"there is no parameter {name!r} here; there are: {known}")
    return values[name]


def _search(path: Any, item: Any, where: str) -> Any:
    if path == "":
        return item
    try:
        return jmespath.search(path, item)
    except (JMESPathError, TypeError, AttributeError) as error:
        raise InvalidRequest.of(where, f"$item must be JMESPath or empty, not {path!r}") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def read_playbook(body: Any, source: str) -> Playbook:
    """A playbook from its parsed TOML or YAML. Raises InvalidRequest; `source` names the file."""
    try:
        return Playbook.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest(problems_of(error, body, f"{source}: ")) from error

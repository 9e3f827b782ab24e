"""A plan as a small model can write it, and what becomes of it.

A draft is `{"plan": {"tasks": [...]}}`, in order, each with an id such as t1, a capability, its input and, where that isn't
plain from the input, what it comes `after`. `"{{t1.rows[0].name}}"` as a whole value stands for that part of what t1 gave. Or
it is `{"plan": {"playbook": name, "parameters": {...}}}`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from agentfleet.domain import references
from agentfleet.domain.catalog import CapabilitySpec, Catalog
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.errors import InvalidRequest, Problem
from agentfleet.domain.input_check import ANYTHING, Outputs, Schema, fitted, input_problems, types_of
from agentfleet.domain.plan_policy import PlanPolicy, with_undoing
from agentfleet.domain.playbook import Playbook
from agentfleet.domain.task import PlanSpec, parse_plan

_REFERENCE: Final = re.compile(r"\{\{\s*([A-Za-z0-9_-]+)\s*(?:\.\s*)?([^{}]*?)\s*\}\}")
_BROKEN: Final = re.compile(r"\{\{\s*t[1-9]\d*\b")
_NUMBERED: Final = re.compile(r"^t[1-9]\d*$")
_ID: Final = re.compile(r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")
OPTIONAL: Final = 3
"""Fields of an input that a model is shown although they need not be given."""


class Drafted(Struct, frozen=True):
    """What a draft says: a plan that has not been checked, and the playbook that it came from."""

    plan: PlanSpec
    playbook: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def draft_schema(capabilities: Sequence[CapabilitySpec], playbooks: Sequence[Playbook], most: int) -> dict[str, Any]:
    """The JSON schema of a draft of at most so many tasks: so tight that what holds to it is nearly a plan.

    Small models write what the schema lets them: names of fields, and that a playbook has no tasks. It is short, since models
    read it too; what it leaves open the reader checks.
    """
    # Where nobody is asked and nothing is changed, order follows from inputs; small models would put everything into a chain.
    ordered = any(one.approval for one in capabilities)
    shapes = [_task_schema(one, ordered=ordered or not one.idempotent) for one in capabilities]
    tasks = {"type": "array", "items": {"anyOf": shapes}, "minItems": 1, "maxItems": most}
    choices = [_playbook_schema(one) for one in playbooks]
    if capabilities:
        choices.append(_object(["tasks"], tasks=tasks))
    return _object(["plan"], plan={"anyOf": choices})


def shown_fields(spec: CapabilitySpec) -> dict[str, Schema]:
    """The fields of an input that a model is shown: all that are required, some others."""
    fields: Mapping[str, Schema] = spec.input.get("properties", {})
    required = spec.input.get("required", ())
    others = [name for name in fields if name not in required][:OPTIONAL]
    return {name: one for name, one in fields.items() if name in required or name in others}


def _task_schema(spec: CapabilitySpec, *, ordered: bool) -> dict[str, Any]:
    given: dict[str, Any] = {"type": "object"}
    if "properties" in spec.input:
        required = spec.input.get("required", ())
        given = _object(required, **{name: _field_schema(one) for name, one in shown_fields(spec).items()})
    return _object(
        ["id", "capability", "input"],
        id={"type": "string"},
        capability={"enum": [spec.name]},
        input=given,
        **({"after": {"type": "array"}} if ordered else {}),
    )


def _field_schema(schema: Schema) -> dict[str, Any]:
    """What may stand in a field: its own type, as far as that is simple, or a reference, which is a text."""
    if "enum" in schema:
        return {"enum": list(schema["enum"])}
    kinds = types_of(schema)
    if kinds is not None and kinds <= {"string", "null"}:
        return {"type": "string"}
    if kinds is not None and kinds <= {"integer", "number", "null"}:
        return {"type": ["number", "string"]}
    if kinds == frozenset({"boolean"}):
        return {"type": "boolean"}
    if kinds == frozenset({"array"}) and types_of(schema.get("items", ANYTHING)) == frozenset({"string"}):
        return {"type": "array", "items": {"type": "string"}}
    return {}


def _playbook_schema(playbook: Playbook) -> dict[str, Any]:
    kinds = {"list": "array", "object": "object"}
    fields = {name: {"type": kinds.get(one.type, one.type)} for name, one in playbook.parameters.items()}
    required = [name for name, one in playbook.parameters.items() if one.default is None]
    return _object(["playbook", "parameters"], playbook={"enum": [playbook.name]}, parameters=_object(required, **fields))


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def read_draft(value: Any, capabilities: Sequence[str], playbooks: Mapping[str, Playbook], most: int) -> Drafted:
    """The plan that a draft stands for. Raises InvalidRequest with what is wrong, in the draft's own words."""
    plan = value.get("plan") if isinstance(value, Mapping) else None
    if not isinstance(plan, Mapping) or not ("playbook" in plan) ^ ("tasks" in plan):
        raise InvalidRequest.of("plan", "must be an object with either tasks, or playbook and parameters")
    if "tasks" in plan:
        return Drafted(_Reader(plan["tasks"], capabilities, most).plan())
    name, parameters = plan["playbook"], plan.get("parameters", {})
    if name not in list(playbooks):
        raise InvalidRequest.of("plan.playbook", f"must be one of {', '.join(playbooks) or 'none'}, not {name!r:.80}")
    if not isinstance(parameters, dict):
        raise InvalidRequest.of("plan.parameters", f"must be an object, not {parameters!r:.80}")
    return Drafted(playbooks[name].instantiate(parameters), str(name), parameters)


class _Reader:
    """Reads the tasks of a draft, and gives them the names of what they do."""

    def __init__(self, tasks: Any, capabilities: Sequence[str], most: int) -> None:
        self._capabilities = capabilities
        self._problems: list[Problem] = []
        if not isinstance(tasks, list) or not 1 <= len(tasks) <= most:
            given = f"{len(tasks)} of them" if isinstance(tasks, list) else type(tasks).__name__
            raise InvalidRequest.of("plan.tasks", f"must be a list of 1 to {most} tasks, not {given}")
        self._tasks = self._read(tasks)
        self._ids = self._names()

    def plan(self) -> PlanSpec:
        """Raises InvalidRequest."""
        order = list(self._tasks)
        tasks = []
        for place, key in enumerate(order):
            task, earlier = self._tasks[key], order[:place]
            after = task.get("after") or []
            if not isinstance(after, list) or not all(one in earlier for one in after):
                self._say(
                    f"{key}.after", f"must be a list of {', '.join(earlier) or 'nothing: it is the first'}, not {after!r:.80}"
                )
                after = []
            given = self._resolved(task["input"], f"{key}.input", earlier)
            depends = [self._ids[one] for one in after]
            tasks.append({"id": self._ids[key], "capability": task["capability"], "input": given, "depends_on": depends})
        if self._problems:
            raise InvalidRequest(self._problems)
        return parse_plan({"tasks": tasks})

    def _say(self, where: str, message: str) -> None:
        self._problems.append(Problem(where, message))

    def _read(self, tasks: Sequence[Any]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for place, task in enumerate(tasks, 1):
            key = f"t{place}"
            if not isinstance(task, dict) or not isinstance(task.get("input", {}), dict):
                self._say(key, "must be an object with id, capability and input, which is an object")
                continue
            name = task.get("id", key)
            if not isinstance(name, str) or not _ID.match(name) or name in found:
                self._say(f"{key}.id", f"must be one of its own, such as {key!r}, not {name!r:.40}")
            elif task.get("capability") not in self._capabilities:
                known = ", ".join(self._capabilities)
                self._say(f"{key}.capability", f"must be one of {known}, not {task.get('capability')!r:.80}")
            elif rest := sorted(set(task) - {"id", "capability", "input", "after"}):
                self._say(key, f"takes id, capability, input and after, not {', '.join(map(str, rest))[:80]}")
            else:
                found[name] = {"input": {}, **task}
        if self._problems:
            raise InvalidRequest(self._problems)
        return found

    def _names(self) -> dict[str, str]:
        """`t1` → `fetch`, and `fetch-2` for the second one."""
        counts: dict[str, int] = {}
        names = {}
        for key, task in self._tasks.items():
            stem = str(task["capability"]).rpartition(".")[2]
            counts[stem] = counts.get(stem, 0) + 1
            names[key] = stem if counts[stem] == 1 else f"{stem}-{counts[stem]}"
        return names

    def _resolved(self, value: Any, where: str, earlier: Sequence[str]) -> Any:
        match value:
            case str():
                return self._text(value, where, earlier)
            case list():
                return [self._resolved(inner, f"{where}[{place}]", earlier) for place, inner in enumerate(value)]
            case {references.KEY: str(source), **rest} if source in earlier:
                return {references.KEY: self._ids[source], **rest}
            case dict():
                return {str(name): self._resolved(inner, f"{where}.{name}", earlier) for name, inner in value.items()}
        return value

    def _text(self, value: str, where: str, earlier: Sequence[str]) -> Any:
        found = [one for one in _REFERENCE.finditer(value) if one[1] in self._tasks or _NUMBERED.match(one[1])]
        if not found:
            if _BROKEN.search(value):
                self._say(where, f'{value!r:.80} can\'t be read: write "{{{{t1.field}}}}" or "{{{{t1.field[0].name}}}}"')
            return value
        if found[0][0] != value.strip():
            self._say(where, f"{found[0][0]} must be the whole value, with nothing around it")
        elif found[0][1] not in earlier:
            self._say(where, f"{found[0][1]} is no earlier task; there are {', '.join(earlier) or 'none before it'}")
        else:
            path = {"path": found[0][2]} if found[0][2] else {}
            return {references.KEY: self._ids[found[0][1]], **path}
        return value


def write_draft(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Tasks of a plan as a draft, for an example; None for what a draft can't say."""
    keys = {str(task["id"]): f"t{number}" for number, task in enumerate(tasks, 1)}
    found = []
    for task in tasks:
        if set(task) - {"id", "capability", "input", "depends_on", "retries", "timeout", "on_failure", "compensation"}:
            return None
        try:
            given = _drafted(task.get("input", {}), keys)
            after = [keys[one] for one in task.get("depends_on", ())]
        except KeyError:
            return None
        one = {"id": keys[str(task["id"])], "capability": task["capability"], "input": given}
        found.append(one | ({"after": after} if after else {}))
    return {"plan": {"tasks": found}}


def _drafted(value: Any, keys: Mapping[str, str]) -> Any:
    match value:
        case {references.KEY: str(source), **rest}:
            path = str(rest.get("path") or "")
            return f"{{{{{keys[source]}{'.' if path and not path.startswith('[') else ''}{path}}}}}"
        case {"$param": name}:
            return f"<{name}>"
        case dict():
            return {name: _drafted(inner, keys) for name, inner in value.items()}
        case list():
            return [_drafted(inner, keys) for inner in value]
    return value


def checked(plan: PlanSpec, catalog: Catalog, policy: PlanPolicy) -> PlanSpec:
    """The plan as it will run: inputs fitted, compensations filled in. Raises InvalidRequest with everything wrong with it.

    First what compile_plan says, which every submitted plan must hold to; then inputs under their capabilities' schemas; then
    the policy.
    """
    compile_plan(plan, catalog)
    outputs = _outputs(plan, catalog)
    specs = {task.id: catalog.capabilities[task.capability][0] for task in plan.tasks}
    tasks = tuple(task.model_copy(update={"input": fitted(task.input, specs[task.id].input, outputs)}) for task in plan.tasks)
    plan = plan.model_copy(update={"tasks": tasks})
    problems = [
        Problem(f"tasks[{task.id}].{where}", message)
        for task in tasks
        for where, message in input_problems(task.input, specs[task.id].input, outputs)
    ]
    plan, lacking = with_undoing(plan, catalog)
    problems += lacking
    problems += policy.problems(plan, catalog)
    if problems:
        raise InvalidRequest(problems)
    compile_plan(plan, catalog)
    return plan


def _outputs(plan: PlanSpec, catalog: Catalog) -> Outputs:
    schemas = {task.id: catalog.capabilities[task.capability][0].output for task in plan.tasks}

    def output_of(source: str) -> Schema | None:
        if not source.endswith("*"):
            return schemas.get(source)
        found = [schema for name, schema in schemas.items() if name.startswith(source[:-1])]
        same = all(schema == found[0] for schema in found)
        return {"type": "array", "items": found[0] if found and same else ANYTHING}

    return output_of


def as_text(draft: Any) -> str:
    """A draft as a model is shown it."""
    return json.dumps(draft, ensure_ascii=False, separators=(",", ":"))

"""The fleet as a set of tools: what a model, or another agent, may call by name with JSON arguments.

Two kinds: a few that handle goals and knowledge, and one for each capability, which runs a goal of one task and waits for it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.catalog import CapabilitySpec, Catalog
from agentfleet.domain.errors import FleetError, InvalidRequest, NotFound
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.task import MAX_WORDS, GoalRequest, parse_request
from agentfleet.ports import Clock
from agentfleet.services.control import Controller
from agentfleet.services.goal_views import GoalView
from agentfleet.services.inspect import Inspector
from agentfleet.services.knowledge_views import FindingList

CALL_TASK: Final = "call"
"""Id of the one task of a capability that is called as a tool."""
LISTED: Final = 20
LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks at a goal that is waited for; the first are closer together."""

Schema = dict[str, Any]


class Tool(Struct, frozen=True):
    """Something that can be called."""

    name: str
    """At most 64 letters, digits, `_` and `-`: what model APIs accept."""
    description: str
    input: Schema
    read_only: bool = False
    idempotent: bool = False


class ToolAnswer(Struct, frozen=True):
    """What came of a call: any JSON value, or what went wrong in words."""

    value: Any
    is_error: bool = False

    @property
    def text(self) -> str:
        """The value as a model reads it."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)


class Call(Struct, frozen=True):
    """One call of one tenant, which has until `deadline` to be answered."""

    tenant: str
    arguments: Mapping[str, Any]
    deadline: datetime
    key: str | None = None
    """The same key gives the same goal, however often the call comes."""


def _object(required: Sequence[str] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


MAX_KEY: Final = 255
"""Characters, as in the HTTP API's header."""
_GOAL: Final = _object(["goal_id"], goal_id={"type": "string", "description": "As submit_goal gave it"})
_SUBMIT: Final = _object(
    name={"type": "string", "description": "A few words for people"},
    plan={
        "type": "object",
        "description": 'Tasks: {"tasks": [{"id", "capability", "input", "depends_on"}], "output"}; an input may hold '
        '{"$from": "task id", "path": "JMESPath"} where it needs another task\'s output',
    },
    playbook={"type": "string", "description": "Instead of a plan: the name of one that the fleet knows"},
    parameters={"type": "object", "description": "Of the playbook"},
    goal={
        "type": "string",
        "maxLength": MAX_WORDS,
        "description": "Instead of both: what is wanted, in words; the fleet plans it",
    },
    idempotency_key={
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY,
        "description": "Anything unique, such as a UUID: a call that is repeated with it gives the same goal, not another one",
    },
)
_SEARCH: Final = _object(
    ["query"],
    query={"type": "string", "minLength": 1, "maxLength": 1000},
    domain={"type": "string", "description": "Only documents of this domain"},
    limit={"type": "integer", "minimum": 1, "maximum": 50, "default": 5},
)


class ToolBox(Struct, frozen=True):
    """All tools of a fleet, or those whose capability matches one of `allowed` (globs such as `data.*`)."""

    catalog: Catalog
    accept: Callable[[GoalRequest, str, str | None], tuple[Goal, bool]]
    inspect: Inspector
    control: Controller
    find: Callable[[str, str, Sequence[str] | None, int], FindingList]
    clock: Clock
    pause: Callable[[float], None]
    """Let so many seconds pass."""
    allowed: Sequence[str] = ("*",)

    @property
    def _capabilities(self) -> dict[str, CapabilitySpec]:
        """Those allowed, by the names of their tools."""
        found: dict[str, CapabilitySpec] = {}
        for name, specs in self.catalog.capabilities.items():
            if any(fnmatchcase(name, pattern) for pattern in self.allowed):
                found.setdefault(tool_name(name), specs[0])
        return found

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Those for goals and knowledge, then the capabilities by name."""
        return (
            *(tool for tool, _ in self._own().values()),
            *(
                Tool(
                    name,
                    spec.description or f"The capability {spec.name}",
                    {"type": "object", **spec.input},
                    idempotent=spec.idempotent,
                )
                for name, spec in sorted(self._capabilities.items())
            ),
        )

    def call(self, name: str, call: Call) -> ToolAnswer:
        """Call a tool. What the caller did wrong, and a failed goal, are answers; faults of the platform are raised."""
        try:
            if own := self._own().get(name):
                return ToolAnswer(own[1](call))
            if spec := self._capabilities.get(name):
                return self._run(spec, call)
            raise NotFound(f"there is no tool {name!r}; there are {', '.join(tool.name for tool in self.tools)}")
        except InvalidRequest as error:
            return ToolAnswer("; ".join(map(str, error.problems)), is_error=True)
        except FleetError as error:
            return ToolAnswer(str(error), is_error=True)

    def _own(self) -> dict[str, tuple[Tool, Callable[[Call], Any]]]:
        tools = (
            (
                Tool(
                    "submit_goal",
                    "Have a plan, a playbook or a goal in words carried out; gives the goal's id at once",
                    _SUBMIT,
                ),
                self._submit,
            ),
            (Tool("get_goal", "How far a goal is", _GOAL, read_only=True), self._get),
            (Tool("get_result", "What came of a goal that has ended", _GOAL, read_only=True), self._result),
            (Tool("list_goals", f"The {LISTED} newest goals", _object(), read_only=True), self._list),
            (Tool("cancel_goal", "End a goal", _GOAL, idempotent=True), self._cancel),
            (Tool("search_knowledge", "Find documents that the fleet keeps", _SEARCH, read_only=True), self._search),
        )
        return {tool.name: (tool, function) for tool, function in tools}

    def _submit(self, call: Call) -> Any:
        arguments = dict(call.arguments)
        key = arguments.pop("idempotency_key", None)
        if key is not None and not (isinstance(key, str) and 1 <= len(key) <= MAX_KEY):
            raise InvalidRequest.of("idempotency_key", f"must be a text of 1 to {MAX_KEY} characters, not {key!r:.80}")
        goal, _ = self.accept(parse_request(arguments), call.tenant, call.key or key)
        return GoalView.of(goal).model_dump(mode="json")

    def _get(self, call: Call) -> Any:
        return self.inspect.goal(call.tenant, _text(call, "goal_id")).model_dump(mode="json")

    def _result(self, call: Call) -> Any:
        return self.inspect.result(call.tenant, _text(call, "goal_id")).model_dump(mode="json")

    def _list(self, call: Call) -> Any:
        return self.inspect.goals(call.tenant, None, LISTED, None).model_dump(mode="json")

    def _cancel(self, call: Call) -> Any:
        return GoalView.of(self.control.cancel(_text(call, "goal_id"), call.tenant)).model_dump(mode="json")

    def _search(self, call: Call) -> Any:
        domains = [_text(call, "domain")] if "domain" in call.arguments else None
        limit = call.arguments.get("limit", 5)
        if not isinstance(limit, int) or not 1 <= limit <= 50:
            raise InvalidRequest.of("limit", f"must be a number from 1 to 50, not {limit!r}")
        return self.find(call.tenant, _text(call, "query"), domains, limit).model_dump(mode="json")

    def _run(self, spec: CapabilitySpec, call: Call) -> ToolAnswer:
        """A goal of one task; its output, or where to look for it if that takes longer than the call may."""
        task = {"id": CALL_TASK, "capability": spec.name, "input": dict(call.arguments)}
        request = parse_request({"name": f"tool {spec.name}", "plan": {"tasks": [task]}, "priority": "high"})
        goal, _ = self.accept(request, call.tenant, call.key)
        view = self.inspect.goal(call.tenant, goal.id)
        wait = 0.05
        while not view.state.is_final:
            if self.clock() + timedelta(seconds=wait) >= call.deadline:
                return ToolAnswer({"goal_id": goal.id, "state": view.state, "note": "not done yet: ask get_result later"})
            self.pause(wait)
            wait = min(LONGEST_PAUSE, wait * 1.5)
            view = self.inspect.goal(call.tenant, goal.id)
        result = self.inspect.result(call.tenant, goal.id)
        if view.state != GoalState.SUCCEEDED:
            failure = view.failure
            said = f"{failure.error}: {failure.message}" if failure else view.state
            return ToolAnswer(f"{spec.name} did not succeed: {said}", is_error=True)
        return ToolAnswer({"url": result.output_url} if result.output_url else result.output)


def tool_name(capability: str) -> str:
    """A capability's name as model APIs accept it: `data.query` is `data__query`."""
    return capability.replace(".", "__")


def _text(call: Call, name: str) -> str:
    value = call.arguments.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest.of(name, f"must be a text, not {value!r}")
    return value

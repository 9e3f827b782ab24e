"""What a task may call by name while it runs: `context.tools`.

The fleet's capabilities that `[pools.<name>] tools` lists, tools of MCP servers, and a few of the platform's own. What may
be called, with what addresses and secrets in it, is decided here at every call, whatever a model was shown or told.

A call is a goal of one task, through the queues as any other: within this goal's budget, deadline, depth and tenant, ended
when this goal is. Its id follows from the task and the caller's key, so that the same call made again finds what became of
it. What is not done within seconds is not waited for: the task is put off, at no cost, and asks again later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain.bounds import Bounds, EgressRefused
from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.errors import FleetError, GoalEnded, PermanentError, Stopped, Waiting
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.guardrails import GuardrailViolation
from agentfleet.domain.input_check import input_problems
from agentfleet.domain.plan import Unit
from agentfleet.domain.references import is_reference
from agentfleet.domain.tool_policy import ToolNotAllowed, ToolPolicy
from agentfleet.ports import Clock, GoalStore
from agentfleet.ports_agents import ToolServer
from agentfleet.services.accept import Accepter
from agentfleet.services.approval import ApprovalPolicy
from agentfleet.services.capability import Capability, SubPlan, TaskContext
from agentfleet.services.guardrail import Guard
from agentfleet.services.tools import CALL_TASK, Tool, ToolAnswer, tool_name

PATIENCE: Final = 5.0
"""Seconds that a call is waited for before its task is put off."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
FIRST_DELAY: Final = 2.0
LONGEST_DELAY: Final = 900.0
"""Seconds between two looks of a task that is put off: half as long as it has waited already, within these."""
NAME_LIMIT: Final = 200

ASK_PERSON: Final = "ask_person"
REMEMBER: Final = "remember"
RECALL: Final = "recall"
APPROVE: Final = "flow.approve"

CallHere = Callable[[str, Any, TaskContext], Awaitable[Any]]
Refused = Callable[[TaskContext, str, Exception], None]
Pause = Callable[[float], Awaitable[None]]

_log: Final = logging.getLogger(__name__)


class Workshop(Protocol):
    """Makes the tools of a pool's tasks."""

    def __call__(self, goal: Goal, unit: Unit, call_here: CallHere, context: TaskContext) -> "TaskTools": ...


def delay_after(waited: timedelta) -> float:
    """Seconds after which to look again for what has been waited for so long."""
    return min(LONGEST_DELAY, max(FIRST_DELAY, waited.total_seconds() / 2))


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [next(iter(properties))], "additionalProperties": False}


_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 4000}
OWN: Final = {
    ASK_PERSON: Tool(
        ASK_PERSON,
        "Ask a person to approve something before you go on. Answers when somebody has said yes, or no and why",
        _object(question=_TEXT, value={"description": "What they are to look at"}),
    ),
    REMEMBER: Tool(
        REMEMBER, "Keep a fact for later tasks", _object(text=_TEXT, about={"type": "string", "description": "Its subject"})
    ),
    RECALL: Tool(
        RECALL,
        "Find facts that were kept",
        _object(query=_TEXT, limit={"type": "integer", "minimum": 1, "maximum": 20}),
        read_only=True,
    ),
}
"""Tools of the platform beside capabilities and MCP servers."""


class ToolShop(Struct, frozen=True):
    """A Workshop: what the tools of one environment's tasks have in common."""

    pool: PoolSpec
    catalog: Catalog
    accepter: Callable[[], Accepter]
    goals: GoalStore
    clock: Clock
    capabilities: Mapping[str, Capability]
    approvals: ApprovalPolicy
    guard: Guard | None = None
    refused: Refused | None = None
    """Told of every call that was not let through."""
    servers: Mapping[str, ToolServer] = field(default_factory=dict)
    """MCP servers by name."""
    pause: Pause = asyncio.sleep

    @property
    def policy(self) -> ToolPolicy:
        """The pool's list, with what it lists of each server."""
        served = (f"mcp.{spec.name}.{pattern}" for spec in self.pool.servers for pattern in spec.tools)
        return ToolPolicy(self.pool.name, (*self.pool.tools, *served))

    def __call__(self, goal: Goal, unit: Unit, call_here: CallHere, context: TaskContext) -> "TaskTools":
        return TaskTools(self, goal, unit, call_here, context)


class TaskTools(Struct, frozen=True):
    """`context.tools`: what one task may call."""

    shop: ToolShop
    goal: Goal
    unit: Unit
    call_here: CallHere
    context: TaskContext
    only: tuple[tuple[str, ...], ...] = ()
    """Further lists of names and patterns that all must allow a tool."""

    @property
    def bounds(self) -> Bounds:
        """What holds for every call, and for whatever follows from it."""
        mine = Bounds((self.shop.policy.allowed, *self.only), (self.shop.pool.hosts,))
        return mine.within(self.goal.bounds)

    def narrowed(self, only: Sequence[str]) -> "TaskTools":
        """The same with a further list of names and patterns that a tool must be on."""
        return replace(self, only=(*self.only, tuple(only)))

    def allows(self, name: str) -> bool:
        """May this tool be called?"""
        return self.bounds.allows(name)

    async def offered(self, only: Sequence[str] = ()) -> tuple[Tool, ...]:
        """What may be called, or what of it matches one of `only`: name, description, JSON schema of the arguments.

        A server that can't be asked for its tools offers none now.
        """
        tools = self if not only else self.narrowed(only)
        found = [
            Tool(tool_name(name), specs[0].description or f"The capability {name}", {"type": "object", **specs[0].input})
            for name, specs in sorted(self.shop.catalog.capabilities.items())
            if tools.allows(name)
        ]
        found += [tool for name, tool in OWN.items() if tools.allows(name) and self._has(name)]
        for server, served in await self._served():
            for tool in served:
                if tools.allows(f"mcp.{server}.{tool.name}"):
                    found.append(replace(tool, name=tool_name(f"mcp.{server}.{tool.name}")))
        return tuple(found)

    async def call(self, name: str, arguments: Mapping[str, Any], key: str) -> ToolAnswer:
        """Call a tool by its name (`data.query`, or `data__query` as models write it). The same `key` never does it twice.

        What is not allowed, what the caller did wrong and what failed are answers marked as errors. Raises Waiting for what
        takes longer: let it out of the capability and call again with the same key; Stopped, GoalEnded, DeliveryFailed.
        """
        await asyncio.to_thread(self.context.raise_if_stopped)
        tool = name.replace("__", ".")
        if tool.startswith("mcp."):
            tool = await self._served_as(tool)
        try:
            self.check(tool, arguments)
            answer = await self._run(tool, arguments, key)
            return answer if self.shop.guard is None else self._cleaned(answer)
        except (ToolNotAllowed, EgressRefused, GuardrailViolation) as error:
            _log.warning("tool %s of task %s/%s: %s", tool[:64], self.context.goal_id, self.context.task_id, error)
            if self.shop.refused:
                self.shop.refused(self.context, tool, error)
            return ToolAnswer(f"refused: {error}", is_error=True)
        except GoalEnded:
            raise
        except PermanentError as error:
            return ToolAnswer(str(error), is_error=True)

    @staticmethod
    def is_repeatable(name: str) -> bool:
        """Does a call that is made again under its key find what became of it? Nobody can say that of others' servers."""
        return not name.replace("__", ".").startswith("mcp.")

    def clean(self, value: Any) -> Any:
        """Material (JSON) as a model may read it, by the pool's guardrails for tools. Raises GuardrailViolation."""
        return value if self.shop.guard is None else self.shop.guard.clean_answer(self.context, value)

    def check(self, tool: str, arguments: Mapping[str, Any]) -> None:
        """May this tool be called with these? Raises ToolNotAllowed, EgressRefused, GuardrailViolation."""
        if not self.allows(tool):
            self.shop.policy.check(tool)
            listed = "; ".join(", ".join(patterns) or "none" for patterns in self.bounds.tools)
            raise ToolNotAllowed(f"this task may not call {tool[:64]!r}; allowed are {listed}")
        self.bounds.check_hosts(dict(arguments))
        if self.shop.guard:
            self.shop.guard.check_call(self.context, arguments)

    def _cleaned(self, answer: ToolAnswer) -> ToolAnswer:
        return replace(answer, value=self.clean(answer.value))

    async def _run(self, tool: str, arguments: Mapping[str, Any], key: str) -> ToolAnswer:
        if tool in OWN:
            _check_own(tool, arguments)
        if tool == ASK_PERSON:
            only = Bounds(((APPROVE,),)).within(Bounds((), self.bounds.hosts))
            return await self._queued(APPROVE, {"value": None, **arguments}, key, only)
        if tool in {REMEMBER, RECALL}:
            return await self._memory(tool, arguments)
        if tool.startswith("mcp."):
            return await self._server(tool, arguments)
        if tool not in self.shop.catalog.capabilities:
            raise PermanentError(f"there is no tool {tool[:64]!r}")
        spec = self.shop.catalog.capabilities[tool][0]
        if self._is_here(spec):
            answer = await self._inline(tool, arguments, key)
            if answer is not None:
                return answer
        return await self._queued(tool, arguments, key, self.bounds)

    def _is_here(self, spec: CapabilitySpec) -> bool:
        """Is it done in this very invocation? An agent's own capability is not: each nested one counts as a level."""
        own = self.shop.capabilities.get(spec.name)
        return (
            own is not None
            and own.idempotent
            and spec.name != self.unit.capability
            and not self.shop.approvals.may_concern(spec.name)
        )

    async def _inline(self, tool: str, arguments: Mapping[str, Any], key: str) -> ToolAnswer | None:
        """Do it here; None for what turns out to be a sub-plan, which only a task of its own can have."""
        name = f"{self.context.task_id}:{key}"
        files = replace(self.context.blobs, task=name)
        within = replace(self.context, task_id=name, blobs=files, bounds=self.bounds, workshop=None)
        try:
            output = await self.call_here(tool, dict(arguments), within)
        except (Stopped, GoalEnded):
            raise
        except Exception as error:
            return ToolAnswer(f"{tool} did not succeed: {type(error).__name__}: {error}", is_error=True)
        return None if isinstance(output, SubPlan) else ToolAnswer(output)

    async def _queued(self, capability: str, arguments: Mapping[str, Any], key: str, bounds: Bounds) -> ToolAnswer:
        """A goal of one task; its output, if it has one within seconds. Raises Waiting."""
        task = {"id": CALL_TASK, "capability": capability, "input": dict(arguments)}
        name = f"{self.goal.name}: {capability} for {self.context.task_id}"[:NAME_LIMIT]
        full_key = f"{self.context.idempotency_key}/{key}"
        called = await asyncio.to_thread(self.shop.accepter().call, self.goal, self.unit.number, full_key, name, task, bounds)
        called = await self._await(called)
        if not called.state.is_final:
            waited = self.shop.clock() - called.created
            raise Waiting(f"{capability} is not done yet (goal {called.id})", delay_after(waited))
        if called.state is GoalState.SUCCEEDED:
            return ToolAnswer(called.output)
        failure = called.failure
        said = f"{failure.error}: {failure.message}" if failure else called.state
        return ToolAnswer(f"{capability} did not succeed: {said}", is_error=True)

    async def _await(self, called: Goal) -> Goal:
        """The goal once it has ended, or as it stands when waiting for it here is over."""
        waited, pause = 0.0, FIRST_PAUSE
        while not called.state.is_final and waited < PATIENCE and self.context.remaining_seconds() > PATIENCE:
            await self.shop.pause(pause)
            waited, pause = waited + pause, min(LONGEST_PAUSE, 1.5 * pause)
            called = (await asyncio.to_thread(self.shop.goals.get, [called.id]))[called.id]
        return called

    def _has(self, name: str) -> bool:
        """Is what one of the platform's own tools stands on there?"""
        if name == ASK_PERSON:
            return APPROVE in self.shop.catalog.capabilities
        return self.context.has_memory

    async def _memory(self, tool: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        memory = self.context.memory
        try:
            if tool == REMEMBER:
                fact = await asyncio.to_thread(memory.remember, arguments["text"], arguments.get("about", ""))
                return ToolAnswer({"id": fact.id, "remembered": fact.text})
            facts = await asyncio.to_thread(memory.recall, arguments["query"], arguments.get("limit", 5))
        except Exception as error:
            # Nobody has to remember to go on: what can't be kept or found is told to the model, whatever the reason.
            _log.warning("%s of task %s/%s: %r", tool, self.context.goal_id, self.context.task_id, error)
            return ToolAnswer(f"{tool} did not succeed: {type(error).__name__}: {error}", is_error=True)
        return ToolAnswer([{"text": fact.text, "about": fact.about, "source": fact.source} for fact in facts])

    async def _served_as(self, tool: str) -> str:
        """A server's tool by its own name, which `tool` is as a model writes it."""
        for server, served in await self._served():
            for one in served:
                own = f"mcp.{server}.{one.name}"
                if own.replace("__", ".") == tool:
                    return own
        return tool

    async def _served(self) -> list[tuple[str, Sequence[Tool]]]:
        found: list[tuple[str, Sequence[Tool]]] = []
        for name, server in sorted(self.shop.servers.items()):
            try:
                async with self.context.breaker(f"mcp {name}"):
                    found.append((name, [_tool(one) for one in await asyncio.to_thread(server.tools)]))
            except FleetError as error:
                _log.warning("MCP server %s offers no tools now: %s", name, error)
        return found

    async def _server(self, tool: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        _, name, inner = tool.split(".", 2)
        server = self.shop.servers.get(name)
        if server is None:
            raise PermanentError(f"there is no MCP server {name[:64]!r}")
        timeout = self.context.call_timeout(server.timeout)
        try:
            async with self.context.breaker(f"mcp {name}"):
                value, is_error = await asyncio.to_thread(server.call, inner, dict(arguments), timeout)
        except FleetError as error:
            return ToolAnswer(f"{tool} could not be asked: {error}", is_error=True)
        return ToolAnswer(value, is_error)


def _check_own(tool: str, arguments: Mapping[str, Any]) -> None:
    """Raises PermanentError saying everything that is wrong with the arguments of one of the platform's own tools."""
    problems = [
        f"{where}: {message}" for where, message in input_problems(dict(arguments), OWN[tool].input, lambda _: None, tool)
    ]
    problems += [f"{tool}.{name}: must be a value, not a reference" for name in arguments if is_reference(arguments[name])]
    if problems:
        raise PermanentError("; ".join(problems))


def _tool(described: Mapping[str, Any]) -> Tool:
    return Tool(
        described["name"],
        described.get("description") or described["name"],
        described["input"],
        read_only=bool(described.get("read_only")),
        idempotent=bool(described.get("idempotent")),
    )

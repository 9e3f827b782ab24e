"""Agents that think: a model works at a task with tools until it has an answer, and survives being killed on the way.

The pool's tools, the hosts that addresses in their arguments may lead to and its MCP servers are in `fleet.toml`. Settings:
`role` (who an agent is unless a task says otherwise).
"""

from agentfleet.agent import Agent, PermanentError, SubPlan, TaskContext
from agentfleet.bootstrap_pools import tracing
from agentfleet.domain.bounds import Bounds
from agentfleet.services.task_tools import TaskTools
from agentfleet.services.tools import Tool

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from agentfleet.services.agent_loop import Job, Thought
    from agentfleet.services.structured import Shape

agent = Agent("agents")

WORK: Final = "agent.work"
ROLE: Final = "a careful assistant who works with tools and says plainly what is not known"
HANDED: Final = "handed"
HAND_OFF: Final = Tool(
    "hand_off",
    "Hand your task over to somebody better suited, and end your own work. Their answer becomes yours",
    {
        "type": "object",
        "properties": {
            "to": {"type": "string", "description": "A role in words, or the name of a capability"},
            "message": {"type": "string", "description": "What they are to do, with all that you have found"},
            "input": {"type": "object", "description": "For a capability: its input"},
        },
        "required": ["to", "message"],
        "additionalProperties": False,
    },
)


class Material(BaseModel):
    """A text and what it is called."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(default="", max_length=300)
    text: str


class WorkInput(BaseModel):
    """What to do, as whom, with what: and what the answer must look like."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(min_length=1, max_length=20_000)
    role: str = Field(default="", max_length=1_000)
    """Who the agent is: "a reviewer of Python code"."""
    instructions: str = Field(default="", max_length=20_000)
    """How it is to go about it."""
    material: list[Material | str] = Field(default_factory=list, max_length=200)
    """Texts to work with; never orders."""
    tools: list[str] | None = Field(default=None, max_length=100)
    """Names and patterns of tools, among those of the pool; all of them unless given."""
    session: str | None = Field(default=None, min_length=1, max_length=200)
    """A conversation that is remembered and goes on."""
    output_schema: dict[str, Any] | None = None
    """JSON schema (of type object) that the answer must be valid under."""
    max_turns: int = Field(default=12, ge=1, le=100)
    max_tokens: int | None = Field(default=None, ge=1, le=16_000)
    """Of one turn."""


class ToolCalled(BaseModel):
    """A tool that was called, and whether it went well."""

    name: str
    ok: bool


class WorkOutput(BaseModel):
    """The answer, in words or of the shape that was asked for, and what it took."""

    answer: str
    value: dict[str, Any] | None = None
    how: Literal["model"] = "model"
    model: str
    turns: int
    tool_calls: list[ToolCalled]
    sources: list[str]
    """Addresses that tools named as where their answers come from."""
    truncated: bool = False
    """Was the answer cut off?"""
    input_tokens: int
    output_tokens: int
    dollars: float
    seconds: float


@agent.capability("agent.work", idempotent=True, timeout=280)
async def work(input: WorkInput, context: TaskContext) -> SubPlan | WorkOutput:
    """Work at a task with tools until there is an answer, in words or of a given shape; needs a model."""
    from agentfleet.services import agent_loop  # noqa: PLC0415 - seconds of imports, which only the first task pays

    traces = tracing()
    try:
        thought = await agent_loop.work(context, await _job(input, context))
    finally:
        if traces is not None:
            await asyncio.to_thread(traces.flush)
    if thought.sub_plan is not None:
        return thought.sub_plan
    if input.session is not None:
        await _remember(input, context, thought)
    return _output(thought)


async def _job(input: WorkInput, context: TaskContext) -> "Job":
    from agentfleet.domain.conversation import material  # noqa: PLC0415 - as above
    from agentfleet.services.agent_loop import Job  # noqa: PLC0415 - as above

    if context.models is None:
        _ = context.model  # says what is missing, before anything is done
    tools = context.tools if context.workshop is not None else None
    if tools is not None and input.tools is not None:
        tools = tools.narrowed(input.tools)
    texts = [one if isinstance(one, Material) else Material(text=one) for one in input.material]
    shown = [material(_clean(one.text, tools), one.title) for one in texts]
    role = input.role or str(context.settings.get("role", ROLE))
    may_hand_off = tools is not None and tools.allows(HAND_OFF.name)

    def hand_off(said: Mapping[str, Any]) -> SubPlan:
        assert tools is not None  # noqa: S101 - only then may it hand off
        return _handed(input, tools, said)

    return Job(
        prompt="\n\n".join([*shown, input.task]),
        system=f"You are {role}.\n\n{input.instructions}".strip(),
        max_turns=input.max_turns,
        tools=tools,
        max_tokens=input.max_tokens,
        shape=_shape(input.output_schema) if input.output_schema is not None else None,
        history=await _history(input, context),
        hand_off=hand_off if may_hand_off else None,
        hand_off_tool=HAND_OFF if may_hand_off else None,
    )


def _clean(text: str, tools: TaskTools | None) -> str:
    return text if tools is None else str(tools.clean(text))


async def _history(input: WorkInput, context: TaskContext) -> Sequence[Mapping[str, Any]]:
    """What was said before in the session, as it was when this task first asked. Raises PermanentError without a memory."""
    if input.session is None:
        return ()
    session = context.memory.session(input.session)

    async def read() -> Any:
        return await asyncio.to_thread(lambda: [dict(one) for one in session.messages()])

    found: list[Mapping[str, Any]] = await context.journal.once("0000", read)
    return found


async def _remember(input: WorkInput, context: TaskContext, thought: "Thought") -> None:
    said = thought.answer or str(thought.value)
    turns = [{"role": "user", "content": [{"text": input.task}]}, {"role": "assistant", "content": [{"text": said}]}]
    session = context.memory.session(input.session or "")
    await asyncio.to_thread(lambda: session.append(turns, key=context.idempotency_key))
    await session.tidy()


def _handed(input: WorkInput, tools: TaskTools, said: Mapping[str, Any]) -> SubPlan:
    """The task that takes this one's place. Raises PermanentError for somebody who may not be handed anything."""
    to, message = str(said.get("to", "")).strip(), str(said.get("message", "")).strip()
    if not to or not message:
        raise PermanentError("to and message must be texts")
    bounds = tools.bounds
    if re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", to):
        given = said.get("input")
        handed = dict(given) if isinstance(given, dict) else {"text": message}
        tools.check(to, handed)
        task: dict[str, Any] = {"id": HANDED, "capability": to, "input": handed}
        return SubPlan(tasks=[task], output={"$from": HANDED}, bounds=bounds)
    given_on = input.model_dump(include={"tools", "output_schema", "max_turns", "max_tokens"}, exclude_none=True)
    task = {"id": HANDED, "capability": WORK, "input": {**given_on, "task": message, "role": to[:1_000]}}
    # The one who takes over is bounded as this one is, and may be one at all.
    within = Bounds(tuple((*patterns, WORK) for patterns in bounds.tools), bounds.hosts)
    return SubPlan(tasks=[task], output={"$from": HANDED}, bounds=within)


def _output(thought: "Thought") -> WorkOutput:
    taken = thought.taken
    usage = taken.usage
    return WorkOutput(
        answer=thought.answer,
        value=thought.value,
        model=taken.model,
        turns=taken.turns,
        tool_calls=[ToolCalled(name=one.name, ok=one.ok) for one in thought.tool_calls],
        sources=list(dict.fromkeys(source for one in thought.tool_calls for source in one.sources)),
        truncated=taken.is_truncated,
        input_tokens=usage.input + usage.cache_read + usage.cache_write,
        output_tokens=usage.output,
        dollars=taken.dollars,
        seconds=taken.seconds,
    )


def _shape(schema: dict[str, Any]) -> "Shape[dict[str, Any]]":
    from agentfleet.services.schema_shapes import schema_shape  # noqa: PLC0415 - a tenth of a second that only shapes pay

    return schema_shape(schema, "output_schema", "answer", "It must be valid under the schema.")

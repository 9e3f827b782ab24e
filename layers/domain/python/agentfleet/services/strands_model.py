"""The pool's models as Strands Agents asks them: turns that were taken before come out of the task's journal.

Strands speaks Bedrock's Converse; what goes in and out is put into the words of domain/model.py and back.
"""

import base64
import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct, field
from pydantic import TypeAdapter
from strands.models.model import Model

from agentfleet.domain.conversation import LEVELS, shortened
from agentfleet.domain.errors import ModelAnswerInvalid, ModelInputTooLong, ModelUnavailable, PermanentError, Waiting
from agentfleet.domain.model import (
    Answer,
    Message,
    ModelRequest,
    Part,
    Reasoning,
    StopReason,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from agentfleet.domain.model_prices import facts_of
from agentfleet.services.capability import TaskContext
from agentfleet.services.journal import TaskJournal
from agentfleet.services.structured import GROWTH

RESERVE: Final = 30.0
"""Seconds that must be left of an invocation for another turn; with less the task goes on in the next one."""
LAST_TURN: Final = (
    "This is your last turn. Give your final answer now; call no tool but the one that takes it, if there is one."
)
STOPS: Final = {StopReason.TOOLS: "tool_use", StopReason.LENGTH: "end_turn"}

NO_USE: Final = Usage()

_PARTS: Final[TypeAdapter[tuple[Part, ...]]] = TypeAdapter(tuple[Part, ...])
_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")


class TurnsUsedUp(PermanentError):
    """The agent had not finished after as many turns as it may take."""


class Taken(Struct):
    """The turns taken so far, replayed ones among them, and what they came to."""

    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    dollars: float = 0.0
    seconds: float = 0.0
    model: str = ""
    is_truncated: bool = False
    """Was the last one cut off?"""
    made: int = 0
    """What was done in this very invocation, turns and tool calls: none of it was there before."""


class JournaledModel(Model):
    """A Strands model over `context.model`. What goes wrong is kept in `error` and ends the loop quietly: raise it then."""

    def __init__(
        self,
        context: TaskContext,
        journal: TaskJournal,
        *,
        max_turns: int,
        max_tokens: int | None = None,
        temperature: float | None = None,
        earlier: int = 0,
    ) -> None:
        """`earlier`: how many messages of the conversation were there before the task's own."""
        self._context = context
        self._journal = journal
        self._max_turns = max_turns
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._earlier = earlier
        self._level = 0
        """How far the conversation has to be shortened for the model."""
        self.taken = Taken()
        self.error: Exception | None = None
        self.malformed: dict[str, str] = {}
        """Tool calls that can't be carried out as they were written: id → what is wrong."""
        self.fresh = NO_USE
        """What the last turn took now: nothing if it came out of the journal."""

    @property
    def config(self) -> dict[str, Any]:
        """What Strands' spans call the model by: the one that answered last, else the one that is asked first."""
        try:
            return {"model_id": self.taken.model or self._context.model.preferred}
        except ModelUnavailable:
            return {}

    def update_config(self, **model_config: Any) -> None:
        """Nothing is configured here: `[pools.<name>.model]` is."""

    def get_config(self) -> dict[str, Any]:
        """Nothing is configured here."""
        return {}

    def structured_output(self, *_: Any, **__: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Not used: final answers of a shape are given by a tool."""
        raise NotImplementedError("final answers of a shape are given by the tool final_answer")

    def stream(self, messages: Any, tool_specs: Any = None, system_prompt: str | None = None, **_: Any) -> AsyncIterable[Any]:
        """One turn, as the events that Strands makes a message of."""
        return self._stream(messages, tool_specs or (), system_prompt or "")

    async def _stream(self, messages: Any, tool_specs: Any, system: str) -> AsyncGenerator[dict[str, Any], None]:
        try:
            parts, stop = await self._turn(messages, tool_specs, system)
        except Exception as error:
            # Raised through Strands it would be wrapped and logged once for every turn that was taken.
            self.error = error
            parts, stop = (Text(text="(stopped)"),), StopReason.END
        for event in _events(parts, stop, self.fresh):
            yield event

    async def _turn(self, messages: Any, tool_specs: Any, system: str) -> tuple[tuple[Part, ...], StopReason]:
        number = self.taken.turns + 1
        if number > self._max_turns:
            raise TurnsUsedUp(f"it had not finished after {self._max_turns} turns; raise max_turns, or ask for less")
        name = f"{number:04d}"
        entry = self._journal.find(name)
        self.fresh = NO_USE
        if entry is None:
            if self.taken.made and self._context.remaining_seconds() < RESERVE:
                raise Waiting(f"turn {number} is taken in the next invocation", 0.0)
            await self._journal.hold(self._context.deadline)
            if number == self._max_turns:
                system = f"{system}\n\n{LAST_TURN}"
            answers = await self._ask(messages, tool_specs, system)
            entry = await self._journal.record(name, _to_entry(answers, number))
            self.taken.made += 1
            self.fresh = Usage.model_validate(entry["usage"])
        self._count(entry, number)
        parts = _PARTS.validate_python(entry["parts"])
        self.malformed |= {
            one.id: entry.get("problem") or f"the input must be a JSON object, not {type(one.input).__name__}"
            for one in parts
            if isinstance(one, ToolCall) and (entry.get("problem") or not isinstance(one.input, dict))
        }
        return parts, StopReason(entry["stop"])

    async def _ask(self, messages: Any, tool_specs: Any, system: str) -> list[Answer]:
        """The turn; before it what was cut off so that it could not be used, and was asked for again with more room."""
        request = self._context.model.request(
            [to_message(one) for one in messages],
            system=system,
            tools=[_to_tool(one) for one in tool_specs],
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            cache_prompt=True,
        )
        answers = [await self._fitting(request)]
        while _is_unusable(answers[-1]) and request.max_tokens < (most := facts_of(answers[-1].model).max_output):
            request = request.model_copy(update={"max_tokens": min(GROWTH * request.max_tokens, most)})
            answers.append(await self._fitting(request))
        if _is_unusable(answers[-1]) and not answers[-1].tool_calls:
            raise ModelAnswerInvalid(
                f"{answers[-1].model} was cut off after {request.max_tokens} tokens before it said anything"
            )
        return answers

    async def _fitting(self, request: ModelRequest) -> Answer:
        """The answer to as much of the conversation as the model can read; once shortened, it stays so."""
        while True:
            messages = shortened(request.messages, self._earlier, self._level)
            try:
                return await self._context.model.ask(request.model_copy(update={"messages": messages}))
            except ModelInputTooLong:
                while shortened(request.messages, self._earlier, self._level) == messages:
                    if self._level == LEVELS:
                        raise
                    self._level += 1

    def _count(self, entry: dict[str, Any], number: int) -> None:
        taken = self.taken
        taken.turns = number
        taken.usage += Usage.model_validate(entry["usage"])
        taken.dollars += entry["dollars"]
        taken.seconds += entry["seconds"]
        taken.model = entry["model"]
        taken.is_truncated = entry["stop"] == StopReason.LENGTH


def tool_id(turn: int, index: int) -> str:
    """The id of a turn's tool call: made here, because not every model's server gives each call one of its own."""
    return f"t{turn}-{index}"


def _is_unusable(answer: Answer) -> bool:
    """Was it cut off in a call, whose input may be half of what was meant, or before there was a word of it?"""
    return answer.is_truncated and (bool(answer.tool_calls) or not answer.text.strip())


def _to_entry(answers: Sequence[Answer], turn: int) -> dict[str, Any]:
    """A turn as it is written down: tool calls by our ids, under names that a conversation may hold.

    `answers` are what it took, the last of them the turn. A call that was cut off all the same has a `problem`.
    """
    answer = answers[-1]
    parts: list[Part] = []
    calls = 0
    for part in answer.parts:
        if isinstance(part, Text) and not part.text.strip():
            continue
        if isinstance(part, ToolCall):
            name = _NAME.sub("_", part.name.replace(".", "__"))[:64] or "unnamed"
            given = {} if answer.is_truncated else part.input  # half of an input is none
            parts.append(part.model_copy(update={"id": tool_id(turn, calls), "name": name, "input": given}))
            calls += 1
        else:
            parts.append(part)
    stop = answer.stop if calls or answer.stop is not StopReason.TOOLS else StopReason.END
    entry = {
        "parts": [part.model_dump(mode="json") for part in parts],
        "stop": (StopReason.TOOLS if calls else stop).value,
        "usage": sum((one.usage for one in answers), Usage()).model_dump(mode="json"),
        "model": answer.model,
        "dollars": sum(one.dollars for one in answers),
        "seconds": sum(one.seconds for one in answers),
    }
    if calls and answer.is_truncated:
        entry["problem"] = (
            f"the call was cut off after {answer.usage.output:,} tokens, which is all that you can write at once. "
            "Nothing was done. Write less, or make several smaller calls"
        )
    return entry


def _events(parts: Sequence[Part], stop: StopReason, usage: Usage) -> Iterator[dict[str, Any]]:
    """A turn as Converse would stream it."""
    yield {"messageStart": {"role": "assistant"}}
    for part in parts:
        start: dict[str, Any]
        deltas: list[dict[str, Any]]
        match part:
            case Text():
                start, deltas = {}, [{"text": part.text}]
            case Reasoning():
                start, deltas = {}, list(_reasoning(part))
            case ToolCall():
                start = {"toolUse": {"toolUseId": part.id, "name": part.name}}
                deltas = [{"toolUse": {"input": json.dumps(part.input if isinstance(part.input, dict) else {})}}]
            case _:
                continue
        yield {"contentBlockStart": {"start": start}}
        for delta in deltas:
            yield {"contentBlockDelta": {"delta": delta}}
        yield {"contentBlockStop": {}}
    yield {"messageStop": {"stopReason": STOPS.get(stop, "end_turn")}}
    counted = {"inputTokens": usage.input, "outputTokens": usage.output, "totalTokens": usage.total}
    cached = {"cacheReadInputTokens": usage.cache_read, "cacheWriteInputTokens": usage.cache_write}
    yield {"metadata": {"usage": {**counted, **cached}, "metrics": {"latencyMs": 0}}}


def _reasoning(part: Reasoning) -> Iterator[dict[str, Any]]:
    if part.redacted is not None:
        yield {"reasoningContent": {"redactedContent": base64.b64decode(part.redacted)}}
        return
    yield {"reasoningContent": {"text": part.text}}
    if part.signature is not None:
        yield {"reasoningContent": {"signature": part.signature}}


def to_message(message: Any) -> Message:
    """A message in Converse's shape as ours."""
    return Message(role=message["role"], parts=tuple(_to_part(block) for block in message["content"]))


def _to_part(block: Any) -> Part:
    match block:
        case {"text": str(text)}:
            return Text(text=text)
        case {"toolUse": use}:
            return ToolCall(id=use["toolUseId"], name=use["name"], input=use["input"])
        case {"toolResult": result}:
            words = "\n".join(one["text"] if "text" in one else json.dumps(one["json"]) for one in result["content"])
            return ToolResult(id=result["toolUseId"], content=words or "(nothing)", is_error=result["status"] == "error")
        case {"reasoningContent": {"redactedContent": bytes(redacted)}}:
            return Reasoning(redacted=base64.b64encode(redacted).decode())
        case {"reasoningContent": {"reasoningText": told}}:
            return Reasoning(text=told["text"], signature=told.get("signature"))
    raise PermanentError(f"a conversation can't hold {', '.join(block)}: only text, tools and reasoning")


def _to_tool(spec: Any) -> Tool:
    schema = spec["inputSchema"]
    return Tool(name=spec["name"], description=spec["description"], input_schema=schema.get("json", schema))

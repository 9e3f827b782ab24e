"""Have a model give a value of a given shape: as the input of a tool that it must call, told what is wrong until it fits."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from pydantic import BaseModel, ValidationError

from agentfleet.domain.errors import ModelAnswerInvalid
from agentfleet.domain.model import (
    Answer,
    Message,
    ModelRequest,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    json_in,
)
from agentfleet.domain.model_prices import facts_of

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

SHOWN: Final = 8
"""Problems told to the model at once."""
GROWTH: Final = 2
"""An answer that was cut off gets this many times as much room."""


class ShapeError(ValueError):
    """What a model gave is not of the shape; the message is for the model."""


class Shape(Struct, Generic[T], frozen=True):
    """A JSON schema as a tool, and the check of what comes in: raises ShapeError saying what is wrong, for the model."""

    tool: Tool
    check: Callable[[Any], T]

    @classmethod
    def of(cls, model: type[M]) -> "Shape[M]":
        """The shape of a pydantic model."""
        return Shape(Tool.of(model), lambda value: _checked(model, value))


class Structured(Struct, Generic[T], frozen=True):
    """A checked value and what it took."""

    value: T
    answer: Answer
    """The last one."""
    rounds: int
    usage: Usage
    """Of all rounds."""
    dollars: float
    seconds: float

    @property
    def model(self) -> str:
        """The model that answered."""
        return self.answer.model


async def ask_until_valid(
    ask: Callable[[ModelRequest], Awaitable[Answer]], request: ModelRequest, shape: Shape[T], rounds: int
) -> Structured[T]:
    """At most `rounds` calls; each after the first holds the last answer and what was wrong with it.

    An answer that was cut off is asked for again with more room instead. Raises ModelAnswerInvalid.
    """
    usage, dollars, seconds, problem = Usage(), 0.0, 0.0, ""
    for number in range(1, rounds + 1):
        answer = await ask(request)
        usage, dollars, seconds = usage + answer.usage, dollars + answer.dollars, seconds + answer.seconds
        try:
            value = shape.check(_given(answer, shape.tool.name))
        except ShapeError as error:
            problem = str(error)
        else:
            return Structured(value, answer, number, usage, dollars, seconds)
        if answer.is_truncated:
            problem = f"it was cut off after {request.max_tokens} tokens"
            most = max(request.max_tokens, facts_of(answer.model).max_output)
            request = request.model_copy(update={"max_tokens": min(GROWTH * request.max_tokens, most)})
        else:
            messages = (*request.messages, *_repair(answer, shape.tool.name, problem))
            # Whoever had to be told once may have to be told again: then what went before is read at a tenth of the price.
            request = request.model_copy(update={"messages": messages, "cache_prompt": True})
    raise ModelAnswerInvalid(f"no valid {shape.tool.name} in {rounds} rounds; the last one: {problem}")


def _given(answer: Answer, tool: str) -> Any:
    """The tool's input, or the JSON that the model wrote instead of calling it."""
    for call in answer.tool_calls:
        if call.name == tool:
            if isinstance(call.input, dict):
                return call.input
            raise ShapeError(f"the input of {tool} must be a JSON object, not {type(call.input).__name__}")
    if answer.tool_calls:
        raise ShapeError(f"there is no tool {answer.tool_calls[0].name!r}; call {tool!r}")
    try:
        value = json_in(answer.text)
    except ValueError as error:
        raise ShapeError(f"call the tool {tool!r}; {error}") from error
    if not isinstance(value, dict):
        raise ShapeError(f"{tool} must be a JSON object, not {type(value).__name__}")
    return value


def _repair(answer: Answer, tool: str, problem: str) -> tuple[Message, ...]:
    """The turns that tell a model what was wrong with its last one."""
    words = f"That is not valid: {problem}\nCall {tool} again with all of it corrected."
    # A turn that was read back must be one that could have been written: no empty text, tool inputs are objects.
    kept: list[Part] = []
    for part in answer.parts:
        if isinstance(part, Text) and not part.text.strip():
            continue
        kept.append(
            part.model_copy(update={"input": {}}) if isinstance(part, ToolCall) and not isinstance(part.input, dict) else part
        )
    if not kept:
        return (Message.assistant("(no answer)"), Message.user(words))
    said = Message(role="assistant", parts=tuple(kept))
    if not answer.tool_calls:
        return (said, Message.user(words))
    return (said, Message.results(ToolResult(id=call.id, content=words, is_error=True) for call in answer.tool_calls))


def _checked(model: type[M], value: Any) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ShapeError(describe(error)) from error


def describe(error: ValidationError) -> str:
    """Each wrong field and what is wrong with it, in a line."""
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'the object'}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_context=False)[:SHOWN]
    )

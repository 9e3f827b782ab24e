"""What goes to a language model and what comes back, whoever serves it. All of it is JSON, so a conversation can be kept."""

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

TOOL_NAME: Final = r"^[a-zA-Z0-9_-]{1,64}$"
"""What Bedrock takes as a tool's name (Amazon Bedrock: ToolSpecification): no dots."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(_Value):
    """Words."""

    kind: Literal["text"] = "text"
    text: str


class Reasoning(_Value):
    """What a model thought before it answered; some models want it back, unchanged, with the next turn."""

    kind: Literal["reasoning"] = "reasoning"
    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    """Base64 of reasoning that the model's maker keeps to itself."""


class ToolCall(_Value):
    """A model asks for a tool. `input` is whatever it wrote: check it before use."""

    kind: Literal["call"] = "call"
    id: str
    name: str
    input: Any = None


class ToolResult(_Value):
    """What a tool gave: a text, or any JSON object."""

    kind: Literal["result"] = "result"
    id: str
    """Of the call."""
    content: str | dict[str, Any]
    is_error: bool = False


Part = Annotated[Text | Reasoning | ToolCall | ToolResult, Field(discriminator="kind")]


class Message(_Value):
    """One turn. The first is the user's, and they alternate."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]

    @classmethod
    def user(cls, text: str) -> Self:
        """A user's words."""
        return cls(role="user", parts=(Text(text=text),))

    @classmethod
    def assistant(cls, text: str) -> Self:
        """A model's words."""
        return cls(role="assistant", parts=(Text(text=text),))

    @classmethod
    def results(cls, results: Iterable[ToolResult]) -> Self:
        """The answers to all tool calls of one turn; Bedrock wants them together."""
        return cls(role="user", parts=tuple(results))


class Tool(_Value):
    """Something that a model may ask for."""

    name: str = Field(pattern=TOOL_NAME)
    description: str = Field(min_length=1)
    input_schema: dict[str, Any]
    """A JSON schema of type object."""

    @classmethod
    def of(cls, model: type[BaseModel], name: str | None = None, description: str | None = None) -> Self:
        """A tool whose input is a pydantic model; its docstring is the description."""
        schema = plain_schema(model.model_json_schema())
        words = description or (model.__doc__ or "").strip() or f"Gives {model.__name__}."
        return cls(name=name or model.__name__, description=words, input_schema=schema)


class ModelRequest(_Value):
    """One call."""

    messages: tuple[Message, ...] = Field(min_length=1)
    system: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """`auto`, `any`, or the name of the tool that must be called."""
    max_tokens: int = Field(ge=1)
    temperature: float = Field(ge=0.0, le=1.0)
    stop: tuple[str, ...] = Field(default=(), max_length=4)
    cache_prompt: bool = False
    """Let the model's server keep what precedes the last message, for calls that begin alike within minutes."""

    @property
    def size(self) -> int:
        """Bytes of its JSON: never fewer than its tokens, as every token stands for at least one byte."""
        return len(self.model_dump_json().encode())


class StopReason(StrEnum):
    """Why a model stopped."""

    END = "end"
    TOOLS = "tools"
    SEQUENCE = "sequence"
    LENGTH = "length"
    """max_tokens, or the model's context, was used up: the answer is cut off."""
    REFUSED = "refused"
    """The model, its content filter or a guardrail did not let an answer through."""
    MALFORMED = "malformed"
    """The model wrote a tool call, or an answer, that its server could not read."""


class Usage(_Value):
    """Tokens. `input` is what was neither read from nor written to a prompt cache."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_read + self.cache_write

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
        )


class Reply(_Value):
    """What a model's server sent back."""

    parts: tuple[Part, ...]
    stop: StopReason
    usage: Usage
    served: str | None = None
    """Who answered, where the server says that it wasn't the model that was asked."""

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that it asks for."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def is_truncated(self) -> bool:
        """Was it cut off before it ended?"""
        return self.stop is StopReason.LENGTH

    @property
    def message(self) -> Message:
        """The turn to go on from. An empty answer can't be one: Bedrock refuses messages without content."""
        return Message(role="assistant", parts=self.parts)


class Answer(Reply):
    """A reply and what it took."""

    model: str
    """The model that answered."""
    dollars: float
    seconds: float
    source: str = "model"
    """`model`, or the tier of the cache that it came from, or `shared` with an equal call that was under way."""


class Cost(_Value):
    """What a call takes, or may take at most."""

    dollars: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


NOTHING: Final = Cost()


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema without `$ref`, `$defs` and titles, which not every model takes. Raises ValueError if it holds itself."""
    definitions = schema.get("$defs", {})

    def plain(node: Any, above: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [plain(one, above) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            name = str(node["$ref"]).removeprefix("#/$defs/")
            if name in above:
                raise ValueError(f"the schema's {name} contains itself: a model can't be held to that")
            if name not in definitions:
                raise ValueError(f"the schema refers to {node['$ref']}, which is not in its $defs")
            beside = {key: value for key, value in node.items() if key != "$ref"}
            return {**plain(definitions[name], (*above, name)), **plain(beside, above)}
        return {
            key: {name: plain(inner, above) for name, inner in value.items()} if key == "properties" else plain(value, above)
            for key, value in node.items()
            if key != "$defs" and not (key == "title" and isinstance(value, str))
        }

    found: dict[str, Any] = plain(dict(schema), ())
    return found


def json_in(text: str) -> Any:
    """The JSON value that a model wrote, whether alone, in a code block or among words. Raises ValueError if there is none."""
    text = text.strip()
    try:
        return json.loads(text)
    except ValueError as error:
        problem = error
    decoder = json.JSONDecoder()
    for start in (place for place, character in enumerate(text) if character in "{["):
        try:
            return decoder.raw_decode(text[start:])[0]
        except ValueError as error:
            problem = error
        if start > MAX_PREAMBLE:
            break
    raise ValueError(f"there is no JSON value in the answer: {problem}")


MAX_PREAMBLE: Final = 2_000
"""How far into an answer its JSON may begin: each brace on the way is tried."""

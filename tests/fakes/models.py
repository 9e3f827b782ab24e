"""Language models that say what a test wrote down, as a ModelPort: no network, no weights."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agentfleet.domain.model import ModelRequest, Part, Reply, StopReason, Text, ToolCall, ToolResult, Usage
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.ports_model import FreeSpending
from agentfleet.services.cache import CacheManager
from agentfleet.services.model import Circumstances, Models

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"


def say(text: str) -> Reply:
    """An answer in words."""
    return Reply(parts=(Text(text=text),), stop=StopReason.END, usage=Usage(input=10, output=5))


def call(*calls: tuple[str, Any]) -> Reply:
    """A turn that calls tools."""
    parts: list[Part] = [ToolCall(id="tooluse_1", name=name, input=value) for name, value in calls]
    return Reply(parts=tuple(parts), stop=StopReason.TOOLS, usage=Usage(input=10, output=5))


def turn_of(request: ModelRequest) -> int:
    """How many turns the model has taken in this conversation."""
    return sum(message.role == "assistant" for message in request.messages)


def told(request: ModelRequest) -> str:
    """What the last tools answered, or the user said last."""
    last = request.messages[-1]
    return "\n".join(
        part.text if isinstance(part, Text) else str(part.content) for part in last.parts if isinstance(part, Text | ToolResult)
    )


class ScriptedModel:
    """A ModelPort: its answers follow from the conversation alone, so that a turn that is asked for again is the same.

    `script` is a list of turns, or a function of the request. `asked` counts how often each turn of each conversation was.
    """

    def __init__(self, script: Sequence[Reply] | Callable[[ModelRequest], Reply]) -> None:
        self._script = script
        self.requests: list[ModelRequest] = []
        self.asked: Counter[tuple[str, int]] = Counter()

    def converse(self, model: str, request: ModelRequest, timeout: float) -> Reply:
        self.requests.append(request)
        first = request.messages[0].parts[0]
        turn = turn_of(request)
        self.asked[first.text if isinstance(first, Text) else "", turn] += 1
        return self._script(request) if callable(self._script) else self._script[turn]

    def stream(self, model: str, request: ModelRequest, timeout: float) -> Iterator[str | Reply]:
        raise NotImplementedError("agents don't stream")


async def _no_pause(_: float) -> None:
    """Time passes by itself."""


def models_of(port: Any, cache: CacheManager | None = None, spending: Any = None) -> Models:
    """A pool's models over a port, with the default settings."""
    choice = ModelChoice(chain=(MODEL,))
    paying = FreeSpending() if spending is None else spending
    return Models(port, Circumstances("agents", choice, lambda: 0.5, spending=paying, cache=cache, pause=_no_pause))

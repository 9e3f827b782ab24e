"""What outputs in words have in common: how they came about, which passages a model is shown, what is quoted without one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from agentfleet.domain.errors import ModelInputTooLong
from agentfleet.domain.model import Answer, Usage
from agentfleet.domain.sentences import best, central, sentences_of
from agentfleet.services.capability import TaskContext
from agentfleet.services.structured import Structured

PASSAGE_CHARS: Final = 4_000
"""How much text a model is shown, unless the pool's settings say otherwise (`passage_chars`)."""
LEAST_CHARS: Final = 500

T = TypeVar("T")


class SourceText(BaseModel):
    """A text and what it is called."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(default="", max_length=300)
    text: str


class Quote(BaseModel):
    """A sentence that an answer rests on."""

    source: int
    """Number of its text, from 1."""
    title: str
    quote: str


class Passage(BaseModel):
    """Some sentences of a text."""

    source: int
    title: str
    text: str


async def within_context(ask: Callable[[int], Awaitable[T]], context: TaskContext) -> T:
    """What `ask` gives with as much text as the pool allows, or half of it, and so on, where the model takes no more."""
    room = int(context.settings.get("passage_chars", PASSAGE_CHARS))
    while True:
        try:
            return await ask(room)
        except ModelInputTooLong:
            if room // 2 < LEAST_CHARS:
                raise
            room //= 2


def made_by(reply: Answer, usage: Usage) -> dict[str, Any]:
    """The fields of a Made that a model made, with the tokens of all its calls."""
    return {
        "how": "model",
        "model": reply.model,
        "input_tokens": usage.input + usage.cache_read + usage.cache_write,
        "output_tokens": usage.output,
        "dollars": reply.dollars,
        "seconds": reply.seconds,
    }


def made_of(found: Structured[Any]) -> dict[str, Any]:
    """The fields of a Made whose value took a model some rounds."""
    return made_by(found.answer, found.usage) | {"dollars": found.dollars, "seconds": found.seconds}


def passages_of(texts: Sequence[SourceText | str]) -> list[Passage]:
    """The texts in parts that a reader takes in at once: some sentences each."""
    found: list[Passage] = []
    for source, given in enumerate(texts, 1):
        text, title = (given, "") if isinstance(given, str) else (given.text, given.title)
        lines: list[str] = []
        for line in sentences_of(text):
            lines.append(line)
            if sum(map(len, lines)) > PASSAGE_CHARS // 8:
                found.append(Passage(source=source, title=title, text=" ".join(lines)))
                lines = []
        if lines:
            found.append(Passage(source=source, title=title, text=" ".join(lines)))
    return found


def fitting(passages: Sequence[Passage], room: int) -> list[Passage]:
    """As many of the best as there is room for; of a single long one, its beginning."""
    shown: list[Passage] = []
    for one in passages:
        if len(one.text) > room:
            break
        shown.append(one)
        room -= len(one.text)
    return shown or [passages[0].model_copy(update={"text": passages[0].text[:room]})]


def quote_of(question: str, passage: Passage) -> Quote:
    """The sentence of a passage that answers a question best."""
    lines = sentences_of(passage.text)
    line = lines[next(iter(best(question, lines, 1)), 0)]
    return Quote(source=passage.source, title=passage.title, quote=line)


def shortened(text: str, about: str, room: int) -> str:
    """The text, or the sentences of it that matter most, in their order, up to so many characters."""
    if len(text) <= room:
        return text
    lines = sentences_of(text)
    wanted = best(about, lines, len(lines)) if about else central(lines, len(lines))
    kept: set[int] = set()
    for number in wanted or range(len(lines)):
        if len(lines[number]) > room:
            break
        kept.add(number)
        room -= len(lines[number])
    return "\n".join(lines[number] for number in sorted(kept)) or text[:room]

"""An agent's conversation with a model: what in it is material, and what of it goes when it is too long for the model."""

import json
import re
from collections.abc import Sequence
from typing import Final

from agentfleet.domain.model import Message, Text, ToolCall, ToolResult
from agentfleet.domain.session import quotations

LEVELS: Final = 4
"""Steps of `shortened`, each shorter than the one before."""
RESULT_CHARS: Final = 500
"""Of a tool's answer that was cut once more."""
SLACK: Final = 200
"""Answers that are longer by less than this stay: a note of what is missing takes as much."""
CALL_CHARS: Final = 200
"""Of the input of a call that is only told about."""
RECENT: Final = 2
"""Turns, each with the answers to its calls, that stay word for word for as long as possible."""
LEFT_OUT: Final = "Earlier turns of this task were left out, because the conversation had become too long."

_FILE: Final = re.compile(r"\[cut: the first [\d,]+ of ([\d,]+) characters; all of it is in (\S+)\]$")

_MARKS: Final = re.compile(r"<material[^>\n]*>\n|\n</material>|\n\[cut: [^\]\n]*\]$")


def material(text: str, source: str = "") -> str:
    """A text marked as material, whatever marks it holds itself."""
    named = f" from={json.dumps(source, ensure_ascii=False)}" if source else ""
    inert = text.replace("</material", "<\\/material").replace("<material", "<\\material")
    return f"<material{named}>\n{inert}\n</material>"


def cut_note(shown: int, total: int, uri: str = "") -> str:
    """What stands below a text that was cut, on a line of its own."""
    where = f"; all of it is in {uri}" if uri else ""
    return f"\n[cut: the first {shown:,} of {total:,} characters{where}]"


def shortened(messages: Sequence[Message], task: int, level: int) -> tuple[Message, ...]:
    """The conversation, shorter with every level from 0 (all of it) to LEVELS; `task` is the number of the task's own message.

    1: tools' older answers are cut to 500 characters and the address of the whole. 2: what is older than two turns, the
    history before the task included, becomes a block of quotations before the task. 3: it goes, and all turns but the last.
    4: the last answers are cut too. The task's message stays whole; a call and its answer stay or go together.
    """
    if level == 0:
        return tuple(messages)
    last = len(messages) - 1
    cut = [_with_results_cut(one) if level >= LEVELS or number < last else one for number, one in enumerate(messages)]
    begin = _recent(cut, task, RECENT if level == 2 else 1)
    if level == 1 or (begin == task + 1 and task == 0):
        return tuple(cut)
    older = [*cut[:task], *cut[task + 1 : begin]]
    said = _told(older) if level == 2 else LEFT_OUT
    return (Message(role="user", parts=(Text(text=said), *cut[task].parts)), *cut[begin:])


def _recent(messages: Sequence[Message], task: int, turns: int) -> int:
    """Where the last so many turns begin: with what the model said, so that its calls are there if their answers are."""
    begins = [number for number in range(task + 1, len(messages)) if messages[number].role == "assistant"]
    return begins[-turns] if len(begins) >= turns else task + 1


def _with_results_cut(message: Message) -> Message:
    parts = tuple(_cut(part) if isinstance(part, ToolResult) else part for part in message.parts)
    return message.model_copy(update={"parts": parts})


def _cut(result: ToolResult) -> ToolResult:
    text = result.content if isinstance(result.content, str) else json.dumps(result.content, ensure_ascii=False)
    if len(text) <= RESULT_CHARS + SLACK:
        return result
    file = _FILE.search(text)
    head = text[:RESULT_CHARS]
    if head.startswith("<material"):
        head += "\n</material>"
    note = cut_note(RESULT_CHARS, int(file[1].replace(",", "")), file[2]) if file else cut_note(RESULT_CHARS, len(text))
    return result.model_copy(update={"content": head + note})


def _told(messages: Sequence[Message]) -> str:
    """What was said and done, in sentences of its own and a line for each call."""
    texts = [
        {"role": "tool" if isinstance(part, ToolResult) else one.role, "content": [{"text": _words(part)}]}
        for one in messages
        for part in one.parts
        if isinstance(part, Text | ToolResult)
    ]
    quoted = quotations("", texts)
    failed = {part.id for one in messages for part in one.parts if isinstance(part, ToolResult) and part.is_error}
    calls = [
        f"- {part.name} {json.dumps(part.input, ensure_ascii=False)[:CALL_CHARS]}{' (failed)' if part.id in failed else ''}"
        for one in messages
        for part in one.parts
        if isinstance(part, ToolCall)
    ]
    made = "\n\nCalls that you have made already:\n" + "\n".join(calls) if calls else ""
    return f"{LEFT_OUT} In quotations:\n{material(quoted + made, 'earlier turns')}"


def _words(part: Text | ToolResult) -> str:
    return _MARKS.sub("", part.text if isinstance(part, Text) else str(part.content))

"""A streamed chat completion as the events of ConverseStream."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from client.gateway.translate import STOPS, Json, forced_call, new_id, trace_of, usage_of

Event = tuple[str, Json]


def chunks_of(lines: Iterable[str]) -> Iterator[Json]:
    """The JSON of server-sent events up to `[DONE]`. Raises ValueError for an event that is no JSON."""
    for line in lines:
        if line.startswith("data:"):
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            yield json.loads(data)


class Translation:
    """Chunks in, events out; blocks are numbered in the order in which they begin."""

    def __init__(self, forced: Sequence[str], served: str) -> None:
        self._forced = forced
        self._served = served
        self._open: int | None = None
        self._next = 0
        self._tools: dict[int, int] = {}
        self._text = ""
        self._stop: str | None = None
        self._usage: Mapping[str, Any] = {}
        self._timings: Mapping[str, Any] = {}

    def start(self) -> Event:
        """The first event."""
        return "messageStart", {"role": "assistant"}

    def add(self, chunk: Json) -> Iterator[Event]:
        """The events of one chunk."""
        self._usage = chunk.get("usage") or self._usage
        self._timings = chunk.get("timings") or self._timings
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta", {})
            if text := delta.get("content"):
                self._text += text
                # An answer that stands for a tool's input is held back until it can be told for which tool.
                if not self._forced:
                    yield from self._words(text)
            for call in delta.get("tool_calls") or ():
                yield from self._call(call)
            self._stop = choice.get("finish_reason") or self._stop

    @property
    def told(self) -> Json:
        """What the server has said of the call itself so far: `usage` and `timings`, as in a completion."""
        return {"usage": self._usage, "timings": self._timings}

    def end(self, milliseconds: int) -> Iterator[Event]:
        """The last events."""
        stop = STOPS.get(self._stop or "stop", "end_turn")
        if self._forced and stop == "max_tokens":
            yield from self._words(self._text)
        elif self._forced:
            use = forced_call(self._forced, self._text)
            given = use["input"] if isinstance(use["input"], str) else json.dumps(use["input"])
            yield from self._begin({"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}})
            yield "contentBlockDelta", {"delta": {"toolUse": {"input": given}}, "contentBlockIndex": self._open}
            stop = "tool_use"
        elif self._tools and stop == "end_turn":
            stop = "tool_use"
        yield from self._close()
        yield "messageStop", {"stopReason": stop}
        metrics = {"latencyMs": milliseconds}
        yield "metadata", {"usage": usage_of(self._usage), "metrics": metrics, "trace": trace_of(self._served)}

    def _words(self, text: str) -> Iterator[Event]:
        if self._open is None or self._open in self._tools.values():
            yield from self._close()
            self._open, self._next = self._next, self._next + 1
        yield "contentBlockDelta", {"delta": {"text": text}, "contentBlockIndex": self._open}

    def _call(self, call: Mapping[str, Any]) -> Iterator[Event]:
        function = call.get("function", {})
        place = call.get("index", 0)
        if place not in self._tools:
            use = {"toolUseId": call.get("id") or new_id(), "name": function.get("name", "")}
            yield from self._begin({"toolUse": use})
            self._tools[place] = self._next - 1
        if pieces := function.get("arguments"):
            yield "contentBlockDelta", {"delta": {"toolUse": {"input": pieces}}, "contentBlockIndex": self._tools[place]}

    def _begin(self, start: Json) -> Iterator[Event]:
        yield from self._close()
        self._open, self._next = self._next, self._next + 1
        yield "contentBlockStart", {"start": start, "contentBlockIndex": self._open}

    def _close(self) -> Iterator[Event]:
        if self._open is not None:
            yield "contentBlockStop", {"contentBlockIndex": self._open}
            self._open = None

"""How fast the model behind the gateway reads and writes, where its server says so (llama.cpp does: `timings`)."""

from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from pydantic import BaseModel

KEPT: Final = 256
"""Calls that are remembered."""


class CallRates(BaseModel):
    """A call: its tokens, and how many a second were read and written."""

    input_tokens: int
    """Those of the prompt, what the server still knew from an earlier call included."""
    output_tokens: int
    read_per_second: float
    """Of what it did not know yet."""
    written_per_second: float

    def __str__(self) -> str:
        return (
            f"{self.input_tokens} tokens read at {self.read_per_second:.1f}/s, "
            f"{self.output_tokens} written at {self.written_per_second:.1f}/s"
        )


class RecentCalls(BaseModel):
    """What `GET /rates` answers: the latest calls, the last one first."""

    calls: list[CallRates]


def rates_of(chat: Mapping[str, Any]) -> CallRates | None:
    """Those of a chat completion, or of a stream's last chunk; None if its server does not time itself."""
    timings, usage = chat.get("timings") or {}, chat.get("usage") or {}
    read, written = timings.get("prompt_per_second"), timings.get("predicted_per_second")
    if read is None or written is None:
        return None
    return CallRates(
        input_tokens=usage.get("prompt_tokens", timings.get("prompt_n", 0)),
        output_tokens=usage.get("completion_tokens", timings.get("predicted_n", 0)),
        read_per_second=round(read, 1),
        written_per_second=round(written, 1),
    )


class RateLog:
    """The rates of the latest calls, for all threads."""

    def __init__(self) -> None:
        self._calls: deque[CallRates] = deque(maxlen=KEPT)
        self._lock = Lock()

    def add(self, chat: Mapping[str, Any]) -> CallRates | None:
        """Remember those of an answer; gives them, None if it has none."""
        rates = rates_of(chat)
        if rates is not None:
            with self._lock:
                self._calls.appendleft(rates)
        return rates

    def recent(self) -> RecentCalls:
        """The latest calls."""
        with self._lock:
            return RecentCalls(calls=list(self._calls))

"""How fast the model of this machine was in a call: its gateway knows."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

from client.errors import ConfigError

if TYPE_CHECKING:
    from client.gateway.rates import CallRates

LOCAL: Final = "local/"
"""What the gateway's models are called, before their names."""
PATIENCE: Final = 2.0
"""Seconds."""


def rates_in_words(directory: Path, model: str | None, input_tokens: int, output_tokens: int) -> str:
    """The rates of the latest call with so many tokens, as `, read at 61.3 and written at 18.0 tokens/s`; else nothing."""
    if not (model or "").startswith(LOCAL):
        return ""
    for call in _recent(directory):
        if (call.input_tokens, call.output_tokens) == (input_tokens, output_tokens):
            return f", read at {call.read_per_second:.1f} and written at {call.written_per_second:.1f} tokens/s"
    return ""


def _recent(directory: Path) -> "list[CallRates]":
    from client.cli.machine import project  # noqa: PLC0415 - only where a model of this machine answered
    from client.gateway.rates import RecentCalls  # noqa: PLC0415
    from client.local_model import ModelServers  # noqa: PLC0415

    try:
        state = project(directory) / ".fleet"
    except ConfigError:
        return []
    url = ModelServers(state, state / "models", lambda _: None).url
    if url is None:
        return []
    try:
        with urllib.request.urlopen(f"{url}/rates", timeout=PATIENCE) as answer:  # noqa: S310 - this machine's own
            return RecentCalls.model_validate_json(answer.read()).calls
    except (urllib.error.URLError, OSError, ValueError):
        # An answer stands without its rates.
        return []

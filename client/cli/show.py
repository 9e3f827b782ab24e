"""How things look on a terminal: one console, glyphs and colours of states, tables."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.json import JSON
from rich.table import Table
from rich.text import Text

GLYPHS: Final = {
    "SUBMITTED": ("○", "cyan"),
    "PLANNING": ("○", "cyan"),
    "COMPENSATING": ("↺", "yellow"),
    "COMPENSATION_FAILED": ("‼", "bold red"),
    "CANCELLED": ("⊘", "yellow"),
    "WAITING": ("·", "dim"),
    "READY": ("○", "cyan"),
    "RUNNING": ("●", "blue"),
    "SUCCEEDED": ("✓", "green"),
    "FAILED": ("✗", "bold red"),
    "SKIPPED": ("⤼", "yellow"),
    "STARTING": ("○", "cyan"),
    "IDLE": ("○", "green"),
    "EXECUTING": ("●", "blue"),
    "DRAINING": ("◌", "yellow"),
    "OFFLINE": ("·", "dim"),
}
WIDE: Final = 160
"""Columns when nobody says how wide the output is: a pipe or a file."""
MAX_ROWS: Final = 20


@cache
def console() -> Console:
    """The console on standard output."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=WIDE if piped else None, highlight=False)


def state_text(state: str) -> Text:
    """A state with its glyph, in its colour."""
    glyph, style = GLYPHS.get(state, ("?", ""))
    return Text(f"{glyph} {state}", style=style)


def seconds(duration: float | None) -> str:
    """A duration as people say it."""
    if duration is None:
        return ""
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(int(duration), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago something was."""
    passed = ((now or datetime.now(UTC)) - moment).total_seconds()
    return f"{seconds(passed) if passed >= 1 else 'just now'}{' ago' if passed >= 1 else ''}"


def size(number: int) -> str:
    """Bytes as people say them."""
    amount = float(number)
    for unit in ("B", "KB", "MB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GB"


def table(*columns: str, rows: Iterable[Sequence[Any]], empty: str, numbers: Iterable[str] = ()) -> RenderableType:
    """Rows under headings, or a line that says there are none. Columns in `numbers` are set to the right."""
    right = set(numbers)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else "" if cell is None else str(cell) for cell in row))
    return shown if shown.row_count else Text(empty, style="dim")


def value(output: Any) -> RenderableType:
    """Any JSON value: lists of records and flat objects as tables, nested objects part by part, the rest as JSON."""
    if _is_records(output):
        return _records(output)
    if isinstance(output, Mapping) and output:
        flat = {key: one for key, one in output.items() if not isinstance(one, Mapping | list)}
        parts: list[RenderableType] = []
        if flat:
            facts = Table(box=None, show_header=False, pad_edge=False)
            for key, one in flat.items():
                facts.add_row(Text(str(key), style="bold"), _cell(one))
            parts.append(facts)
        for key, one in output.items():
            if key not in flat:
                parts += [Text(str(key), style="bold underline"), value(one)]
        return Group(*parts)
    if isinstance(output, str):
        return Text(output)
    return JSON.from_data(output)


def _is_records(output: Any) -> bool:
    return isinstance(output, list) and bool(output) and all(isinstance(row, Mapping) and row for row in output)


def _records(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    columns = list(dict.fromkeys(str(key) for row in rows[:MAX_ROWS] for key in row))
    shown = table(*columns, rows=([_cell(row.get(c)) for c in columns] for row in rows[:MAX_ROWS]), empty="")
    rest = len(rows) - MAX_ROWS
    return Group(shown, Text(f"… and {rest} more rows (--json has all)", style="dim")) if rest > 0 else shown


def _cell(one: Any) -> Text:
    if one is None:
        return Text("–", style="dim")
    if isinstance(one, float):
        return Text(f"{one:,.4g}" if abs(one) < 1000 else f"{one:,.0f}")
    if isinstance(one, int) and not isinstance(one, bool):
        return Text(f"{one:,}")
    text = str(one)
    return Text(text if len(text) <= 200 else text[:199] + "…")

"""Charts laid out for SVG: where bars, lines, dots, ticks and labels go, in pixels. Drawing them is a template's part."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentfleet.domain.errors import PermanentError

MAX_POINTS: Final = 5_000
MAX_BARS: Final = 60
MAX_SERIES: Final = 6

Row = dict[str, Any]
Format = Literal["number", "percent", "text"]

_WIDTH: Final = 760.0
_LETTER: Final = 7.0
"""Pixels that a letter of a 12-pixel sans-serif font takes, on average."""


class Strict(BaseModel):
    """An input: a field that it does not know is a mistake, said at once."""

    model_config = ConfigDict(extra="forbid")


class Chart(Strict):
    """What to draw. `x` and `y` are values, or names of fields of `rows` (else of the section's rows).

    `bar` and `line` take several fields as `y`, at most 6; `histogram` takes `x` only; `label` names the points of a
    `scatter`. At most 60 bars and 5,000 points.
    """

    kind: Literal["bar", "line", "scatter", "histogram"]
    x: str | list[Any]
    y: str | list[Any] | None = None
    title: str | None = None
    rows: list[Row] | None = None
    label: str | None = None
    x_label: str | None = None
    y_label: str | None = None
    format: Format = "number"
    bins: int | None = Field(default=None, ge=1, le=100)


def written(value: float, format: Format = "number", *, short: bool = False) -> str:
    """A number for people: 12,345 · 0.382 · 38.2% · (short) 1.2M. Minus signs are typographic."""
    if not math.isfinite(value):
        return "–"
    scale = value * 100 if format == "percent" else value
    size, unit = abs(scale), "%" if format == "percent" else ""
    if short and size >= 1e6 and not unit:
        exponent = min(int(math.log10(size) // 3), 4)
        scale, unit = scale / 1000**exponent, " kMBT"[exponent]
        size = abs(scale)
    digits = 0 if float(scale).is_integer() or size >= 1000 else 1 if size >= 10 or unit == "%" else 2 if size >= 1 else 3
    if format == "percent" and not short:
        return f"{scale:,.1f}%".replace("-", "−")
    text = f"{scale:,.{digits}f}"
    if digits and not float(text.replace(",", "")):
        text = f"{scale:.2g}"
    elif digits:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−") + unit


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that span low … high, steps of 1, 2 or 5 (Heckbert 1990, 'Nice Numbers for Graph Labels')."""
    size = max(abs(low), abs(high))
    # Closer than a millionth of their size, or closer to zero than any measure, values are the same.
    span = high - low if high - low > max(1e-6 * size, 1e-250) else size if size > 1e-250 else 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [_exact(number * step) for number in range(first, max(last, first + 1) + 1)]


def _exact(value: float) -> float:
    """Without what binary fractions leave behind: 0.30000000000000004 is 0.3."""
    return float(f"{value:.14g}")


def lay_out(chart: Chart, rows: Sequence[Row] | None, where: str) -> Row:
    """Where everything of a chart goes, in pixels: what chart.svg.j2 draws. Raises PermanentError for values that can't be."""
    rows = (rows or []) if chart.rows is None else chart.rows
    xs = _values(chart.x, rows, f"{where}.x")[:MAX_POINTS]
    fields = chart.y if isinstance(chart.y, list) and chart.y and all(isinstance(name, str) for name in chart.y) else [chart.y]
    series: dict[str, list[float | None]] = {}
    if chart.kind == "histogram":
        series[chart.x_label or (chart.x if isinstance(chart.x, str) else "value")] = _numeric(xs, f"{where}.x")
    elif chart.y is None or len(fields) > MAX_SERIES:
        raise PermanentError(f"{where}.y: a {chart.kind} chart needs 1 to {MAX_SERIES} fields or a list of numbers")
    else:
        for field in fields:
            name = field if isinstance(field, str) else chart.y_label or "value"
            series[name.replace("_", " ")] = _numeric(_values(field, rows, f"{where}.y"), f"{where}.y")[: len(xs)]
    if chart.kind == "bar":
        xs, series = xs[:MAX_BARS], {name: values[:MAX_BARS] for name, values in series.items()}
    known = [value for values in series.values() for value in values if value is not None]
    plot: Row = {
        "kind": chart.kind,
        "title": chart.title,
        "width": _WIDTH,
        "height": 340.0,
        "bars": [],
        "lines": [],
        "dots": [],
    }
    plot |= {
        "grid_x": [],
        "grid_y": [],
        "marks": [],
        "x_label": chart.x_label,
        "y_label": chart.y_label,
        "top": 14.0,
        "legend": [],
    }
    if not known:
        return plot | {"empty": True, "height": 80.0, "description": "There are no values to draw."}
    low, high = (written(end, chart.format) for end in (min(known), max(known)))
    plot["description"] = f"A {chart.kind} of {len(known):,} values from {low} to {high}: {', '.join(series)}."
    if len(series) > 1:
        at = 8.0
        for number, name in enumerate(series):
            plot["legend"].append((at, name, number))
            at += len(name) * _LETTER + 36
        plot["top"] = 40.0
    labels = [_label(x) for x in xs]
    named = len(xs) > 12 and any(isinstance(x, str) for x in xs)
    flat = chart.kind == "bar" and (named or sum(map(len, labels)) * _LETTER > _WIDTH - 120 - 12 * len(xs))
    _LAYOUTS["flat" if flat else chart.kind](chart, plot, xs, labels, series, rows)
    return plot


def _values(field: Any, rows: Sequence[Row], where: str) -> list[Any]:
    if not isinstance(field, str):
        return list(field)
    if rows and not any(field in row for row in rows):
        raise PermanentError(f"{where}: {field!r} is not a field of the rows; they have {', '.join(rows[0])}")
    return [row.get(field) for row in rows]


def _numeric(values: list[Any], where: str) -> list[float | None]:
    for place, value in enumerate(values):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise PermanentError(f"{where}: value {place} is {str(value)[:60]!r}, only numbers and null are allowed")
    return [None if value is None or not math.isfinite(value) else float(value) for value in values]


def _label(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A year is a name, not an amount.
        return str(value) if isinstance(value, int) and 1800 <= value <= 2200 else written(value)
    return "–" if value is None else str(value).removesuffix("T00:00:00")


def _upright(chart: Chart, plot: Row, values: Sequence[float], format: Format) -> Callable[[float], float]:
    """Lay out the frame and the horizontal grid of a chart whose values go upwards. Gives value → pixel."""
    ticks = round_ticks(min(values), max(values))
    texts = [written(tick, format, short=True) for tick in ticks]
    plot["left"] = 12 + max(map(len, texts)) * _LETTER + (20 if chart.y_label else 0)
    plot["right"] = _WIDTH - 16
    top, bottom = float(plot["top"]), float(plot["height"]) - 30 - (22 if chart.x_label else 0)
    plot["bottom"] = bottom

    def y(value: float) -> float:
        return bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (bottom - top)

    plot["grid_y"] = [(y(tick), text, tick == 0) for tick, text in zip(ticks, texts, strict=True)]
    return y


def _tip(label: str, name: str, value: float, format: Format, many: bool) -> str:
    return f"{label} · {name}: {written(value, format)}" if many else f"{label}: {written(value, format)}"


def _flat_bars(
    chart: Chart, plot: Row, _: list[Any], labels: list[str], series: dict[str, list[float | None]], __: Any
) -> None:
    """Bars that lie: for many of them, or for long names, which are read best in a line of their own."""
    known = [value for values in series.values() for value in values if value is not None]
    ticks = round_ticks(min(0.0, *known), max(0.0, *known))
    plot["left"] = left = min(max(map(len, labels)) * _LETTER + 16, 250.0)
    plot["right"] = right = _WIDTH - 16 - max(len(written(value, chart.format)) for value in known) * _LETTER
    thick = 20.0 if len(series) == 1 else 13.0
    row = thick * len(series) + 8
    plot["bottom"] = bottom = plot["top"] + row * len(labels) + 4
    plot["height"] = bottom + 28 + (22 if chart.x_label or chart.y_label else 0)
    plot["x_label"], plot["y_label"] = chart.y_label or chart.x_label, None

    def x(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left)

    plot["grid_x"] = [(x(tick), written(tick, chart.format, short=True), tick == 0) for tick in ticks]
    room = int((left - 12) / _LETTER)
    for place, label in enumerate(labels):
        top = plot["top"] + place * row + 4
        plot["marks"].append((left - 8, top + row / 2 - 4, label if len(label) <= room else label[: room - 1] + "…", label))
        for number, (name, values) in enumerate(series.items()):
            value = values[place]
            if value is not None:
                begin, end = sorted((x(0), x(value)))
                bar = {
                    "x": begin,
                    "y": top + number * thick,
                    "width": max(end - begin, 1),
                    "height": thick - 2,
                    "series": number,
                }
                tip = _tip(label, name, value, chart.format, len(series) > 1)
                text = {"text": written(value, chart.format), "text_x": end + 6, "text_y": top + number * thick + thick / 2 + 3}
                plot["bars"].append(bar | text | {"tip": tip})


def _columns(chart: Chart, plot: Row, _: list[Any], labels: list[str], series: dict[str, list[float | None]], __: Any) -> None:
    known = [value for values in series.values() for value in values if value is not None]
    y = _upright(chart, plot, [*known, 0.0], chart.format)
    band = (plot["right"] - plot["left"]) / len(labels)
    width = min(band * 0.76, 96.0) / len(series)
    for place, label in enumerate(labels):
        middle = plot["left"] + band * (place + 0.5)
        plot["grid_x"].append((middle, label, None))
        for number, (name, values) in enumerate(series.items()):
            value = values[place]
            if value is not None:
                top, bottom = sorted((y(value), y(0)))
                bar = {
                    "x": middle + (number - len(series) / 2) * width,
                    "y": top,
                    "width": width - 1,
                    "height": max(bottom - top, 1),
                }
                tip = _tip(label, name, value, chart.format, len(series) > 1)
                text = written(value, chart.format) if len(series) == 1 and (value >= 0 and band > 40) else None
                plot["bars"].append(bar | {"series": number, "tip": tip, "text": text, "text_x": middle, "text_y": top - 6})


def _across(plot: Row, xs: list[Any], labels: list[str]) -> list[float]:
    """Pixels of values on the horizontal axis, and its ticks: numbers and dates by size, anything else one by one."""
    places: list[float]
    try:
        places = [float(x) if isinstance(x, int | float) else datetime.fromisoformat(x).timestamp() for x in xs]
    except (TypeError, ValueError):
        places = [float(number) for number in range(len(xs))]
    low, high = min(places), max(places)
    numeric = all(isinstance(x, int | float) for x in xs)
    ticks = round_ticks(low, high, 7) if numeric else []
    if ticks:
        low, high = ticks[0], ticks[-1]
    left, right = float(plot["left"]) + 8, float(plot["right"]) - 8

    def x(value: float) -> float:
        return left + ((value - low) / (high - low) if high > low else 0.5) * (right - left)

    if ticks:
        years = all(tick.is_integer() and 1800 <= tick <= 2200 for tick in ticks)
        plot["grid_x"] = [(x(tick), f"{tick:.0f}" if years else written(tick, short=True), False) for tick in ticks]
    else:
        every = math.ceil(len(xs) / max((right - left) // (max(map(len, labels)) * _LETTER + 14), 1))
        plot["grid_x"] = [(x(places[n]), labels[n], None) for n in range(0, len(xs), every)]
    return [x(place) for place in places]


def _lines(chart: Chart, plot: Row, xs: list[Any], labels: list[str], series: dict[str, list[float | None]], _: Any) -> None:
    known = [value for values in series.values() for value in values if value is not None]
    # A line is read by its slope, so its axis starts at 0 only if the values come near it.
    y = _upright(chart, plot, [*known, 0.0] if 0 < min(known) < 0.4 * max(known) else known, chart.format)
    across = _across(plot, xs, labels)
    for number, (name, values) in enumerate(series.items()):
        path, pen = [], "M"
        for x, label, value in zip(across, labels, values, strict=False):
            if value is None:
                pen = "M"
                continue
            path.append(f"{pen}{x:.1f} {y(value):.1f}")
            pen = "L"
            dot = {"x": x, "y": y(value), "series": number, "size": 3.5 if len(labels) <= 60 else 1.5}
            plot["dots"].append(dot | {"tip": _tip(label, name, value, chart.format, len(series) > 1)})
        plot["lines"].append((" ".join(path), number))


def _scatter(
    chart: Chart, plot: Row, xs: list[Any], labels: list[str], series: dict[str, list[float | None]], rows: Sequence[Row]
) -> None:
    known = [value for values in series.values() for value in values if value is not None]
    y = _upright(chart, plot, known, chart.format)
    across = _across(plot, xs, labels)
    names = _values(chart.label, rows, "label") if chart.label else [None] * len(xs)
    for number, (series_name, values) in enumerate(series.items()):
        for x, label, value, name in zip(across, labels, values, names, strict=False):
            if value is not None:
                tip = (
                    f"{f'{name}: ' if name else ''}{chart.x_label or 'x'} {label}, {series_name} {written(value, chart.format)}"
                )
                plot["dots"].append({"x": x, "y": y(value), "series": number, "size": 4.0, "tip": tip})


def _histogram(chart: Chart, plot: Row, _: list[Any], __: list[str], series: dict[str, list[float | None]], ___: Any) -> None:
    """Counts in classes of a round width; about as many as the Rice rule, twice the cube root, proposes."""
    known = [value for values in series.values() for value in values if value is not None]
    edges = round_ticks(min(known), max(known), chart.bins or min(max(round(2 * len(known) ** (1 / 3)), 6), 40))
    step = edges[1] - edges[0]
    if max(known) >= edges[-1]:
        edges.append(_exact(edges[-1] + step))
    counts = [0] * (len(edges) - 1)
    for value in known:
        counts[min(int((value - edges[0]) / step + 1e-9), len(counts) - 1)] += 1
    y = _upright(chart, plot, [*map(float, counts), 0.0], "number")
    band = (plot["right"] - plot["left"]) / len(counts)
    every = math.ceil(len(edges) / 12)
    plot["grid_x"] = [
        (plot["left"] + n * band, written(edge, chart.format, short=True), None)
        for n, edge in enumerate(edges)
        if n % every == 0
    ]
    for n, count in enumerate(counts):
        low, high = written(edges[n], chart.format), written(edges[n + 1], chart.format)
        bar = {"x": plot["left"] + n * band + 0.5, "y": y(count), "width": band - 1, "height": y(0) - y(count), "series": 0}
        plot["bars"].append(bar | {"tip": f"{low} to under {high}: {count:,}", "text": None})


_LAYOUTS: Final = {"flat": _flat_bars, "bar": _columns, "line": _lines, "scatter": _scatter, "histogram": _histogram}

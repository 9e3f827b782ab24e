"""Reports for people: self-contained HTML and Markdown, with charts drawn as accessible SVG."""

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from jinja2 import FileSystemLoader, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape
from pydantic import BaseModel, ConfigDict, Field

from agentfleet.agent import Agent, PermanentError, TaskContext

agent = Agent("report")

MAX_SECTIONS: Final = 100
MAX_TABLE: Final = 500
MAX_POINTS: Final = 5_000
MAX_BARS: Final = 60
MAX_SERIES: Final = 6
MAX_BYTES: Final = 8_000_000
MAX_REPEAT: Final = 10_000
"""How long a range, and how large a factor, a template of a user may ask for."""

Row = dict[str, Any]
Format = Literal["number", "percent", "text"]
BUILT_IN: Final = ("report", "plain")

_FOLDER: Final = Path(__file__).parent / "templates"
_WIDTH: Final = 760.0
_LETTER: Final = 7.0
"""Pixels that a letter of a 12-pixel sans-serif font takes, on average."""
_UNPRINTABLE: Final = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF])
"""Characters that no XML document may hold, and so no SVG."""
_INLINE: Final = (
    (re.compile(r"`([^`\n]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*([^*\n]+)\*(?![\w*])"), r"<em>\1</em>"),
    (re.compile(r"\[([^\]\n]+)\]\(((?:https?://|mailto:|#)[^\s)]+)\)"), r'<a href="\2" rel="noopener">\1</a>'),
)


class Strict(BaseModel):
    """An input: a field that it does not know is a mistake, said at once."""

    model_config = ConfigDict(extra="forbid")


class TableColumn(Strict):
    """Which field of a row to show, under what heading, and how."""

    name: str
    label: str | None = None
    format: Format | None = None


class Table(Strict):
    """Rows as objects or lists; without `columns`, the fields of the first row. Without `rows`, those of the section."""

    columns: list[str | TableColumn] | None = None
    rows: list[Row | list[Any]] | None = None
    caption: str | None = None


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


class Fact(Strict):
    """A number worth a tile of its own."""

    label: str
    value: Any
    note: str | None = None
    format: Format | None = None


class Section(Strict):
    """A part of a report. Text: paragraphs, `- ` lists, **bold**, *italic*, `code` and [links](https://…)."""

    heading: str | None = None
    text: str | None = None
    facts: list[Fact] = Field(default_factory=list, max_length=12)
    rows: list[Row] | None = None
    chart: Chart | None = None
    charts: list[Chart] = Field(default_factory=list, max_length=10)
    table: Table | None = None


class RenderInput(Strict):
    """A report. Lists among the sections are flattened, so that one reference can bring several.

    `template` is `report` (default), `plain`, or the text of a Jinja template with `title`, `subtitle`, `sections` and
    `generated`; a text of one's own replaces the HTML if that is asked for, else the Markdown.
    """

    title: str = Field(min_length=1, max_length=300)
    subtitle: str | None = None
    template: str = Field(default="report", max_length=200_000)
    sections: list[Section | list[Section]] = Field(max_length=MAX_SECTIONS)
    format: Literal["html", "markdown", "both"] = "both"


class RenderOutput(BaseModel):
    """Where the documents are, and how large they are together."""

    html_uri: str | None
    markdown_uri: str | None
    title: str
    bytes: int


class ChartOutput(BaseModel):
    """An SVG document: its blob, and its size in pixels."""

    uri: str
    width: int
    height: int
    bytes: int


@agent.capability("report.render", idempotent=True, timeout=55)
def render(input: RenderInput, context: TaskContext) -> RenderOutput:
    """Write a report with text, key figures, charts and tables as a self-contained HTML page and as Markdown."""
    sections = [inner for item in input.sections for inner in (item if isinstance(item, list) else [item])]
    if len(sections) > MAX_SECTIONS:
        raise PermanentError(f"sections: {len(sections)} sections, at most {MAX_SECTIONS} are allowed")
    parts = [_part(section, f"sections[{number}]") for number, section in enumerate(sections)]
    data = {"title": input.title, "subtitle": input.subtitle, "sections": parts, "generated": datetime.now(UTC)}
    uris: dict[str, str] = {}
    size = 0
    own = None if input.template in BUILT_IN else input.template
    if own is not None and not re.search(r"[<{\n]", own):
        raise PermanentError(f"template: {own[:60]!r} is not built in ({', '.join(BUILT_IN)}) and not the text of a template")
    for kind, suffix in (("html", "html"), ("markdown", "md")):
        if input.format in (kind, "both"):
            text = own if own is not None and kind == ("markdown" if input.format == "markdown" else "html") else None
            name = f"{'report' if own is not None else input.template}.{suffix}.j2"
            body = _fill(text, name, data, html=kind == "html").encode()
            size += len(body)
            uris[kind] = context.blobs.put(f"report.{suffix}", body, f"text/{kind}; charset=utf-8")
    return RenderOutput(html_uri=uris.get("html"), markdown_uri=uris.get("markdown"), title=input.title, bytes=size)


@agent.capability("report.chart", idempotent=True, timeout=30)
def chart(input: Chart, context: TaskContext) -> ChartOutput:
    """Draw one bar, line or scatter chart or histogram as an SVG document."""
    plot = _plot(input, None, "chart")
    height = int(plot["height"] + (34 if input.title else 0))
    body = _environment(html=True).get_template("chart.svg.j2").render(plot=plot, alone=True, height=height).encode()
    uri = context.blobs.put("chart.svg", body, "image/svg+xml")
    return ChartOutput(uri=uri, width=int(plot["width"]), height=height, bytes=len(body))


def _part(section: Section, where: str) -> Row:
    """A section as the templates want it: text as it is and as HTML, numbers written out, charts laid out."""
    charts = [section.chart] if section.chart else []
    plots = [_plot(chart, section.rows, f"{where}.charts[{n}]") for n, chart in enumerate([*charts, *section.charts])]
    facts = [
        {"label": fact.label, "note": fact.note, "value": _cell(fact.value, fact.format)["text"]} for fact in section.facts
    ]
    table = _table(section.table, section.rows or [], where) if section.table else None
    slug = re.sub(r"\W+", "-", (section.heading or "").lower()).strip("-")
    text = section.text or ""
    return {
        "heading": section.heading,
        "slug": slug,
        "text": text,
        "html": _html(text),
        "facts": facts,
        "plots": plots,
        "table": table,
    }


def _table(table: Table, rows: Sequence[Row], where: str) -> Row:
    """Headings, alignment and cells of a table, cut at 500 rows."""
    given: Sequence[Row | list[Any]] = rows if table.rows is None else table.rows
    first = given[0] if given else []
    names = list(first) if isinstance(first, dict) else [f"{number + 1}" for number in range(len(first))]
    columns = [TableColumn(name=c) if isinstance(c, str) else c for c in table.columns or names]
    lines = []
    for number, row in enumerate(given[:MAX_TABLE]):
        if isinstance(row, list) and len(row) != len(columns):
            raise PermanentError(f"{where}.table.rows[{number}]: has {len(row)} cells for {len(columns)} columns")
        values = row if isinstance(row, list) else [row.get(column.name) for column in columns]
        lines.append([_cell(value, column.format) for value, column in zip(values, columns, strict=True)])
    heads = [
        {
            "text": column.label or column.name.replace("_", " "),
            "number": bool(lines) and all(line[n]["number"] for line in lines),
        }
        for n, column in enumerate(columns)
    ]
    return {"heads": heads, "lines": lines, "caption": table.caption, "more": max(len(given) - MAX_TABLE, 0)}


def _cell(value: Any, format: Format | None) -> Row:
    """A value as text; is it a number (or missing); is it a link."""
    if value is None or value == "":
        return {"text": "–", "number": True, "link": None}
    if isinstance(value, bool):
        return {"text": "yes" if value else "no", "number": False, "link": None}
    if isinstance(value, int | float) and format != "text":
        return {"text": _number(value, format or "number"), "number": True, "link": None}
    text = value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
    text = text if len(text) <= 500 else text[:499] + "…"
    return {"text": text, "number": False, "link": text if re.fullmatch(r"https?://\S+", text) else None}


def _html(text: str) -> Markup:
    """The little Markdown that sections may use, as HTML; everything else is text."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [_spans(line) for line in block.strip().split("\n") if line.strip()]
        if lines and all(re.match(r"[-*] ", line) for line in lines):
            blocks.append(f"<ul>{''.join(f'<li>{line[2:]}</li>' for line in lines)}</ul>")
        elif lines:
            blocks.append(f"<p>{'<br>'.join(lines)}</p>")
    # Safe: _spans escapes the text before it adds any tag.
    return Markup("\n".join(blocks))  # noqa: S704


def _spans(line: str) -> str:
    html = str(escape(line.strip()))
    for pattern, replacement in _INLINE:
        html = pattern.sub(replacement, html)
    return html


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja for templates of users: no private attributes, no changes, no texts or lists blown up by `*` and `**`."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse factors over 10,000 on anything but plain numbers, and powers over 64."""
        numbers = all(isinstance(side, int | float) for side in (left, right))
        large = max(abs(side) for side in (left, right, 0) if isinstance(side, int | float)) > MAX_REPEAT
        if (operator == "*" and not numbers and large) or (operator == "**" and (not numbers or abs(right) > 64 or large)):
            raise SecurityError(f"{operator} is allowed up to {MAX_REPEAT} for repeating, and to powers of 64")
        return super().call_binop(context, operator, left, right)


@cache
def _environment(*, html: bool) -> _Sandbox:
    sandbox = _Sandbox(
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader(_FOLDER),
        finalize=lambda value: value.translate(_UNPRINTABLE) if isinstance(value, str) else value,
    )
    sandbox.globals["range"] = _bounded_range
    sandbox.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return sandbox


def _bounded_range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_REPEAT:
        raise SecurityError(f"range({', '.join(map(str, bounds))}) is too long, at most {MAX_REPEAT} are allowed")
    return numbers


def _fill(text: str | None, name: str, data: Row, *, html: bool) -> str:
    """The document. Raises PermanentError for a template that is wrong, does what it must not, or writes over 8 MB."""
    environment = _environment(html=html)
    pieces: list[str] = []
    size = 0
    try:
        template = environment.get_template(name) if text is None else environment.from_string(text)
        for piece in template.generate(**data):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BYTES:
                raise PermanentError(f"template: writes more than {MAX_BYTES:,} characters")
    except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        line = getattr(error, "lineno", None)
        raise PermanentError(f"template: {error}{f' (line {line})' if line else ''}") from error
    return "".join(pieces)


def _number(value: float, format: Format = "number", *, short: bool = False) -> str:
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


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
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


def _plot(chart: Chart, rows: Sequence[Row] | None, where: str) -> Row:
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
    low, high = (_number(end, chart.format) for end in (min(known), max(known)))
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
        return str(value) if isinstance(value, int) and 1800 <= value <= 2200 else _number(value)
    return "–" if value is None else str(value).removesuffix("T00:00:00")


def _upright(chart: Chart, plot: Row, values: Sequence[float], format: Format) -> Callable[[float], float]:
    """Lay out the frame and the horizontal grid of a chart whose values go upwards. Gives value → pixel."""
    ticks = _ticks(min(values), max(values))
    texts = [_number(tick, format, short=True) for tick in ticks]
    plot["left"] = 12 + max(map(len, texts)) * _LETTER + (20 if chart.y_label else 0)
    plot["right"] = _WIDTH - 16
    top, bottom = float(plot["top"]), float(plot["height"]) - 30 - (22 if chart.x_label else 0)
    plot["bottom"] = bottom

    def y(value: float) -> float:
        return bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (bottom - top)

    plot["grid_y"] = [(y(tick), text, tick == 0) for tick, text in zip(ticks, texts, strict=True)]
    return y


def _tip(label: str, name: str, value: float, format: Format, many: bool) -> str:
    return f"{label} · {name}: {_number(value, format)}" if many else f"{label}: {_number(value, format)}"


def _flat_bars(
    chart: Chart, plot: Row, _: list[Any], labels: list[str], series: dict[str, list[float | None]], __: Any
) -> None:
    """Bars that lie: for many of them, or for long names, which are read best in a line of their own."""
    known = [value for values in series.values() for value in values if value is not None]
    ticks = _ticks(min(0.0, *known), max(0.0, *known))
    plot["left"] = left = min(max(map(len, labels)) * _LETTER + 16, 250.0)
    plot["right"] = right = _WIDTH - 16 - max(len(_number(value, chart.format)) for value in known) * _LETTER
    thick = 20.0 if len(series) == 1 else 13.0
    row = thick * len(series) + 8
    plot["bottom"] = bottom = plot["top"] + row * len(labels) + 4
    plot["height"] = bottom + 28 + (22 if chart.x_label or chart.y_label else 0)
    plot["x_label"], plot["y_label"] = chart.y_label or chart.x_label, None

    def x(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left)

    plot["grid_x"] = [(x(tick), _number(tick, chart.format, short=True), tick == 0) for tick in ticks]
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
                text = {"text": _number(value, chart.format), "text_x": end + 6, "text_y": top + number * thick + thick / 2 + 3}
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
                text = _number(value, chart.format) if len(series) == 1 and (value >= 0 and band > 40) else None
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
    ticks = _ticks(low, high, 7) if numeric else []
    if ticks:
        low, high = ticks[0], ticks[-1]
    left, right = float(plot["left"]) + 8, float(plot["right"]) - 8

    def x(value: float) -> float:
        return left + ((value - low) / (high - low) if high > low else 0.5) * (right - left)

    if ticks:
        years = all(tick.is_integer() and 1800 <= tick <= 2200 for tick in ticks)
        plot["grid_x"] = [(x(tick), f"{tick:.0f}" if years else _number(tick, short=True), False) for tick in ticks]
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
                    f"{f'{name}: ' if name else ''}{chart.x_label or 'x'} {label}, {series_name} {_number(value, chart.format)}"
                )
                plot["dots"].append({"x": x, "y": y(value), "series": number, "size": 4.0, "tip": tip})


def _histogram(chart: Chart, plot: Row, _: list[Any], __: list[str], series: dict[str, list[float | None]], ___: Any) -> None:
    """Counts in classes of a round width; about as many as the Rice rule, twice the cube root, proposes."""
    known = [value for values in series.values() for value in values if value is not None]
    edges = _ticks(min(known), max(known), chart.bins or min(max(round(2 * len(known) ** (1 / 3)), 6), 40))
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
        (plot["left"] + n * band, _number(edge, chart.format, short=True), None)
        for n, edge in enumerate(edges)
        if n % every == 0
    ]
    for n, count in enumerate(counts):
        low, high = _number(edges[n], chart.format), _number(edges[n + 1], chart.format)
        bar = {"x": plot["left"] + n * band + 0.5, "y": y(count), "width": band - 1, "height": y(0) - y(count), "series": 0}
        plot["bars"].append(bar | {"tip": f"{low} to under {high}: {count:,}", "text": None})


_LAYOUTS: Final = {"flat": _flat_bars, "bar": _columns, "line": _lines, "scatter": _scatter, "histogram": _histogram}

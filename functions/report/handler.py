"""Reports for people: self-contained HTML and Markdown, with charts drawn as accessible SVG."""

from agentfleet.agent import Agent, PermanentError, TaskContext
from agentfleet.charts import Chart, Format, Row, Strict, lay_out, written

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from jinja2 import FileSystemLoader, TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape
from pydantic import BaseModel, Field

agent = Agent("report")

MAX_SECTIONS: Final = 100
MAX_TABLE: Final = 500
MAX_BYTES: Final = 8_000_000
MAX_REPEAT: Final = 10_000
"""How long a range, and how large a factor, a template of a user may ask for."""
MAX_SECONDS: Final = 20.0
"""How long the templates of a report may take together: what is slower once would be slower again."""

BUILT_IN: Final = ("report", "plain")

_FOLDER: Final = Path(__file__).parent / "templates"
_UNPRINTABLE: Final = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF])
"""Characters that no XML document may hold, and so no SVG."""
_until: Final = ContextVar("_until", default=float("inf"))
"""When the template that is being filled must be done, on the monotonic clock."""
_INLINE: Final = (
    (re.compile(r"`([^`\n]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*([^*\n]+)\*(?![\w*])"), r"<em>\1</em>"),
    (re.compile(r"\[([^\]\n]+)\]\(((?:https?://|mailto:|#)[^\s)]+)\)"), r'<a href="\2" rel="noopener">\1</a>'),
)


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
    until = time.monotonic() + min(MAX_SECONDS, context.remaining_seconds())
    own = None if input.template in BUILT_IN else input.template
    if own is not None and not re.search(r"[<{\n]", own):
        raise PermanentError(f"template: {own[:60]!r} is not built in ({', '.join(BUILT_IN)}) and not the text of a template")
    for kind, suffix in (("html", "html"), ("markdown", "md")):
        if input.format in (kind, "both"):
            text = own if own is not None and kind == ("markdown" if input.format == "markdown" else "html") else None
            name = f"{'report' if own is not None else input.template}.{suffix}.j2"
            body = _fill(text, name, data, until, html=kind == "html").encode()
            size += len(body)
            uris[kind] = context.blobs.put(f"report.{suffix}", body, f"text/{kind}; charset=utf-8")
    return RenderOutput(html_uri=uris.get("html"), markdown_uri=uris.get("markdown"), title=input.title, bytes=size)


@agent.capability("report.chart", idempotent=True, timeout=30)
def chart(input: Chart, context: TaskContext) -> ChartOutput:
    """Draw one bar, line or scatter chart or histogram as an SVG document."""
    plot = lay_out(input, None, "chart")
    height = int(plot["height"] + (34 if input.title else 0))
    body = _environment(html=True).get_template("chart.svg.j2").render(plot=plot, alone=True, height=height).encode()
    uri = context.blobs.put("chart.svg", body, "image/svg+xml")
    return ChartOutput(uri=uri, width=int(plot["width"]), height=height, bytes=len(body))


def _part(section: Section, where: str) -> Row:
    """A section as the templates want it: text as it is and as HTML, numbers written out, charts laid out."""
    charts = [section.chart] if section.chart else []
    plots = [lay_out(chart, section.rows, f"{where}.charts[{n}]") for n, chart in enumerate([*charts, *section.charts])]
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
        return {"text": written(value, format or "number"), "number": True, "link": None}
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


class _WatchedLoops(CodeGenerator):
    """Has every turn of every loop look at the clock: each may be short, and all of them nested endless."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:  # noqa: N802 - Jinja's name
        """Pass what is looped over through the filter `in_time`."""
        for loop in node.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "in_time", [], [], None, None, lineno=loop.lineno)
        super().visit_Template(node, frame)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja for templates of users: no private attributes, no changes, no texts or lists blown up by `*` and `**`.

    Nor may they take too long: loops and calls (macros, recursive loops) look at the clock.
    """

    code_generator_class = _WatchedLoops
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse factors over 10,000 on anything but plain numbers, and powers over 64."""
        numbers = all(isinstance(side, int | float) for side in (left, right))
        large = max(abs(side) for side in (left, right, 0) if isinstance(side, int | float)) > MAX_REPEAT
        if (operator == "*" and not numbers and large) or (operator == "**" and (not numbers or abs(right) > 64 or large)):
            raise SecurityError(f"{operator} is allowed up to {MAX_REPEAT} for repeating, and to powers of 64")
        return super().call_binop(context, operator, left, right)

    def call(self, *arguments: Any, **named: Any) -> Any:
        """Call what a template calls, while there is time."""
        _check_time()
        return super().call(*arguments, **named)


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
    sandbox.filters["in_time"] = _in_time
    sandbox.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return sandbox


def _check_time() -> None:
    if time.monotonic() > _until.get():
        raise SecurityError(f"takes longer than its task, or than the {MAX_SECONDS:g} s that are allowed")


def _in_time(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _check_time()
        yield value


def _bounded_range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_REPEAT:
        raise SecurityError(f"range({', '.join(map(str, bounds))}) is too long, at most {MAX_REPEAT} are allowed")
    return numbers


def _fill(text: str | None, name: str, data: Row, until: float, *, html: bool) -> str:
    """The document. Raises PermanentError for a template that is wrong, too slow or too long, or does what it must not."""
    environment = _environment(html=html)
    pieces: list[str] = []
    size = 0
    token = _until.set(until)
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
    finally:
        _until.reset(token)
    return "".join(pieces)

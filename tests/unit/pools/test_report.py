"""Reports and charts: what is in the documents, and what can't get in."""

import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agentfleet import charts
from agentfleet.agent import PermanentError, TaskContext
from functions.report import handler as report
from tests.fakes.blobs import FakeBlobs

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [{"name": "alpha", "n": 1200, "share": 0.25, "ok": True}, {"name": "beta", "n": 34.5, "share": None, "ok": False}]


class Outline(HTMLParser):
    """Checks that tags are closed in order, and notes them."""

    VOID = frozenset({"meta", "br", "link", "img", "hr"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def render(context: TaskContext, *sections: Any, **given: Any) -> tuple[str, str]:
    """The HTML and the Markdown of a report (empty if not asked for)."""
    input = report.RenderInput.model_validate({"title": "A title", "sections": list(sections), **given})  # noqa: A001
    output = report.render(input, context)
    html, markdown = (context.blobs.get(uri).decode() if uri else "" for uri in (output.html_uri, output.markdown_uri))
    assert output.bytes == len(html.encode()) + len(markdown.encode())
    return html, markdown


def draw(**given: Any) -> ET.Element:
    """A chart as a parsed SVG document."""
    plot = charts.lay_out(charts.Chart.model_validate(given), None, "chart")
    text = report._environment(html=True).get_template("chart.svg.j2").render(plot=plot, alone=True, height=1)
    return ET.fromstring(text)


def tips(svg: ET.Element, tag: str) -> list[str]:
    """The tooltips of a chart's bars or points."""
    return [title.text or "" for mark in svg.iter(f"{SVG}{tag}") for title in mark.findall(f"{SVG}title")]


def test_a_report_has_everything(context: TaskContext, blobs: FakeBlobs) -> None:
    """Text, figures, table and chart are in the HTML, which stands alone; all but the drawing is in the Markdown."""
    html, markdown = render(
        context,
        {
            "heading": "First part",
            "text": "A **bold** word, `code` and a [link](https://example.org/?a=1&b=2).\n\n- one\n- two",
            "facts": [{"label": "Share", "value": 0.5, "format": "percent", "note": "of all"}],
            "rows": ROWS,
            "chart": {"kind": "bar", "x": "name", "y": "n", "title": "Bars"},
            "table": {"columns": ["name", {"name": "n", "label": "Number"}, {"name": "share", "format": "percent"}, "ok"]},
        },
        subtitle="What it says",
    )

    tags = [tag for tag, _ in Outline(html).tags]
    assert {"h1", "h2", "dl", "ul", "figure", "svg", "table"} <= set(tags)
    assert "<strong>bold</strong>" in html
    assert '<a href="https://example.org/?a=1&amp;b=2" rel="noopener">link</a>' in html
    assert "50.0%" in html
    assert not re.search(r"(src|@import|<script|<link)", html)
    assert "| name | Number | share | ok |" in markdown
    assert "| alpha | 1,200 | 25.0% | yes |" in markdown
    assert "| beta | 34.5 | – | no |" in markdown
    assert "- **Share**: 50.0% (of all)" in markdown
    assert "A bar of 2 values from 34.5 to 1,200: n." in markdown
    assert [kind for _, kind in blobs.blobs.values()] == ["text/html; charset=utf-8", "text/markdown; charset=utf-8"]


def test_tables_without_columns_show_every_field(context: TaskContext) -> None:
    """The first row's fields are the columns; numbers are set to the right."""
    html, _ = render(context, {"table": {"rows": [{"some_name": "x", "count": 5}]}})

    assert '<th scope="col">some name</th><th scope="col" class="number">count</th>' in html


def test_long_tables_are_cut(context: TaskContext) -> None:
    """500 rows are shown, the rest is counted."""
    html, markdown = render(context, {"table": {"rows": [[number] for number in range(1_700)], "columns": ["n"]}})

    assert html.count("<tr>") == 501
    assert "and 1,200 more rows" in html
    assert "and 1,200 more rows" in markdown


def test_empty_parts_say_so(context: TaskContext) -> None:
    """No rows make an empty table and an empty chart, not an error."""
    html, markdown = render(context, {"rows": [], "table": {}, "chart": {"kind": "bar", "x": "a", "y": "b"}})

    assert "Nothing to show" in html
    assert "There are no values to draw." in html
    assert "Nothing to show" in markdown


def test_lists_of_sections_are_flattened(context: TaskContext) -> None:
    """A reference to a list of sections brings them all; a contents list leads to each."""
    html, _ = render(context, {"heading": "One"}, [{"heading": "Two & more"}, {"heading": "Three"}])

    assert re.findall(r'<a href="#([^"]+)">', html) == ["one", "two-more", "three"]


@pytest.mark.parametrize(
    ("asked", "html", "markdown"), [("html", True, False), ("markdown", False, True), ("both", True, True)]
)
def test_only_what_is_asked_for_is_written(asked: str, html: bool, markdown: bool, context: TaskContext) -> None:
    """One blob per format."""
    pages = render(context, {"text": "x"}, format=asked)

    assert (bool(pages[0]), bool(pages[1])) == (html, markdown)


def test_the_plain_template(context: TaskContext) -> None:
    """A second built-in look holds the same."""
    html, _ = render(context, {"heading": "Part", "rows": ROWS, "table": {}}, template="plain")

    Outline(html)
    assert "Part" in html
    assert "1,200" in html


HOSTILE = "</title></text><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_nothing_of_the_data_becomes_markup(context: TaskContext) -> None:
    """Wherever a hostile text may stand, it stays text."""
    html, _ = render(
        context,
        {
            "heading": HOSTILE,
            "text": f'{HOSTILE}\n\n- {HOSTILE}\n\n[x](javascript:alert(1)) [y](https://e.org/"onclick=x)',
            "facts": [{"label": HOSTILE, "value": HOSTILE, "note": HOSTILE}],
            "rows": [{HOSTILE: HOSTILE, "n": 1}],
            "table": {"caption": HOSTILE},
            "charts": [
                {"kind": kind, "x": [HOSTILE], "y": [1], "title": HOSTILE, "x_label": HOSTILE, "y_label": HOSTILE}
                for kind in ("bar", "line")
            ],
        },
        title=HOSTILE[:300],
        subtitle=HOSTILE,
    )

    outline = Outline(html)
    assert not {"script", "img"} & {tag for tag, _ in outline.tags}
    assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
    links = [attrs["href"] or "" for tag, attrs in outline.tags if tag == "a"]
    assert all(link.startswith(("#", "https://e.org/")) for link in links)


@given(st.text(max_size=200))
def test_any_text_stays_balanced(text: str) -> None:
    """Whatever is written in a section's text, its tags close in order and only known ones appear."""
    outline = Outline(str(report._html(text)))

    assert {tag for tag, _ in outline.tags} <= {"p", "br", "ul", "li", "strong", "em", "code", "a"}


def test_markdown_cells_keep_their_table(context: TaskContext) -> None:
    """A bar or a line break in a value does not break the row."""
    _, markdown = render(context, {"table": {"rows": [{"a": "x|y\nz", "b": 1}]}})

    assert "| x\\|y z | 1 |" in markdown


def test_own_templates(context: TaskContext) -> None:
    """A text of one's own is filled with the report's data, escaped as HTML but not as Markdown."""
    html, markdown = render(context, {"heading": "H"}, template="<h1>{{ title }}</h1>{{ sections[0].heading }}", title="A & B")
    _, plain = render(context, template="# {{ title }}\n", title="A & B", format="markdown")

    assert html == "<h1>A &amp; B</h1>H"
    assert markdown.startswith("# A & B")
    assert plain == "# A & B"


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ title.__class__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ (title|attr('__class__')) }}",
    "{{ '{0.__class__.__mro__}'.format(title) }}",
    "{{ sections.append(1) }}",
    "{{ generated.__reduce__() }}",
    "{% include '/etc/passwd' %}",
    "{% include '../handler.py' %}",
    "{% import 'os' as os %}{{ os }}",
    "{{ range(100000000) | list }}",
    "{{ 'x' * 1000000000 }}",
    "{{ [0] * 100000000 }}",
    "{{ 10 ** 10 ** 10 }}",
    "{% for i in range(9999) %}{% for j in range(9999) %}xxxxxxxxxx{% endfor %}{% endfor %}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_templates_are_locked_in(template: str, context: TaskContext, blobs: FakeBlobs) -> None:
    """No way to classes, globals, files or unlimited work: an error, or nothing at all, but never what was tried for."""
    try:
        html, _ = render(context, template=f"<p>{template}</p>", format="html")
    except PermanentError as error:
        assert str(error).startswith("template: ")
        assert blobs.blobs == {}
    else:
        assert html == "<p></p>"


ENDLESS = [
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% set x = 'x' * 9999 %}{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for a in [1, 2] recursive %}{% if loop.depth < 60 %}{{ loop([1, 2]) }}{% endif %}{% endfor %}",
]


@pytest.mark.parametrize("template", ENDLESS)
def test_templates_that_never_end_are_ended(template: str, context: TaskContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """However their turns come about; for good, as the next time would take as long."""
    monkeypatch.setattr(report, "MAX_SECONDS", 0.1)

    with pytest.raises(PermanentError, match="template: takes longer than its task"):
        render(context, template=f"<p>{template}</p>", format="html")


def test_loops_are_still_loops(context: TaskContext) -> None:
    """Looking at the clock changes nothing of what a loop knows."""
    template = (
        "<{% for n in [3, 1, 2]|sort if n > 1 %}{{ loop.index }}/{{ loop.length }}:{{ n }}{{ ',' if not loop.last }}"
        "{% else %}none{% endfor %}|{% for n in [] %}{% else %}none{% endfor %}|"
        "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}|"
        "{% for a in [[1, [2]]] recursive %}{{ a if a is number else loop(a) }}{% endfor %}>"
    )

    html, _ = render(context, template=template, format="html")

    assert html == "<1/2:2,2/2:3|none|a1|12>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% if %}", "template: .*line 1"),
        ("<p>{{ missing.deeper }}</p>", "'missing' is undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("fancy", r"'fancy' is not built in \(report, plain\)"),
    ],
)
def test_wrong_templates_are_explained(template: str, message: str, context: TaskContext) -> None:
    """An error in a template is permanent and says where and what."""
    with pytest.raises(PermanentError, match=message):
        render(context, template=template)


def test_sections_are_bounded(context: TaskContext) -> None:
    """Also the ones that come as lists."""
    with pytest.raises(PermanentError, match="101 sections, at most 100"):
        render(context, [{"text": "x"}] * 101)


@pytest.mark.parametrize(
    ("chart", "message"),
    [
        ({"kind": "bar", "x": "nope", "y": "n"}, r"sections\[0\]\.charts\[0\]\.x: 'nope' is not a field.*name, n"),
        ({"kind": "bar", "x": "name", "y": "name"}, r"y: value 0 is 'alpha', only numbers"),
        ({"kind": "line", "x": "name"}, "needs 1 to 6 fields"),
        ({"kind": "line", "x": "name", "y": list("abcdefg")}, "needs 1 to 6 fields"),
        ({"kind": "histogram", "x": "ok"}, "value 0 is 'True', only numbers"),
    ],
)
def test_wrong_charts_are_explained(chart: dict[str, Any], message: str, context: TaskContext) -> None:
    """The error names the section, the chart and the field."""
    with pytest.raises(PermanentError, match=message):
        render(context, {"rows": ROWS, "chart": chart})


@pytest.mark.parametrize("row", [[1], [1, 2, 3]])
def test_rows_must_fit_their_columns(row: list[int], context: TaskContext) -> None:
    """A list as a row has a cell per column."""
    with pytest.raises(PermanentError, match=rf"table\.rows\[1\]: has {len(row)} cells for 2 columns"):
        render(context, {"table": {"columns": ["a", "b"], "rows": [[1, 2], row]}})


def test_unknown_fields_are_refused() -> None:
    """A misspelt field is a mistake that is said."""
    with pytest.raises(ValidationError, match="titel"):
        report.RenderInput.model_validate({"titel": "x", "sections": []})


def test_chart_is_a_document(context: TaskContext, blobs: FakeBlobs) -> None:
    """report.chart stores an SVG of its own, with its style, a name for screen readers and its size."""
    output = report.chart(charts.Chart(kind="bar", x=["a", "b"], y=[1, 2], title="Two < three"), context)

    svg = ET.fromstring(blobs.get(output.uri))
    assert blobs.blobs[output.uri][1] == "image/svg+xml"
    assert svg.get("role") == "img"
    assert (svg.get("aria-label") or "").startswith("Two < three. A bar of 2 values from 1 to 2")
    assert (int(svg.get("width") or 0), int(svg.get("height") or 0)) == (output.width, output.height)
    assert svg.find(f"{SVG}style") is not None


def test_bars_have_tips_and_lengths_in_proportion() -> None:
    """Twice the value, twice the bar."""
    svg = draw(kind="bar", x=[f"category number {n}" for n in range(15)], y=list(range(1, 16)))

    bars = [rect for rect in svg.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    widths = [float(bar.get("width") or 0) for bar in bars]
    assert tips(svg, "rect")[:2] == ["category number 0: 1", "category number 1: 2"]
    assert widths[7] == pytest.approx(8 * widths[0], rel=0.02)


def test_several_series_have_a_legend() -> None:
    """Each bar's tip says whose it is."""
    svg = draw(kind="bar", x="k", y=["first_one", "second"], rows=[{"k": "a", "first_one": 1, "second": 2}])

    assert tips(svg, "rect") == ["a · first one: 1", "a · second: 2"]
    assert {"first one", "second"} <= {text.text for text in svg.iter(f"{SVG}text")}


def test_lines_have_gaps_where_values_are_missing() -> None:
    """A null is a gap, not a zero."""
    svg = draw(kind="line", x=[1, 2, 3, 4], y=[1, None, 3, 4])

    (path,) = [path.get("d") or "" for path in svg.iter(f"{SVG}path") if "line" in (path.get("class") or "")]
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert len(tips(svg, "circle")) == 3


def test_dates_are_placed_by_their_distance() -> None:
    """A month's gap is wider than a day's."""
    svg = draw(kind="line", x=["2026-01-01", "2026-01-02", "2026-02-02"], y=[1, 2, 3])

    first, second, third = (float(dot.get("cx") or 0) for dot in svg.iter(f"{SVG}circle"))
    assert (third - second) == pytest.approx(31 * (second - first), rel=0.05)


def test_points_are_named() -> None:
    """A scatter's tips say which row it is."""
    svg = draw(kind="scatter", x="a", y="b", label="who", x_label="size", rows=[{"a": 1500, "b": 2, "who": "Ann"}])

    assert tips(svg, "circle") == ["Ann: size 1,500, b 2"]


NUMBERS = st.floats(-1e9, 1e9).map(lambda value: round(value, 6))


@given(st.lists(NUMBERS | st.integers(-(10**12), 10**12) | st.none(), min_size=1, max_size=60))
def test_a_histogram_counts_every_value_once(values: list[float | None]) -> None:
    """The classes hold all values that are there, and none twice."""
    svg = draw(kind="histogram", x=values)

    counts = [int(tip.rpartition(": ")[2].replace(",", "")) for tip in tips(svg, "rect")]
    assert sum(counts) == sum(value is not None for value in values)


@given(
    st.sampled_from(["bar", "line", "scatter"]),
    st.lists(st.tuples(st.text(max_size=40) | NUMBERS | st.dates().map(str) | st.none(), NUMBERS | st.none()), max_size=20),
)
def test_charts_stay_in_their_frame(kind: str, points: list[tuple[Any, float | None]]) -> None:
    """Whatever the values, the document is well formed and every mark lies inside the picture."""
    svg = draw(kind=kind, x=[x for x, _ in points], y=[y for _, y in points])

    width, height = (float(part) for part in (svg.get("viewBox") or "").split()[2:])
    for rect in svg.iter(f"{SVG}rect"):
        x, y, wide, high = (float(rect.get(name) or 0) for name in ("x", "y", "width", "height"))
        assert -0.2 <= x <= x + wide <= width + 1.2
        assert -0.2 <= y <= y + high <= height + 1.2
    for dot in svg.iter(f"{SVG}circle"):
        assert 0 <= float(dot.get("cx") or -1) <= width
        assert 0 <= float(dot.get("cy") or -1) <= height
    assert len(tips(svg, "rect")) + len(tips(svg, "circle")) == sum(y is not None for _, y in points)


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12), st.integers(3, 12))
def test_ticks_are_round_and_span_the_values(low: float, span: float, about: int) -> None:
    """Equal steps of 1, 2 or 5 times a power of ten, from below the least to above the greatest, and not too many."""
    high = low + span
    ticks = charts.round_ticks(low, high, about)

    step = ticks[1] - ticks[0]
    slack = 1e-4 * step
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= about + 2
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert any(mantissa == pytest.approx(nice, rel=1e-3) for nice in (1, 2, 5))


@pytest.mark.parametrize(
    ("value", "format", "short", "text"),
    [
        (0, "number", False, "0"),
        (1234567, "number", False, "1,234,567"),
        (-1234.5, "number", False, "−1,234"),
        (12.34, "number", False, "12.3"),
        (1.5, "number", False, "1.5"),
        (0.12345, "number", False, "0.123"),
        (0.00001234, "number", False, "1.2e−05"),
        (1_500_000, "number", True, "1.5M"),
        (2_000_000_000, "number", True, "2B"),
        (2500, "number", True, "2,500"),
        (0.5, "percent", True, "50%"),
        (0.5, "percent", False, "50.0%"),
        (math.inf, "number", False, "–"),
    ],
)
def test_numbers_are_written_for_people(value: float, format: Any, short: bool, text: str) -> None:
    """Separators, few digits, a real minus sign, and units where room is short."""
    assert charts.written(value, format, short=short) == text

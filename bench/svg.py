"""Pictures for docs/benchmarks.md: bars, and lines over two axes. They read well on a light and on a dark page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from bench.markdown import number

COLOURS: Final = ("#2f6fb3", "#d9822b", "#3a9d6a", "#a04fb0", "#c0504d", "#7f7f7f")
PALE: Final = "#a9c6e6"
STYLE: Final = "text{font:13px system-ui,sans-serif;fill:#6b7280}.axis{stroke:#9ca3af;stroke-width:1}"
WIDTH: Final = 680


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, whose second part is pale."""

    label: str
    solid: float
    pale: float = 0.0

    @property
    def length(self) -> float:
        """Of both parts."""
        return self.solid + self.pale


def bars(title: str, rows: Sequence[Bar], *, unit: str = "", left: int = 230) -> str:
    """Horizontal bars, the shortest first. Over a factor of 100 they are drawn on a logarithmic scale, and say so."""
    ordered = sorted(rows, key=lambda row: row.length)
    least, most = max(ordered[0].length, 1e-9), ordered[-1].length
    logarithmic = most / least > 100
    room = WIDTH - left - 90

    def width(value: float) -> float:
        if logarithmic:
            return room * (0.06 + 0.94 * math.log(max(value, least) / least) / math.log(most / least)) if value > 0 else 0.0
        return room * value / most

    parts = [f'<text x="10" y="22">{escape(title)}{" Logarithmic scale." if logarithmic else ""}</text>']
    for index, row in enumerate(ordered):
        y = 40 + 30 * index
        whole = width(row.length)
        # On a logarithmic scale a share has no length of its own: it is shown as a share of the bar.
        solid = whole * row.solid / row.length if row.length else 0.0
        parts += [
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{escape(row.label)}</text>',
            f'<rect x="{left}" y="{y}" width="{solid:.1f}" height="20" fill="{COLOURS[0]}"/>',
            f'<rect x="{left + solid:.1f}" y="{y}" width="{whole - solid:.1f}" height="20" fill="{PALE}"/>',
            f'<text x="{left + whole + 8:.1f}" y="{y + 15}">{number(row.length)}{escape(unit)}</text>',
        ]
    return _document(title, 40 + 30 * len(ordered) + 10, parts)


def lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x: str,
    y: str,
    logarithmic: bool = False,
    mark: float | None = None,
) -> str:
    """One line per series of (x, y) points; `logarithmic` is about the x axis. `mark`: a dashed line at this height."""
    points = [point for line in series.values() for point in line]
    xs, top = [point[0] for point in points], max([*(point[1] for point in points), mark or 0.0]) or 1.0
    left, right, upper, lower = 70.0, WIDTH - 40.0, 44.0 + 20 * len(series), 300.0 + 20 * len(series)

    def place(value: float) -> float:
        ends = (min(xs) if logarithmic else 0.0, max(xs), value)
        low, high, at = (math.log10(one) if logarithmic else one for one in ends)
        return left + (right - left) * (at - low) / ((high - low) or 1.0)

    def height(value: float) -> float:
        return lower - (lower - upper) * value / top

    parts = [
        f'<text x="10" y="22">{escape(title)}</text>',
        f'<line class="axis" x1="{left}" y1="{lower}" x2="{right}" y2="{lower}"/>',
        f'<line class="axis" x1="{left}" y1="{upper}" x2="{left}" y2="{lower}"/>',
        f'<text x="{right}" y="{lower + 36}" text-anchor="end">{escape(x)}</text>',
    ]
    for step in range(5):
        value = top * step / 4
        parts.append(f'<text x="{left - 6}" y="{height(value) + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in sorted(set(xs)) if logarithmic else [max(xs) * step / 4 for step in range(5)]:
        parts.append(f'<text x="{place(value):.1f}" y="{lower + 18}" text-anchor="middle">{number(value)}</text>')
    if mark is not None:
        level = f"{height(mark):.1f}"
        parts.append(f'<line class="axis" stroke-dasharray="5 4" x1="{left}" y1="{level}" x2="{right}" y2="{level}"/>')
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{place(one):.1f},{height(other):.1f}" for one, other in line)
        parts += [
            f'<rect x="12" y="{34 + 20 * index}" width="12" height="12" fill="{colour}"/>',
            f'<text x="30" y="{45 + 20 * index}">{escape(name)}, {escape(y)}</text>',
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>',
        ]
    return _document(title, int(lower) + 46, parts)


def _document(title: str, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])

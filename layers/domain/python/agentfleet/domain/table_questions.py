"""Questions about a table, without a model: the words of a question choose the columns and one of a few queries.

And what any answer about a table must hold: numbers that stand in the rows that it rests on.
"""
# ruff: noqa: S608 (names enter SQL through _name, which quotes them)

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from agentfleet.domain.sentences import terms_of

Kind = Literal["number", "time", "text"]

LIMIT: Final = 25
FAR: Final = 3.5
"""Robust deviations from the median beyond which a value stands out (Iglewicz and Hoaglin 1993)."""
FEW: Final = 0.5
"""A column of texts of which more than this share is different names rows rather than groups."""

_AGGREGATES: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "avg": ("average", frozenset(terms_of("average mean typical"))),
    "median": ("median", frozenset(terms_of("median"))),
    "sum": ("total", frozenset(terms_of("total sum altogether overall together revenue"))),
    "min": ("smallest", frozenset(terms_of("minimum min smallest lowest least cheapest shortest earliest worst"))),
    "max": ("largest", frozenset(terms_of("maximum max largest highest biggest most top best dearest longest latest"))),
}
_ASCENDING: Final = frozenset({"min"})
_COUNTING: Final = re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b", re.IGNORECASE)
_STANDING_OUT: Final = frozenset(
    terms_of("outlier outliers anomaly anomalies anomalous unusual strange odd suspicious extreme")
)
_OVER_TIME: Final = frozenset(terms_of("trend time month monthly daily weekly develop development history"))
_GROUPING: Final = re.compile(r"\b(?:by|per|each|every|which|what|whose)\b", re.IGNORECASE)
_FIGURE: Final = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?")


class TableColumn(Struct, frozen=True):
    """A column as a question may mean it."""

    name: str
    kind: Kind
    distinct: int = 0
    """Different values in it."""


class Choice(Struct, frozen=True):
    """A query, and which rule chose it, in words."""

    rule: str
    sql: str


def choose(question: str, columns: Sequence[TableColumn], count: int, table: str = "data") -> Choice:
    """The query that the words of a question ask for; of a question that says nothing of the table, how the columns are.

    `count` is the table's number of rows. The first of these that fits: what stands out, how many, an aggregate by group, over
    time or of all rows, the rows at the top or the bottom.
    """
    terms = set(terms_of(question))
    meant = [column for column in columns if _is_meant(column.name, terms)]
    numbers = [column for column in meant if column.kind == "number"]
    measure = next(iter(numbers), next((one for one in columns if one.kind == "number"), None))
    aggregate = next((name for name, (_, words) in _AGGREGATES.items() if words & terms), None)
    groups = [one for one in meant if one.kind == "text" or (one.kind == "time" and one.distinct <= LIMIT)]
    group = next(iter(groups), None)
    if terms & _STANDING_OUT and measure:
        return _far_out(measure, table)
    if _COUNTING.search(question):
        return _counted(group, table)
    clock = next((one for one in columns if one.kind == "time"), None)
    if measure and group and (aggregate or _GROUPING.search(question)):
        if count and group.distinct > FEW * count and aggregate in {"min", "max"}:
            return _ends(measure, aggregate, table)
        return _grouped(measure, group, aggregate or "sum", table)
    if measure and clock and terms & _OVER_TIME:
        return _over_time(measure, clock, aggregate or "sum", table)
    if measure and aggregate in {"min", "max"}:
        return _ends(measure, aggregate, table)
    if measure and aggregate:
        word = _AGGREGATES[aggregate][0]
        rule = f"the {word} of {measure.name}"
        return Choice(rule, f"SELECT {aggregate}({_name(measure)}) AS {_alias(f'{word} {measure.name}')} FROM {table}")
    return _described(meant or columns, table)


def _is_meant(name: str, terms: set[str]) -> bool:
    """Do all words of a column's name stand in the question?"""
    words = set(terms_of(re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W]+", " ", name)))
    return bool(words) and words <= terms


def _far_out(measure: TableColumn, table: str) -> Choice:
    x = f"{_name(measure)}::DOUBLE"
    sql = (
        f"WITH spread AS (SELECT median({x}) AS middle, nullif(mad({x}), 0) / 0.6744897501960817 AS unit FROM {table}) "
        f"SELECT {table}.*, round(({x} - middle) / unit, 2) AS deviations FROM {table}, spread "
        f"WHERE abs({x} - middle) > {FAR} * unit ORDER BY abs({x} - middle) DESC LIMIT {LIMIT}"
    )
    return Choice(f"rows whose {measure.name} lies more than {FAR} robust deviations from the median", sql)


def _counted(group: TableColumn | None, table: str) -> Choice:
    if group is None:
        return Choice("how many rows there are", f"SELECT count(*) AS count FROM {table}")
    sql = f"SELECT {_name(group)}, count(*) AS count FROM {table} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {LIMIT}"
    return Choice(f"how many rows there are by {group.name}", sql)


def _grouped(measure: TableColumn, group: TableColumn, aggregate: str, table: str) -> Choice:
    word = _AGGREGATES[aggregate][0]
    direction = "ASC" if aggregate in _ASCENDING else "DESC"
    value = f"{aggregate}({_name(measure)}) AS {_alias(f'{word} {measure.name}')}"
    sql = f"SELECT {_name(group)}, {value} FROM {table} GROUP BY 1 ORDER BY 2 {direction} NULLS LAST, 1 LIMIT {LIMIT}"
    return Choice(f"the {word} of {measure.name} by {group.name}", sql)


def _over_time(measure: TableColumn, clock: TableColumn, aggregate: str, table: str) -> Choice:
    word = _AGGREGATES[aggregate][0]
    value = f"{aggregate}({_name(measure)}) AS {_alias(f'{word} {measure.name}')}"
    month = f"strftime(date_trunc('month', {_name(clock)}), '%Y-%m') AS month"
    sql = f"SELECT {month}, {value} FROM {table} GROUP BY 1 ORDER BY 1 LIMIT 120"
    return Choice(f"the {word} of {measure.name} by month of {clock.name}", sql)


def _ends(measure: TableColumn, aggregate: str, table: str) -> Choice:
    direction = "ASC" if aggregate in _ASCENDING else "DESC"
    sql = f"SELECT * FROM {table} WHERE {_name(measure)} IS NOT NULL ORDER BY {_name(measure)} {direction} LIMIT 10"
    return Choice(f"the rows with the {_AGGREGATES[aggregate][0]} {measure.name}", sql)


def _described(columns: Sequence[TableColumn], table: str) -> Choice:
    parts = []
    for column in columns[:LIMIT]:
        x = _name(column)
        mean = f"avg({x})::DOUBLE" if column.kind == "number" else "NULL::DOUBLE"
        parts.append(
            f"SELECT {_text(column.name)} AS column, count({x}) AS filled, count(DISTINCT {x}) AS different, "
            f"min({x})::VARCHAR AS least, max({x})::VARCHAR AS most, {mean} AS mean FROM {table}"
        )
    return Choice("how the columns are filled", " UNION ALL ".join(parts) or f"SELECT count(*) AS count FROM {table}")


def _name(column: TableColumn) -> str:
    return _alias(column.name)


def _alias(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def told(rule: str, rows: Sequence[Mapping[str, Any]], count: int) -> str:
    """An answer in words without a model: what was asked for, and the first rows as they are."""
    if not rows:
        return f"{rule[:1].upper()}{rule[1:]}: there are none."
    shown = [", ".join(f"{name} {_written(value)}" for name, value in row.items()) for row in rows[:3]]
    more = f"; {count - len(shown):,} more" if count > len(shown) else ""
    return f"{rule[:1].upper()}{rule[1:]}: {'; '.join(shown)}{more}."


def _written(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def unsupported(answer: str, rows: Iterable[Mapping[str, Any]], also: str = "") -> list[str]:
    """The figures of an answer that stand neither in the rows that it rests on nor in `also` (the question).

    A figure may be rounded. Up to ten it may also count the rows, or be part of a name or a date.
    """
    texts = [also]
    known: list[float] = []
    for row in rows:
        for value in row.values():
            for number in _numbers(value):
                known.append(number)
            texts.append(str(value))
    words = " ".join(texts)
    found = []
    for figure in _FIGURE.findall(answer):
        plain = figure.replace(",", "").replace("−", "-")
        digits = len(plain.partition(".")[2])
        number = float(plain)
        if figure in words or plain in words or (digits == 0 and abs(number) <= 10):
            continue
        if not any(math.isclose(round(one, digits), number, abs_tol=0.5 * 10**-digits) for one in known):
            found.append(figure)
    return found


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, bool):
        return
    if isinstance(value, int | float) and math.isfinite(value):
        yield float(value)
        yield 100.0 * float(value)  # a share, told in percent
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)

"""SQL over CSV, Parquet and JSON: load tables, profile their columns, query them, find what stands out, answer questions.

Every task gets a database of its own, locked before it sees the SQL of a user or a model (`agentfleet.workbench`).
"""
# ruff: noqa: S608 (names and texts enter our SQL through identifier and literal; a user's SQL runs locked, as one SELECT)

from agentfleet.agent import Agent, ModelUnavailable, PermanentError, TaskContext
from agentfleet.domain.table_questions import Kind, TableColumn, choose, told
from agentfleet.services.made import Made
from agentfleet.workbench import (
    ANSWER,
    MAX_PROFILED,
    NAME,
    NUMBER,
    Column,
    Format,
    Row,
    Table,
    Workbench,
    clip,
    identifier,
    named,
    workbench,
)

import asyncio
import re
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

agent = Agent("data")

MAX_ROWS: Final = 200
MAX_TABLES: Final = 20
SAMPLE_ROWS: Final = 5
ASKED: Final = "data"
"""What a question's table is called in SQL."""

Method = Literal["mad", "iqr"]

_TIME = re.compile(r"DATE|TIMESTAMP")
_NESTED = re.compile(r"STRUCT|MAP|UNION|\[")
_QUANTILES: Final = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


class Strict(BaseModel):
    """An input: a field that it does not know is a mistake, said at once."""

    model_config = ConfigDict(extra="forbid")


class LoadInput(Strict):
    """Exactly one of `uri`, `text` and `rows` ("" counts as none). Without `format`, a URI's suffix decides; a text is CSV."""

    uri: str | list[str] | None = None
    text: str | None = None
    rows: list[Row] | None = None
    format: Format | None = None


class LoadOutput(BaseModel):
    """The table as a Parquet blob, its columns and its first rows (at most 5, long texts cut to 200 characters)."""

    uri: str
    columns: list[Column]
    count: int
    sample: list[Row]


class ProfileInput(Strict):
    """A table, which of its columns to profile (all of them if absent; at most 50), and how many top values to give."""

    table: Table
    columns: list[str] | None = None
    top: int = Field(default=5, ge=0, le=20)


class ColumnProfile(BaseModel):
    """A column's shape: `count` values that are not null; mean and what follows are null for what is not a number."""

    name: str
    type: str
    count: int
    nulls: int
    distinct: int
    min: Any
    max: Any
    mean: float | None = None
    deviation: float | None = None
    """Standard deviation of the sample."""
    quantiles: dict[str, float] | None = None
    """p05, p25, p50, p75, p95, interpolated."""
    top: list[Row]
    """The most frequent values: `{"value", "count"}`."""


class ProfileOutput(BaseModel):
    """The table's number of rows and the profile of each column, in the table's order."""

    count: int
    columns: list[ColumnProfile]


class QueryInput(Strict):
    """One SELECT (or WITH … SELECT) in DuckDB's SQL over named tables."""

    sql: str = Field(min_length=1, max_length=20_000)
    tables: dict[str, Table] = Field(default_factory=dict, max_length=MAX_TABLES)
    limit: int = Field(default=MAX_ROWS, ge=0, le=MAX_ROWS)


class QueryOutput(BaseModel):
    """The first `limit` rows of the answer; if there are more, `uri` names all of them as Parquet."""

    columns: list[Column]
    rows: list[Row]
    count: int
    uri: str | None


class AnomaliesInput(Strict):
    """A numeric column and how far out a value must be: `threshold` is 3.5 for `mad` and 1.5 for `iqr` unless given."""

    table: Table
    column: str
    method: Method = "mad"
    threshold: float | None = Field(default=None, gt=0)
    limit: int = Field(default=50, ge=1, le=MAX_ROWS)


class AnomaliesOutput(BaseModel):
    """The rows outside `low` … `high`, farthest first, each with its signed `score` (a column of that name gives way).

    `scale` 0 says that the column has no spread to measure against; nothing stands out then.
    """

    column: str
    method: Method
    threshold: float
    center: float | None
    scale: float
    low: float | None
    high: float | None
    checked: int
    count: int
    rows: list[Row]


class AskInput(Strict):
    """A question in words about one table."""

    question: str = Field(min_length=1, max_length=2_000)
    table: Table
    limit: int = Field(default=50, ge=1, le=MAX_ROWS)


class AskOutput(Made):
    """An answer with the query that it rests on and that query's first rows. `uri` names all rows if there are more."""

    answer: str
    sql: str
    rule: str
    """By rules: what was asked for, as the rules understood it. By a model: its own words for that."""
    rows: list[Row]
    count: int
    uri: str | None
    rounds: int = 0
    """Calls that it took until the SQL was right."""


@agent.capability("data.load", idempotent=True, timeout=90)
def load(input: LoadInput, context: TaskContext) -> LoadOutput:
    """Load CSV, Parquet or JSON (a blob, several blobs, text or rows) into one typed table, stored as Parquet."""
    given = [name for name in ("uri", "text", "rows") if getattr(input, name) not in (None, "")]
    if len(given) != 1:
        raise PermanentError(f"input: give exactly one of uri, text and rows, not {' and '.join(given) or 'none'}")
    source = input.text.encode() if input.text else input.uri or input.rows or []
    with workbench({ANSWER: source}, context, input.format) as bench:
        sample = [clip(row) for row in bench.rows(f"FROM {ANSWER} LIMIT {SAMPLE_ROWS}")]
        uri, columns = bench.store(), bench.columns(ANSWER)
        return LoadOutput(uri=uri, columns=columns, count=bench.count(ANSWER), sample=sample)


@agent.capability("data.profile", idempotent=True, timeout=90)
def profile(input: ProfileInput, context: TaskContext) -> ProfileOutput:
    """Describe each column: count, nulls, distinct values, minimum, maximum, mean, quantiles and most frequent values."""
    with workbench({"t": input.table}, context) as bench:
        columns = bench.columns("t")
        wanted = columns if input.columns is None else [named(name, columns) for name in input.columns]
        if len(wanted) > MAX_PROFILED:
            raise PermanentError(f"columns: {len(wanted)} columns to profile, at most {MAX_PROFILED} are allowed; name some")
        return ProfileOutput(count=bench.count("t"), columns=[_profile(bench, column, input.top) for column in wanted])


@agent.capability("data.query", idempotent=True, timeout=90)
def query(input: QueryInput, context: TaskContext) -> QueryOutput:
    """Answer one SQL SELECT over named tables (URIs or rows): up to 200 rows inline, more as a Parquet blob."""
    for name in input.tables:
        if not NAME.fullmatch(name):
            raise PermanentError(f"tables: {name!r} is no table name; use letters, digits and _, a letter first, at most 63")
    with workbench(dict(input.tables), context) as bench:
        bench.answer(input.sql)
        count, columns = bench.count(ANSWER), bench.columns(ANSWER)
        uri = bench.store() if count > input.limit else None
        return QueryOutput(columns=columns, rows=bench.rows(f"FROM {ANSWER} LIMIT {input.limit}"), count=count, uri=uri)


@agent.capability("data.anomalies", idempotent=True, timeout=90)
def anomalies(input: AnomaliesInput, context: TaskContext) -> AnomaliesOutput:
    """Find the rows whose value lies far out: by median and MAD (robust z-score), or beyond the quartiles (IQR).

    `mad`: the modified z-score 0.6745 (x - median) / MAD of Iglewicz and Hoaglin (1993, 'How to Detect and Handle
    Outliers'); where more than half of the values are equal (MAD 0), the mean absolute deviation stands in.
    `iqr`: the distance beyond the nearer quartile, in interquartile ranges (Tukey's fences).
    """
    threshold = input.threshold or (3.5 if input.method == "mad" else 1.5)
    with workbench({"t": input.table}, context) as bench:
        column = named(input.column, bench.columns("t"))
        if not NUMBER.fullmatch(column.type):
            raise PermanentError(f"column: {column.name!r} is {column.type}, only a numeric column has anomalies")
        x = f"{identifier(column.name)}::DOUBLE"
        center, lower, upper, scale, checked = _spread(bench, x, input.method)
        count, found = 0, []
        if scale > 0:
            beyond = f"(greatest({x} - {upper!r}, 0) + least({x} - {lower!r}, 0)) / {scale!r}"
            bench.answer(f"SELECT *, {beyond} AS _score FROM t WHERE abs({beyond}) > {threshold!r} ORDER BY abs({beyond}) DESC")
            count, found = bench.count(ANSWER), bench.rows(f"FROM {ANSWER} LIMIT {input.limit}")
        reach = threshold * scale
        return AnomaliesOutput(
            column=column.name, method=input.method, threshold=threshold, scale=scale, checked=checked, count=count,
            center=center if checked else None, low=lower - reach if checked else None, high=upper + reach if checked else None,
            rows=[row | {"score": round(row.pop("_score"), 4)} for row in found],
        )  # fmt: skip


@agent.capability("data.ask", idempotent=True, timeout=110)
async def ask(input: AskInput, context: TaskContext) -> AskOutput:
    """Answer a question in words about a table: a model writes the SQL and words the rows; without one, rules choose a query.

    The model's SQL is one SELECT, tried on an empty table of the same columns first; what is wrong is told to the model. An
    answer with figures that are not in the rows is not used. The output says how it came about.
    """
    count, profiles = await asyncio.to_thread(_look_at, input.table, context)
    by_rules = choose(input.question, _columns(profiles), count, ASKED)
    try:
        _ = context.model
    except ModelUnavailable as error:
        made: dict[str, Any] = {"how": "rules", "why": str(error)[:500]}
        rows, total, uri = await asyncio.to_thread(_run, input, by_rules.sql, context)
        words = told(by_rules.rule, rows, total)
        return AskOutput(answer=words, sql=by_rules.sql, rule=by_rules.rule, rows=rows, count=total, uri=uri, **made)
    from agentfleet.table_answers import query_for, worded  # noqa: PLC0415 - only pools with a model pay for its import

    about = [one.model_dump(mode="json", exclude={"deviation", "quantiles"}) for one in profiles]
    chosen, made = await query_for(input.question, ASKED, about, count, by_rules, context)
    try:
        rows, total, uri = await asyncio.to_thread(_run, input, chosen.sql, context)
    except PermanentError as error:
        if made["how"] != "model":
            raise
        chosen, made = by_rules, made | {"how": "rules", "why": f"the model's query failed: {error}"[:500]}
        rows, total, uri = await asyncio.to_thread(_run, input, chosen.sql, context)
    words, made = await worded(input.question, chosen, rows, total, made, context)
    return AskOutput(answer=words, sql=chosen.sql, rule=chosen.rule, rows=rows, count=total, uri=uri, **made)


def _look_at(table: Table, context: TaskContext) -> tuple[int, list[ColumnProfile]]:
    with workbench({ASKED: table}, context) as bench:
        columns = bench.columns(ASKED)[:MAX_PROFILED]
        return bench.count(ASKED), [_profile(bench, column, 3, ASKED) for column in columns]


def _run(input: AskInput, sql: str, context: TaskContext) -> tuple[list[Row], int, str | None]:
    with workbench({ASKED: input.table}, context) as bench:
        bench.answer(sql)
        count = bench.count(ANSWER)
        return bench.rows(f"FROM {ANSWER} LIMIT {input.limit}"), count, bench.store() if count > input.limit else None


def _columns(profiles: list[ColumnProfile]) -> list[TableColumn]:
    def kind(one: ColumnProfile) -> Kind:
        return "number" if NUMBER.fullmatch(one.type) else "time" if _TIME.match(one.type) else "text"

    return [TableColumn(one.name, kind(one), one.distinct) for one in profiles if not _NESTED.search(one.type)]


def _spread(bench: Workbench, x: str, method: Method) -> tuple[float, float, float, float, int]:
    """Center, the two values that distances are measured from, the unit of distance, and how many values there are."""
    center, lower, upper, middle, checked = bench.one(
        f"SELECT median({x}), quantile_cont({x}, 0.25), quantile_cont({x}, 0.75), mad({x}), count({x}) FROM t"
    )
    if not checked:
        return 0.0, 0.0, 0.0, 0.0, 0
    if method == "iqr":
        return center, lower, upper, upper - lower, checked
    # The factors make either deviation estimate the standard deviation of a normal distribution.
    scale = middle / 0.6744897501960817 or bench.one(f"SELECT avg(abs({x} - {center!r})) FROM t")[0] * 1.2533141373155003
    return center, center, center, scale, checked


def _profile(bench: Workbench, column: Column, top: int, table: str = "t") -> ColumnProfile:
    x = identifier(column.name)
    ends = f"min({x}) AS min, max({x}) AS max" if not _NESTED.search(column.type) else "NULL AS min, NULL AS max"
    counts = f"count({x}) AS count, count(*) - count({x}) AS nulls, count(DISTINCT {x}) AS distinct"
    (row,) = bench.rows(f"SELECT {counts}, {ends} FROM {table}")
    if NUMBER.fullmatch(column.type) and row["count"]:
        measures = f"avg(n) AS mean, stddev_samp(n) AS deviation, quantile_cont(n, {list(_QUANTILES.values())}) AS cuts"
        (numbers,) = bench.rows(f"SELECT {measures} FROM (SELECT {x}::DOUBLE AS n FROM {table})")
        row |= numbers | {"quantiles": dict(zip(_QUANTILES, numbers.pop("cuts"), strict=True))}
    frequent = (
        f"SELECT {x} AS value, count(*) AS count FROM {table} WHERE {x} IS NOT NULL GROUP BY ALL ORDER BY count DESC, value"
    )
    return ColumnProfile(name=column.name, type=column.type, top=clip(bench.rows(f"{frequent} LIMIT {top}")), **clip(row))

"""SQL over CSV, Parquet and JSON: load tables, profile their columns, query them, find what stands out.

Every task gets a database of its own, in memory. Its tables are loaded first; then the database is locked: no file, no
network, no extension, no change of configuration. Only then does it see the SQL of a user or a model.
"""
# ruff: noqa: S608 (names and texts enter our SQL through _identifier and _literal; a user's SQL runs locked, as one SELECT)

import gzip
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import duckdb
from pydantic import BaseModel, ConfigDict, Field

from agentfleet.agent import Agent, PermanentError, RetryableError, TaskContext

agent = Agent("data")

MAX_ROWS: Final = 200
MAX_COLUMNS: Final = 200
MAX_PROFILED: Final = 50
MAX_TABLES: Final = 20
SAMPLE_ROWS: Final = 5
CELL: Final = 200
"""Characters of a text, or elements of a list, that samples and top values keep."""

Row = dict[str, Any]
Table = str | list[str] | list[Row]
"""An s3:// URI of a CSV, Parquet or JSON blob; several of them, joined by column name; or the rows themselves.

Integers of JSON keep their digits up to 2**53, as RFC 8259 (section 6) promises; beyond, a column may become DOUBLE.
"""
Format = Literal["csv", "parquet", "json"]
Method = Literal["mad", "iqr"]

_T = TypeVar("_T")
_NAME = re.compile(r"[A-Za-z]\w{0,62}", re.ASCII)
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)")
_NESTED = re.compile(r"STRUCT|MAP|UNION|\[")
_SUFFIXES: Final[dict[str, Format]] = {
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "json", ".ndjson": "json",
}  # fmt: skip
_READERS: Final[dict[Format, str]] = {
    "csv": "read_csv({files}, union_by_name = true, sample_size = -1)",
    "parquet": "read_parquet({files}, union_by_name = true)",
    "json": "read_json({files}, union_by_name = true, sample_size = -1, maximum_object_size = 8388608)",
}
_QUANTILES: Final = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
_SLOTS: Final = threading.BoundedSemaphore(2)
"""An environment works on a batch of tasks at once, but has memory and processor time for two databases, not for ten."""
_ANSWER: Final = "_answer"
_ONLY: Final = "t"


class Strict(BaseModel):
    """An input: a field that it does not know is a mistake, said at once."""

    model_config = ConfigDict(extra="forbid")


class Column(BaseModel):
    """A column and its DuckDB type."""

    name: str
    type: str


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


@agent.capability("data.load", idempotent=True, timeout=90)
def load(input: LoadInput, context: TaskContext) -> LoadOutput:
    """Load CSV, Parquet or JSON (a blob, several blobs, text or rows) into one typed table, stored as Parquet."""
    given = [name for name in ("uri", "text", "rows") if getattr(input, name) not in (None, "")]
    if len(given) != 1:
        raise PermanentError(f"input: give exactly one of uri, text and rows, not {' and '.join(given) or 'none'}")
    source = input.text.encode() if input.text else input.uri or input.rows or []
    with _workbench({_ANSWER: source}, context, input.format) as bench:
        sample = [_clip(row) for row in bench.rows(f"FROM {_ANSWER} LIMIT {SAMPLE_ROWS}")]
        uri, columns = bench.store(), bench.columns(_ANSWER)
        return LoadOutput(uri=uri, columns=columns, count=bench.count(_ANSWER), sample=sample)


@agent.capability("data.profile", idempotent=True, timeout=90)
def profile(input: ProfileInput, context: TaskContext) -> ProfileOutput:
    """Describe each column: count, nulls, distinct values, minimum, maximum, mean, quantiles and most frequent values."""
    with _workbench({"t": input.table}, context) as bench:
        columns = bench.columns("t")
        wanted = columns if input.columns is None else [_named(name, columns) for name in input.columns]
        if len(wanted) > MAX_PROFILED:
            raise PermanentError(f"columns: {len(wanted)} columns to profile, at most {MAX_PROFILED} are allowed; name some")
        return ProfileOutput(count=bench.count("t"), columns=[_profile(bench, column, input.top) for column in wanted])


@agent.capability("data.query", idempotent=True, timeout=90)
def query(input: QueryInput, context: TaskContext) -> QueryOutput:
    """Answer one SQL SELECT over named tables (URIs or rows): up to 200 rows inline, more as a Parquet blob."""
    for name in input.tables:
        if not _NAME.fullmatch(name):
            raise PermanentError(f"tables: {name!r} is no table name; use letters, digits and _, a letter first, at most 63")
    with _workbench(dict(input.tables), context) as bench:
        bench.answer(input.sql)
        count, columns = bench.count(_ANSWER), bench.columns(_ANSWER)
        uri = bench.store() if count > input.limit else None
        return QueryOutput(columns=columns, rows=bench.rows(f"FROM {_ANSWER} LIMIT {input.limit}"), count=count, uri=uri)


@agent.capability("data.anomalies", idempotent=True, timeout=90)
def anomalies(input: AnomaliesInput, context: TaskContext) -> AnomaliesOutput:
    """Find the rows whose value lies far out: by median and MAD (robust z-score), or beyond the quartiles (IQR).

    `mad`: the modified z-score 0.6745 (x - median) / MAD of Iglewicz and Hoaglin (1993, 'How to Detect and Handle
    Outliers'); where more than half of the values are equal (MAD 0), the mean absolute deviation stands in.
    `iqr`: the distance beyond the nearer quartile, in interquartile ranges (Tukey's fences).
    """
    threshold = input.threshold or (3.5 if input.method == "mad" else 1.5)
    with _workbench({"t": input.table}, context) as bench:
        column = _named(input.column, bench.columns("t"))
        if not _NUMBER.fullmatch(column.type):
            raise PermanentError(f"column: {column.name!r} is {column.type}, only a numeric column has anomalies")
        x = f"{_identifier(column.name)}::DOUBLE"
        center, lower, upper, scale, checked = _spread(bench, x, input.method)
        count, found = 0, []
        if scale > 0:
            beyond = f"(greatest({x} - {upper!r}, 0) + least({x} - {lower!r}, 0)) / {scale!r}"
            bench.answer(f"SELECT *, {beyond} AS _score FROM t WHERE abs({beyond}) > {threshold!r} ORDER BY abs({beyond}) DESC")
            count, found = bench.count(_ANSWER), bench.rows(f"FROM {_ANSWER} LIMIT {input.limit}")
        reach = threshold * scale
        return AnomaliesOutput(
            column=column.name, method=input.method, threshold=threshold, scale=scale, checked=checked, count=count,
            center=center if checked else None, low=lower - reach if checked else None, high=upper + reach if checked else None,
            rows=[row | {"score": round(row.pop("_score"), 4)} for row in found],
        )  # fmt: skip


def _spread(bench: "_Workbench", x: str, method: Method) -> tuple[float, float, float, float, int]:
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


def _profile(bench: "_Workbench", column: Column, top: int) -> ColumnProfile:
    x = _identifier(column.name)
    ends = f"min({x}) AS min, max({x}) AS max" if not _NESTED.search(column.type) else "NULL AS min, NULL AS max"
    counts = f"count({x}) AS count, count(*) - count({x}) AS nulls, count(DISTINCT {x}) AS distinct"
    (row,) = bench.rows(f"SELECT {counts}, {ends} FROM t")
    if _NUMBER.fullmatch(column.type) and row["count"]:
        measures = f"avg(n) AS mean, stddev_samp(n) AS deviation, quantile_cont(n, {list(_QUANTILES.values())}) AS cuts"
        (numbers,) = bench.rows(f"SELECT {measures} FROM (SELECT {x}::DOUBLE AS n FROM t)")
        row |= numbers | {"quantiles": dict(zip(_QUANTILES, numbers.pop("cuts"), strict=True))}
    frequent = f"SELECT {x} AS value, count(*) AS count FROM t WHERE {x} IS NOT NULL GROUP BY ALL ORDER BY count DESC, value"
    return ColumnProfile(name=column.name, type=column.type, top=_clip(bench.rows(f"{frequent} LIMIT {top}")), **_clip(row))


@contextmanager
def _workbench(tables: dict[str, Table | bytes], context: TaskContext, format: Format | None = None) -> Iterator["_Workbench"]:
    """A database holding these tables (bytes: the text of one), locked. Raises PermanentError for what can't be read."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": str(context.settings.get("memory_limit", "384MB")),
        "threads": str(context.settings.get("threads", 2)),
        "temp_directory": "",
        "python_enable_replacements": "false",
    }
    if not _SLOTS.acquire(timeout=context.remaining_seconds()):
        raise RetryableError("no time was left after waiting for other tasks of this environment")
    try:
        with tempfile.TemporaryDirectory() as folder, duckdb.connect(":memory:", config=config) as connection:
            bench = _Workbench(connection, Path(folder), context)
            connection.execute("SET TimeZone = 'UTC'")
            for table, source in tables.items():
                bench.load(table, source, format)
            # From here on nothing can be read or written but the one file that `store` hands out.
            connection.execute(f"SET allowed_paths = [{_literal(bench.exported)}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield bench
    finally:
        _SLOTS.release()


class _Workbench:
    """One task's database. Errors of the engine come out as PermanentError, in one line."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, context: TaskContext) -> None:
        self._connection = connection
        self._folder = folder
        self._context = context
        self.exported = folder / "rows.parquet"

    def load(self, table: str, source: Table | bytes, format: Format | None) -> None:
        """Create a table from where its rows are. NaN becomes null, so that one bad value can't spoil an average."""
        label = f"tables.{table}" if _NAME.fullmatch(table) and table != _ONLY else "table"
        parts = sorted(self._parts(table, source, format), key=lambda part: part[0])
        if not parts:
            raise PermanentError(f"{label}: there are no rows to load, not even column names")
        readers = [
            "FROM " + _READERS[kind].format(files=f"[{', '.join(_literal(path) for _, path in group)}]")
            for kind, group in groupby(parts, key=lambda part: part[0])
        ]
        self._run(f"CREATE TABLE {_identifier(table)} AS {' UNION ALL BY NAME '.join(readers)}", f"{label}: can't be read")
        columns = self.columns(table)
        if len(columns) > MAX_COLUMNS:
            raise PermanentError(f"{label}: {len(columns)} columns, at most {MAX_COLUMNS} are allowed")
        for x in [_identifier(column.name) for column in columns if column.type in {"DOUBLE", "FLOAT"}]:
            self._run(f"UPDATE {_identifier(table)} SET {x} = NULL WHERE isnan({x})", label)

    def answer(self, sql: str) -> None:
        """Run one SELECT of a user's and keep its rows as the answer. Raises RetryableError if the task's time ran out."""
        statements = _guarded(lambda: self._connection.extract_statements(sql), "sql")
        if len(statements) != 1:
            raise PermanentError(f"sql: must be a single SELECT statement, not {len(statements)} statements")
        if statements[0].type != duckdb.StatementType.SELECT:
            raise PermanentError(f"sql: must be a SELECT (or WITH … SELECT) statement, not {statements[0].type.name}")
        allowed = float(self._context.settings.get("query_seconds", 45))
        seconds = min(allowed, self._context.remaining_seconds() - 2)
        began = time.monotonic()
        timer = threading.Timer(max(seconds, 0), self._connection.interrupt)
        timer.start()
        try:
            self._run(f"CREATE TABLE {_ANSWER} AS {statements[0].query}", "sql")
        except duckdb.InterruptException as error:
            message = f"sql: stopped after {time.monotonic() - began:.1f} s, {allowed:g} s are allowed"
            raise (PermanentError(message) if seconds >= allowed else RetryableError(message)) from error
        finally:
            timer.cancel()

    def columns(self, table: str) -> list[Column]:
        """A table's columns in order."""
        described = self._run(f"DESCRIBE {_identifier(table)}", table).fetchall()
        return [Column(name=name, type=kind) for name, kind, *_ in described]

    def count(self, table: str) -> int:
        """A table's number of rows."""
        return int(self.one(f"SELECT count(*) FROM {_identifier(table)}")[0])

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a query of ours."""
        return self._run(sql, "table").fetchone() or ()

    def rows(self, sql: str) -> list[Row]:
        """The rows of a query of ours as JSON has them: dates in ISO 8601, decimals as numbers, NaN and infinity null."""
        described = self._run(f"DESCRIBE {sql}", "table").fetchall()
        times = [_identifier(name) for name, kind, *_ in described if kind.startswith("TIMESTAMP")]
        iso = ", ".join(f"replace({x}::VARCHAR, ' ', 'T') AS {x}" for x in times)
        picked = f"SELECT * REPLACE ({iso}) FROM ({sql})" if times else sql
        found = self._run(f"SELECT to_json(_row) FROM ({picked}) _row", "table").fetchall()
        return [json.loads(text, parse_constant=lambda _: None) for (text,) in found]

    def store(self) -> str:
        """Write the answer as a Parquet blob of the task. Returns its URI."""
        self._run(f"COPY {_ANSWER} TO {_literal(self.exported)} (FORMAT parquet, COMPRESSION zstd)", "rows: can't be stored")
        return self._context.blobs.put(self.exported.name, self.exported.read_bytes(), "application/vnd.apache.parquet")

    def _run(self, sql: str, what: str) -> duckdb.DuckDBPyConnection:
        return _guarded(lambda: self._connection.execute(sql), what)

    def _parts(self, table: str, source: Table | bytes, format: Format | None) -> Iterator[tuple[Format, Path]]:
        """Each non-empty piece of a source as a file in the folder, with its format."""
        if isinstance(source, bytes):
            pieces = [(source, format or "csv", "")]
        elif isinstance(source, list) and not any(isinstance(item, str) for item in source):
            pieces = [("".join(f"{json.dumps(row)}\n" for row in source).encode(), "json", "")]
        else:
            uris = [source] if isinstance(source, str) else [str(item) for item in source]
            pieces = [(self._context.blobs.get(uri), *_format_of(uri, format)) for uri in uris]
        several = [_lines(body, packed) for body, kind, packed in pieces if body and kind == "json"]
        if len(several) > 1:
            # In one file: the engine takes 32 MB to read a file of JSON, however small it is.
            pieces = [piece for piece in pieces if piece[1] != "json"] + [(b"".join(several), "json", "")]
        for number, (body, kind, suffix) in enumerate(pieces):
            if body:
                path = self._folder / f"{table}-{number}.{kind}{suffix}"
                path.write_bytes(body)
                yield kind, path


def _lines(body: bytes, packed: str) -> bytes:
    """A JSON array, or JSON Lines already, as JSON Lines."""
    try:
        text = (gzip.decompress(body) if packed else body).strip()
        if text.startswith(b"["):
            return "".join(f"{json.dumps(row)}\n" for row in json.loads(text)).encode()
    except (ValueError, OSError, EOFError) as error:
        raise PermanentError(f"table: can't be read: {error}") from error
    return text + b"\n"


def _guarded(run: Callable[[], _T], what: str) -> _T:
    try:
        return run()
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        reason = " ".join(str(error).split("\n\nLINE ")[0].split())
        raise PermanentError(f"{what}: {reason[:500]}") from error


def _format_of(uri: str, format: Format | None) -> tuple[Format, str]:
    """Format and compression suffix of a blob, told by its name unless given."""
    suffixes = Path(uri).suffixes
    packed = suffixes.pop() if suffixes and suffixes[-1] == ".gz" else ""
    kind = format or _SUFFIXES.get(suffixes[-1].lower() if suffixes else "")
    if kind is None:
        raise PermanentError(f"uri: {uri!r} does not tell its format; end it in {', '.join(_SUFFIXES)} or give `format`")
    return kind, packed


def _named(name: str, columns: list[Column]) -> Column:
    for column in columns:
        if column.name == name:
            return column
    names = ", ".join(column.name for column in columns[:MAX_PROFILED])
    raise PermanentError(f"column: {name!r} is not in the table; it has {names}")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _clip(value: Any) -> Any:
    """The value with long texts and lists cut, for samples."""
    if isinstance(value, str):
        return value if len(value) <= CELL else value[: CELL - 1] + "…"
    if isinstance(value, dict):
        return {key: _clip(inner) for key, inner in list(value.items())[:CELL]}
    return [_clip(inner) for inner in value[:CELL]] if isinstance(value, list) else value

"""One task's tables in a database of its own, in memory. Its tables are loaded first; then the database is locked: no file, no
network, no extension, no change of configuration. Only then does it see the SQL of a user or a model.
"""
# ruff: noqa: S608 (names and texts enter our SQL through identifier and literal; a user's SQL runs locked, as one SELECT)

import gzip
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import duckdb
from pydantic import BaseModel

from agentfleet.domain.errors import PermanentError, RetryableError
from agentfleet.services.capability import TaskContext

MAX_COLUMNS: Final = 200
MAX_PROFILED: Final = 50
CELL: Final = 200
"""Characters of a text, or elements of a list, that samples and top values keep."""

Row = dict[str, Any]
Table = str | list[str] | list[Row]
"""An s3:// URI of a CSV, Parquet or JSON blob; several of them, joined by column name; or the rows themselves.

Integers of JSON keep their digits up to 2**53, as RFC 8259 (section 6) promises; beyond, a column may become DOUBLE.
"""
Format = Literal["csv", "parquet", "json"]

NAME: Final = re.compile(r"[A-Za-z]\w{0,62}", re.ASCII)
NUMBER: Final = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)")
ANSWER: Final = "_answer"
SLOTS: Final = threading.BoundedSemaphore(2)
"""An environment works on a batch of tasks at once, but has memory and processor time for two databases, not for ten."""

_T = TypeVar("_T")
_SUFFIXES: Final[dict[str, Format]] = {
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "json", ".ndjson": "json",
}  # fmt: skip
_READERS: Final[dict[Format, str]] = {
    "csv": "read_csv({files}, union_by_name = true, sample_size = -1)",
    "parquet": "read_parquet({files}, union_by_name = true)",
    "json": "read_json({files}, union_by_name = true, sample_size = -1, maximum_object_size = 8388608)",
}
_ONLY: Final = "t"


class Column(BaseModel):
    """A column and its DuckDB type."""

    name: str
    type: str


@contextmanager
def workbench(tables: dict[str, Table | bytes], context: TaskContext, format: Format | None = None) -> Iterator["Workbench"]:
    """A database holding these tables (bytes: the text of one), locked. Raises PermanentError for what can't be read."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": str(context.settings.get("memory_limit", "384MB")),
        "threads": str(context.settings.get("threads", 2)),
        "temp_directory": "",
        "python_enable_replacements": "false",
    }
    if not SLOTS.acquire(timeout=context.remaining_seconds()):
        raise RetryableError("no time was left after waiting for other tasks of this environment")
    try:
        with tempfile.TemporaryDirectory() as folder, duckdb.connect(":memory:", config=config) as connection:
            bench = Workbench(connection, Path(folder), context)
            connection.execute("SET TimeZone = 'UTC'")
            for table, source in tables.items():
                bench.load(table, source, format)
            # From here on nothing can be read or written but the one file that `store` hands out.
            connection.execute(f"SET allowed_paths = [{literal(bench.exported)}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield bench
    finally:
        SLOTS.release()


def explain(table: str, columns: Sequence[Column], sql: str) -> None:
    """See whether one SELECT fits a table of these columns, without its rows. Raises PermanentError saying what is wrong."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": "1",
        "temp_directory": "",
        "python_enable_replacements": "false",
    }
    with duckdb.connect(":memory:", config=config) as connection:
        fields = ", ".join(f"{identifier(column.name)} {column.type}" for column in columns)
        _guarded(lambda: connection.execute(f"CREATE TABLE {identifier(table)} ({fields})"), "table")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        query = _only_select(connection, sql)
        _guarded(lambda: connection.execute(f"EXPLAIN {query}"), "sql")


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The only statement of a text, which must be a SELECT. Raises PermanentError."""
    statements = _guarded(lambda: connection.extract_statements(sql), "sql")
    if len(statements) != 1:
        raise PermanentError(f"sql: must be a single SELECT statement, not {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise PermanentError(f"sql: must be a SELECT (or WITH … SELECT) statement, not {statements[0].type.name}")
    query: str = statements[0].query
    return query


class Workbench:
    """One task's database. Errors of the engine come out as PermanentError, in one line."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, context: TaskContext) -> None:
        self._connection = connection
        self._folder = folder
        self._context = context
        self.exported = folder / "rows.parquet"

    def load(self, table: str, source: Table | bytes, format: Format | None) -> None:
        """Create a table from where its rows are. NaN becomes null, so that one bad value can't spoil an average."""
        label = f"tables.{table}" if NAME.fullmatch(table) and table != _ONLY else "table"
        parts = sorted(self._parts(table, source, format), key=lambda part: part[0])
        if not parts:
            raise PermanentError(f"{label}: there are no rows to load, not even column names")
        readers = [
            "FROM " + _READERS[kind].format(files=f"[{', '.join(literal(path) for _, path in group)}]")
            for kind, group in groupby(parts, key=lambda part: part[0])
        ]
        self._run(f"CREATE TABLE {identifier(table)} AS {' UNION ALL BY NAME '.join(readers)}", f"{label}: can't be read")
        columns = self.columns(table)
        if len(columns) > MAX_COLUMNS:
            raise PermanentError(f"{label}: {len(columns)} columns, at most {MAX_COLUMNS} are allowed")
        for x in [identifier(column.name) for column in columns if column.type in {"DOUBLE", "FLOAT"}]:
            self._run(f"UPDATE {identifier(table)} SET {x} = NULL WHERE isnan({x})", label)

    def answer(self, sql: str) -> None:
        """Run one SELECT of a user's and keep its rows as the answer. Raises RetryableError if the task's time ran out."""
        query = _only_select(self._connection, sql)
        allowed = float(self._context.settings.get("query_seconds", 45))
        seconds = min(allowed, self._context.remaining_seconds() - 2)
        began = time.monotonic()
        timer = threading.Timer(max(seconds, 0), self._connection.interrupt)
        timer.start()
        try:
            self._run(f"CREATE OR REPLACE TABLE {ANSWER} AS {query}", "sql")
        except duckdb.InterruptException as error:
            message = f"sql: stopped after {time.monotonic() - began:.1f} s, {allowed:g} s are allowed"
            raise (PermanentError(message) if seconds >= allowed else RetryableError(message)) from error
        finally:
            timer.cancel()

    def columns(self, table: str) -> list[Column]:
        """A table's columns in order."""
        described = self._run(f"DESCRIBE {identifier(table)}", table).fetchall()
        return [Column(name=name, type=kind) for name, kind, *_ in described]

    def count(self, table: str) -> int:
        """A table's number of rows."""
        return int(self.one(f"SELECT count(*) FROM {identifier(table)}")[0])

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a query of ours."""
        return self._run(sql, "table").fetchone() or ()

    def rows(self, sql: str) -> list[Row]:
        """The rows of a query of ours as JSON has them: dates in ISO 8601, decimals as numbers, NaN and infinity null."""
        described = self._run(f"DESCRIBE {sql}", "table").fetchall()
        times = [identifier(name) for name, kind, *_ in described if kind.startswith("TIMESTAMP")]
        iso = ", ".join(f"replace({x}::VARCHAR, ' ', 'T') AS {x}" for x in times)
        picked = f"SELECT * REPLACE ({iso}) FROM ({sql})" if times else sql
        found = self._run(f"SELECT to_json(_row) FROM ({picked}) _row", "table").fetchall()
        return [json.loads(text, parse_constant=lambda _: None) for (text,) in found]

    def store(self) -> str:
        """Write the answer as a Parquet blob of the task. Returns its URI."""
        self._run(f"COPY {ANSWER} TO {literal(self.exported)} (FORMAT parquet, COMPRESSION zstd)", "rows: can't be stored")
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


def named(name: str, columns: Sequence[Column]) -> Column:
    """The column of a name. Raises PermanentError."""
    for column in columns:
        if column.name == name:
            return column
    names = ", ".join(column.name for column in columns[:MAX_PROFILED])
    raise PermanentError(f"column: {name!r} is not in the table; it has {names}")


def identifier(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A text as SQL has it."""
    return "'" + str(value).replace("'", "''") + "'"


def clip(value: Any) -> Any:
    """The value with long texts and lists cut, for samples."""
    if isinstance(value, str):
        return value if len(value) <= CELL else value[: CELL - 1] + "…"
    if isinstance(value, dict):
        return {key: clip(inner) for key, inner in list(value.items())[:CELL]}
    return [clip(inner) for inner in value[:CELL]] if isinstance(value, list) else value

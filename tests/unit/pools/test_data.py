"""Loading, profiling and querying tables, and finding what stands out: real DuckDB over blobs in memory."""

import gzip
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agentfleet import workbench
from agentfleet.agent import PermanentError, RetryableError, TaskContext
from functions.data import handler as data
from tests.fakes.blobs import FakeBlobs
from tests.unit.pools.conftest import MakeContext

CSV = "id,day,amount,name\n1,2026-01-02,3.5,Ann\n2,2026-02-03,NaN,\n3,,7,Bob\n"
same_blobs = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(context: TaskContext, **given: Any) -> data.LoadOutput:
    """The outcome of one data.load."""
    return data.load(data.LoadInput(**given), context)


def query(context: TaskContext, sql: str, **tables: Any) -> data.QueryOutput:
    """The outcome of one data.query over these tables."""
    return data.query(data.QueryInput(sql=sql, tables=tables), context)


def read(body: bytes, folder: Path) -> list[tuple[Any, ...]]:
    """The rows of a Parquet file, read by an engine of our own."""
    path = folder / "rows.parquet"
    path.write_bytes(body)
    with duckdb.connect(":memory:") as connection:
        return connection.read_parquet(str(path)).fetchall()


def test_load_types_a_csv_text(context: TaskContext) -> None:
    """Columns get types, dates come out in ISO 8601, NaN and empty fields as null."""
    table = load(context, text=CSV)

    assert [(column.name, column.type) for column in table.columns] == [
        ("id", "BIGINT"),
        ("day", "DATE"),
        ("amount", "DOUBLE"),
        ("name", "VARCHAR"),
    ]
    assert table.count == 3
    assert table.sample[0] == {"id": 1, "day": "2026-01-02", "amount": 3.5, "name": "Ann"}
    assert table.sample[1] == {"id": 2, "day": "2026-02-03", "amount": None, "name": None}
    json.dumps(table.model_dump(), allow_nan=False)


def test_load_stores_parquet(context: TaskContext, blobs: FakeBlobs) -> None:
    """The blob is Parquet and holds every row; loading it again gives the same table."""
    table = load(context, text=CSV)

    assert blobs.get(table.uri)[:4] == b"PAR1"
    assert blobs.blobs[table.uri][1] == "application/vnd.apache.parquet"
    again = load(context, uri=table.uri)
    assert (again.columns, again.count, again.sample) == (table.columns, table.count, table.sample)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("rows.csv", b"a,b\n1,x\n2,y\n"),
        ("rows.tsv", b"a\tb\n1\tx\n2\ty\n"),
        ("rows.csv.gz", gzip.compress(b"a,b\n1,x\n2,y\n", mtime=0)),
        ("rows.json", b'[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'),
        ("rows.jsonl", b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'),
        ("rows.ndjson.gz", gzip.compress(b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n', mtime=0)),
    ],
)
def test_load_knows_formats_by_their_names(name: str, body: bytes, context: TaskContext, blobs: FakeBlobs) -> None:
    """CSV, TSV, JSON and JSON Lines, packed or not, give the same table."""
    table = load(context, uri=blobs.put(f"blobs/acme/{name}", body, "application/octet-stream"))

    assert table.sample == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_load_takes_a_format_for_a_name_that_tells_none(context: TaskContext, blobs: FakeBlobs) -> None:
    """Without a telling suffix, the format must be given."""
    uri = blobs.put("blobs/acme/rows", b"a\n1\n", "text/csv")

    with pytest.raises(PermanentError, match=r"does not tell its format; end it in \.csv"):
        load(context, uri=uri)
    assert load(context, uri=uri, format="csv").count == 1


def test_load_joins_blobs_by_column_name(context: TaskContext, blobs: FakeBlobs) -> None:
    """Several blobs of several formats make one table; what one of them lacks is null; empty ones don't count."""
    uris = [
        blobs.put("blobs/acme/a.csv", b"a,b\n1,x\n", "text/csv"),
        blobs.put("blobs/acme/b.json", b'[{"a": 2, "tags": ["t"]}]', "application/json"),
        blobs.put("blobs/acme/c.jsonl", b'{"a": 3, "tags": []}', "application/x-ndjson"),
        blobs.put("blobs/acme/d.jsonl", b"", "application/x-ndjson"),
    ]

    table = load(context, uri=uris)

    assert sorted(table.sample, key=lambda row: row["a"]) == [
        {"a": 1, "b": "x", "tags": None},
        {"a": 2, "b": None, "tags": ["t"]},
        {"a": 3, "b": None, "tags": []},
    ]


def test_load_many_small_blobs_in_little_memory(make_context: MakeContext, blobs: FakeBlobs) -> None:
    """A fan-in of two hundred small files needs no more memory than one."""
    uris = [
        blobs.put(f"blobs/acme/{number}.jsonl", f'{{"n": {number}}}'.encode(), "application/x-ndjson") for number in range(200)
    ]

    assert load(make_context(settings={"memory_limit": "100MB"}), uri=uris).count == 200


@pytest.mark.parametrize(
    ("given_input", "message"),
    [
        ({}, "exactly one of uri, text and rows, not none"),
        ({"text": "a\n1", "rows": [{"a": 1}]}, "not text and rows"),
        ({"rows": []}, "no rows to load"),
        ({"uri": "https://example.org/a.csv"}, "must be s3://bucket/key"),
        ({"uri": "/etc/passwd"}, "must be s3://bucket/key"),
        ({"text": "{]", "format": "json"}, "table: can't be read"),
        ({"text": "PAR1", "format": "parquet"}, "table: can't be read"),
        ({"text": ",".join(f"c{n}" for n in range(201)) + "\n"}, "201 columns, at most 200"),
    ],
)
def test_load_refuses(given_input: dict[str, Any], message: str, context: TaskContext) -> None:
    """What can't be loaded is a permanent error that says why."""
    with pytest.raises(PermanentError, match=message):
        load(context, **given_input)


@same_blobs
@given(numbers=st.lists(st.integers(1 - 2**53, 2**53 - 1), min_size=1, max_size=30))
def test_rows_survive_loading_and_querying(numbers: list[int], context: TaskContext) -> None:
    """Rows in, rows out: none lost, none changed, in their order (integers that every JSON reader keeps: RFC 8259, 6)."""
    rows = [{"n": number, "text": f"<{number}>"} for number in numbers]

    table = load(context, rows=rows)

    assert query(context, "SELECT * FROM t", t=table.uri).rows == rows


def test_query_joins_tables(context: TaskContext) -> None:
    """Inline rows and blobs are tables alike."""
    people = load(context, text="id,name\n1,Ann\n2,Bob\n").uri

    answer = query(
        context,
        "SELECT name, sum(n) AS total FROM people JOIN orders USING (id) GROUP BY name ORDER BY name",
        people=people,
        orders=[{"id": 1, "n": 2}, {"id": 1, "n": 3}, {"id": 2, "n": 5}],
    )

    assert answer.rows == [{"name": "Ann", "total": 5}, {"name": "Bob", "total": 5}]
    assert (answer.count, answer.uri) == (2, None)


def test_query_stores_what_is_too_long(context: TaskContext, blobs: FakeBlobs, tmp_path: Path) -> None:
    """The first rows come inline, all of them as Parquet, in order."""
    answer = query(context, "SELECT range AS n FROM range(1000)")

    assert [row["n"] for row in answer.rows] == list(range(200))
    assert answer.count == 1000
    assert answer.uri is not None
    assert read(blobs.get(answer.uri), tmp_path) == [(n,) for n in range(1000)]


def test_query_gives_plain_json(context: TaskContext) -> None:
    """Every type of the engine comes out as JSON has it."""
    answer = query(
        context,
        """SELECT 1.50::DECIMAL(9, 2) AS price, TIMESTAMP '2026-01-02 03:04:05.5' AS at,
                  TIMESTAMPTZ '2026-01-02 03:04:05+02' AS zoned, TIME '10:00' AS clock, 'nan'::DOUBLE AS nan,
                  '-inf'::FLOAT AS inf, [1, NULL] AS list, {'a': 'nan'::DOUBLE, 'b': DATE '2026-01-02'} AS struct,
                  MAP {'k': 1} AS map, NULL AS nothing, true AS yes, '{"x": 1}'::JSON AS json""",
    )

    (row,) = answer.rows
    assert row == {
        "price": 1.5, "at": "2026-01-02T03:04:05.5", "zoned": "2026-01-02T01:04:05+00", "clock": "10:00:00", "nan": None,
        "inf": None, "list": [1, None], "struct": {"a": None, "b": "2026-01-02"}, "map": {"k": 1}, "nothing": None,
        "yes": True, "json": {"x": 1},
    }  # fmt: skip
    json.dumps(answer.model_dump(), allow_nan=False)


@pytest.mark.parametrize("name", ["1a", "a b", "_a", 'a"; DROP', "", "é", "a" * 64])
def test_query_refuses_names_that_are_not_identifiers(name: str, context: TaskContext) -> None:
    """A table's name can't smuggle SQL in."""
    with pytest.raises(PermanentError, match="is no table name"):
        query(context, "SELECT 1", **{name: [{"a": 1}]})


def test_query_explains_what_is_wrong(context: TaskContext) -> None:
    """An error of the engine arrives in one line with its hint."""
    with pytest.raises(PermanentError, match=r"^sql: .*amuont.*amount") as raised:
        query(context, "SELECT amuont FROM t", t=[{"amount": 1}])
    assert "\n" not in str(raised.value)


def test_query_is_stopped_when_it_takes_too_long(make_context: MakeContext) -> None:
    """Its own limit is final; a task that had too little time left may try again."""
    endless = "SELECT count(*) FROM range(100000000000) a, range(100000000) b WHERE a.range * b.range % 7 = 3"

    with pytest.raises(PermanentError, match="stopped after"):
        query(make_context(settings={"query_seconds": 0.1}), endless)
    with pytest.raises(RetryableError, match="stopped after"):
        query(make_context(seconds=2.1), endless)


def test_query_stays_within_its_memory(make_context: MakeContext) -> None:
    """A query that needs more memory than it has fails; the environment lives on."""
    context = make_context(settings={"memory_limit": "50MB"})

    with pytest.raises(PermanentError, match="Out of Memory"):
        query(context, "SELECT range AS n, hash(range) AS h FROM range(100000000)")
    assert query(context, "SELECT 1 AS one").rows == [{"one": 1}]


def test_query_waits_for_a_slot_only_as_long_as_it_has(make_context: MakeContext) -> None:
    """With every slot taken, a task without time is handed back to be retried."""
    assert workbench.SLOTS.acquire(blocking=False)
    assert workbench.SLOTS.acquire(blocking=False)
    try:
        with pytest.raises(RetryableError, match="no time was left"):
            query(make_context(seconds=0.05), "SELECT 1")
    finally:
        workbench.SLOTS.release(2)


def test_profile_describes_columns(context: TaskContext) -> None:
    """Numbers get moments and quantiles, everything gets counts, ends and frequent values."""
    rows = [{"n": n, "name": "x" if n < 3 else "y", "day": f"2026-01-0{n}", "list": [n]} for n in (1, 2, 3, 4)]
    output = data.profile(data.ProfileInput(table=[*rows, {"n": None}]), context)

    profiles = {profile.name: profile for profile in output.columns}
    n, name, day = profiles["n"], profiles["name"], profiles["day"]
    assert output.count == 5
    assert (n.count, n.nulls, n.distinct, n.min, n.max, n.mean) == (4, 1, 4, 1, 4, 2.5)
    assert n.deviation == pytest.approx(statistics.stdev([1, 2, 3, 4]))
    assert n.quantiles == pytest.approx({"p05": 1.15, "p25": 1.75, "p50": 2.5, "p75": 3.25, "p95": 3.85})
    assert (name.mean, name.top) == (None, [{"value": "x", "count": 2}, {"value": "y", "count": 2}])
    assert (day.type, day.min, day.max) == ("DATE", "2026-01-01", "2026-01-04")
    assert (profiles["list"].min, profiles["list"].distinct) == (None, 4)


def test_profile_of_one_column(context: TaskContext) -> None:
    """Named columns come in the order of their names; a name that is not there is refused with those that are."""
    table = [{"a": 1, "b": "x" * 300}]

    (profile,) = data.profile(data.ProfileInput(table=table, columns=["b"]), context).columns
    assert len(profile.max) == 200
    with pytest.raises(PermanentError, match="'c' is not in the table; it has a, b"):
        data.profile(data.ProfileInput(table=table, columns=["c"]), context)


@same_blobs
@given(values=st.lists(st.integers(-1_000, 1_000) | st.none(), min_size=1, max_size=40))
def test_profile_agrees_with_the_statistics_module(values: list[int | None], context: TaskContext) -> None:
    """Count, nulls, ends, mean and median are what Python's own library computes."""
    (profile,) = data.profile(
        data.ProfileInput(table=[{"v": value, "k": 1} for value in values], columns=["v"]), context
    ).columns

    known = [value for value in values if value is not None]
    assert (profile.count, profile.nulls, profile.distinct) == (len(known), values.count(None), len(set(known)))
    if known:
        assert (profile.min, profile.max) == (min(known), max(known))
        assert profile.mean == pytest.approx(statistics.fmean(known))
        assert profile.quantiles is not None
        assert profile.quantiles["p50"] == pytest.approx(statistics.median(known))


def anomalies(context: TaskContext, values: Sequence[float | None], **given: Any) -> data.AnomaliesOutput:
    """What stands out among these values, each in a row with its place."""
    table = [{"v": value, "place": place} for place, value in enumerate(values)]
    return data.anomalies(data.AnomaliesInput(table=table, column="v", **given), context)


def test_anomalies_by_mad(context: TaskContext) -> None:
    """The modified z-score is 0.6745 (x - median) / MAD, and one wild value does not hide another."""
    output = anomalies(context, [10, 11, 12, 13, 14, 1_000, -900, None])

    assert [row["place"] for row in output.rows] == [5, 6]
    assert (output.center, output.checked, output.count) == (12, 7, 2)
    assert output.rows[0]["score"] == pytest.approx(0.6745 * 988 / 2, rel=1e-3)
    assert output.rows[1]["score"] < 0


def test_anomalies_where_most_values_are_equal(context: TaskContext) -> None:
    """With a median absolute deviation of zero, the mean absolute deviation measures."""
    output = anomalies(context, [5.0] * 20 + [50.0])

    assert [row["v"] for row in output.rows] == [50]
    assert output.scale == pytest.approx(1.2533141 * 45 / 21)


def test_anomalies_by_quartiles(context: TaskContext) -> None:
    """Tukey's fences lie 1.5 interquartile ranges beyond the quartiles."""
    output = anomalies(context, [1, 2, 3, 4, 5, 6, 7, 8, 9, 30], method="iqr")

    assert [row["v"] for row in output.rows] == [30]
    assert (output.low, output.high) == (3.25 - 1.5 * 4.5, 7.75 + 1.5 * 4.5)
    assert output.rows[0]["score"] == pytest.approx((30 - 7.75) / 4.5, abs=1e-4)


@pytest.mark.parametrize("method", ["mad", "iqr"])
@pytest.mark.parametrize("values", [[3.0] * 9, [3.0, None], [7.0]])
def test_nothing_stands_out_where_nothing_varies(method: str, values: list[float | None], context: TaskContext) -> None:
    """No spread, no anomalies, and no division by zero."""
    output = anomalies(context, values, method=method)

    assert (output.count, output.rows, output.scale) == (0, [], 0)
    assert output.low == output.high == output.center


def test_anomalies_of_a_column_without_values(context: TaskContext) -> None:
    """All null: nothing is checked and nothing claimed."""
    uri = query(context, "SELECT NULL::BIGINT AS v FROM range(300)").uri

    output = data.anomalies(data.AnomaliesInput(table=str(uri), column="v"), context)

    assert (output.checked, output.center, output.low, output.high, output.count) == (0, None, None, None, 0)


@pytest.mark.parametrize(("column", "message"), [("name", "only a numeric column"), ("nope", "it has v, name")])
def test_anomalies_need_a_numeric_column(column: str, message: str, context: TaskContext) -> None:
    """Text has no median; a missing column is named with those that exist."""
    with pytest.raises(PermanentError, match=message):
        data.anomalies(data.AnomaliesInput(table=[{"v": 1, "name": "x"}], column=column), context)


@same_blobs
@given(
    values=st.lists(st.integers(-100, 100), min_size=3, max_size=40),
    shift=st.integers(-1_000, 1_000),
    factor=st.sampled_from([0.5, 2, 16]),
    method=st.sampled_from(["mad", "iqr"]),
)
def test_scores_do_not_depend_on_the_unit(
    values: list[int], shift: int, factor: float, method: str, context: TaskContext
) -> None:
    """Celsius or Fahrenheit: shifting and scaling all values changes neither who stands out nor by how much."""
    plain = anomalies(context, [float(value) for value in values], method=method)
    moved = anomalies(context, [value * factor + shift for value in values], method=method)

    assert sorted(row["place"] for row in plain.rows) == sorted(row["place"] for row in moved.rows)
    scores = {row["place"]: row["score"] for row in plain.rows}
    assert {row["place"]: row["score"] for row in moved.rows} == pytest.approx(scores, abs=2e-4)


@same_blobs
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), method=st.sampled_from(["mad", "iqr"]))
def test_what_stands_out_lies_outside_the_limits(values: list[float], method: str, context: TaskContext) -> None:
    """Rows are exactly those beyond low and high, farthest first."""
    output = anomalies(context, values, method=method)

    assert output.low is not None
    assert output.high is not None
    if output.scale > 0:
        slack = 1e-9 * max(abs(output.low), abs(output.high), 1)
        found = {row["place"] for row in output.rows}
        for place, value in enumerate(values):
            if value < output.low - slack or value > output.high + slack:
                assert place in found
            elif output.low + slack < value < output.high - slack:
                assert place not in found
    scores = [abs(row["score"]) for row in output.rows]
    assert scores == sorted(scores, reverse=True)
    assert all(math.isfinite(score) for score in scores)


def test_limits_of_inputs() -> None:
    """More inline rows or tables than a task may have are refused by the input itself."""
    with pytest.raises(ValidationError, match="less than or equal to 200"):
        data.QueryInput(sql="SELECT 1", limit=201)
    with pytest.raises(ValidationError, match="at most 20"):
        data.QueryInput(sql="SELECT 1", tables={f"t{n}": [] for n in range(21)})

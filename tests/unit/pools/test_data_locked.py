"""A user's SQL is locked in: it sees its tables and nothing else."""

from pathlib import Path

import pytest

from agentfleet.agent import PermanentError, TaskContext
from functions.data import handler as data
from tests.fakes.blobs import FakeBlobs

# In the globals of the caller, where the engine would look for data frames if it were let.
secret_rows = [{"secret": 1}]

NOT_SELECT = [
    "COPY t TO '/tmp/out.csv'",
    "COPY (SELECT 1) TO '/tmp/out.parquet'",
    "COPY t FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/out'",
    "IMPORT DATABASE '/tmp/out'",
    "ATTACH '/tmp/other.db'",
    "ATTACH 'https://example.org/other.db'",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL spatial",
    "PRAGMA version",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "SET allowed_paths = ['/etc/passwd']",
    "RESET lock_configuration",
    "CREATE TABLE u AS SELECT 1",
    "CREATE SECRET s (TYPE s3, KEY_ID 'k', SECRET 's')",
    "CREATE MACRO f() AS 1",
    "DROP TABLE t",
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 2",
    "DELETE FROM t",
    "ALTER TABLE t ADD COLUMN b INTEGER",
    "TRUNCATE t",
    "CALL pragma_version()",
    "EXPLAIN SELECT 1",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
]

OUTSIDE = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/proc/self/environ')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('s3://bucket/key.parquet')",
    "SELECT * FROM read_csv('https://example.org/a.csv')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'https://example.org/a.parquet'",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM duckdb_secrets()",
    "SELECT getenv('HOME')",
    "SELECT * FROM secret_rows",
    "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "FROM query_table(['/etc/passwd'])",
]


def refused(sql: str, context: TaskContext) -> str:
    """The error of a query that must not work."""
    with pytest.raises(PermanentError) as raised:
        data.query(data.QueryInput(sql=sql, tables={"t": [{"a": 1}]}), context)
    return str(raised.value)


@pytest.mark.parametrize("sql", NOT_SELECT)
def test_only_a_select_is_run(sql: str, context: TaskContext) -> None:
    """Anything but one SELECT is refused before it runs, and the error says what it was or why it can't be."""
    assert refused(sql, context).startswith("sql: ")


@pytest.mark.parametrize("sql", OUTSIDE)
def test_nothing_outside_can_be_read(sql: str, context: TaskContext) -> None:
    """No file, no network, no environment, no secret, no variable of the program."""
    message = refused(sql, context)

    assert message.startswith("sql: ")
    assert "root:" not in message


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE t", "", "-- nothing", ";"])
def test_exactly_one_statement(sql: str, context: TaskContext) -> None:
    """None and several are refused alike."""
    if sql:
        assert "must be a single SELECT statement" in refused(sql, context)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t",
        "select a from t;",
        "WITH x AS (SELECT a FROM t) SELECT * FROM x",
        "FROM t",
        "SELECT a FROM t -- a comment at the end",
        "/* first */ SELECT a FROM t",
    ],
)
def test_selects_of_every_look_are_run(sql: str, context: TaskContext) -> None:
    """Comments, a final semicolon and DuckDB's short forms are fine."""
    assert data.query(data.QueryInput(sql=sql, tables={"t": [{"a": 1}]}), context).rows == [{"a": 1}]


def test_the_one_open_path_leads_nowhere(context: TaskContext) -> None:
    """The file that the platform will write its answer to is not there to be read."""
    sql = "SELECT * FROM read_parquet(current_setting('allowed_paths')[1])"

    assert "sql: " in refused(sql, context)


def test_text_that_looks_like_a_path_is_only_text(context: TaskContext, blobs: FakeBlobs) -> None:
    """Rows and CSV fields that name files are not opened."""
    uri = blobs.put("blobs/acme/a.csv", b"a\n/etc/passwd\n", "text/csv")

    answer = data.query(data.QueryInput(sql="SELECT a FROM t UNION ALL FROM u", tables={"t": uri, "u": [{"a": "/x"}]}), context)

    assert [row["a"] for row in answer.rows] == ["/etc/passwd", "/x"]


def test_nothing_is_left_behind(context: TaskContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a task is gone when the task is, also when it failed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    data.load(data.LoadInput(text="a\n1\n"), context)
    refused("SELECT nonsense", context)

    assert list(tmp_path.iterdir()) == []

"""What the emulator lacks of streams, completed where it is missing and nowhere else."""

from types import SimpleNamespace
from typing import Any

from client.emulator import gather_records, tell_streams_of_inserts


def emulator() -> tuple[Any, list[Any]]:
    """What is used of MiniStack's DynamoDB, and the records that its streams got."""
    told: list[Any] = []
    items: set[str] = set()

    def insert(_table: Any, parsed: Any) -> Any:
        key = parsed["item"]["pk"]["S"]
        status = 400 if key in items else 200
        items.add(key)
        return status, {}, b""

    def execute(_data: Any) -> None: ...

    fake = SimpleNamespace(_partiql_insert=insert, _execute_statement=execute, _batch_execute_statement=execute)
    fake._emit_stream_event = lambda *record: told.append(record)
    return fake, told


def test_an_insert_is_told_once_and_a_refused_one_never() -> None:
    """With the item as it was stored, in the words of PutItem."""
    dynamodb, told = emulator()
    assert tell_streams_of_inserts(dynamodb)
    assert not tell_streams_of_inserts(dynamodb)
    statement = {"table": "work", "item": {"pk": {"S": "g1"}}}

    first, second = (dynamodb._partiql_insert({}, statement)[0] for _ in range(2))

    assert (first, second) == (200, 400)
    assert told == [("work", "INSERT", None, {"pk": {"S": "g1"}})]


def test_an_emulator_that_tells_by_itself_is_left_alone() -> None:
    """Otherwise an update of MiniStack would tell everything twice."""
    dynamodb, _ = emulator()
    before = dynamodb._partiql_insert

    def tells(_data: Any) -> None:
        _emit_stream_event()  # type: ignore[name-defined]  # noqa: F821 - a global of its module, as in MiniStack

    dynamodb._execute_statement = tells

    assert not tell_streams_of_inserts(dynamodb)
    assert dynamodb._partiql_insert is before


def streams(window: int, batch: int = 3) -> tuple[Any, Any, list[str]]:
    """What is used of MiniStack's streams: its tables and triggers, and the records of a table."""
    records: list[str] = []
    trigger = {"EventSourceArn": "arn:aws:dynamodb:r:0:table/work/stream/1", "BatchSize": batch}
    trigger["MaximumBatchingWindowInSeconds"] = window

    def read(_table: str, position: int, limit: int, **_: Any) -> list[str]:
        return records[position : position + limit]

    def poll() -> None: ...

    functions = SimpleNamespace(_poll_dynamodb_streams=poll, _iter_all_esms=lambda: iter([("0", "r", trigger)]))
    return SimpleNamespace(stream_records_since=read), functions, records


def test_a_trigger_waits_for_its_window_or_a_full_batch() -> None:
    """From when it saw the first record; the next batch waits for a window of its own."""
    dynamodb, functions, records = streams(window=2)
    clock = [10.0]
    assert gather_records(dynamodb, functions, lambda: clock[0])
    poll = dynamodb.stream_records_since

    records += ["a", "b"]
    assert poll("work", 0, 3) == []
    clock[0] = 11.9
    assert poll("work", 0, 3) == []
    clock[0] = 12.0
    assert poll("work", 0, 3) == ["a", "b"]
    records += ["c"]
    assert poll("work", 2, 3) == []
    records += ["d", "e", "f"]
    assert poll("work", 2, 3) == ["c", "d", "e"]


def test_who_waits_for_nothing_gets_records_at_once() -> None:
    """A trigger without a window, and whoever reads a stream by its API."""
    dynamodb, functions, records = streams(window=0)
    gather_records(dynamodb, functions)
    records.append("a")
    assert dynamodb.stream_records_since("work", 0, 3) == ["a"]

    dynamodb, functions, records = streams(window=2)
    gather_records(dynamodb, functions)
    records.append("a")
    assert dynamodb.stream_records_since("work", 0, 3, account_id="0") == ["a"]


def test_an_emulator_that_waits_by_itself_is_left_alone() -> None:
    """Told by its own code."""
    dynamodb, functions, _ = streams(window=2)

    def poll(esm: Any) -> Any:
        return esm.get("MaximumBatchingWindowInSeconds")

    functions._poll_dynamodb_streams = poll

    assert not gather_records(dynamodb, functions)

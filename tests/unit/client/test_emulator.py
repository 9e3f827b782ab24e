"""The emulator's missing stream records, completed where they are missing and nowhere else."""

from types import SimpleNamespace
from typing import Any

from client.emulator import tell_streams_of_inserts


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

"""What items cost: DynamoDB charges a write unit per started KB, so the frequent ones must stay under one."""

import json
from typing import Any

import boto3
import pytest

from agentfleet.adapters.dynamo import Item, bind
from agentfleet.adapters.work_table import GoalItem, join_key, shard_key, to_outputs, to_result_item
from agentfleet.domain.plan import JOIN_ARITY
from agentfleet.domain.result import Result
from tests.contract.making import result
from tests.fakes import START

GOAL_ID = "g" + "0" * 22
KB = 1024


def size(item: Item) -> int:
    """Bytes of an item, by DynamoDB's rules (Developer Guide, 'DynamoDB item sizes and formats')."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: dict[str, object]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(str(content).encode())
    numbers = [str(content)] if kind == "N" else [str(one) for one in content]  # type: ignore[attr-defined]
    return sum(1 + (len(number.strip("-").replace(".", "")) + 1) // 2 for number in numbers)


def stored(one: Result) -> Item:
    """The item that a result becomes."""
    return to_result_item(one, 200, to_outputs(one), None, START)


def test_a_result_without_output_is_a_fraction_of_a_write_unit() -> None:
    """Under 150 bytes, with a realistic agent and the longest key."""
    assert size(stored(result(GOAL_ID, 99_999, agent="data-0123456789ab", duration=0.123456))) < 150


def test_ten_results_without_output_share_a_write_unit() -> None:
    """A chunk of ten costs hardly more than one; so do short outputs, with room for many."""
    assert size(stored(result(GOAL_ID, 9_999, *[None] * 10))) < 150
    assert size(stored(result(GOAL_ID, 9_999, *[{"ok": True}] * 10))) < 300
    assert size(stored(result(GOAL_ID, 9_999, *[{"rows": n, "uri": "s3://bucket/" + "k" * 50} for n in range(10)]))) < KB


def test_a_full_join_fits_a_write_unit() -> None:
    """The largest join there is, with its key and its expiry."""
    slots = [str(slot) for slot in range(JOIN_ARITY)]
    item = {
        "pk": {"S": shard_key(GOAL_ID, 199, 200)},
        "sk": {"S": join_key(100_000)},
        "d": {"NS": slots},
        "expires": {"N": str(int(START.timestamp()))},
    }

    assert size(item) <= KB


def test_outputs_are_stored_as_compact_json() -> None:
    """No spaces, no escapes: every byte of a chunk is paid for."""
    text = to_outputs(result("g", 0, {"a": [1, "é"]}, None))

    assert text == '[{"a":[1,"é"]},null]'
    assert json.loads(text) == [{"a": [1, "é"]}, None]


@pytest.mark.parametrize("table", ["first", "second"])
def test_one_process_may_use_two_tables(table: str) -> None:
    """Binding a model to one table leaves its other bindings alone, and makes no client of its own."""
    client: Any = boto3.client("dynamodb", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    bound = {name: bind(GoalItem, name, client) for name in ("first", "second")}

    assert bound[table].Meta.table_name == table
    assert bound[table]._get_connection().table_name == table
    assert bound[table]._get_connection().connection.client is client
    model: Any = bound[table].goals._model
    assert model is bound[table]
    client.close()

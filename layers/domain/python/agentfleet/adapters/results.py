"""Results in DynamoDB: the hot path. Ten conditional puts are one request, and what is no-op stays one write unit."""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.dynamo import Item, from_micros, read_items
from agentfleet.adapters.outputs import INLINE_BYTES, S3Outputs
from agentfleet.adapters.units import read_units
from agentfleet.adapters.work_table import (
    LIFETIME,
    RESULT_PREFIX,
    from_result_item,
    result_key,
    shard_key,
    states_of,
    to_outputs,
    to_result_item,
    unit_of,
)
from agentfleet.domain.errors import RetryableError
from agentfleet.domain.healing import Finished
from agentfleet.domain.result import Result, TaskState
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import BatchStatementRequestTypeDef

INSERTS: Final = 25
"""Statements per request (API reference, BatchExecuteStatement)."""
SERIAL_SHARDS: Final = 4

_DUPLICATE: Final = "DuplicateItem"
_PASSING: Final = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "ThrottlingError",
        "TransactionConflict",
    }
)
"""Errors of single statements that another try may get past (API reference, BatchStatementError)."""

_Key = tuple[str, str]


class DynamoResults:
    """A ResultStore: `DynamoResults(dynamodb, table, outputs, threads, clock, lifetime=60 days, backoff=Backoff())`.

    PartiQL's INSERT fails on a key that exists, and BatchExecuteStatement carries many of them: one request per batch of
    messages where conditional PutItem would need one each.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        outputs: S3Outputs,
        threads: Executor,
        clock: Clock,
        lifetime: timedelta = LIFETIME,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._outputs = outputs
        self._threads = threads
        self._clock = clock
        self._lifetime = lifetime
        self._backoff = backoff
        self._statements: dict[tuple[str, ...], str] = {}

    def put(self, shards: int, results: Sequence[Result]) -> Sequence[Result]:
        """Store those whose unit has no result yet. Gives, in the same order, the results that stand.

        A result that was stored is given back as it came. Raises ClientError if DynamoDB keeps refusing one.
        """
        mine: dict[_Key, Result] = {}
        for result in results:
            mine.setdefault(_key(result.goal_id, result.unit, shards), result)
        items = self._to_items(shards, mine)
        keys = list(mine)
        parts = [keys[start : start + INSERTS] for start in range(0, len(keys), INSERTS)]

        def insert(part: Sequence[_Key]) -> list[_Key]:
            return self._insert(items, part)

        refused = [
            key for found in (self._threads.map(insert, parts) if len(parts) > 1 else map(insert, parts)) for key in found
        ]
        if refused:
            mine.update(self._standing({key: mine[key].goal_id for key in refused}))
        return [mine[_key(result.goal_id, result.unit, shards)] for result in results]

    def get(self, goal_id: str, shards: int, units: Iterable[int], *, outputs: bool = True) -> dict[int, Result]:
        """The results that there are among these units, read consistently. Without `outputs`, large ones stay unread (None)."""
        if outputs:
            keys = [_key(goal_id, unit, shards) for unit in units]
            items = read_items(self._dynamodb, self._table, keys, self._threads, self._backoff)
        else:  # may be a whole plan's
            items = read_units(self._dynamodb, self._table, goal_id, shards, units, result_key, self._threads, self._backoff)
        filed = self._read_filed([(goal_id, item) for item in items]) if outputs else {}
        return {unit_of(item): from_result_item(item, goal_id, filed.get((goal_id, unit_of(item)))) for item in items}

    def tally(self, goal_id: str, shards: int) -> dict[TaskState, int]:
        """How many tasks ended how, read consistently."""

        def count(shard: int) -> Counter[TaskState]:
            return self._tally_shard(shard_key(goal_id, shard, shards))

        total: Counter[TaskState] = Counter()
        for found in self._threads.map(count, range(shards)) if shards > SERIAL_SHARDS else map(count, range(shards)):
            total.update(found)
        return dict(total)

    def finished(self, goal_id: str, shards: int) -> dict[int, Finished]:
        """Every unit that has a result, without reading the results themselves; may be a moment behind."""

        def read(shard: int) -> dict[int, Finished]:
            return self._finished_in(shard_key(goal_id, shard, shards))

        found = self._threads.map(read, range(shards)) if shards > SERIAL_SHARDS else map(read, range(shards))
        return {unit: finished for part in found for unit, finished in part.items()}

    def _finished_in(self, partition: str) -> dict[int, Finished]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :results)",
            ExpressionAttributeValues={":pk": {"S": partition}, ":results": {"S": RESULT_PREFIX}},
            ProjectionExpression="sk,s,t,d",
        )
        return {
            unit_of(item): Finished(
                from_micros(item["t"]["N"]) + timedelta(seconds=float(item["d"]["N"])), TaskState.FAILED in states_of(item)
            )
            for page in pages
            for item in page["Items"]
        }

    def _to_items(self, shards: int, results: dict[_Key, Result]) -> dict[_Key, Item]:
        texts = {key: to_outputs(result) for key, result in results.items()}
        large = [key for key, text in texts.items() if len(text.encode()) > INLINE_BYTES]

        def file(key: _Key) -> str:
            return self._outputs.put(results[key].goal_id, _file_name(results[key].unit), texts[key])

        digests = dict(zip(large, self._threads.map(file, large), strict=True)) if large else {}
        expires = self._clock() + self._lifetime  # not by when the task began: a fork takes over what began long before it
        return {key: to_result_item(result, shards, texts[key], digests.get(key), expires) for key, result in results.items()}

    def _insert(self, items: dict[_Key, Item], keys: Sequence[_Key]) -> list[_Key]:
        """Insert these items; gives the keys that exist already."""
        refused: list[_Key] = []
        waiting = list(keys)
        errors: dict[_Key, Any] = {}
        for _ in self._backoff.rounds():
            answer = self._dynamodb.batch_execute_statement(Statements=[self._statement(items[key]) for key in waiting])
            errors = {key: one["Error"] for key, one in zip(waiting, answer["Responses"], strict=True) if "Error" in one}
            refused.extend(key for key, error in errors.items() if error.get("Code") == _DUPLICATE)
            errors = {key: error for key, error in errors.items() if error.get("Code") != _DUPLICATE}
            waiting = list(errors)
            if not all(error.get("Code") in _PASSING for error in errors.values()):
                break
            if not waiting:
                return refused
        worst = next((error for error in errors.values() if error.get("Code") not in _PASSING), next(iter(errors.values())))
        raise ClientError(
            {"Error": {"Code": worst.get("Code", "Unknown"), "Message": worst.get("Message", "")}}, "BatchExecuteStatement"
        )

    def _statement(self, item: Item) -> "BatchStatementRequestTypeDef":
        names = tuple(item)
        statement = self._statements.get(names)
        if statement is None:
            values = ",".join(f"'{name}':?" for name in names)
            statement = self._statements[names] = f'INSERT INTO "{self._table}" VALUE {{{values}}}'
        return {"Statement": statement, "Parameters": list(item.values())}

    def _standing(self, goals: dict[_Key, str]) -> dict[_Key, Result]:
        """The results under these keys, which exist; goal ids by key."""
        items = {
            (item["pk"]["S"], item["sk"]["S"]): item
            for item in read_items(self._dynamodb, self._table, goals, self._threads, self._backoff)
        }
        if gone := [key for key in goals if key not in items]:
            raise RetryableError(f"the result {'/'.join(gone[0])} expired while it was looked at")
        filed = self._read_filed([(goals[key], item) for key, item in items.items()])
        return {key: from_result_item(item, goals[key], filed.get((goals[key], unit_of(item)))) for key, item in items.items()}

    def _read_filed(self, items: Sequence[tuple[str, Item]]) -> dict[tuple[str, int], Any]:
        """(goal, unit) → outputs, of those that are filed in S3."""
        large = [(goal_id, unit_of(item), item["p"]["S"]) for goal_id, item in items if "p" in item]

        def read(one: tuple[str, int, str]) -> Any:
            goal_id, unit, digest = one
            return self._outputs.get(goal_id, _file_name(unit), digest)

        if not large:
            return {}
        return {(goal, unit): found for (goal, unit, _), found in zip(large, self._threads.map(read, large), strict=True)}

    def _tally_shard(self, partition: str) -> Counter[TaskState]:
        found: Counter[TaskState] = Counter()
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :results)",
            ExpressionAttributeValues={":pk": {"S": partition}, ":results": {"S": RESULT_PREFIX}},
            ProjectionExpression="s",
            ConsistentRead=True,
        )
        for page in pages:
            for item in page["Items"]:
                found.update(states_of(item))
        return found


def _key(goal_id: str, unit: int, shards: int) -> _Key:
    return shard_key(goal_id, unit, shards), result_key(unit)


def _file_name(unit: int) -> str:
    return f"{unit:06d}"

"""What the tables have in common: pynamodb models bound to a table and the one client, attribute types, batch reads."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from botocore.exceptions import ClientError
from pynamodb.attributes import Attribute
from pynamodb.connection.base import Connection, MetaTable
from pynamodb.constants import MAP, NUMBER, STRING
from pynamodb.exceptions import PynamoDBException
from pynamodb.models import Model

from agentfleet.adapters.backoff import Backoff
from agentfleet.domain.codec import dumps

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from pynamodb.connection._botocore_private import BotocoreBaseClientPrivate

M = TypeVar("M", bound=Model)

Item = dict[str, Any]
"""An item in DynamoDB's own JSON: `{"pk": {"S": "…"}, …}`."""

BATCH_GET: Final = 100
BATCH_WRITE: Final = 25
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class _SharedConnection(Connection):
    """A pynamodb connection over a client that others use too."""

    def __init__(self, client: "DynamoDBClient", table: MetaTable) -> None:
        super().__init__(region=client.meta.region_name)
        self._shared = cast("BotocoreBaseClientPrivate", client)
        self.add_meta_table(table)

    @property
    def client(self) -> "BotocoreBaseClientPrivate":
        return self._shared


def bind(model: type[M], table: str, client: "DynamoDBClient") -> type[M]:
    """The model for one table and client: a subclass, so that two tables in one process don't meet in a class attribute."""
    metaclass: Any = type(model)
    bound: type[M] = metaclass(model.__name__, (model,), {"Meta": type("Meta", (), {"table_name": table})})
    connection = bound._get_connection()  # pynamodb's public ways to a connection all make a client of their own
    connection.connection = _SharedConnection(client, connection.get_meta_table())
    return bound


def decode(model: type[Model], item: Item) -> dict[str, Any]:
    """The values of an item's attributes by name, as the model's attributes read them; a third of what an instance costs."""
    attributes = model.get_attributes()
    return {
        name: attributes[name].deserialize(next(iter(value.values()))) for name, value in item.items() if name in attributes
    }


def condition_failed(error: PynamoDBException) -> bool:
    """Did a write fail because its condition did not hold?"""
    return error.cause_response_code == "ConditionalCheckFailedException"


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int | str) -> datetime:
    """The moment so many microseconds after 1970, in UTC."""
    return _EPOCH + int(micros) * _MICROSECOND


def to_seconds(moment: datetime) -> str:
    """Whole seconds since 1970, as a number attribute's value: what DynamoDB's TTL wants."""
    return str(int(moment.timestamp()))


class MomentAttribute(Attribute[datetime]):
    """A moment as a number: microseconds since 1970, so that it compares and comes back exactly."""

    attr_type = NUMBER

    def serialize(self, value: datetime) -> str:
        return str(to_micros(value))

    def deserialize(self, value: str) -> datetime:
        return from_micros(value)


class JsonAttribute(Attribute[Any]):
    """Any JSON value as compact text: integers stay integers, and it costs less CPU than nested attribute values."""

    attr_type = STRING

    def serialize(self, value: Any) -> str:
        return dumps(value)

    def deserialize(self, value: str) -> Any:
        return json.loads(value)


class PartsAttribute(Attribute[dict[str, bytes]]):
    """Named binaries."""

    attr_type = MAP

    def serialize(self, value: dict[str, bytes]) -> dict[str, Any]:
        return {name: {"B": part} for name, part in value.items()}

    def deserialize(self, value: dict[str, Any]) -> dict[str, bytes]:
        return {name: bytes(part["B"]) for name, part in value.items()}


def read_items(
    client: "DynamoDBClient", table: str, keys: Iterable[tuple[str, str]], threads: Executor, backoff: Backoff
) -> list[Item]:
    """The items that there are among these (pk, sk) keys, in no order, read consistently, 100 per request.

    Raises ClientError when DynamoDB leaves some unread however often it is asked.
    """
    distinct = list(dict.fromkeys(keys))
    parts = [distinct[start : start + BATCH_GET] for start in range(0, len(distinct), BATCH_GET)]
    if len(parts) <= 1:
        return [item for part in parts for item in _read_part(client, table, part, backoff)]
    found = threads.map(lambda part: _read_part(client, table, part, backoff), parts)
    return [item for items in found for item in items]


def _read_part(client: "DynamoDBClient", table: str, keys: Sequence[tuple[str, str]], backoff: Backoff) -> list[Item]:
    items: list[Item] = []
    wanted: Any = {table: {"Keys": [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in keys], "ConsistentRead": True}}
    for _ in backoff.rounds():
        answer = client.batch_get_item(RequestItems=wanted)
        items.extend(answer["Responses"].get(table, ()))
        wanted = answer.get("UnprocessedKeys")
        if not wanted:
            return items
    message = f"{len(wanted[table]['Keys'])} keys of {table} were left unread {backoff.tries} times"
    raise ClientError({"Error": {"Code": "ThrottlingException", "Message": message}}, "BatchGetItem")


def read_range(client: "DynamoDBClient", table: str, partition: str, first: str, last: str) -> list[Item]:
    """The items of a partition whose sort keys lie between these two, both included, read consistently."""
    pages = client.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
        ExpressionAttributeValues={":pk": {"S": partition}, ":first": {"S": first}, ":last": {"S": last}},
        ConsistentRead=True,
    )
    return [item for page in pages for item in page["Items"]]


def write_items(
    client: "DynamoDBClient", table: str, requests: Iterable[dict[str, Any]], threads: Executor, backoff: Backoff
) -> None:
    """Put and delete items (`{"PutRequest": …}`, `{"DeleteRequest": …}`), no two of one key, 25 per request.

    Raises ClientError when DynamoDB leaves some undone however often it is asked.
    """
    given = list(requests)
    parts = [given[start : start + BATCH_WRITE] for start in range(0, len(given), BATCH_WRITE)]
    for _ in threads.map(lambda part: _write_part(client, table, part, backoff), parts):
        pass


def _write_part(client: "DynamoDBClient", table: str, requests: list[dict[str, Any]], backoff: Backoff) -> None:
    left: Any = {table: requests}
    for _ in backoff.rounds():
        left = client.batch_write_item(RequestItems=left).get("UnprocessedItems")
        if not left:
            return
    message = f"{len(left[table])} items of {table} were left unwritten {backoff.tries} times"
    raise ClientError({"Error": {"Code": "ThrottlingException", "Message": message}}, "BatchWriteItem")

"""What routers must know of the pools, in the registry table: one query gives all of it.

Key rules (pk, sk):  ROUTING  HEALTH#pool
                     ROUTING  DRAIN#pool
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import json

from agentfleet.adapters.dynamo import from_micros, to_micros
from agentfleet.domain.pool_health import PoolHealth, RoutingTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

_ROUTING: Final = "ROUTING"
_HEALTH: Final = "HEALTH#"
_DRAIN: Final = "DRAIN#"


class DynamoRouting:
    """A RoutingStore: `DynamoRouting(dynamodb, table)`; `table` is the registry."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self) -> RoutingTable:
        """Health and draining of every pool: half a read unit for some thirty pools, and a moment behind."""
        health: dict[str, PoolHealth] = {}
        draining: dict[str, datetime] = {}
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :routing",
            ExpressionAttributeValues={":routing": {"S": _ROUTING}},
        )
        for item in (item for page in pages for item in page["Items"]):
            kind, _, pool = item["sk"]["S"].partition("#")
            if kind + "#" == _HEALTH:
                health[pool] = json.decode(item["record"]["S"], type=PoolHealth)
            elif kind + "#" == _DRAIN:
                draining[pool] = from_micros(item["since"]["N"])
        return RoutingTable(health, draining)

    def put_health(self, pool: str, health: PoolHealth) -> None:
        """Store or replace."""
        record = {"S": json.encode(health).decode()}
        self._dynamodb.put_item(TableName=self._table, Item={**_key(_HEALTH + pool), "record": record})

    def drain(self, pool: str, since: datetime | None) -> None:
        """Mark a pool as draining since then; None: as draining no more."""
        if since is None:
            self._dynamodb.delete_item(TableName=self._table, Key=_key(_DRAIN + pool))
        else:
            item = {**_key(_DRAIN + pool), "since": {"N": str(to_micros(since))}}
            self._dynamodb.put_item(TableName=self._table, Item=item)


def _key(name: str) -> "dict[str, AttributeValueTypeDef]":
    return {"pk": {"S": _ROUTING}, "sk": {"S": name}}

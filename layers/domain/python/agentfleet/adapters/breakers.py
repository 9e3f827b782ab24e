"""Circuit breakers in the registry table: one item each, replaced only by who has read it.

Key rule (pk, sk):  BREAKER#dependency  BREAKER
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.dynamo import from_micros, to_micros, to_seconds
from agentfleet.domain.breaker import Breaker, BreakerState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

_BREAKER: Final = "BREAKER"


class DynamoBreakers:
    """A BreakerStore: `DynamoBreakers(dynamodb, table)`; `table` is the registry."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self, dependency: str) -> tuple[Breaker, int]:
        """The breaker and its version; a new one of version 0 if there is none."""
        item = self._dynamodb.get_item(TableName=self._table, Key=_key(dependency), ConsistentRead=True).get("Item")
        if item is None:
            return Breaker(), 0
        until = item.get("until")
        breaker = Breaker(
            BreakerState(item["state"]["S"]),
            tuple(from_micros(moment["N"]) for moment in item["failures"]["L"]),
            None if until is None else from_micros(until["N"]),
        )
        return breaker, int(item["version"]["N"])

    def write(self, dependency: str, breaker: Breaker, version: int, expires: datetime) -> bool:
        """Store it as version + 1 if `version` is still the newest. False if it isn't: nothing was changed."""
        item: dict[str, AttributeValueTypeDef] = {
            **_key(dependency),
            "state": {"S": breaker.state.value},
            "failures": {"L": [{"N": str(to_micros(moment))} for moment in breaker.failures]},
            "version": {"N": str(version + 1)},
            "expires": {"N": to_seconds(expires)},
        }
        if breaker.until is not None:
            item["until"] = {"N": str(to_micros(breaker.until))}
        try:
            if version:
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="version = :version",
                    ExpressionAttributeValues={":version": {"N": str(version)}},
                )
            else:
                self._dynamodb.put_item(TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(pk)")
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True


def _key(dependency: str) -> "dict[str, AttributeValueTypeDef]":
    return {"pk": {"S": f"{_BREAKER}#{dependency}"}, "sk": {"S": _BREAKER}}

"""Joins in DynamoDB: one update that unites sets and tells the size of the result. A hot path, hence without a model."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from agentfleet.adapters.dynamo import to_seconds
from agentfleet.adapters.work_table import LIFETIME, join_key, shard_key
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoJoins:
    """A JoinStore: `DynamoJoins(dynamodb, table, clock, lifetime=60 days)`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, clock: Clock, lifetime: timedelta = LIFETIME) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock
        self._lifetime = lifetime

    def add(self, goal_id: str, shards: int, join: int, slots: Sequence[int]) -> int:
        """Unite the join's set with these slots, at least one. Gives its size after that; adding again changes nothing."""
        if not slots:
            raise ValueError("a join needs at least one slot to add")
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key={"pk": {"S": shard_key(goal_id, join, shards)}, "sk": {"S": join_key(join)}},
            UpdateExpression="ADD d :slots SET expires = if_not_exists(expires, :expires)",
            ExpressionAttributeValues={
                ":slots": {"NS": [str(slot) for slot in set(slots)]},
                ":expires": {"N": to_seconds(self._clock() + self._lifetime)},
            },
            ReturnValues="ALL_NEW",  # UPDATED_NEW is not documented to name what an update left as it was
        )
        return len(answer["Attributes"]["d"]["NS"])

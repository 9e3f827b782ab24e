"""Claims in DynamoDB: a conditional update takes a lease and counts its fence up."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pynamodb.exceptions import UpdateError

from agentfleet.adapters.dynamo import bind, condition_failed
from agentfleet.adapters.work_table import LIFETIME, ClaimItem, claim_key, shard_key
from agentfleet.domain.result import Claim

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoClaims:
    """A ClaimStore: `DynamoClaims(dynamodb, table, lifetime=30 days)`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, lifetime: timedelta = LIFETIME) -> None:
        self._items = bind(ClaimItem, table, dynamodb)
        self._lifetime = lifetime

    def claim(self, goal_id: str, shards: int, unit: int, owner: str, now: datetime, lease: timedelta) -> Claim | None:
        """Take the unit if it is free, its lease is over, or `owner` holds it. None if somebody else does."""
        item = self._items(shard_key(goal_id, unit, shards), claim_key(unit))
        until = now + lease
        try:
            item.update(
                actions=[
                    ClaimItem.owner.set(owner),
                    ClaimItem.until.set(until),
                    ClaimItem.fence.set((ClaimItem.fence | 0) + 1),
                    ClaimItem.expires.set(now + self._lifetime),
                ],
                condition=ClaimItem.pk.does_not_exist() | (ClaimItem.until <= now) | (ClaimItem.owner == owner),
            )
        except UpdateError as error:
            if condition_failed(error):
                return None
            raise
        return Claim(goal_id, unit, owner, int(item.fence), until)

"""Claims in DynamoDB: a conditional update takes a lease and counts its fence up."""

from collections.abc import Iterable
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pynamodb.exceptions import UpdateError

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.dynamo import bind, condition_failed, decode, read_items
from agentfleet.adapters.work_table import LIFETIME, ClaimItem, claim_key, shard_key, unit_of
from agentfleet.domain.result import Claim

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoClaims:
    """A ClaimStore: `DynamoClaims(dynamodb, table, threads, lifetime=60 days, backoff=Backoff())`."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        threads: Executor,
        lifetime: timedelta = LIFETIME,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._items = bind(ClaimItem, table, dynamodb)
        self._threads = threads
        self._lifetime = lifetime
        self._backoff = backoff

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

    def held(self, goal_id: str, shards: int, units: Iterable[int]) -> dict[int, Claim]:
        """The last claims that were taken of these units, their leases over or not, read consistently."""
        keys = [(shard_key(goal_id, unit, shards), claim_key(unit)) for unit in units]
        found: dict[int, Claim] = {}
        for item in read_items(self._dynamodb, self._table, keys, self._threads, self._backoff):
            unit, claim = unit_of(item), decode(ClaimItem, item)
            found[unit] = Claim(goal_id, unit, claim["owner"], int(claim["fence"]), claim["until"])
        return found

"""Claims in DynamoDB: a conditional update takes a lease and counts its fence up."""

from collections.abc import Iterable
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pynamodb.exceptions import UpdateError

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.dynamo import bind, condition_failed, decode
from agentfleet.adapters.units import read_units
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

    def release(self, claim: Claim, shards: int, now: datetime) -> None:
        """End a lease now; whoever has claimed the unit since keeps it. The fence stays: it tells that somebody tried."""
        item = self._items(shard_key(claim.goal_id, claim.unit, shards), claim_key(claim.unit))
        try:
            item.update(actions=[ClaimItem.until.set(now)], condition=ClaimItem.fence == claim.fence)
        except UpdateError as error:
            if not condition_failed(error):
                raise

    def held(self, goal_id: str, shards: int, units: Iterable[int]) -> dict[int, Claim]:
        """The last claims that were taken of these units, their leases over or not, read consistently."""
        items = read_units(self._dynamodb, self._table, goal_id, shards, units, claim_key, self._threads, self._backoff)
        found: dict[int, Claim] = {}
        for item in items:
            unit, claim = unit_of(item), decode(ClaimItem, item)
            found[unit] = Claim(goal_id, unit, claim["owner"], int(claim["fence"]), claim["until"])
        return found

    def claim_each(
        self, goal_id: str, shards: int, units: Iterable[int], owner: str, now: datetime, lease: timedelta
    ) -> dict[int, Claim]:
        """Take those of these units that can be taken, each for itself: one request each, several at once."""
        taken = self._threads.map(lambda unit: self.claim(goal_id, shards, unit, owner, now, lease), units)
        return {claim.unit: claim for claim in taken if claim}

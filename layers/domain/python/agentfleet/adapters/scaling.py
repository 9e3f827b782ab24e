"""What the fleet manager remembers, in the registry table.

Key rule (pk, sk): POOL#pool, SCALING.
"""

from typing import TYPE_CHECKING, Final

from msgspec import json
from pynamodb.attributes import UnicodeAttribute
from pynamodb.exceptions import DoesNotExist
from pynamodb.models import Model

from agentfleet.adapters.dynamo import bind
from agentfleet.domain.scaling import ScalingRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SCALING: Final = "SCALING"


class ScalingItem(Model):
    """A pool's record, as JSON."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    record = UnicodeAttribute()


class DynamoScalings:
    """A ScalingStore: `DynamoScalings(dynamodb, table)`; `table` is the registry."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._items = bind(ScalingItem, table, dynamodb)

    def get(self, pool: str) -> ScalingRecord | None:
        """A pool's record, read consistently."""
        try:
            item = self._items.get(f"POOL#{pool}", _SCALING, consistent_read=True)
        except DoesNotExist:
            return None
        return json.decode(item.record, type=ScalingRecord)

    def put(self, pool: str, record: ScalingRecord) -> None:
        """Store or replace."""
        self._items(f"POOL#{pool}", _SCALING, record=json.encode(record).decode()).save()

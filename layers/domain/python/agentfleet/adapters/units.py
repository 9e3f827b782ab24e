"""What is stored once per unit of a goal, such as results and claims: many units at once."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Final

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.dynamo import BATCH_GET, Item, read_items, read_range
from agentfleet.adapters.work_table import shard_key, unit_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DENSE: Final = 0.5
"""From what part of a range on all of it is read. An item by its key costs a read unit, there or not; those of a range cost one
for every 4 KB of them, ten to thirty results (Developer Guide, 'DynamoDB read consistency and capacity')."""


def read_units(
    client: "DynamoDBClient",
    table: str,
    goal_id: str,
    shards: int,
    units: Iterable[int],
    key: Callable[[int], str],
    threads: Executor,
    backoff: Backoff,
) -> list[Item]:
    """The items that there are of these units, in no order, read consistently: `key` gives a unit's sort key.

    Where more of a partition are wanted than a request holds keys, and they lie close together, they are read as a range.
    Raises ClientError.
    """
    wanted = set(units)
    parts: defaultdict[int, list[int]] = defaultdict(list)
    for unit in sorted(wanted):
        parts[unit % shards].append(unit)
    ranges = [part for part in parts.values() if len(part) > BATCH_GET and len(part) >= DENSE * _span(part, shards)]

    def read(part: list[int]) -> list[Item]:
        found = read_range(client, table, shard_key(goal_id, part[0], shards), key(part[0]), key(part[-1]))
        return [item for item in found if unit_of(item) in wanted]

    found = [item for items in (threads.map(read, ranges) if len(ranges) > 1 else map(read, ranges)) for item in items]
    within = {unit for part in ranges for unit in part}
    keys = [(shard_key(goal_id, unit, shards), key(unit)) for unit in wanted - within]
    return found + read_items(client, table, keys, threads, backoff)


def _span(part: list[int], shards: int) -> int:
    """How many units of the partition lie between the first and the last of these, both included."""
    return (part[-1] - part[0]) // shards + 1

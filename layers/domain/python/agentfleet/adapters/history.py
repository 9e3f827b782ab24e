"""Histories in DynamoDB: a head per goal, and its events in segments, filed under the hour in which the goal began.

Key rules (pk, sk):

    HEAD      GOAL#goal           HEAD
    SEGMENT   2026-11-22T11#07    goal#00000001     hour#shard; the number of the segment's first event

Whoever appends reads the last segment and puts the one that follows, under a key that only one segment can have, so that no two
writers can both continue from one event.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.dynamo import Item, from_micros, to_micros, to_seconds
from agentfleet.domain.codec import dumps
from agentfleet.domain.history import SEGMENT, Head, Segment, pack, unpack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_HEAD: Final = "HEAD"


class DynamoHistory:
    """A HistoryStore: `DynamoHistory(dynamodb, table)`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def head(self, goal_id: str) -> Head | None:
        """The chain's head, read consistently."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=_head_key(goal_id), ConsistentRead=True)
        return _to_head(answer["Item"], goal_id) if "Item" in answer else None

    def begin(self, goal_id: str, now: datetime) -> Head:
        """The goal's head, made now if there is none."""
        head = Head(goal_id, now)
        item: Item = {**_head_key(goal_id), **_head_fields(head), "expires": {"N": to_seconds(head.expires)}}
        try:
            self._dynamodb.put_item(TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(pk)")
        except ClientError as error:
            if not _refused(error):
                raise
            standing = self.head(goal_id)
            if standing is None:
                raise
            return standing
        return head

    def end(self, head: Head) -> Head:
        """How far the chain has really come, by its last segment, read consistently."""
        found = self._dynamodb.query(
            TableName=self._table, **_of_chain(head, head.count + 1), ConsistentRead=True, ScanIndexForward=False, Limit=1
        )["Items"]
        return _to_head(found[0], head.goal_id) if found else head

    def append(self, segment: Segment) -> bool:
        """Store a segment unless another continues the chain from the same event: then False, and nothing was changed."""
        try:
            self._dynamodb.put_item(
                TableName=self._table, Item=to_item(segment), ConditionExpression="attribute_not_exists(pk)"
            )
        except ClientError as error:
            if not _refused(error):
                raise
            return False
        return True

    def segments(self, head: Head, first: int = 1) -> Iterator[Segment]:
        """The chain's segments in order, from the one with event `first` on, read consistently."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table, **_of_chain(head, max(1, first - SEGMENT + 1)), ConsistentRead=True
        )
        for page in pages:
            for item in page["Items"]:
                segment = to_segment(item)
                if segment.head.count >= first:
                    yield segment

    def filed(self, partition: str) -> Iterator[Segment]:
        """All segments under an hour and shard, goal by goal, each goal's in order."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": partition}},
        )
        for page in pages:
            yield from map(to_segment, page["Items"])

    def move(self, head: Head) -> None:
        """Bring the goal's head forward to this one; a head that is further already stays."""
        fields = _head_fields(head)
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_head_key(head.goal_id),
                UpdateExpression="SET #count = :count, #hash = :hash, #marks = :marks",
                ConditionExpression="#count < :count",
                ExpressionAttributeNames={"#count": "count", "#hash": "hash", "#marks": "marks"},
                ExpressionAttributeValues={f":{name}": fields[name] for name in ("count", "hash", "marks")},
            )
        except ClientError as error:
            if not _refused(error):
                raise


def _refused(error: ClientError) -> bool:
    return bool(error.response["Error"]["Code"] == "ConditionalCheckFailedException")


def to_item(segment: Segment) -> Item:
    """A segment as an item."""
    head = segment.head
    return {
        **_segment_key(head, segment.first),
        **_head_fields(head),
        "events": {"B": pack(segment.text)},
        "expires": {"N": to_seconds(head.expires)},
    }


def to_segment(item: Mapping[str, Any]) -> Segment:
    """The segment inside an item."""
    goal_id, _, first = item["sk"]["S"].rpartition("#")
    return Segment(int(first), unpack(item["events"]["B"]), _to_head(item, goal_id))


def _of_chain(head: Head, first: int) -> dict[str, Any]:
    """The part of a query that asks for a goal's segments from `first` on."""
    return {
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
        "ExpressionAttributeValues": {
            ":pk": {"S": head.partition},
            ":first": _segment_key(head, first)["sk"],
            ":last": {"S": f"{head.goal_id}#~"},
        },
    }


def _head_key(goal_id: str) -> Item:
    return {"pk": {"S": f"GOAL#{goal_id}"}, "sk": {"S": _HEAD}}


def _segment_key(head: Head, first: int) -> Item:
    return {"pk": {"S": head.partition}, "sk": {"S": f"{head.goal_id}#{first:08d}"}}


def _head_fields(head: Head) -> Item:
    """Marks as text: sequence numbers have more digits than DynamoDB's numbers keep cheaply."""
    return {
        "started": {"N": str(to_micros(head.started))},
        "count": {"N": str(head.count)},
        "hash": {"S": head.hash},
        "marks": {"S": dumps(dict(head.marks))},
    }


def _to_head(item: Mapping[str, Any], goal_id: str) -> Head:
    return Head(
        goal_id=goal_id,
        started=from_micros(item["started"]["N"]),
        count=int(item["count"]["N"]),
        hash=item["hash"]["S"],
        marks=json.loads(item["marks"]["S"]),
    )

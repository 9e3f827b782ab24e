"""Journals in the work table: an item per entry, put if it isn't there; large entries are filed in S3 as results are.

Read by one query, since all of a task's entries lie in one partition. Names begin with a digit: the history, which looks at
goals (`GOAL`) and results (`R…`) alone, never sees them.
"""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.dynamo import Item, to_micros, to_seconds
from agentfleet.adapters.outputs import INLINE_BYTES, S3Outputs
from agentfleet.adapters.work_table import LIFETIME, journal_partition
from agentfleet.domain.codec import dumps
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ABSENT: Final = "attribute_not_exists(pk)"
_LOCK: Final = "lock"
"""Sort key of who goes on with the task."""


class DynamoJournals:
    """A JournalStore: `DynamoJournals(dynamodb, table, outputs, clock)`; `table` is the work table.

    e: the entry as JSON · p: the digest that it is filed under in S3 instead.
    """

    def __init__(self, dynamodb: "DynamoDBClient", table: str, outputs: S3Outputs, clock: Clock) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._outputs = outputs
        self._clock = clock

    def read(self, goal_id: str, task_id: str) -> dict[str, Any]:
        """Everything that a task has written down, by name, read consistently. Raises NotFound if a filed entry expired."""
        request: Item = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": journal_partition(goal_id, task_id)}},
            "ConsistentRead": True,
        }
        found: dict[str, Any] = {}
        while True:
            answer = self._dynamodb.query(**request)
            entries = (item for item in answer["Items"] if item["sk"]["S"] != _LOCK)
            found |= {item["sk"]["S"]: self._entry(goal_id, task_id, item) for item in entries}
            if "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def record(self, goal_id: str, task_id: str, name: str, entry: Any) -> Any:
        """Write down a JSON value unless there is one of that name. Gives the one that stands."""
        text = dumps(entry)
        key: Item = {"pk": {"S": journal_partition(goal_id, task_id)}, "sk": {"S": name}}
        item: Item = {**key, "expires": {"N": to_seconds(self._clock() + LIFETIME)}}
        if len(text.encode()) > INLINE_BYTES:
            item["p"] = {"S": self._outputs.put(goal_id, _file_name(task_id, name), text)}
        else:
            item["e"] = {"S": text}
        try:
            self._dynamodb.put_item(TableName=self._table, Item=item, ConditionExpression=_ABSENT)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            standing = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)["Item"]
            return self._entry(goal_id, task_id, standing)
        return json.loads(text)

    def take(self, goal_id: str, task_id: str, owner: str, now: datetime, until: datetime) -> bool:
        """Be the only one who goes on with the task until then. False if somebody else is: nothing was changed."""
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": journal_partition(goal_id, task_id)},
                    "sk": {"S": _LOCK},
                    "owner": {"S": owner},
                    "until": {"N": str(to_micros(until))},
                    "expires": {"N": to_seconds(now + LIFETIME)},
                },
                ConditionExpression=f"{_ABSENT} OR #until <= :now OR #owner = :owner",
                ExpressionAttributeNames={"#until": "until", "#owner": "owner"},
                ExpressionAttributeValues={":now": {"N": str(to_micros(now))}, ":owner": {"S": owner}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _entry(self, goal_id: str, task_id: str, item: Item) -> Any:
        if "p" in item:
            return self._outputs.get(goal_id, _file_name(task_id, item["sk"]["S"]), item["p"]["S"])
        return json.loads(item["e"]["S"])


def _file_name(task_id: str, name: str) -> str:
    return f"journal-{task_id}-{name}"

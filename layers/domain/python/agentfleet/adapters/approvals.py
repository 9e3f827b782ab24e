"""Requests for approval in the registry table: the request under its goal, and while it waits a copy under its tenant.

Key rules (pk, sk):

    REQUEST   APPROVAL#goal       unit (six digits)
    WAITING   APPROVALS#tenant    <asked ISO>#goal-unit

Both are written, and the copy is taken away again, in one transaction with the condition.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.cursor import from_cursor, to_cursor
from agentfleet.adapters.dynamo import Item, from_micros, to_micros, to_seconds
from agentfleet.domain.approval import Approval, Decision
from agentfleet.ports import Page

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LIFETIME: Final = timedelta(days=30)
"""How long a request waits, and a decision is kept: as long as goals. A task whose request is gone asks anew."""


class DynamoApprovals:
    """An ApprovalStore: `DynamoApprovals(dynamodb, table)`; `table` is the registry."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def ask(self, approval: Approval) -> bool:
        """Store a request unless the unit has one. False if it has: nothing was changed."""
        item = _to_item(approval, approval.asked + LIFETIME)
        return self._write(
            {"Put": {"TableName": self._table, "Item": {**_key(approval), **item}} | _where("attribute_not_exists(pk)")},
            {"Put": {"TableName": self._table, "Item": {**_waiting_key(approval), **item}}},
        )

    def get(self, goal_id: str, unit: int) -> Approval | None:
        """A unit's request, read consistently."""
        key = {"pk": {"S": f"APPROVAL#{goal_id}"}, "sk": {"S": f"{unit:06d}"}}
        item = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        return _to_approval(item) if item else None

    def of_goal(self, goal_id: str) -> dict[int, Approval]:
        """All requests of a goal by unit, read consistently."""
        found: dict[int, Approval] = {}
        request: Item = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": f"APPROVAL#{goal_id}"}},
            "ConsistentRead": True,
        }
        while True:
            answer = self._dynamodb.query(**request)
            found |= {int(item["unit"]["N"]): _to_approval(item) for item in answer["Items"]}
            if "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def decide(self, approval: Approval) -> bool:
        """Store a decision if the request waits for one. False if it doesn't: nothing was changed."""
        item = {**_key(approval), **_to_item(approval, (approval.decided or approval.asked) + LIFETIME)}
        pending: dict[str, Any] = {
            "ConditionExpression": "decision = :pending",
            "ExpressionAttributeValues": {":pending": {"S": Decision.PENDING.value}},
        }
        return self._write(
            {"Put": {"TableName": self._table, "Item": item} | pending},
            {"Delete": {"TableName": self._table, "Key": _waiting_key(approval)}},
        )

    def waiting(self, tenant: str, limit: int, cursor: str | None) -> Page[Approval]:
        """A tenant's requests that wait for a decision, oldest first, a moment behind. Raises InvalidRequest."""
        answer = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND sk > :after",
            ExpressionAttributeValues={
                ":pk": {"S": f"APPROVALS#{tenant}"},
                ":after": {"S": from_cursor(cursor) if cursor is not None else " "},
            },
            Limit=limit,
        )
        more = answer.get("LastEvaluatedKey")
        return Page(tuple(_to_approval(item) for item in answer["Items"]), to_cursor(more["sk"]["S"]) if more else None)

    def _write(self, *steps: Any) -> bool:
        try:
            self._dynamodb.transact_write_items(TransactItems=list(steps))
        except ClientError as error:
            reasons = [one.get("Code") for one in error.response.get("CancellationReasons", ())]
            if "ConditionalCheckFailed" in reasons:
                return False
            raise
        return True


def _where(condition: str) -> dict[str, str]:
    return {"ConditionExpression": condition}


def _key(approval: Approval) -> Item:
    return {"pk": {"S": f"APPROVAL#{approval.goal_id}"}, "sk": {"S": f"{approval.unit:06d}"}}


def _waiting_key(approval: Approval) -> Item:
    asked = approval.asked.isoformat(timespec="microseconds")
    return {"pk": {"S": f"APPROVALS#{approval.tenant}"}, "sk": {"S": f"{asked}#{approval.goal_id}-{approval.unit:06d}"}}


def _to_item(approval: Approval, expires: datetime) -> Item:
    item: Item = {
        "goal": {"S": approval.goal_id},
        "unit": {"N": str(approval.unit)},
        "tenant": {"S": approval.tenant},
        "tasks": {"L": [{"S": task} for task in approval.tasks]},
        "capability": {"S": approval.capability},
        "input": {"S": approval.input},
        "why": {"S": approval.why},
        "asked": {"N": str(to_micros(approval.asked))},
        "decision": {"S": approval.decision.value},
        "expires": {"N": to_seconds(expires)},
    }
    if approval.decided:
        item["decided"] = {"N": str(to_micros(approval.decided))}
    if approval.by:
        item["who"] = {"S": approval.by}
    if approval.note:
        item["note"] = {"S": approval.note}
    return item


def _to_approval(item: Item) -> Approval:
    decided = item.get("decided")
    return Approval(
        goal_id=item["goal"]["S"],
        unit=int(item["unit"]["N"]),
        tenant=item["tenant"]["S"],
        tasks=tuple(task["S"] for task in item["tasks"]["L"]),
        capability=item["capability"]["S"],
        input=item["input"]["S"],
        why=item["why"]["S"],
        asked=from_micros(item["asked"]["N"]),
        decision=Decision(item["decision"]["S"]),
        decided=from_micros(decided["N"]) if decided else None,
        by=item.get("who", {}).get("S"),
        note=item.get("note", {}).get("S"),
    )

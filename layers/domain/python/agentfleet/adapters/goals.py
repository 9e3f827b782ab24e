"""Goals in DynamoDB."""

import secrets
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import to_builtins
from pynamodb.exceptions import PutError
from pynamodb.expressions.condition import Condition

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.cursor import from_cursor, to_cursor
from agentfleet.adapters.dynamo import Item, bind, condition_failed, decode, read_items
from agentfleet.adapters.outputs import INLINE_BYTES, S3Outputs
from agentfleet.adapters.work_table import (
    GOAL,
    GOALS_INDEX,
    KEPT,
    LIVING_INDEX,
    LIVING_PARTS,
    GoalItem,
    listed_key,
    living_keys,
    living_place,
)
from agentfleet.domain import bounds
from agentfleet.domain import budget as budgets
from agentfleet.domain.codec import dumps
from agentfleet.domain.goal import Failure, Goal, GoalState, Parent, Undoing, Width
from agentfleet.ports import Page

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SCANNED: Final = 2000
"""How many goals one listing looks at when most are not of the wanted state."""
_PAGE: Final = 500
_OUTPUT: Final = "output"
_DIGEST: Final = "output_digest"
_WRITE: Final = "write"
_SHOWN: Final = {f"#{name}": name for name in GoalItem.get_attributes() if name not in {_OUTPUT, _DIGEST, _WRITE}}
Items = list[Item]
_LATEST: Final = "~"
"""Sorts after every date."""


class DynamoGoals:
    """A GoalStore: `DynamoGoals(dynamodb, table, outputs, threads, kept=30 days, backoff=Backoff())`.

    Outputs over 4 KB are filed in S3 and read back with the goal; listings leave outputs out.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        outputs: S3Outputs,
        threads: Executor,
        kept: timedelta = KEPT,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._items = bind(GoalItem, table, dynamodb)
        self._outputs = outputs
        self._threads = threads
        self._kept = kept
        self._backoff = backoff

    def create(self, goal: Goal) -> bool:
        """Store a goal unless one has its id. False if one has: nothing was changed."""
        return self._save(goal, GoalItem.pk.does_not_exist())

    def get(self, goal_ids: Sequence[str]) -> dict[str, Goal]:
        """The goals that there are among these, read consistently, with their outputs."""
        keys = [(goal_id, GOAL) for goal_id in goal_ids]
        found = read_items(self._dynamodb, self._table, keys, self._threads, self._backoff)
        goals = [decode(GoalItem, one) for one in found]
        filed = [goal for goal in goals if _DIGEST in goal]
        for goal, output in zip(filed, self._threads.map(self._read_output, filed) if filed else (), strict=True):
            goal[_OUTPUT] = output
        return {goal["pk"]: _to_goal(goal) for goal in goals}

    def replace(self, before: Goal, after: Goal) -> bool:
        """Store `after` if the goal is still in `before`'s state. False if it isn't: nothing was changed."""
        return self._save(after, GoalItem.state == before.state.value)

    def list(self, tenant: str, state: GoalState | None, limit: int, cursor: str | None) -> Page[Goal]:
        """A tenant's goals, newest first, without their outputs; goals made by sub-plans are left out.

        A page may be short and still have a cursor: 2,000 goals are looked at and no more. Raises InvalidRequest for a bad
        cursor.
        """
        start = from_cursor(cursor) if cursor is not None else _LATEST
        found, start = self._newest(tenant, state, limit, start)
        if len(found) > limit:
            start = found[limit - 1]["listed"]["S"]
        goals = tuple(_to_goal(decode(GoalItem, item)) for item in found[:limit])
        return Page(goals, to_cursor(start) if start else None)

    def alive(self, tenant: str, limit: int) -> Sequence[Width]:
        """A tenant's newest goals whose tasks may run, at most `limit`, newest first: some 200 bytes read for each."""
        part, prefix = living_place(tenant)
        answer = self._dynamodb.query(
            TableName=self._table,
            IndexName=LIVING_INDEX,
            KeyConditionExpression="living = :part AND begins_with(living_order, :prefix)",
            ExpressionAttributeValues={":part": {"S": part}, ":prefix": {"S": prefix}},
            ProjectionExpression="pk,living_order",
            ScanIndexForward=False,
            Limit=limit,
        )
        return [Width(item["pk"]["S"], int(item["living_order"]["S"].rpartition("#")[2])) for item in answer["Items"]]

    def _newest(self, tenant: str, state: GoalState | None, limit: int, start: str) -> "tuple[Items, str]":
        """More than `limit` rows in this state (in any, without), if there are so many; where to go on ("": nowhere)."""
        found: Items = []
        scanned = 0
        while len(found) <= limit and scanned < SCANNED:
            answer = self._query(tenant, state, start, _PAGE if state else limit + 1 - len(found))
            found.extend(answer["Items"])
            scanned += answer["ScannedCount"]
            if "LastEvaluatedKey" not in answer:
                return found, ""
            start = answer["LastEvaluatedKey"]["listed"]["S"]
        return found, start

    def living(self, limit: int, cursor: str | None) -> Page[str]:
        """Ids of goals that may be alive, those of sub-plans among them, in no order; a moment behind.

        A cursor is `part/living_order`; the goals of a part come in that order.
        """
        part, _, after = (cursor or "0/").partition("/")
        answer = self._dynamodb.query(
            TableName=self._table,
            IndexName=LIVING_INDEX,
            KeyConditionExpression="living = :part AND living_order > :after",
            ExpressionAttributeValues={":part": {"S": part}, ":after": {"S": after or " "}},
            ProjectionExpression="pk",
            Limit=limit,
        )
        found = tuple(item["pk"]["S"] for item in answer["Items"])
        if "LastEvaluatedKey" in answer:
            return Page(found, f"{part}/{answer['LastEvaluatedKey']['living_order']['S']}")
        return Page(found, f"{int(part) + 1}/" if int(part) + 1 < LIVING_PARTS else None)

    def _query(self, tenant: str, state: GoalState | None, before: str, limit: int) -> Item:
        values = {":tenant": {"S": tenant}, ":before": {"S": before}}
        request: Item = {
            "TableName": self._table,
            "IndexName": GOALS_INDEX,
            "KeyConditionExpression": "#tenant = :tenant AND #listed < :before",
            "ProjectionExpression": ",".join(_SHOWN),
            "ExpressionAttributeNames": _SHOWN,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": False,
            "Limit": limit,
        }
        if state:
            values[":state"] = {"S": state.value}
            request["FilterExpression"] = "#state = :state"
        return cast("Item", self._dynamodb.query(**request))

    def _save(self, goal: Goal, condition: Condition) -> bool:
        item = self._to_item(goal)
        item.write = secrets.token_hex(8)
        try:
            item.save(condition)
        except PutError as error:
            if condition_failed(error):
                return self._is_last_write(goal.id, item.write)
            raise
        return True

    def _is_last_write(self, goal_id: str, write: str) -> bool:
        """Was the goal stored by this very write? Then its answer was lost, and the SDK's second try met its first.

        Who ends a goal tells of it: taking one's own write for somebody else's would leave the end untold.
        """
        stored = read_items(self._dynamodb, self._table, [(goal_id, GOAL)], self._threads, self._backoff)
        return any(item.get(_WRITE) == {"S": write} for item in stored)

    def _to_item(self, goal: Goal) -> GoalItem:
        output = dumps(goal.output)
        living, living_order = living_keys(goal)
        is_large = len(output.encode()) > INLINE_BYTES
        return self._items(
            goal.id,
            GOAL,
            tenant=goal.tenant,
            listed=None if goal.parent else listed_key(goal),
            living=living,
            living_order=living_order,
            name=goal.name,
            state=goal.state.value,
            created=goal.created,
            tasks=goal.tasks,
            shards=goal.shards,
            priority=goal.priority,
            on_failure=goal.on_failure,
            labels=goal.labels or None,
            parent=to_builtins(goal.parent) if goal.parent else None,
            deadline=goal.deadline,
            paused=goal.paused,
            resumed=goal.resumed,
            origin=goal.origin,
            words=goal.words or None,
            asked=goal.asked,
            budget=budgets.to_json(goal.budget) if goal.budget else None,
            bounds=bounds.to_json(goal.bounds) if goal.bounds else None,
            finished=goal.finished,
            output=None if is_large else goal.output,
            output_digest=self._outputs.put(goal.id, _OUTPUT, output) if is_large else None,
            counts=goal.counts or None,
            failure=to_builtins(goal.failure) if goal.failure else None,
            undoing=to_builtins(goal.undoing) if goal.undoing else None,
            expires=self._last_use(goal) + self._kept,
        )

    @staticmethod
    def _last_use(goal: Goal) -> datetime:
        """Its end, or the latest that may be. A sub-plan counts for as long as the goals above it may live."""
        return goal.due if goal.parent else goal.finished or goal.due

    def _read_output(self, goal: dict[str, Any]) -> Any:
        return self._outputs.get(goal["pk"], _OUTPUT, goal[_DIGEST])


def _to_goal(found: dict[str, Any]) -> Goal:
    parent, failure = found.get("parent"), found.get("failure")
    return Goal(
        id=found["pk"],
        tenant=found["tenant"],
        name=found["name"],
        state=GoalState(found["state"]),
        created=found["created"],
        tasks=int(found["tasks"]),
        shards=int(found["shards"]),
        priority=found["priority"],
        on_failure=found["on_failure"],
        labels=found.get("labels", {}),
        parent=Parent(**parent | {"ancestors": tuple(parent["ancestors"])}) if parent else None,
        deadline=found.get("deadline"),
        paused=found.get("paused"),
        resumed=found.get("resumed"),
        origin=found.get("origin"),
        words=found.get("words") or "",
        asked=found.get("asked"),
        budget=budgets.from_json(found["budget"]) if found.get("budget") else None,
        bounds=bounds.from_json(found["bounds"]) if found.get("bounds") else None,
        finished=found.get("finished"),
        output=found.get(_OUTPUT),
        counts=found.get("counts", {}),
        failure=Failure(**failure) if failure else None,
        undoing=_to_undoing(found["undoing"]) if found.get("undoing") else None,
    )


def _to_undoing(found: dict[str, Any]) -> Undoing:
    failure = found["failure"]
    return Undoing(GoalState(found["ends_as"]), int(found["attempt"]), found["done"], Failure(**failure) if failure else None)

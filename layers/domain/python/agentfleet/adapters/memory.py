"""What agents remember, in the memory table: facts and conversations. Every partition belongs to one tenant.

Key rules (pk, sk):

    FACT      FACTS#tenant              agent#id
    SESSION   SESSIONS#tenant           session
    TURN      SESSION#tenant#session    TURN#<started µs>#number (eight digits)
    ADDED     SESSION#tenant#session    ADDED#<started µs>#digest of a key

No tenant, agent or session may hold a `#`, so no key can be the beginning of another's. A session that is begun anew under an
old id shares nothing with the one before, whatever of that is still there.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.dynamo import Item, from_micros, to_micros, to_seconds, write_items
from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.memory import Fact
from agentfleet.domain.session import SESSION_ID, SessionHead, Turn
from agentfleet.ports import Page
from agentfleet.ports_memory import Added

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LISTED: Final = 10_000
SESSION_LIFETIME: Final = timedelta(days=30)
"""After its last turn a session is kept this long."""
TURN_LIFETIME: Final = timedelta(days=90)
"""What was said longer ago is gone, unless a summary holds it; so is what a session leaves that was forgotten by itself."""
KEY_LIFETIME: Final = timedelta(days=30)
"""As long as goals are kept: nobody adds a turn again after that."""
_FAILED: Final = "ConditionalCheckFailed"


def partition(
    dynamodb: "DynamoDBClient", table: str, pk: str, prefix: str = "", *, newest_first: bool = False
) -> Iterator[Item]:
    """The items of a partition whose sort key begins so, in order, read consistently, page by page."""
    request: Any = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk" + (" AND begins_with(sk, :prefix)" if prefix else ""),
        "ExpressionAttributeValues": {":pk": {"S": pk}} | ({":prefix": {"S": prefix}} if prefix else {}),
        "ConsistentRead": True,
        "ScanIndexForward": not newest_first,
    }
    while True:
        answer = dynamodb.query(**request)
        yield from answer["Items"]
        if not (after := answer.get("LastEvaluatedKey")):
            return
        request["ExclusiveStartKey"] = after


def drop(dynamodb: "DynamoDBClient", table: str, key: Item) -> bool:
    """Delete an item. False if there was none."""
    return bool(dynamodb.delete_item(TableName=table, Key=key, ReturnValues="ALL_OLD").get("Attributes"))


def put_if(dynamodb: "DynamoDBClient", table: str, item: Item, condition: dict[str, Any]) -> bool:
    """Put an item if a condition holds. False if it doesn't: nothing was changed."""
    try:
        dynamodb.put_item(TableName=table, Item=item, **condition)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            return False
        raise
    return True


_ABSENT: Final[dict[str, Any]] = {"ConditionExpression": "attribute_not_exists(pk)"}


class DynamoFacts:
    """A FactStore: `DynamoFacts(dynamodb, table, threads)`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, threads: Executor, backoff: Backoff | None = None) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._threads = threads
        self._backoff = backoff or Backoff()

    def facts(self, tenant: str, agent: str | None = None) -> Sequence[Fact]:
        """All facts of one agent, or the tenant's (at most 10,000), by agent and id; read consistently."""
        found = partition(self._dynamodb, self._table, f"FACTS#{tenant}", "" if agent is None else f"{agent}#")
        return [_to_fact(item) for item in islice(found, LISTED)]

    def put_fact(self, tenant: str, fact: Fact, expires: datetime, before: Fact | None) -> bool:
        """Store a fact if it is still `before` (None: if there is none by its id). False if not: nothing was changed."""
        condition = _ABSENT
        if before is not None:
            condition = {
                "ConditionExpression": "touched = :touched AND touched_by = :by",
                "ExpressionAttributeValues": {
                    ":touched": {"N": str(to_micros(before.touched))},
                    ":by": {"S": before.touched_by},
                },
            }
        item = {**_fact_key(tenant, fact.agent, fact.id), **_fact_item(fact), "expires": {"N": to_seconds(expires)}}
        return put_if(self._dynamodb, self._table, item, condition)

    def drop_facts(self, tenant: str, facts: Iterable[Fact]) -> None:
        """Forget; an absent one is none the worse for it."""
        requests = ({"DeleteRequest": {"Key": _fact_key(tenant, fact.agent, fact.id)}} for fact in facts)
        write_items(self._dynamodb, self._table, requests, self._threads, self._backoff)

    def drop_fact(self, tenant: str, agent: str, fact_id: str) -> bool:
        """Forget one. False if there was none."""
        return drop(self._dynamodb, self._table, _fact_key(tenant, agent, fact_id))


class DynamoSessions:
    """A SessionStore: `DynamoSessions(dynamodb, table, threads)`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, threads: Executor, backoff: Backoff | None = None) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._threads = threads
        self._backoff = backoff or Backoff()

    def head(self, tenant: str, session_id: str) -> SessionHead | None:
        """A session without its turns, read consistently."""
        found = self._dynamodb.get_item(TableName=self._table, Key=_head_key(tenant, session_id), ConsistentRead=True)
        return _to_head(found["Item"]) if "Item" in found else None

    def turns(self, tenant: str, head: SessionHead) -> Sequence[Turn]:
        """The turns that are not in the summary, oldest first, read consistently."""
        found = partition(self._dynamodb, self._table, f"SESSION#{tenant}#{head.id}", f"TURN#{to_micros(head.started)}#")
        numbered = ((int(item["sk"]["S"].rpartition("#")[2]), item) for item in found)
        return [
            Turn(tuple(json.loads(item["messages"]["S"]))) for number, item in numbered if head.folded <= number < head.turns
        ]

    def add_turn(self, tenant: str, before: SessionHead | None, after: SessionHead, turn: Turn, key: str) -> Added:
        """Add a turn, as number `after.turns` - 1, if the session is still `before` (None: if there is none).

        One transaction: the mark of its key, the turn, the session's head.
        """
        mark = f"ADDED#{to_micros(after.started)}#{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        pk = {"S": f"SESSION#{tenant}#{after.id}"}
        turn_item: Item = {
            **_turn_key(tenant, after, after.turns - 1),
            "messages": {"S": dumps(list(turn.messages))},
            "expires": {"N": to_seconds(after.updated + TURN_LIFETIME)},
        }
        marked = {"pk": pk, "sk": {"S": mark}, "expires": {"N": to_seconds(after.updated + KEY_LIFETIME)}}
        head = {**_head_key(tenant, after.id), **_head_item(after)}
        steps: Any = [
            {"Put": {"TableName": self._table, "Item": marked, **_ABSENT}},
            {"Put": {"TableName": self._table, "Item": turn_item}},
            {"Put": {"TableName": self._table, "Item": head, **_unchanged(before)}},
        ]
        try:
            self._dynamodb.transact_write_items(TransactItems=steps)
        except ClientError as error:
            reasons = [one.get("Code") for one in error.response.get("CancellationReasons", ())]
            if reasons and reasons[0] == _FAILED:
                return Added.BEFORE
            if _FAILED in reasons or "TransactionConflict" in reasons:
                return Added.MEANWHILE
            raise
        return Added.ADDED

    def fold(self, tenant: str, before: SessionHead, after: SessionHead) -> bool:
        """Store a summary if the session is still `before`, and drop the turns that it stands for. False if it isn't."""
        head = {**_head_key(tenant, after.id), **_head_item(after)}
        if not put_if(self._dynamodb, self._table, head, _unchanged(before)):
            return False
        # Who dies here leaves turns that nobody reads any more, and that disappear by themselves.
        keys = (_turn_key(tenant, before, number) for number in range(before.folded, after.folded))
        self._drop(keys)
        return True

    def sessions(self, tenant: str, limit: int, cursor: str | None) -> Page[SessionHead]:
        """A tenant's sessions by id. Raises InvalidRequest for a bad cursor."""
        if cursor is not None and not SESSION_ID.fullmatch(cursor):
            raise InvalidRequest.of("cursor", "is not one that a listing gave; leave it out to start from the first")
        answer = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND sk > :after",
            ExpressionAttributeValues={":pk": {"S": f"SESSIONS#{tenant}"}, ":after": {"S": cursor or " "}},
            Limit=limit,
        )
        more = answer.get("LastEvaluatedKey")
        return Page(tuple(map(_to_head, answer["Items"])), more["sk"]["S"] if more else None)

    def drop_session(self, tenant: str, session_id: str) -> bool:
        """Forget a session with its turns. False if there was none."""
        was_there = drop(self._dynamodb, self._table, _head_key(tenant, session_id))
        left = partition(self._dynamodb, self._table, f"SESSION#{tenant}#{session_id}")
        self._drop({"pk": item["pk"], "sk": item["sk"]} for item in left)
        return was_there

    def _drop(self, keys: Iterable[Item]) -> None:
        requests = ({"DeleteRequest": {"Key": key}} for key in keys)
        write_items(self._dynamodb, self._table, requests, self._threads, self._backoff)


def _fact_key(tenant: str, agent: str, fact_id: str) -> Item:
    return {"pk": {"S": f"FACTS#{tenant}"}, "sk": {"S": f"{agent}#{fact_id}"}}


def _fact_item(fact: Fact) -> Item:
    return {
        "text": {"S": fact.text},
        "about": {"S": fact.about},
        "source": {"S": fact.source},
        "said": {"N": str(to_micros(fact.when))},
        "touched": {"N": str(to_micros(fact.touched))},
        "touched_by": {"S": fact.touched_by},
        "strength": {"S": repr(fact.strength)},
    }


def _to_fact(item: Item) -> Fact:
    agent, _, fact_id = item["sk"]["S"].partition("#")
    return Fact(
        id=fact_id,
        text=item["text"]["S"],
        about=item["about"]["S"],
        agent=agent,
        source=item["source"]["S"],
        when=from_micros(item["said"]["N"]),
        touched=from_micros(item["touched"]["N"]),
        strength=float(item["strength"]["S"]),
        touched_by=item["touched_by"]["S"],
    )


def _head_key(tenant: str, session_id: str) -> Item:
    return {"pk": {"S": f"SESSIONS#{tenant}"}, "sk": {"S": session_id}}


def _turn_key(tenant: str, head: SessionHead, number: int) -> Item:
    pk = {"S": f"SESSION#{tenant}#{head.id}"}
    return {"pk": pk, "sk": {"S": f"TURN#{to_micros(head.started)}#{number:08d}"}}


def _head_item(head: SessionHead) -> Item:
    item: Item = {
        "started": {"N": str(to_micros(head.started))},
        "updated": {"N": str(to_micros(head.updated))},
        "turns": {"N": str(head.turns)},
        "folded": {"N": str(head.folded)},
        "bytes": {"N": str(head.size)},
        "summary": {"S": head.summary},
        "expires": {"N": to_seconds(head.updated + SESSION_LIFETIME)},
    }
    named = {"how": head.how, "model": head.model}
    return item | {name: {"S": value} for name, value in named.items() if value is not None}


def _to_head(item: Item) -> SessionHead:
    how = item.get("how", {}).get("S")
    return SessionHead(
        id=item["sk"]["S"],
        started=from_micros(item["started"]["N"]),
        updated=from_micros(item["updated"]["N"]),
        turns=int(item["turns"]["N"]),
        folded=int(item["folded"]["N"]),
        size=int(item["bytes"]["N"]),
        summary=item["summary"]["S"],
        how=how,
        model=item.get("model", {}).get("S"),
    )


def _unchanged(before: SessionHead | None) -> dict[str, Any]:
    if before is None:
        return _ABSENT
    return {
        "ConditionExpression": "started = :started AND turns = :turns AND folded = :folded",
        "ExpressionAttributeValues": {
            ":started": {"N": str(to_micros(before.started))},
            ":turns": {"N": str(before.turns)},
            ":folded": {"N": str(before.folded)},
        },
    }

"""The kill switch in the registry table: one item per scope, all under one key, read together.

Key rule (pk, sk):  KILL  all | pool#name | tenant#name
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, get_args

from agentfleet.adapters.dynamo import Item, from_micros, to_micros, to_seconds
from agentfleet.domain.kill import Kill, Kind, Scope
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REMEMBERED: Final = timedelta(hours=1)
"""How long a lifted kill is still told: until then what it held back has moved again."""
_KILL: Final = "KILL"
_KINDS: Final[dict[str, Kind]] = {kind: kind for kind in get_args(Kind)}


class DynamoKills:
    """A KillStore: `DynamoKills(dynamodb, table, clock)`; `table` is the registry."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock

    def read(self) -> Sequence[Kill]:
        """Every kill that holds, and those that were lifted within the last hour. One page: scopes are pools and tenants."""
        found: list[Item] = []
        request: Item = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :kill",
            "ExpressionAttributeValues": {":kill": {"S": _KILL}},
            "ConsistentRead": True,
        }
        while True:
            answer = self._dynamodb.query(**request)
            found.extend(answer["Items"])
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        kills = (_to_kill(item) for item in found)
        now = self._clock()
        return [kill for kill in kills if kill.lifted is None or now - kill.lifted < REMEMBERED]

    def put(self, kill: Kill) -> None:
        """Store or replace what is known of a scope."""
        item: Item = {
            **_key(kill.scope),
            "reason": {"S": kill.reason},
            "who": {"S": kill.by},
            "since": {"N": str(to_micros(kill.since))},
        }
        if kill.lifted:
            item["lifted"] = {"N": str(to_micros(kill.lifted))}
            item |= {"lifted_by": {"S": kill.lifted_by}} if kill.lifted_by else {}
            item["expires"] = {"N": to_seconds(kill.lifted + REMEMBERED)}
        self._dynamodb.put_item(TableName=self._table, Item=item)

    def get(self, scope: Scope) -> Kill | None:
        """What is known of one scope, read consistently."""
        item = self._dynamodb.get_item(TableName=self._table, Key=_key(scope), ConsistentRead=True).get("Item")
        return _to_kill(item) if item else None


def _key(scope: Scope) -> Item:
    return {"pk": {"S": _KILL}, "sk": {"S": f"{scope.kind}#{scope.name}" if scope.name else scope.kind}}


def _to_kill(item: Item) -> Kill:
    kind, _, name = item["sk"]["S"].partition("#")
    lifted = item.get("lifted")
    return Kill(
        Scope(_KINDS[kind], name),
        item["reason"]["S"],
        item["who"]["S"],
        from_micros(item["since"]["N"]),
        from_micros(lifted["N"]) if lifted else None,
        item.get("lifted_by", {}).get("S"),
    )

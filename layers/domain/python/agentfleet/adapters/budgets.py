"""Budget accounts in the registry table: one item each, made by the first that takes from it.

Key rule (pk, sk):  BUDGET#account  BUDGET

For each measure: taken_… (spent and reserved, less what was granted), spent_…, granted_…. The limits are not stored: they
are the goal's or the deployment's, so a limit per day that is deployed anew holds at once.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.dynamo import to_seconds
from agentfleet.domain.budget import MEASURES, Account, Spend, Tally, room
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

LIFETIME: Final = timedelta(days=400)
"""After its last reservation an account is kept this long: one that is made anew would be full again."""
_BUDGET: Final = "BUDGET"
_GONE: Final = "ConditionalCheckFailedException"


class DynamoBudgets:
    """A BudgetStore: `DynamoBudgets(dynamodb, once, table, clock)`; `table` is the registry.

    `once` gives a client that never tries again by itself, asked for when money is first given back or granted.
    """

    def __init__(self, dynamodb: "DynamoDBClient", once: "Callable[[], DynamoDBClient]", table: str, clock: Clock) -> None:
        self._dynamodb = dynamodb
        self._once = once
        self._table = table
        self._clock = clock

    def take(self, account: Account, amount: Spend) -> bool:
        """Set an amount aside if all of it fits below the account's limits. False if it doesn't: nothing was changed.

        The client may try again after an answer that was lost: then it is set aside twice, which only leaves less to spend.
        """
        values: dict[str, Any] = {f":{name}": {"N": str(getattr(amount, name))} for name in _counted(amount)}
        conditions = []
        for name, most in room(account, amount).items():
            values[f":{name}_most"] = {"N": str(most)}
            fresh = f"attribute_not_exists(taken_{name}) OR " if most >= 0 else ""
            conditions.append(f"({fresh}taken_{name} <= :{name}_most)")
        values[":expires"] = {"N": to_seconds(self._clock() + LIFETIME)}
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": _key(account.name),
            "UpdateExpression": "SET expires = :expires ADD " + ", ".join(f"taken_{name} :{name}" for name in _counted(amount)),
            "ExpressionAttributeValues": values,
        }
        if conditions:
            request["ConditionExpression"] = " AND ".join(conditions)
        try:
            self._dynamodb.update_item(**request)
        except ClientError as error:
            if error.response["Error"]["Code"] == _GONE:
                return False
            raise
        return True

    def give_back(self, account: str, reserved: Spend, actual: Spend) -> None:
        """End a reservation: `actual` of what was set aside is spent, the rest is free again. Tried once."""
        self._add(account, taken=actual - reserved, spent=actual)

    def grant(self, account: str, more: Spend) -> None:
        """Let this much more be spent than the limits say. Tried once."""
        self._add(account, taken=Spend() - more, granted=more)

    def _add(self, account: str, **changes: Spend) -> None:
        added = {f"{kind}_{name}": getattr(change, name) for kind, change in changes.items() for name in _counted(change)}
        if not added:
            return
        self._once().update_item(
            TableName=self._table,
            Key=_key(account),
            UpdateExpression="SET expires = :expires ADD " + ", ".join(f"{name} :{name}" for name in added),
            ExpressionAttributeValues={
                ":expires": {"N": to_seconds(self._clock() + LIFETIME)},
                **{f":{name}": {"N": str(number)} for name, number in added.items()},
            },
        )

    def read(self, accounts: Sequence[str]) -> dict[str, Tally]:
        """What has become of these accounts, read consistently; those that nobody has taken from are left out."""
        found = {}
        for account in accounts:
            item = self._dynamodb.get_item(TableName=self._table, Key=_key(account), ConsistentRead=True).get("Item")
            if item is not None:
                found[account] = Tally(_spend(item, "taken"), _spend(item, "spent"), _spend(item, "granted"))
        return found


def _counted(amount: Spend) -> list[str]:
    return [name for name in MEASURES if getattr(amount, name)]


def _spend(item: "dict[str, AttributeValueTypeDef]", kind: str) -> Spend:
    return Spend(**{name: int(item[f"{kind}_{name}"]["N"]) for name in MEASURES if f"{kind}_{name}" in item})


def _key(account: str) -> "dict[str, AttributeValueTypeDef]":
    return {"pk": {"S": f"{_BUDGET}#{account}"}, "sk": {"S": _BUDGET}}

"""What goals have used of language models, in the registry table: one item per goal.

Key rule (pk, sk):  USE#goal  USE

A number attribute per model and count, named `count model`, so that adding to it needs no reading.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from agentfleet.adapters.dynamo import to_seconds
from agentfleet.domain.model_use import COUNTS, ModelUse
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

LIFETIME: Final = timedelta(days=400)
"""After the last call."""
_USE: Final = "USE"


class DynamoUses:
    """A UseStore: `DynamoUses(dynamodb, once, table, clock)`; `table` is the registry.

    `once` gives a client that never tries again by itself, asked for when something is first counted.
    """

    def __init__(self, dynamodb: "DynamoDBClient", once: "Callable[[], DynamoDBClient]", table: str, clock: Clock) -> None:
        self._dynamodb = dynamodb
        self._once = once
        self._table = table
        self._clock = clock

    def add(self, goals: Sequence[str], use: ModelUse) -> None:
        """Count calls of a model for each of these goals: one write each. Tried once."""
        counted = [(name, getattr(use, name)) for name in COUNTS if getattr(use, name)]
        if not counted:
            return
        values: dict[str, Any] = {f":{number}": {"N": str(count)} for number, (_, count) in enumerate(counted)}
        for goal in goals:
            self._once().update_item(
                TableName=self._table,
                Key=_key(goal),
                UpdateExpression="SET expires = :expires ADD " + ", ".join(f"#{n} :{n}" for n in range(len(counted))),
                ExpressionAttributeNames={f"#{number}": f"{name} {use.model}" for number, (name, _) in enumerate(counted)},
                ExpressionAttributeValues={":expires": {"N": to_seconds(self._clock() + LIFETIME)}, **values},
            )

    def read(self, goal: str) -> Sequence[ModelUse]:
        """What a goal has used, a row per model by name; read consistently."""
        item = self._dynamodb.get_item(TableName=self._table, Key=_key(goal), ConsistentRead=True).get("Item", {})
        found: dict[str, dict[str, int]] = {}
        for attribute, value in item.items():
            count, space, model = attribute.partition(" ")
            if space and count in COUNTS:
                found.setdefault(model, {})[count] = int(value["N"])
        return [ModelUse(model, **counts) for model, counts in sorted(found.items())]


def _key(goal: str) -> "dict[str, AttributeValueTypeDef]":
    return {"pk": {"S": f"{_USE}#{goal}"}, "sk": {"S": _USE}}

"""Charges: what must happen once, entered into a ledger that knows each idempotency key once."""

import time
from typing import Any

from botocore.config import Config
from botocore.session import Session
from pydantic import BaseModel

from agentfleet.agent import Agent, PermanentError, TaskContext

agent = Agent("ledger")
dynamodb: Any = Session().create_client("dynamodb", config=Config(retries={"mode": "standard", "total_max_attempts": 3}))


class Charge(BaseModel):
    """How much, and how long entering it takes."""

    amount: int
    seconds: float = 0.0


@agent.capability("ledger.charge", timeout=3)
def charge(input: Charge, context: TaskContext) -> int:
    """Enter a charge under the task's idempotency key, and every try at it with its fencing token."""
    dynamodb.update_item(
        TableName=context.settings["table"],
        Key={"pk": {"S": context.idempotency_key}},
        ConditionExpression="attribute_not_exists(refunded)",
        UpdateExpression=(
            "SET goal = :goal, task = :task, amount = if_not_exists(amount, :amount),"
            " fences = list_append(if_not_exists(fences, :none), :fence)"
        ),
        ExpressionAttributeValues={
            ":goal": {"S": context.goal_id},
            ":task": {"S": context.task_id},
            ":amount": {"N": str(input.amount)},
            ":none": {"L": []},
            ":fence": {"L": [{"N": str(context.fence)}]},
        },
    )
    time.sleep(input.seconds)
    return input.amount


@agent.capability("ledger.refund", timeout=3)
def refund(input: dict[str, Any], context: TaskContext) -> None:
    """Take a charge back: from then on it can't be entered any more."""
    if context.undoes is None:
        raise PermanentError("there is nothing to take back")
    dynamodb.update_item(
        TableName=context.settings["table"],
        Key={"pk": {"S": context.undoes.idempotency_key}},
        UpdateExpression="SET refunded = :yes",
        ExpressionAttributeValues={":yes": {"BOOL": True}},
    )

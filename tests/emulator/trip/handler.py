"""Books and gives back flights, in a DynamoDB table that is the ledger. Hotels and cars: the same under other names."""

import os
import time
from contextlib import suppress
from functools import cache
from typing import Any

from botocore.session import Session
from pydantic import BaseModel

from agentfleet.agent import Agent, PermanentError, RetryableError, TaskContext

agent = Agent("flights")
LEDGER = "trip-ledger"


class Booking(BaseModel):
    """What to book, and what goes wrong with it."""

    trouble: str | None = None
    """`refused` (before the effect), `broken` (after it), `dies` (after it, once) or `slow` (six seconds lie between)."""


class Return(BaseModel):
    """What to give back, and what goes wrong with that."""

    seat: str | None = None
    trouble: str | None = None
    """`shaky` (fails twice), `dies` (after the effect, once) or `closed` (until the ledger says that the desk is open)."""


@cache
def ledger() -> Any:
    """The table's client."""
    return Session().create_client("dynamodb")


def count(key: str, what: str) -> int:
    """How often this was tried, this time included."""
    answer = ledger().update_item(
        TableName=LEDGER,
        Key={"pk": {"S": f"{what}#{key}"}},
        UpdateExpression="ADD tries :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues="UPDATED_NEW",
    )
    return int(answer["Attributes"]["tries"]["N"])


def take(key: str, task: str) -> None:
    """Take a seat under a key: twice is once. Raises PermanentError if it was given back before."""
    seat = {"pk": {"S": f"seat#{key}"}, "task": {"S": task}, "state": {"S": "TAKEN"}}
    stock = {"pk": {"S": "stock#flight"}}
    try:
        ledger().transact_write_items(
            TransactItems=[
                {"Put": {"TableName": LEDGER, "Item": seat, "ConditionExpression": "attribute_not_exists(pk)"}},
                {
                    "Update": {
                        "TableName": LEDGER,
                        "Key": stock,
                        "UpdateExpression": "ADD seats :less",
                        "ExpressionAttributeValues": {":less": {"N": "-1"}},
                    }
                },
            ]
        )
    except ledger().exceptions.TransactionCanceledException:
        found = ledger().get_item(TableName=LEDGER, Key={"pk": seat["pk"]}, ConsistentRead=True)["Item"]
        if found["state"]["S"] != "TAKEN":
            raise PermanentError("this seat was given back") from None


def give_back(key: str, task: str) -> None:
    """Give a seat back, once. A key under which none was taken is closed, so that none can be taken any more."""
    seat = {"pk": {"S": f"seat#{key}"}}
    moment = {"N": repr(time.time())}
    with suppress(ledger().exceptions.ConditionalCheckFailedException):  # it was taken, or this was done before
        ledger().put_item(
            TableName=LEDGER,
            Item={**seat, "task": {"S": task}, "state": {"S": "NEVER"}, "at": moment},
            ConditionExpression="attribute_not_exists(pk)",
        )
    try:
        ledger().transact_write_items(
            TransactItems=[
                {
                    "Update": {
                        "TableName": LEDGER,
                        "Key": seat,
                        "UpdateExpression": "SET #state = :back, #at = :at ADD given_back :one",
                        "ConditionExpression": "#state = :taken",
                        "ExpressionAttributeNames": {"#state": "state", "#at": "at"},
                        "ExpressionAttributeValues": {
                            ":back": {"S": "BACK"},
                            ":taken": {"S": "TAKEN"},
                            ":at": moment,
                            ":one": {"N": "1"},
                        },
                    }
                },
                {
                    "Update": {
                        "TableName": LEDGER,
                        "Key": {"pk": {"S": "stock#flight"}},
                        "UpdateExpression": "ADD seats :more",
                        "ExpressionAttributeValues": {":more": {"N": "1"}},
                    }
                },
            ]
        )
    except ledger().exceptions.TransactionCanceledException as error:
        if "ConditionalCheckFailed" not in str(error):
            raise


@agent.capability("flight.book", timeout=5)
def book(input: Booking, context: TaskContext) -> dict[str, str]:
    """Book one."""
    if input.trouble == "refused":
        raise PermanentError("sold out")
    take(context.idempotency_key, context.task_id)
    if input.trouble == "broken":
        raise PermanentError("the confirmation was lost")
    if input.trouble == "slow":
        time.sleep(3)
    if input.trouble == "dies" and count(context.idempotency_key, "book") == 1:
        os._exit(1)
    return {"seat": context.idempotency_key[:8]}


@agent.capability("flight.cancel", idempotent=True, timeout=5)
def cancel(input: Return, context: TaskContext) -> dict[str, Any]:
    """Give one back."""
    if context.undoes is None:
        raise PermanentError("this is a compensation")
    key = context.undoes.idempotency_key
    if input.trouble == "shaky" and count(key, "cancel") <= 2:
        raise RetryableError("the line is bad")
    if input.trouble == "closed" and "Item" not in ledger().get_item(TableName=LEDGER, Key={"pk": {"S": "open"}}):
        raise PermanentError("the desk is closed")
    give_back(key, context.task_id)
    if input.trouble == "dies" and count(key, "cancel") == 1:
        os._exit(1)
    return {"seat": input.seat, "attempted": context.undoes.attempted}

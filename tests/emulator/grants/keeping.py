"""Checks of the functions that keep histories."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from agentfleet.adapters.history import DynamoHistory
from agentfleet.adapters.stream import read_change
from agentfleet.adapters.work_table import GOAL
from agentfleet.domain.goal import Goal
from agentfleet.ports import Clock
from agentfleet.services.history import Recorder
from tests.emulator.grants.hand import FLEET, Hand, Refused, step, utc_now

HISTORY_TABLE: Final = f"{FLEET}-history"
OLD: Final = timedelta(hours=2)
"""How long after its beginning an hour's histories are copied first."""


def life_of(hand: Hand) -> tuple[Goal, list[dict[str, Any]]]:
    """A goal that has ended, and what the work table's stream said of it: that it ran, and that it ended."""
    goal = hand.submit(step("a"))
    began = _item(hand, goal)
    hand.put_result(goal, "a", 1)
    return goal, [_record(1, None, began), _record(2, began, _item(hand, goal))]


def remember_life(hand: Hand, clock: Clock = utc_now) -> Goal:
    """A goal whose history is recorded, by our own hand."""
    goal, records = life_of(hand)
    recorded = Recorder(DynamoHistory(hand.clients.dynamodb, HISTORY_TABLE), read_change, clock)(records)
    assert not recorded.failures
    return goal


def record_history(hand: Hand) -> None:
    """A history begun, and brought to its end."""
    for record in life_of(hand)[1]:
        if left := hand.call("record-history", {"Records": [record]})["batchItemFailures"]:
            raise Refused(f"record-history did not record {left}")


def archive_history(hand: Hand) -> None:
    """A history that is two hours old is copied."""
    remember_life(hand, lambda: utc_now() - OLD)
    if not hand.call("archive-history", {})["copies"]:
        raise Refused("archive-history made no copy")


def _item(hand: Hand, goal: Goal) -> Mapping[str, Any]:
    key: Any = {"pk": {"S": goal.id}, "sk": {"S": GOAL}}
    return hand.clients.dynamodb.get_item(TableName=hand.cloud.outputs["WorkTable"], Key=key, ConsistentRead=True)["Item"]


def _record(number: int, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """As Lambda hands it over (Lambda Developer Guide, 'Using AWS Lambda with Amazon DynamoDB': example event)."""
    images = {"NewImage": new} | ({"OldImage": old} if old else {})
    keys = {name: new[name] for name in ("pk", "sk")}
    about = {"Keys": keys, "SequenceNumber": str(number), "ApproximateCreationDateTime": int(utc_now().timestamp())}
    return {"eventName": "MODIFY" if old else "INSERT", "dynamodb": about | images}

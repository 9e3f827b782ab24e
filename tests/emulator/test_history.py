"""History on the deployed stack: recorded by the stream, verified, and tampering with it found."""

from typing import Any

from client.api import FleetClient
from tests.emulator.conftest import Aws, until
from tests.emulator.test_goals import step


def test_a_goals_history_is_recorded_in_order_and_tampering_is_named(client: FleetClient, aws: Aws) -> None:
    """Accepted, running, ended; one changed word breaks it at that event, a removed segment at its first.

    Results are not in it here: the emulator's stream says nothing of items that PartiQL inserted, DynamoDB's does. The verdict
    says that they are missing, and the receipt takes them from the work table.
    """
    goal = client.submit({"plan": {"tasks": [step("a", 1), step("b", {"$from": "a"}), step("c", {"$from": "b"})]}}).id
    client.wait(goal, timeout=60)
    until(lambda: client.verify(goal).events == 3)

    told = [(event.kind.value, event.facts["state"]) for event in client.history(goal).events]
    assert told == [("GoalAccepted", "PLANNING"), ("GoalMoved", "RUNNING"), ("GoalMoved", "SUCCEEDED")]
    verdict = client.verify(goal)
    assert (verdict.holds, verdict.tasks_recorded, verdict.tasks_ended) == (True, 0, 3)
    bill = client.receipt(goal)
    assert (bill.lines[0].basis, bill.lines[0].quantity) == ("estimated", 3 + 2 * 3)

    item = _segment_with(aws("dynamodb"), goal, '"state":"RUNNING"')
    changed = item["events"]["S"].replace('"state":"RUNNING"', '"state":"FAILED"')
    aws("dynamodb").put_item(TableName="fleet-history", Item={**item, "events": {"S": changed}})

    broken = client.verify(goal).broken
    assert broken is not None
    assert (broken.number, broken.fault) == (2, "changed")

    aws("dynamodb").delete_item(TableName="fleet-history", Key={"pk": item["pk"], "sk": item["sk"]})
    missing = client.verify(goal).broken
    assert missing is not None
    assert missing.fault == "missing"


def _segment_with(dynamodb: Any, goal: str, text: str) -> dict[str, Any]:
    items = dynamodb.scan(TableName="fleet-history")["Items"]
    return next(item for item in items if item["sk"]["S"].startswith(f"{goal}#") and text in item["events"]["S"])

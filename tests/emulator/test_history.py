"""History on the deployed stack: recorded by the stream, verified, and tampering with it found."""

from typing import Any

from client.api import FleetClient
from tests.emulator.conftest import Aws, until
from tests.emulator.test_goals import step


def test_a_goals_history_is_recorded_in_order_and_tampering_is_named(client: FleetClient, aws: Aws) -> None:
    """Accepted, running, each result after those it waited for, ended; one changed digit breaks it at that event."""
    goal = client.submit({"plan": {"tasks": [step("a", 1), step("b", {"$from": "a"}), step("c", {"$from": "b"})]}}).id
    client.wait(goal, timeout=60)
    until(lambda: client.verify(goal).events == 6)

    events = client.history(goal).events
    told = [(event.kind.value, *event.tasks, event.facts.get("state")) for event in events]

    assert told[0] == ("GoalAccepted", "PLANNING")
    assert told[-1] == ("GoalMoved", "SUCCEEDED")
    assert [one for one in told if one[0] == "ResultStored"] == [("ResultStored", task, None) for task in "abc"]
    verdict = client.verify(goal)
    assert (verdict.holds, verdict.tasks_recorded, verdict.tasks_ended) == (True, 3, 3)
    assert client.receipt(goal).is_complete

    number = next(event.number for event in events if event.tasks == ("b",))
    item = _segment_with(aws("dynamodb"), goal, '"unit":1,')
    text = item["events"]["S"]
    changed = text.replace('"unit":1,', '"unit":0,')
    aws("dynamodb").put_item(TableName="fleet-history", Item={**item, "events": {"S": changed}})

    broken = client.verify(goal)
    assert not broken.holds
    assert broken.broken is not None
    assert (broken.broken.number, broken.broken.fault) == (number, "changed")

    aws("dynamodb").delete_item(TableName="fleet-history", Key={"pk": item["pk"], "sk": item["sk"]})
    missing = client.verify(goal)
    assert missing.broken is not None
    assert missing.broken.fault == "missing"


def test_five_hundred_results_make_one_chain(client: FleetClient) -> None:
    """Batches of the stream become segments; none of the results is left out."""
    parts = [{"id": f"part.{n}", "capability": "flow.step", "input": {"value": n}} for n in range(500)]
    goal = client.submit({"plan": {"tasks": parts}}).id
    client.wait(goal, timeout=120)

    verdict = until(lambda: (found := client.verify(goal)).tasks_recorded == 500 and found)

    assert (verdict.holds, verdict.tasks_ended) == (True, 500)


def _segment_with(dynamodb: Any, goal: str, text: str) -> dict[str, Any]:
    items = dynamodb.scan(TableName="fleet-history")["Items"]
    return next(item for item in items if item["sk"]["S"].startswith(f"{goal}#") and text in item["events"]["S"])

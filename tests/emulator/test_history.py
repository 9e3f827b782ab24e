"""History on the deployed stack: recorded by the stream, verified, tampering with it found, copied, and paid for."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from agentfleet.domain.history import pack, unpack
from agentfleet.domain.names import function
from client.api import FleetClient
from tests.emulator.conftest import Aws, until
from tests.emulator.test_goals import step

PLAN = {"tasks": [step("a", 1), step("b", {"$from": "a"}), step("c", {"$from": "b"})]}


def run(client: FleetClient) -> str:
    """A goal of three tasks, ended and recorded."""
    goal = client.submit({"plan": PLAN}).id
    client.wait(goal, timeout=60)
    until(lambda: client.verify(goal).events == 6)
    return goal


def test_a_goals_history_is_recorded_and_tampering_is_named(client: FleetClient, aws: Aws) -> None:
    """Accepted, running, three results, ended; one changed word breaks it at that event, a removed segment at its first."""
    goal = run(client)

    events = client.history(goal).events
    states = [event.facts["state"] for event in events if event.kind.startswith("Goal")]
    assert states == ["PLANNING", "RUNNING", "SUCCEEDED"]
    assert sorted(event.tasks[0] for event in events if event.kind == "ResultStored") == ["a", "b", "c"]
    verdict = client.verify(goal)
    assert (verdict.holds, verdict.tasks_recorded, verdict.tasks_ended) == (True, 3, 3)

    item = _segment_with(aws("dynamodb"), goal, '"state":"RUNNING"')
    changed = unpack(item["events"]["B"]).replace('"state":"RUNNING"', '"state":"FAILED"')
    aws("dynamodb").put_item(TableName="fleet-history", Item={**item, "events": {"B": pack(changed)}})

    broken = client.verify(goal).broken
    assert broken is not None
    assert (broken.number, broken.fault) == (next(one.number for one in events if one.facts.get("from")), "changed")

    aws("dynamodb").delete_item(TableName="fleet-history", Key={"pk": item["pk"], "sk": item["sk"]})
    missing = client.verify(goal).broken
    assert missing is not None
    assert missing.fault == "missing"


def test_what_is_changed_by_hand_in_the_work_table_is_an_event(client: FleetClient, aws: Aws) -> None:
    """The chain still holds, for it tells the truth: somebody changed a result."""
    goal = run(client)
    found = aws("dynamodb").scan(TableName="fleet-work")["Items"]
    result = next(one for one in found if one["pk"]["S"].startswith(f"{goal}#") and one["sk"]["S"].startswith("R"))

    aws("dynamodb").put_item(TableName="fleet-work", Item={**result, "o": {"S": '["forged"]'}})

    last = until(lambda: [one for one in client.history(goal).events if one.number == 7])[0]
    assert last.kind == "ResultChanged"
    assert client.verify(goal).holds


def test_a_receipt_counts_what_was_written(client: FleetClient) -> None:
    """Three results, and the goal thrice: its item, its listing, and the index of living goals at its beginning and end."""
    bill = client.receipt(run(client))

    assert bill.is_complete
    assert (bill.lines[0].basis, bill.lines[0].quantity) == ("counted", 3 + 3 * 2 + 2)
    assert 0 < bill.counted_dollars < bill.dollars


def test_histories_are_copied_into_the_vault(client: FleetClient, aws: Aws) -> None:
    """A partition that is two hours old is copied whole; here one is made so by hand."""
    goal = run(client)
    dynamodb = aws("dynamodb")
    moved = [one for one in dynamodb.scan(TableName="fleet-history")["Items"] if one["sk"]["S"].startswith(f"{goal}#")]
    hour = json.loads(aws("lambda").invoke(FunctionName=function("fleet", "archive_history"))["Payload"].read())
    assert hour == {"copies": 0}
    old = f"{datetime.now(UTC) - timedelta(hours=2):%Y-%m-%dT%H}#{moved[0]['pk']['S'].partition('#')[2]}"
    for item in moved:
        dynamodb.put_item(TableName="fleet-history", Item={**item, "pk": {"S": old}})

    made = json.loads(aws("lambda").invoke(FunctionName=function("fleet", "archive_history"))["Payload"].read())

    assert made == {"copies": 1}
    s3 = aws("s3")
    bucket = next(one["Name"] for one in s3.list_buckets()["Buckets"] if "vault" in one["Name"])
    (copy,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert copy["Key"].startswith(f"history/{old.replace('#', '/')}/")
    lines = gzip.decompress(s3.get_object(Bucket=bucket, Key=copy["Key"])["Body"].read()).decode().splitlines()
    assert [json.loads(line)["goal"] for line in lines] == [goal] * len(moved)
    assert json.loads(lines[-1])["hash"] == client.verify(goal).hash


def _segment_with(dynamodb: Any, goal: str, text: str) -> dict[str, Any]:
    items = dynamodb.scan(TableName="fleet-history")["Items"]
    return next(item for item in items if item["sk"]["S"].startswith(f"{goal}#") and text in unpack(item["events"]["B"]))

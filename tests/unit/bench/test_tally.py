"""How exchanges are named and counted."""

import json
from typing import Any

import pytest

from bench.tally import Tally, ask_for_units, name_request

SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
INSERT = "INSERT INTO \"work\" VALUE {'pk':?,'sk':?,'o':?}"


def count(name: str, request: dict[str, Any], response: dict[str, Any], status: int = 200) -> Tally:
    """A tally of one exchange."""
    tally = Tally()
    tally.count(name, json.dumps(request).encode(), status, json.dumps(response).encode())
    return tally


@pytest.mark.parametrize(
    ("method", "target", "headers", "name"),
    [
        (
            "POST",
            "/",
            {"x-amz-target": "DynamoDB_20120810.PutItem", "authorization": SIGNED.format("dynamodb")},
            "dynamodb.PutItem",
        ),
        (
            "POST",
            "/",
            {"x-amz-target": "AmazonSQS.SendMessageBatch", "authorization": SIGNED.format("sqs")},
            "sqs.SendMessageBatch",
        ),
        ("GET", "/bucket/key", {"authorization": SIGNED.format("s3")}, "s3.GET"),
        ("POST", "/_aws/execute-api/abc/$default/v1/goals", {}, "http-api.POST"),
        ("GET", "/health", {}, "unsigned.GET"),
    ],
)
def test_requests_are_named_by_service_and_operation(method: str, target: str, headers: dict[str, str], name: str) -> None:
    """The signature's scope tells the service, the target header the operation."""
    assert name_request(method, target, headers) == name


def test_only_writes_are_asked_for_their_units() -> None:
    """Where the emulator would tell a wrong number it is not asked."""
    assert json.loads(ask_for_units("dynamodb.PutItem", b'{"Item": {}}'))["ReturnConsumedCapacity"] == "TOTAL"
    assert ask_for_units("dynamodb.BatchExecuteStatement", b"{}") == b"{}"
    assert ask_for_units("s3.PUT", b"anything") == b"anything"


def test_inserts_are_sized_one_by_one() -> None:
    """Each statement of a batch costs by its own item, by kind of item."""
    rows = [("R000001", "x"), ("R000002", "x" * 1500)]
    statements = [{"Statement": INSERT, "Parameters": [{"S": "g#0"}, {"S": key}, {"S": text}]} for key, text in rows]

    tally = count("dynamodb.BatchExecuteStatement", {"Statements": statements}, {"Responses": []})

    assert tally.to_json()["write_units"] == {"work INSERT R": 3.0}
    assert tally.to_json()["requests"] == {"dynamodb.BatchExecuteStatement": 1}


def test_reported_units_are_taken_over() -> None:
    """Indexes are in the emulator's own number."""
    request = {"TableName": "work", "Item": {"pk": {"S": "g"}, "sk": {"S": "GOAL"}}}

    tally = count("dynamodb.PutItem", request, {"ConsumedCapacity": {"TableName": "work", "CapacityUnits": 2.0}})

    assert tally.to_json()["write_units"] == {"work PutItem GOAL": 2.0}


def test_a_refused_condition_costs_too() -> None:
    """A conditional write that fails is billed."""
    request = {"TableName": "work", "Item": {"pk": {"S": "g"}, "sk": {"S": "GOAL"}}}
    refusal = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}

    tally = count("dynamodb.PutItem", request, refusal, 400)

    assert tally.to_json()["write_units"] == {"work PutItem GOAL refused": 1.0}


def test_absent_items_cost_a_read() -> None:
    """A batch read costs per key, found or not."""
    keys = [{"pk": {"S": "g"}, "sk": {"S": f"R{number}"}} for number in range(3)]
    request = {"RequestItems": {"work": {"Keys": keys, "ConsistentRead": True}}}
    found = {**keys[0], "o": {"S": "x" * 5000}}

    tally = count("dynamodb.BatchGetItem", request, {"Responses": {"work": [found]}})

    assert tally.to_json()["read_units"] == {"work BatchGetItem R": 4.0}


def test_a_projection_does_not_hide_what_was_read() -> None:
    """A query that returns little of its items costs what they hold."""
    tally = Tally()
    statements = [{"Statement": INSERT, "Parameters": [{"S": "g"}, {"S": f"R{n}"}, {"S": "x" * 4000}]} for n in range(4)]
    tally.count("dynamodb.BatchExecuteStatement", json.dumps({"Statements": statements}).encode(), 200, b"{}")
    query = {"TableName": "work", "ProjectionExpression": "s", "ConsistentRead": True}

    tally.count("dynamodb.Query", json.dumps(query).encode(), 200, json.dumps({"Items": [{}] * 4, "ScannedCount": 4}).encode())

    assert tally.to_json()["read_units"] == {"work Query": 4.0}


def test_sqs_requests_count_as_billed() -> None:
    """Over 64 KB, one request is billed as several; batches say how many messages they hold."""
    small = count("sqs.SendMessageBatch", {"Entries": [{"Id": "1", "MessageBody": "x"}] * 10}, {})
    large = count("sqs.SendMessage", {"MessageBody": "x" * 70_000}, {})

    assert (small.sqs_billed, small.messages) == (1, 10)
    assert (large.sqs_billed, large.messages) == (2, 1)


def test_what_cannot_be_counted_is_reported() -> None:
    """Nothing is left out in silence."""
    tally = count("dynamodb.ExecuteStatement", {"Statement": "…"}, {})

    assert tally.to_json()["uncounted"] == {"ExecuteStatement is not sized": 1}

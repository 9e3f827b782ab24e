"""Bulk jobs: every call checked against botocore's model of Bedrock, files in moto's S3."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.session import Session
from botocore.stub import Stubber
from moto import mock_aws

from agentfleet.adapters.batch_inference import BedrockBatches
from agentfleet.domain.batch_inference import BatchRecord, BatchState
from agentfleet.domain.errors import ModelFailed, ModelRequestInvalid, ModelThrottled, ModelUnavailable, NotFound
from agentfleet.domain.model import Message, ModelRequest
from agentfleet.ports_model import BatchInference
from client.gateway.validation import problem_of

MODEL = "amazon.nova-lite-v1:0"
ROLE = "arn:aws:iam::123456789012:role/fleet-batches"
JOB = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl"
REQUEST = ModelRequest(messages=(Message.user("hello"),), system="Be kind.", max_tokens=50, temperature=0.0)
RECORDS = [BatchRecord(f"r{number}", REQUEST) for number in range(100)]


class World:
    """A bucket, a Bedrock that expects calls, and the adapter between them."""

    def __init__(self) -> None:
        keys = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        session: Any = Session()
        self.s3 = session.create_client("s3", **keys)
        self.s3.create_bucket(Bucket="fleet-bucket")
        self.bedrock = session.create_client("bedrock", **keys)
        self.stub = Stubber(self.bedrock)
        self.stub.activate()
        self.batches: BatchInference = BedrockBatches(self.bedrock, self.s3, "fleet-bucket", ROLE)

    def has(self, status: str, out: str = "batches/x/out/", **more: Any) -> None:
        """The job is in this state when it is next asked for."""
        body = {
            "jobArn": JOB,
            "modelId": MODEL,
            "roleArn": ROLE,
            "submitTime": 0,
            "status": status,
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://fleet-bucket/batches/x/in/"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://fleet-bucket/{out}"}},
        }
        self.stub.add_response("get_model_invocation_job", {**body, **more}, {"jobIdentifier": JOB})


@pytest.fixture
def world() -> Iterator[World]:
    """A fresh one; every expected call has been made at its end."""
    with mock_aws():
        found = World()
        yield found
        found.stub.assert_no_pending_responses()


def test_a_job_is_a_file_of_converse_requests(world: World) -> None:
    """Each line is a request that Converse takes; the same key gives the same job, whatever happens in between."""
    seen: list[dict[str, Any]] = []
    world.bedrock.meta.events.register("before-parameter-build.bedrock.*", lambda params, **_: seen.append(params))
    for _ in range(2):
        world.stub.add_response("create_model_invocation_job", {"jobArn": JOB})

    jobs = {world.batches.submit("classify", MODEL, RECORDS, "goal-1/task-1") for _ in range(2)}

    assert jobs == {JOB}
    assert seen[0] == seen[1]
    assert seen[0]["modelInvocationType"] == "Converse"
    assert (seen[0]["roleArn"], seen[0]["modelId"]) == (ROLE, MODEL)
    folder = seen[0]["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].removeprefix("s3://fleet-bucket/")
    body = world.s3.get_object(Bucket="fleet-bucket", Key=f"{folder}records.jsonl")["Body"].read()
    lines = [json.loads(line) for line in body.splitlines()]
    assert [line["recordId"] for line in lines] == [record.id for record in RECORDS]
    assert problem_of("Converse", MODEL, lines[0]["modelInput"]) is None
    assert lines[0]["modelInput"]["inferenceConfig"]["maxTokens"] == 50


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (RECORDS[:99], "100 to 50,000, not 99"),
        ([*RECORDS, RECORDS[0]], "2 have the id 'r0'"),
        ([*RECORDS, BatchRecord("a/b", REQUEST)], "'a/b' must have"),
    ],
)
def test_what_bedrock_would_turn_down_later_is_turned_down_now(world: World, records: list[BatchRecord], says: str) -> None:
    """Nothing is written and nobody is asked."""
    with pytest.raises(ModelRequestInvalid, match=says):
        world.batches.submit("classify", MODEL, records, "key")

    assert "Contents" not in world.s3.list_objects_v2(Bucket="fleet-bucket")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Submitted", BatchState.WAITING),
        ("Validating", BatchState.WAITING),
        ("InProgress", BatchState.RUNNING),
        ("PartiallyCompleted", BatchState.DONE),
        ("Completed", BatchState.DONE),
        ("Failed", BatchState.FAILED),
        ("Expired", BatchState.FAILED),
        ("Stopped", BatchState.STOPPED),
    ],
)
def test_states(world: World, status: str, state: BatchState) -> None:
    """Bedrock's many words for five things."""
    world.has(status, message="why")

    found = world.batches.status(JOB)

    assert (found.state, found.message) == (state, "why")


def test_results_are_read_from_every_file(world: World) -> None:
    """Replies and errors by record; the job's own manifest is no result."""
    output = {
        "output": {"message": {"role": "assistant", "content": [{"text": "kind"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7},
    }
    good = json.dumps({"recordId": "r1", "modelInput": {}, "modelOutput": output})
    bad = json.dumps({"recordId": "r2", "modelInput": {}, "error": {"errorCode": 400, "errorMessage": "too long"}})
    for name, body in (
        ("a/records.jsonl.out", f"{good}\n\n{bad}\n".encode()),
        ("a/more.jsonl.out.gz", gzip.compress(good.replace("r1", "r3").encode())),
        ("a/manifest.json.out", b"{}"),
    ):
        world.s3.put_object(Bucket="fleet-bucket", Key=f"batches/x/out/{name}", Body=body)
    world.has("Completed")

    found = {one.id: one for one in world.batches.results(JOB)}

    assert set(found) == {"r1", "r2", "r3"}
    reply = found["r1"].reply
    assert reply is not None
    assert (reply.text, reply.usage.total) == ("kind", 7)
    assert (found["r2"].reply, found["r2"].error) == (None, "400: too long")


def test_a_job_that_runs_has_no_results(world: World) -> None:
    """It is said how far it is."""
    world.has("InProgress")

    with pytest.raises(ModelFailed, match="InProgress"):
        list(world.batches.results(JOB))


def test_a_job_can_be_stopped(world: World) -> None:
    """One call."""
    world.stub.add_response("stop_model_invocation_job", {}, {"jobIdentifier": JOB})

    world.batches.stop(JOB)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ResourceNotFoundException", NotFound),
        ("ThrottlingException", ModelThrottled),
        ("ServiceQuotaExceededException", ModelThrottled),
        ("AccessDeniedException", ModelUnavailable),
        ("ValidationException", ModelRequestInvalid),
        ("InternalServerException", ModelFailed),
    ],
)
def test_errors_are_the_ports(world: World, code: str, error: type[Exception]) -> None:
    """Whoever submits bulk work needs to know nothing of botocore."""
    world.stub.add_client_error("stop_model_invocation_job", code)

    with pytest.raises(error):
        world.batches.stop(JOB)

"""Bulk jobs on Amazon Bedrock: requests as JSON lines in S3, answers beside them within a day, at half the price."""

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from agentfleet.adapters.bedrock import encode, read_reply
from agentfleet.domain.batch_inference import BatchRecord, BatchResult, BatchState, BatchStatus, problem_of
from agentfleet.domain.errors import ModelFailed, ModelRequestInvalid, ModelThrottled, ModelUnavailable, NotFound

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient
    from mypy_boto3_s3 import S3Client

PREFIX: Final = "batches"
"""Under which jobs' files lie in the fleet's bucket."""
HOURS: Final = 24
"""How long a job may take before Bedrock gives up on it (24 to 168)."""

_STATES: Final[Mapping[str, BatchState]] = {
    "Submitted": BatchState.WAITING,
    "Validating": BatchState.WAITING,
    "Scheduled": BatchState.WAITING,
    "InProgress": BatchState.RUNNING,
    "Completed": BatchState.DONE,
    "PartiallyCompleted": BatchState.DONE,
    "Failed": BatchState.FAILED,
    "Expired": BatchState.FAILED,
    "Stopping": BatchState.STOPPED,
    "Stopped": BatchState.STOPPED,
}
_ENDED: Final = frozenset({"Completed", "PartiallyCompleted", "Expired", "Stopped", "Failed"})


class BedrockBatches:
    """A BatchInference: `BedrockBatches(bedrock, s3, bucket, role)`.

    `role`: ARN of a role that Bedrock takes on to read and write the bucket's `batches/` (Create a service role for batch
    inference); who submits must be allowed to pass it.
    """

    def __init__(self, bedrock: "BedrockClient", s3: "S3Client", bucket: str, role: str) -> None:
        self._bedrock = bedrock
        self._s3 = s3
        self._bucket = bucket
        self._role = role

    def submit(self, name: str, model: str, records: Sequence[BatchRecord], key: str) -> str:
        """Start a job; gives its ARN. The same `key` again gives the same job; see BatchInference."""
        if problem := problem_of(records):
            raise ModelRequestInvalid(problem)
        # Bedrock's token takes no slashes, and a name may be as long as a goal's: a digest is always fit.
        token = hashlib.sha256(key.encode()).hexdigest()[:40]
        lines = (json.dumps({"recordId": one.id, "modelInput": encode(model, one.request)}) for one in records)
        with _translated(model):
            self._s3.put_object(
                Bucket=self._bucket, Key=f"{PREFIX}/{token}/in/records.jsonl", Body="\n".join(lines).encode(),
                ContentType="application/jsonl",
            )  # fmt: skip
            answer = self._bedrock.create_model_invocation_job(
                jobName=f"{name[:20]}-{token[:32]}",
                roleArn=self._role,
                modelId=model,
                clientRequestToken=token,
                modelInvocationType="Converse",
                inputDataConfig={
                    "s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": f"s3://{self._bucket}/{PREFIX}/{token}/in/"}
                },
                outputDataConfig={"s3OutputDataConfig": {"s3Uri": f"s3://{self._bucket}/{PREFIX}/{token}/out/"}},
                timeoutDurationInHours=HOURS,
            )
            return answer["jobArn"]

    def status(self, job: str) -> BatchStatus:
        """How far it is; see BatchInference."""
        found = self._look(job)
        return BatchStatus(job, _STATES.get(found["status"], BatchState.RUNNING), found.get("message", ""))

    def results(self, job: str) -> Iterator[BatchResult]:
        """What became of every record; see BatchInference. Raises ModelFailed for a job that hasn't ended."""
        found = self._look(job)
        if found["status"] not in _ENDED:
            raise ModelFailed(f"job {job} is {found['status']}: it has no results yet")
        prefix = found["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removeprefix(f"s3://{self._bucket}/")
        with _translated(job):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            for page in pages:
                for one in page.get("Contents", ()):
                    if one["Key"].endswith((".jsonl.out", ".jsonl.out.gz")):
                        yield from self._read(one["Key"])

    def stop(self, job: str) -> None:
        """End it; see BatchInference."""
        with _translated(job):
            self._bedrock.stop_model_invocation_job(jobIdentifier=job)

    def _look(self, job: str) -> Any:
        with _translated(job):
            return self._bedrock.get_model_invocation_job(jobIdentifier=job)

    def _read(self, key: str) -> Iterator[BatchResult]:
        body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        for line in (gzip.decompress(body) if key.endswith(".gz") else body).splitlines():
            if not line.strip():
                continue
            record = json.loads(line)
            if "modelOutput" in record:
                yield BatchResult(record["recordId"], read_reply(record["modelOutput"]))
            else:
                problem = record.get("error", {})
                yield BatchResult(record["recordId"], error=f"{problem.get('errorCode')}: {problem.get('errorMessage')}")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        said = f"{what}: {error}"
        if code == "ResourceNotFoundException":
            raise NotFound(said) from error
        if code in {"ThrottlingException", "ServiceQuotaExceededException"}:
            raise ModelThrottled(said) from error
        if code == "AccessDeniedException":
            raise ModelUnavailable(said) from error
        if code in {"ValidationException", "ConflictException"}:
            raise ModelRequestInvalid(said) from error
        raise ModelFailed(said) from error
    except (BotoCoreError, OSError) as error:
        raise ModelFailed(f"{what}: {error}") from error

"""Copies of histories, as S3 sees them come: moto and emulators take objects into locked buckets that S3 would refuse."""

import base64
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from moto import mock_aws
from urllib3 import HTTPResponse

from agentfleet.adapters.clients import Clients
from agentfleet.adapters.vault import S3Vault

BODY = b"what happened"
DIGEST = base64.b64encode(hashlib.sha256(BODY).digest()).decode()


@pytest.fixture(params=["https://s3.example.test", "http://s3.example.test"])
def sent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AWSPreparedRequest]:
    """The request that a copy becomes, over TLS as to AWS and without as to an emulator; nothing leaves this process."""
    for name, value in (("REGION", "us-east-1"), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(f"AWS_{name.replace('REGION', 'DEFAULT_REGION')}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.param)
    seen: list[AWSPreparedRequest] = []

    def answer(request: AWSPreparedRequest, **_: Any) -> Any:
        seen.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders(), HTTPResponse(io.BytesIO(), preload_content=False))

    clients = Clients()
    clients.s3.meta.events.register("before-send.s3.PutObject", answer)
    S3Vault(clients.s3, "vault").put("2026-01-02T03/0/1.gz", io.BytesIO(BODY))
    yield seen[0]


def test_a_copy_comes_with_the_checksum_that_a_locked_bucket_asks_for(sent: AWSPreparedRequest) -> None:
    """In a header, or after the body as the header says; without one S3 answers 400 where objects are locked by default."""
    body: Any = sent.body
    headers = {name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in sent.headers.items()}

    assert headers["x-amz-sdk-checksum-algorithm"] == "SHA256"
    if sent.url.startswith("https://"):
        assert headers["x-amz-trailer"] == "x-amz-checksum-sha256"
        assert f"x-amz-checksum-sha256:{DIGEST}".encode() in body.read()
    else:
        assert headers["x-amz-checksum-sha256"] == DIGEST


def test_a_copy_lies_in_a_bucket_that_locks_what_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, under its name, and locked."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        clients = Clients()
        clients.s3.create_bucket(Bucket="vault", ObjectLockEnabledForBucket=True)
        clients.s3.put_object_lock_configuration(
            Bucket="vault",
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
            },
        )

        S3Vault(clients.s3, "vault").put("2026-01-02T03/0/1.gz", io.BytesIO(BODY))

        found = clients.s3.get_object(Bucket="vault", Key="history/2026-01-02T03/0/1.gz")
        assert (found["Body"].read(), found["ObjectLockMode"]) == (BODY, "GOVERNANCE")

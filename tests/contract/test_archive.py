"""Copies of histories as they are stored: out of the table, by way of a file, into a bucket that locks what it gets."""

import base64
import gzip
import hashlib
import io
import json
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from moto import mock_aws
from urllib3 import HTTPResponse

from agentfleet.adapters.clients import Clients
from agentfleet.adapters.history import DynamoHistory
from agentfleet.adapters.vault import S3Vault
from agentfleet.domain.history import Change, Segment, extend, to_text
from agentfleet.services.archive import PASSES, Archiver, hashes_in
from tests.contract.world import FLEET, build
from tests.fakes.clock import START


def test_an_hour_is_copied_into_a_locked_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, and what was not copied before: a result of ten days later is in the month's copy."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        clients = Clients()
        build(clients)
        clients.s3.create_bucket(Bucket="vault", ObjectLockEnabledForBucket=True)
        retention: Any = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        clients.s3.put_object_lock_configuration(
            Bucket="vault", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention}
        )
        store, vault = DynamoHistory(clients.dynamodb, f"{FLEET}-history"), S3Vault(clients.s3, "vault")
        head = store.begin("goal", START)
        hashes: list[dict[int, str]] = []
        for number, later in enumerate((timedelta(0), timedelta(days=10))):
            change = Change("goal", "0", number, START + later, "result", None, {"unit": number, "states": "S"})
            events, after = extend(head, [change])
            store.append(Segment(head.count + 1, to_text(events), after))
            head = after
            copied = Archiver(store, vault, partial(datetime.__add__, START, PASSES[2 + number]))()
            assert not copied.problems
            (name,) = copied.copies
            found = clients.s3.get_object(Bucket="vault", Key=f"history/{name}")
            assert found["ObjectLockMode"] == "GOVERNANCE"
            body = found["Body"].read()
            assert json.loads(gzip.decompress(body).splitlines()[-1])["hash"] == head.hash
            hashes.append(hashes_in(io.BytesIO(body), "goal"))

    assert [sorted(found) for found in hashes] == [[1], [1, 2]]
    assert hashes[1][2] == head.hash


@pytest.mark.parametrize("address", ["https://s3.example.test", "http://s3.example.test"])
def test_a_copy_out_of_a_file_comes_with_its_checksum(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and with its length, by TLS as to AWS and without; a locked bucket refuses what comes without a checksum."""
    for name, value in (("DEFAULT_REGION", "us-east-1"), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    body = bytes(range(256)) * 1000
    checksum = base64.b64encode(hashlib.sha256(body).digest())
    seen: list[tuple[dict[str, bytes], bytes]] = []

    def answer(request: Any, **_: Any) -> Any:
        headers = {
            name.lower(): value if isinstance(value, bytes) else value.encode() for name, value in request.headers.items()
        }
        seen.append((headers, request.body.read()))
        return AWSResponse(request.url, 200, HTTPHeaders(), HTTPResponse(io.BytesIO(), preload_content=False))

    clients = Clients()
    clients.s3.meta.events.register("before-send.s3.PutObject", answer)
    S3Vault(clients.s3, "vault").put("2026-01-02T03/0/1.gz", io.BytesIO(body))

    ((headers, sent),) = seen
    if address.startswith("https"):
        assert headers["x-amz-trailer"] == b"x-amz-checksum-sha256"
        assert b"x-amz-checksum-sha256:" + checksum in sent
        assert headers["x-amz-decoded-content-length"] == b"%d" % len(body)
    else:
        assert headers["x-amz-checksum-sha256"] == checksum
        assert sent == body

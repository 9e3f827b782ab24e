"""Three worlds for every contract test: fakes, moto in this process, and the emulator."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from unittest.mock import patch

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.common_types import TYPE_RESPONSE

from agentfleet.adapters.clients import Clients
from agentfleet.domain.codec import dumps
from client.local import LocalCloud
from client.toolchain import Toolchain
from tests.contract.moto_inserts import conditional_inserts
from tests.contract.world import AwsWorld, FakeWorld, World, build

ROOT = Path(__file__).parents[2]
WORLDS = ["fake", "moto", pytest.param("emulator", marks=pytest.mark.emulator)]
TRUST = dumps(
    {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
)
RECEIVES = ("AmazonSQS.ReceiveMessage", b"AmazonSQS.ReceiveMessage")
"""In the header of a request: as text or as bytes, whichever the signer left."""
SERVICES = ("dynamodb", "dynamodb_once", "s3", "sqs", "events", "functions", "logs", "cloudwatch")


def _clients(endpoint: str | None = None) -> Clients:
    """All clients at once, by asking each for something, so that none is made later under another environment."""
    clients = Clients()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        if endpoint:
            environment.setenv("AWS_ENDPOINT_URL", endpoint)
        for service in SERVICES:
            _ = getattr(clients, service).meta
    return clients


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """While this lasts, moto takes requests one by one: it checks a condition, or counts, in several steps.

    Those that wait for messages have a lock for each such request: whoever sends one would wait for them.
    """
    locks: defaultdict[str, Lock] = defaultdict(Lock)
    answer = BotocoreStubber.process_request

    def process_request(stubber: BotocoreStubber, request: AWSPreparedRequest) -> TYPE_RESPONSE | None:
        waits = request.headers.get("X-Amz-Target") in RECEIVES
        with locks[repr(request.body) if waits else ""]:
            return answer(stubber, request)

    with patch.object(BotocoreStubber, "process_request", process_request):
        yield


def _on_moto(clients: Clients) -> Iterator[Callable[[], World]]:
    with mock_aws(), _one_at_a_time(), conditional_inserts():
        build(clients)
        boto3.client("iam", region_name="us-east-1").create_role(RoleName="contract", AssumeRolePolicyDocument=TRUST)
        yield lambda: AwsWorld(clients)


@pytest.fixture(scope="session")
def moto_clients() -> Iterator[Clients]:
    """Clients of whatever moto holds at the time: making them takes longer than most tests."""
    with mock_aws():
        clients = _clients()
    yield clients
    clients.threads.shutdown()


@pytest.fixture(scope="session")
def emulator_clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """Clients of an emulator of our own, with nothing deployed in it."""
    Toolchain(ROOT, lambda _: None).ensure_emulator()
    cloud = LocalCloud(ROOT, tmp_path_factory.mktemp("emulator"))
    cloud.start()
    try:
        clients = _clients(cloud.endpoint)
        build(clients, with_vectors=True)
        yield clients
        clients.threads.shutdown()
    finally:
        cloud.stop()


@pytest.fixture(scope="module", params=WORLDS)
def worlds(request: pytest.FixtureRequest) -> Iterator[Callable[[], World]]:
    """Makes worlds of one kind, one per test. By module, so that moto is switched off again before other tests run."""
    match request.param:
        case "fake":
            yield FakeWorld
        case "moto":
            yield from _on_moto(request.getfixturevalue("moto_clients"))
        case _:
            clients = request.getfixturevalue("emulator_clients")
            yield lambda: AwsWorld(clients)


@pytest.fixture
def world(worlds: Callable[[], World]) -> World:
    """A world of its own for each test, as far as names are fresh."""
    return worlds()


@pytest.fixture
def is_fake(request: pytest.FixtureRequest) -> bool:
    """For what fakes don't have: queues that aren't there."""
    return bool(request.node.callspec.params["worlds"] == "fake")

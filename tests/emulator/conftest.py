"""The deployed stack: one emulator of its own for the whole session, started and stopped here."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.api import FleetClient
from client.config import ClientConfig
from client.local import LocalCloud

ROOT = Path(__file__).parents[2]
Aws = Callable[[str], Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder needs the emulator."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.emulator)


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    """The fleet, deployed by the CDK into an emulator that nobody else uses, not even another run of these tests.

    IAM is enforced: a function that lacks a permission fails here as it would on AWS. `IAM=off` tells that from other faults.
    """
    state = ROOT / ".fleet" / f"test-{os.getpid()}"
    cloud = LocalCloud(ROOT, state, enforce_iam=os.environ.get("IAM") != "off")
    try:
        cloud.up()
        yield cloud
    finally:
        cloud.stop()
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def client(cloud: LocalCloud) -> Iterator[FleetClient]:
    """The SDK's client of that fleet."""
    with FleetClient(ClientConfig(api_url=cloud.api_url, api_key=cloud.api_key)) as client:
        yield client


@pytest.fixture
def aws(cloud: LocalCloud) -> Iterator[Aws]:
    """A maker of boto3 clients for the emulator; closed after the test."""
    made: list[Any] = []

    def make(service: str) -> Any:
        made.append(cloud.client(service))
        return made[-1]

    yield make
    for client in made:
        client.close()


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `condition` gives as soon as it is truthy. Fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"still not so after {seconds} s: {condition}")
        time.sleep(0.1)
    return value

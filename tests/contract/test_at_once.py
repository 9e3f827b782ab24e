"""What adapters ask for at once: told by a service that answers nobody before all have asked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from agentfleet.adapters.dead_letters import SqsDeadLetters

POOLS = [f"pool-{number}" for number in range(11)]


class Gathering:
    """An SQS client whose answers come when so many requests are under way."""

    def __init__(self, parties: int) -> None:
        self.together = Barrier(parties)
        self.queues: list[str] = []

    def receive_message(self, **request: Any) -> dict[str, Any]:
        """An empty queue's answer."""
        self.queues.append(request["QueueUrl"])
        self.together.wait(timeout=10)
        return {}


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """As many as a process has."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_all_dead_letter_queues_are_asked_at_once(threads: ThreadPoolExecutor) -> None:
    """Each empty one takes a second to say so: eleven take one together."""
    sqs: Any = Gathering(len(POOLS))

    found = SqsDeadLetters(sqs, "fleet", "https://sqs/", threads).take(POOLS, 10)

    assert found == {pool: [] for pool in POOLS}
    assert sorted(sqs.queues) == sorted(f"https://sqs/fleet-{pool}-dead" for pool in POOLS)

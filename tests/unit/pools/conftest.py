"""What every capability test needs: blobs in memory and a task to carry out."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agentfleet.agent import TaskContext
from agentfleet.services.capability import TaskFiles
from tests.fakes.blobs import FakeBlobs
from tests.fakes.clock import FixedClock

MakeContext = Callable[..., TaskContext]


@pytest.fixture
def blobs() -> FakeBlobs:
    """The bucket."""
    return FakeBlobs()


@pytest.fixture
def make_context(blobs: FakeBlobs) -> MakeContext:
    """Task contexts by keyword: `settings`, `attempt`, `fence`, `seconds` (left until the timeout)."""

    def make(*, seconds: float = 60.0, **given: Any) -> TaskContext:
        clock = FixedClock()
        fields: dict[str, Any] = {"goal_id": "goal-1", "task_id": "task-1", "tenant": "acme", "attempt": 1}
        files = TaskFiles(blobs, "acme", "goal-1", "task-1")
        return TaskContext(**fields | given, blobs=files, clock=clock, deadline=clock() + timedelta(seconds=seconds))

    return make


@pytest.fixture
def context(make_context: MakeContext) -> TaskContext:
    """A first attempt with a minute left and no settings."""
    return make_context()

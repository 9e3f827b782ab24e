"""A pool with a chain of two models, and tasks that ask them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentfleet.agent import TaskContext
from agentfleet.domain.model import Cost
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.ports_model import ModelPort, Purpose
from agentfleet.services.breaker import Breakers, LocalBreakers
from agentfleet.services.cache import CacheManager, Tier
from agentfleet.services.capability import TaskFiles
from agentfleet.services.model import Circumstances, Models
from tests.fakes.blobs import FakeBlobs
from tests.fakes.cache import FakeCache
from tests.unit.model.scripted import Script, scripted

FIRST = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SECOND = "amazon.nova-lite-v1:0"

Task = Callable[..., TaskContext]


class Ledger:
    """A Spending that writes down what it is told."""

    def __init__(self) -> None:
        self.reserved: list[tuple[Purpose, Cost]] = []
        self.settled: dict[str, Cost | None] = {}

    def reserve(self, purpose: Purpose, most: Cost) -> str:
        """Granted, and numbered."""
        self.reserved.append((purpose, most))
        return str(len(self.reserved) - 1)

    def settle(self, reservation: str, spent: Cost | None) -> None:
        """Written down once."""
        assert reservation not in self.settled
        self.settled[reservation] = spent


class Environment:
    """What the calls of one environment share."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.throttled: list[str] = []
        self.paused: list[float] = []
        self.breakers = LocalBreakers()

    async def pause(self, seconds: float) -> None:
        """Waits that a test doesn't wait for."""
        self.paused.append(seconds)

    def models(self, port: ModelPort, *chain: str, **given: Any) -> Models:
        """Models that answer to this environment."""
        clock = lambda: datetime.now(UTC)  # noqa: E731
        cache = CacheManager(
            [Tier("memory", FakeCache(clock), timedelta(hours=1), 1_000_000)],
            None,
            clock,
            lambda: 0.5,
        )
        choice = ModelChoice(chain=chain or (FIRST, SECOND), **given)
        return Models(port, Circumstances("think", choice, lambda: 0.5, self.ledger, cache, self.throttled.append, self.pause))

    def task(self, models: Models | None, seconds: float = 30.0, tenant: str = "acme", **settings: Any) -> TaskContext:
        """A task with so much time."""
        now = datetime.now(UTC)
        return TaskContext(
            goal_id="goal-1",
            task_id="task-1",
            tenant=tenant,
            attempt=1,
            blobs=TaskFiles(FakeBlobs(), tenant, "goal-1", "task-1"),
            clock=lambda: datetime.now(UTC),
            deadline=now + timedelta(seconds=seconds),
            settings=settings,
            breakers=Breakers(self.breakers, lambda: datetime.now(UTC)),
            models=models,
        )


@pytest.fixture
def environment() -> Environment:
    """A fresh one."""
    return Environment()


@pytest.fixture
def script(server: tuple[Script, ModelPort]) -> Script:
    """What the server says next, and what it was asked."""
    return server[0]


@pytest.fixture
def server() -> Iterator[tuple[Script, ModelPort]]:
    """A scripted Bedrock. Every request that it gets has to be one that Bedrock takes."""
    with scripted() as (script, port):
        yield script, port
        assert not script.problems


@pytest.fixture
def task(environment: Environment, server: tuple[Script, ModelPort]) -> Task:
    """Tasks by keyword: `seconds`, `tenant`, `chain`, and settings."""

    def make(*, chain: tuple[str, ...] = (), seconds: float = 30.0, tenant: str = "acme", **settings: Any) -> TaskContext:
        return environment.task(environment.models(server[1], *chain), seconds, tenant, **settings)

    return make

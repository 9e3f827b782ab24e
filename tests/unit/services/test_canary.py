"""A canary whose tasks fail loses its share: from the agent's batches by the fleet manager's passes to where new work goes."""

from datetime import datetime
from typing import Any

import pytest

from agentfleet.agent import Agent
from agentfleet.domain.errors import CircuitOpen, InvalidRequest, NotFound, PermanentError, RetryableError
from agentfleet.domain.pool_health import HealthState
from agentfleet.ports import Signals
from agentfleet.services.manage import Autoscaler
from agentfleet.services.pool_health import HealthWatch
from tests.fakes import FakeFleets, FakePools, FakeScalings
from tests.fakes.fleet import InProcessFleet


class Batches:
    """A PoolSignals that counts what the fleet's agents said of their batches, as CloudWatch would."""

    def __init__(self, fleet: InProcessFleet) -> None:
        self._fleet = fleet

    def read(self, pool: str, now: datetime) -> Signals:
        lost = self._fleet.lost.get(pool, [])
        return Signals(invocations=len(lost), lost=sum(lost))


class Rollout:
    """Two pools that offer `work.do`; the canary's raises `error` each time."""

    def __init__(self, error: Exception | None) -> None:
        stable, canary = Agent("stable"), Agent("canary")

        @stable.capability("work.do", idempotent=True)
        async def do(input: dict[str, Any]) -> None:
            """As ever."""

        @canary.capability("work.do", idempotent=True)
        async def do_next(input: dict[str, Any]) -> None:
            """As from now on."""
            if error:
                raise error

        self.fleet = fleet = InProcessFleet(stable, canary)
        fleet.batch = 1
        catalog = fleet.platform.catalog
        self.manager = Autoscaler(
            FakePools(catalog, fleet.queues),
            Batches(fleet),
            FakeFleets(),
            FakeScalings(),
            catalog,
            fleet.clock,
            HealthWatch(fleet.routing),
            fleet.entries,
        )

    def run(self) -> float:
        """Carry out 40 tasks of one attempt each, then look once. Gives the canary's share of new work."""
        tasks = [{"id": f"t{n}", "capability": "work.do", "retries": 0, "on_failure": "skip"} for n in range(40)]
        self.fleet.submit({"plan": {"tasks": tasks}})
        self.fleet.settle()
        self.manager()
        self.fleet.clock.advance(10)
        return self.fleet.platform.router.share_of("work.do")["canary"]


@pytest.mark.parametrize("error", [ZeroDivisionError("boom"), RetryableError("not now"), TimeoutError()])
def test_a_canary_whose_tasks_raise_gets_no_more_work(error: Exception) -> None:
    """Lambda counts none of its invocations as failed, and its queue is empty again when the fleet manager looks."""
    rollout = Rollout(error)

    assert rollout.run() == 0.0
    found = rollout.fleet.routing.read().health["canary"]
    assert (found.state, found.reason) == (HealthState.UNHEALTHY, "the tasks of 20 of 20 invocations failed")


@pytest.mark.parametrize(
    "error",
    [
        None,
        PermanentError("no such shop"),
        NotFound("no such file"),
        InvalidRequest.of("amount", "must be more than 0"),
        CircuitOpen("calls to crm failed of late", 1.0),
    ],
)
def test_what_a_task_asked_for_in_vain_is_not_held_against_its_pool(error: Exception | None) -> None:
    """Nor what could not be tried: a tenant's mistakes, and a dependency's, take no work from a pool."""
    assert Rollout(error).run() == 0.5


def test_an_output_that_breaks_its_promise_is_the_agents_own_mistake() -> None:
    """It fails for good like a bad input, but it says that the code is wrong."""
    stable, canary = Agent("stable"), Agent("canary")

    @canary.capability("work.do", idempotent=True)
    async def do(input: dict[str, Any]) -> int:
        """Promises a number."""
        return "seven"  # type: ignore[return-value]

    fleet = InProcessFleet(stable, canary)
    goal = fleet.submit({"plan": {"tasks": [{"id": "t", "capability": "work.do"}]}})
    fleet.settle()

    failure = fleet.goal(goal.id).failure
    assert failure is not None
    assert failure.error == "BadOutput"
    assert fleet.lost["canary"] == [1.0]


def test_half_of_a_batch_is_half_of_an_invocation() -> None:
    """So that a batch counts for as much as it says, whatever its size."""
    agent = Agent("work")

    @agent.capability("work.do", idempotent=True)
    async def do(input: dict[str, Any]) -> None:
        """Fails for odd numbers."""
        if input["n"] % 2:
            raise ValueError(input["n"])

    fleet = InProcessFleet(agent)
    fleet.submit(
        {"plan": {"tasks": [{"id": f"t{n}", "capability": "work.do", "input": {"n": n}, "retries": 0} for n in range(10)]}}
    )
    fleet.step()

    assert fleet.lost["work"] == [0.5]

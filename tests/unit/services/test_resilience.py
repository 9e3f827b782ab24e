"""Kept results and left-alone dependencies, in a whole fleet in one process."""

import asyncio
import json
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from agentfleet.agent import Agent, PermanentError, TaskContext, _measure_cache
from agentfleet.domain.breaker import Breaker, BreakerPolicy, BreakerState
from agentfleet.domain.errors import BulkheadFull, CircuitOpen
from agentfleet.domain.goal import GoalState
from agentfleet.services.breaker import Breakers, LocalBreakers, read_policy
from agentfleet.services.cache import CacheManager, Tier
from tests.fakes import FakeCache, FixedClock
from tests.fakes.fleet import InProcessFleet

POLICY = BreakerPolicy(failures=2, recovery=timedelta(seconds=30))


class Calls:
    """An agent that counts how often its functions were called, and a dependency that may be down."""

    def __init__(self) -> None:
        self.agent = Agent("data")
        self.squares: list[int] = []
        self.attempts: list[int] = []
        self.is_down = False

        @self.agent.capability("data.square", idempotent=True, cacheable=True)
        def square(input: dict[str, int]) -> int:
            """Square."""
            self.squares.append(input["n"])
            if input["n"] < 0:
                raise PermanentError("n: must not be negative")
            return input["n"] ** 2

        @self.agent.capability("data.ask")
        def ask(input: dict[str, Any], context: TaskContext) -> str:
            """Ask a dependency."""
            with context.breaker("crm", policy=POLICY):
                self.attempts.append(context.attempt)
                if self.is_down:
                    raise OSError("down")
                return "answer"


def plan(*tasks: dict[str, Any]) -> dict[str, Any]:
    """A goal of independent tasks."""
    named = [{"id": f"t{number}", **task} for number, task in enumerate(tasks)]
    return {"name": "g", "plan": {"tasks": named, "output": {one["id"]: {"$from": one["id"]} for one in named}}}


def square(n: int) -> dict[str, Any]:
    """A task."""
    return {"capability": "data.square", "input": {"n": n}}


@pytest.fixture
def calls() -> Calls:
    """An agent."""
    return Calls()


def fleet_with_cache(calls: Calls) -> InProcessFleet:
    """A fleet whose results are kept in one tier."""
    fleet = InProcessFleet(calls.agent)
    tier = FakeCache(fleet.clock)
    fleet.cache = CacheManager([Tier("memory", tier, timedelta(hours=1), 10_000)], tier, fleet.clock, lambda: 0.0)
    return fleet


def test_a_kept_result_answers_without_a_call(calls: Calls) -> None:
    """The same input of the same tenant is computed once, within a goal and over goals, and the hit is counted."""
    fleet = fleet_with_cache(calls)
    goals = []
    for _ in range(2):
        goals.append(fleet.submit(plan(square(3), square(3), square(4))))
        fleet.settle()

    assert sorted(calls.squares) == [3, 4]
    assert [fleet.goal(goal.id).output for goal in goals] == [{"t0": 9, "t1": 9, "t2": 16}] * 2
    assert fleet.cache is not None
    assert fleet.cache.counts["memory.hits"] >= 3


def test_an_agents_entry_says_what_its_cache_did(calls: Calls) -> None:
    """With the entry that is written anyway, at most every few seconds: so the newest batch may not be in it."""
    fleet = fleet_with_cache(calls)
    for _ in range(2):
        fleet.submit(plan(square(3), square(4)))
        fleet.settle()
        fleet.clock.advance(60)
    fleet.submit(plan(square(5)))
    fleet.settle()

    (entry,) = fleet.entries.list(["data"])
    assert fleet.cache is not None
    assert (entry.cache["loads"], entry.cache["memory.hits"]) == (2, 2)


def test_a_batch_is_measured_in_the_embedded_format(capsys: pytest.CaptureFixture[str]) -> None:
    """CloudWatch makes metrics of the line: hits of all tiers, values made and calls that failed, by pool."""
    _measure_cache("data", {"memory.hits": 2, "s3.hits": 1, "s3.errors": 1, "loads": 4})

    line = json.loads(capsys.readouterr().out)
    assert (line["service"], line["CacheHits"], line["CacheLoads"], line["CacheErrors"]) == ("data", [3.0], [4.0], [1.0])


def test_tenants_share_nothing(calls: Calls) -> None:
    """Another tenant's equal input is computed for itself."""
    fleet = fleet_with_cache(calls)
    for tenant in ("acme", "globex"):
        fleet.submit(plan(square(3)), tenant=tenant)
        fleet.settle()

    assert calls.squares == [3, 3]


def test_a_permanent_error_is_kept_for_a_while(calls: Calls) -> None:
    """It fails the next task with the same words without a call, until half a minute is over."""
    fleet = fleet_with_cache(calls)
    failures = []
    for seconds in (0, 1, 60):
        fleet.clock.advance(seconds)
        goal = fleet.submit(plan(square(-1)))
        fleet.settle()
        failures.append(fleet.goal(goal.id).failure)

    assert [failure.message for failure in failures if failure] == ["n: must not be negative"] * 3
    assert calls.squares == [-1, -1]


def test_an_open_circuit_burns_no_attempts(calls: Calls) -> None:
    """While a dependency is left alone its tasks wait in fresh messages; when it is back they succeed as if just sent."""
    fleet = InProcessFleet(calls.agent)
    fleet.breakers.write("crm", Breaker(BreakerState.OPEN, until=fleet.clock() + timedelta(seconds=59)), 0, fleet.clock())
    goal = fleet.submit(plan(*({"capability": "data.ask", "input": {}, "retries": 0} for _ in range(3))))

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert calls.attempts == [1, 1, 1]
    assert fleet.queues.bodies("fleet-data-dead") == []
    assert fleet.breakers.read("crm")[0] == Breaker()


def test_failures_burn_attempts_and_refusals_do_not(calls: Calls) -> None:
    """A dependency that stays down costs each task just its retries, however often it is refused in between."""
    fleet = InProcessFleet(calls.agent)
    calls.is_down = True
    goal = fleet.submit(plan({"capability": "data.ask", "input": {}, "retries": 3}))

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.FAILED
    assert calls.attempts == [1, 2, 3, 4]


def test_a_message_that_cannot_be_sent_again_is_kept(calls: Calls) -> None:
    """Where the fresh message is not taken, the old one comes again: the task is never lost."""
    fleet = InProcessFleet(calls.agent)
    fleet.breakers.write("crm", Breaker(BreakerState.OPEN, until=fleet.clock() + timedelta(seconds=20)), 0, fleet.clock())
    goal = fleet.submit(plan({"capability": "data.ask", "input": {}}))
    fleet.queues.fail_sends("fleet-data-normal", 1)

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


def test_environments_share_a_breaker_within_a_second() -> None:
    """What one environment finds out keeps another one away a second later, and its recovery lets both in."""
    store, clock = LocalBreakers(), FixedClock()
    first, second = Breakers(store, clock, POLICY), Breakers(store, clock, POLICY)
    second.guard("crm").call(int)

    for _ in range(2):
        with pytest.raises(OSError, match="down"), first.guard("crm"):
            raise OSError("down")
    clock.advance(1)

    with pytest.raises(CircuitOpen) as refused:
        second.guard("crm").call(int)
    assert refused.value.delay == 29
    clock.advance(30)
    assert asyncio.run(second.guard("crm").call_async(asyncio.sleep, 0, "back")) == "back"
    clock.advance(1)
    assert first.guard("crm").call(int) == 0


def test_failures_among_many_successes_are_not_even_stored() -> None:
    """A thousand calls a minute of which one in two hundred fails: nobody is refused, and nothing is written."""
    store, clock = LocalBreakers(), FixedClock()
    breakers = Breakers(store, clock)

    for number in range(1, 3001):
        clock.advance(0.06)
        if number % 200:
            breakers.guard("crm").call(int)
        else:
            with pytest.raises(OSError, match="hiccup"), breakers.guard("crm"):
                raise OSError("hiccup")

    assert store.read("crm") == (Breaker(), 0)


def test_a_dead_store_lets_calls_through() -> None:
    """A breaker that can't be read or stored holds in this environment alone."""

    class Dead(LocalBreakers):
        def read(self, dependency: str) -> tuple[Breaker, int]:
            raise OSError("gone")

        def write(self, dependency: str, breaker: Breaker, version: int, expires: datetime) -> bool:
            raise OSError("gone")

    clock = FixedClock()
    breakers = Breakers(Dead(), clock, POLICY)

    assert breakers.guard("crm").call(int) == 0
    for _ in range(2):
        with pytest.raises(OSError, match="down"), breakers.guard("crm"):
            raise OSError("down")
    with pytest.raises(CircuitOpen):
        breakers.guard("crm").call(int)


def test_a_bulkhead_admits_so_many_at_once() -> None:
    """The third of two is refused; when one has left there is room again."""
    breakers = Breakers(LocalBreakers(), FixedClock())
    with breakers.guard("crm", concurrency=2):
        with breakers.guard("crm", concurrency=2), pytest.raises(BulkheadFull):
            breakers.guard("crm", concurrency=2).call(int)
        assert breakers.guard("crm", concurrency=2).call(int) == 0


def test_a_policy_is_read_from_settings() -> None:
    """Seconds become times; a key that there isn't is named."""
    assert read_policy({"failures": 2, "recovery": 1.5}) == BreakerPolicy(failures=2, recovery=timedelta(seconds=1.5))
    assert read_policy({"rate": 1}) == BreakerPolicy(rate=1.0)
    with pytest.raises(ValueError, match="retries"):
        read_policy({"retries": 1})


def test_who_uses_no_cache_does_not_import_its_client() -> None:
    """An agent's cold start loads neither Valkey's client nor the memory tier's library."""
    code = "import sys, agentfleet.agent; print([name for name in ('valkey', 'cachetools') if name in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

"""Where units go: turns, health, affinity, open breakers, canaries; on routers alone and on a whole fleet in one process."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.agent import Agent, TaskContext
from agentfleet.domain.breaker import Breaker, BreakerState
from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.errors import CircuitOpen, NotFound
from agentfleet.domain.goal import GoalState
from agentfleet.domain.plan import PlannedTask, Unit
from agentfleet.domain.pool_health import HealthState, PoolHealth, RoutingTable
from agentfleet.services.breaker import LocalBreakers
from agentfleet.services.routing import FRESH, LocalRouting, Router, RoutingBoard
from tests.fakes import FixedClock
from tests.fakes.fleet import InProcessFleet, catalog_of


def spec(name: str, **changes: Any) -> PoolSpec:
    """A pool that offers `work.do`."""
    return PoolSpec(name=name, capabilities=(CapabilitySpec(name="work.do", pool=name, idempotent=True),), **changes)


def catalog(*specs: PoolSpec) -> Catalog:
    """A fleet of these."""
    return Catalog(fleet="fleet", pools={one.name: one for one in specs})


def unit(number: int, affinity: str | None = None, capability: str = "work.do") -> Unit:
    """A unit of one task."""
    return Unit(number, capability, (PlannedTask(f"t{number}", {}, {}, affinity=affinity),), 2, 60.0, "normal", "fail")


class Routed:
    """A router over a table of health, and everything that the router asks of it."""

    def __init__(self, *specs: PoolSpec) -> None:
        self.clock, self.store, self.breakers = FixedClock(), LocalRouting(), LocalBreakers()
        self.reads = 0
        self.is_broken = False
        fleet = catalog(*specs)
        self.router = Router(fleet, RoutingBoard(self, self.breakers, fleet, self.clock))

    def read(self) -> RoutingTable:
        self.reads += 1
        if self.is_broken:
            raise OSError("the table can't be reached")
        return self.store.read()

    def put_health(self, pool: str, health: PoolHealth) -> None:
        raise AssertionError("routers write nothing")

    def drain(self, pool: str, since: Any) -> None:
        raise AssertionError("routers write nothing")

    def say(self, pool: str, state: HealthState) -> None:
        """What the fleet manager finds; the router has seen it."""
        self.store.put_health(pool, PoolHealth(state, self.clock(), self.clock()))
        self.clock.advance(FRESH.total_seconds())

    def send(self, count: int = 100, goal: str = "g") -> Counter[str]:
        """How a release of so many units is spread."""
        return Counter(self.router.pools_for(goal, [unit(number) for number in range(count)]))


def test_a_single_pool_costs_no_look() -> None:
    """No table is read, no turn taken, whatever the pool's health."""
    routed = Routed(spec("only"))
    routed.store.drain("only", routed.clock())

    assert routed.send() == {"only": 100}
    assert routed.reads == 0


def test_the_table_is_read_once_in_five_seconds() -> None:
    """However many units are sent; and what was known counts while it can't be read."""
    routed = Routed(spec("a"), spec("b"))
    routed.store.drain("a", routed.clock())

    for _ in range(50):
        assert routed.send() == {"b": 100}
    assert routed.reads == 1
    routed.is_broken = True
    routed.clock.advance(FRESH.total_seconds())
    assert routed.send() == {"b": 100}
    assert routed.reads == 2


def test_a_canary_gets_its_share_of_every_release() -> None:
    """95 to 5: exactly one in twenty of a wide release, and of many small ones about as much."""
    routed = Routed(spec("stable", weight=95), spec("canary", weight=5))

    assert routed.send(2000) == {"stable": 1900, "canary": 100}
    alone = sum((routed.send(1, goal=f"g{number}") for number in range(10_000)), Counter())
    assert 420 < alone["canary"] < 580


def test_a_repeated_release_goes_the_same_way() -> None:
    """By goal and first unit, so that it is the same in every environment; the next goal begins elsewhere."""
    units = [unit(number) for number in range(7)]
    first, second = Routed(spec("a"), spec("b", weight=2)), Routed(spec("a"), spec("b", weight=2))

    assert first.router.pools_for("g", units) == second.router.pools_for("g", units)
    assert len({tuple(first.router.pools_for(f"g{goal}", units)) for goal in range(50)}) == 3
    assert first.router.pool_for("g", units[3]) == second.router.pool_for("g", units[3])


def test_work_avoids_what_is_not_fit_and_comes_back() -> None:
    """A fourth while degraded, nothing while unhealthy or draining, all by weight when none is fit."""
    routed = Routed(spec("a"), spec("b"))

    assert routed.send() == {"a": 50, "b": 50}
    routed.say("a", HealthState.DEGRADED)
    assert routed.send() == {"a": 20, "b": 80}
    routed.say("a", HealthState.UNHEALTHY)
    assert routed.send() == {"b": 100}
    routed.say("b", HealthState.UNHEALTHY)
    assert routed.send() == {"a": 50, "b": 50}
    routed.store.drain("b", routed.clock())
    routed.say("b", HealthState.HEALTHY)
    assert routed.send() == {"a": 100}


def test_an_open_breaker_of_a_dependency_turns_work_away() -> None:
    """While it is open, and from the next look on not any more."""
    routed = Routed(spec("a", dependencies=("crm", "mail")), spec("b"))
    until = routed.clock() + timedelta(seconds=30)
    routed.breakers.write("mail", Breaker(BreakerState.OPEN, until=until), 0, until)

    assert routed.send() == {"b": 100}
    assert routed.router.share_of("work.do") == {"a": 0.0, "b": 1.0}
    routed.clock.advance(30)
    assert routed.send() == {"a": 50, "b": 50}


def test_what_nobody_offers_is_an_error() -> None:
    """It names the capability and the goal."""
    with pytest.raises(NotFound, match=r"no pool offers work.gone, which goal g1 needs"):
        Routed(spec("a")).router.pool_for("g1", unit(0, capability="work.gone"))
    assert Routed(spec("a")).router.share_of("work.gone") == {}


def shards(count: int, weight: int = 1) -> list[PoolSpec]:
    """A pool in so many shards."""
    return [spec("a", weight=weight), *(spec(f"a-s{n}", weight=weight, shard_of="a") for n in range(2, count + 1))]


def by_key(*specs: PoolSpec, keys: range = range(3000)) -> dict[int, str]:
    """Where each of many keys goes."""
    router = Routed(*specs).router
    return {key: router.pool_for("g", unit(0, affinity=f"customer-{key}")) for key in keys}


def test_a_key_goes_one_way_whoever_asks() -> None:
    """Over goals, units and processes."""
    first, second = Routed(*shards(4)).router, Routed(*shards(4)).router

    assert {first.pool_for(f"g{n}", unit(n, affinity="k")) for n in range(20)} == {second.pool_for("x", unit(1, affinity="k"))}


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_another_shard_moves_few_keys(count: int, salt: int) -> None:
    """At most 1/n of them and 5 % to the new one of n, and none between the old ones."""
    keys = range(salt, salt + 3000)
    before, after = by_key(*shards(count), keys=keys), by_key(*shards(count + 1), keys=keys)
    moved = [key for key in before if before[key] != after[key]]

    assert {after[key] for key in moved} == {f"a-s{count + 1}"}
    assert len(moved) / len(before) <= 1 / (count + 1) + 0.05


def test_an_unfit_shard_loses_its_keys_and_no_other() -> None:
    """They come back with it; a degraded one keeps them."""
    routed = Routed(*shards(4))
    keys = [unit(0, affinity=f"k{n}") for n in range(500)]
    before = routed.router.pools_for("g", keys)

    routed.say("a-s2", HealthState.DEGRADED)
    assert routed.router.pools_for("g", keys) == before
    routed.say("a-s2", HealthState.UNHEALTHY)
    during = routed.router.pools_for("g", keys)
    assert all(now == then for now, then in zip(during, before, strict=True) if then != "a-s2")
    assert "a-s2" not in during
    routed.say("a-s2", HealthState.HEALTHY)
    assert routed.router.pools_for("g", keys) == before


def test_shards_divide_their_pools_weight() -> None:
    """Three shards beside a pool of the same weight get a sixth each."""
    assert Routed(*shards(3), spec("b")).send(600) == {"a": 100, "a-s2": 100, "a-s3": 100, "b": 300}


def test_a_refused_unit_goes_round_the_other_pools_once() -> None:
    """Each that is fit, but not its own shards; then it stays and waits."""
    routed = Routed(*shards(2), spec("b"), spec("c"))
    one = unit(0)

    assert routed.router.elsewhere("g", one, "a", 0) == "b"
    assert routed.router.elsewhere("g", one, "b", 1) == "c"
    assert routed.router.elsewhere("g", one, "c", 2) is None
    assert routed.router.elsewhere("g", one, "c", 0) in {"a", "a-s2"}
    routed.say("b", HealthState.UNHEALTHY)
    assert routed.router.elsewhere("g", one, "a", 0) == "c"
    assert Routed(*shards(2)).router.elsewhere("g", one, "a", 0) is None


class Twins:
    """Two pools that can do the same; the first one's dependency may be down."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, int]] = []
        self.down: set[str] = set()
        self.agents = [self._agent("first"), self._agent("second")]

    def _agent(self, name: str) -> Agent:
        agent = Agent(name)

        @agent.capability("work.pay")
        async def pay(input: dict[str, Any], context: TaskContext) -> str:
            """Pays."""
            self.attempts.append((name, context.attempt))
            if name in self.down:
                raise CircuitOpen(f"{name} is left alone", 30.0)
            return name

        return agent


def pay(count: int) -> dict[str, Any]:
    """A goal of independent payments."""
    return {"plan": {"tasks": [{"id": f"p{n}", "capability": "work.pay", "input": {}} for n in range(count)]}}


def test_a_task_refused_by_a_breaker_is_done_by_another_pool() -> None:
    """At once, and no attempt of it is lost."""
    twins = Twins()
    fleet = InProcessFleet(*twins.agents)
    twins.down = {"first"}
    began = fleet.clock()

    goal = fleet.submit(pay(8))
    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert {fleet.result_of(goal.id, n).outcomes[0].output for n in range(8)} == {"second"}
    assert {attempt for _, attempt in twins.attempts} == {1}
    # A claimed unit waits until the claim that its first message took is over: one invocation's time.
    assert fleet.clock() - began < timedelta(seconds=120)


def test_where_all_are_down_tasks_wait_without_losing_attempts() -> None:
    """Refused by one pool, then by the other, then delayed until it can be done."""
    twins = Twins()
    fleet = InProcessFleet(*twins.agents)
    twins.down = {"first", "second"}
    goal = fleet.submit(pay(2))
    for _ in range(40):
        for queue in fleet.queues.busy():
            fleet.invoke(queue)
        fleet.clock.advance(10)

    assert {pool for pool, _ in twins.attempts} == {"first", "second"}
    assert {attempt for _, attempt in twins.attempts} == {1}
    twins.down = set()
    fleet.settle()
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


def test_the_same_unit_in_two_pools_is_done_once() -> None:
    """A claim is the unit's, whichever queue its message came by: the second finds it taken, then the result."""
    twins = Twins()
    fleet = InProcessFleet(*twins.agents)
    goal = fleet.submit(pay(1))
    plan = fleet.plans.read(goal.id)
    home = fleet.platform.router.pool_for(goal.id, plan.unit(0))
    fleet.routing.drain(home, fleet.clock())
    fleet.clock.advance(10)
    fleet.platform.releaser.release(goal, plan, plan.header.roots)

    fleet.settle()

    assert len(twins.attempts) == 1
    assert fleet.goal(goal.id).counts == {"SUCCEEDED": 1}


def test_a_draining_pool_finishes_what_it_has_and_gets_no_more() -> None:
    """New work goes to the other pool until it is drained no more."""
    twins = Twins()
    fleet = InProcessFleet(*twins.agents)
    fleet.submit(pay(10))
    fleet.routing.drain("first", fleet.clock())
    fleet.clock.advance(10)
    fleet.submit(pay(10))
    fleet.settle()
    assert Counter(pool for pool, _ in twins.attempts) == {"first": 5, "second": 15}

    fleet.routing.drain("first", None)
    fleet.clock.advance(10)
    fleet.submit(pay(10))
    fleet.settle()
    assert Counter(pool for pool, _ in twins.attempts) == {"first": 10, "second": 20}


def test_the_healer_looks_into_every_queue_that_may_hold_a_unit() -> None:
    """A message that went to another pool than it would now is not sent again beside it."""
    twins = Twins()
    fleet = InProcessFleet(*twins.agents)
    goal = fleet.submit(pay(1))
    home = fleet.platform.router.pool_for(goal.id, fleet.plans.read(goal.id).unit(0))
    fleet.routing.drain(home, fleet.clock())
    fleet.clock.advance(3600)

    assert fleet.heal().sent == 0
    fleet.queues.purge()
    fleet.clock.advance(3600)
    fleet.heal()
    fleet.clock.advance(3600)
    report = fleet.heal()
    fleet.settle()
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED, report


def test_the_catalog_of_a_sharded_pool() -> None:
    """Shards belong to their pool, and the pool stands for all of them."""
    fleet = catalog(*shards(3), spec("b"))

    assert fleet.shards_of("a") == ("a", "a-s2", "a-s3")
    assert (fleet.shards_of("a-s2"), fleet.family_of("a-s2"), fleet.family_of("b")) == (("a-s2",), "a", "b")
    assert catalog_of(*Twins().agents).family_of("first") == "first"

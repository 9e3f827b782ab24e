"""The fleet manager over fakes: what it applies, what it only says, what it remembers."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet import bootstrap
from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.errors import DeliveryFailed, InvalidRequest, NotFound, RegistryUnavailable, RetryableError
from agentfleet.domain.fleet import Agent, AgentState, Fleet
from agentfleet.domain.messages import TaskMessage
from agentfleet.domain.pool_health import HealthState, RoutingTable
from agentfleet.domain.scaling import Action, ScalingMode
from agentfleet.ports import Signals
from agentfleet.services.manage import Autoscaler, PoolDecision
from agentfleet.services.pool_health import HealthWatch
from agentfleet.services.routing import LocalRouting
from functions.manage_fleet import handler as function
from tests.fakes import FakeAgents, FakeFleets, FakePools, FakeQueues, FakeScalings, FakeSignals, FixedClock

CONTEXT: Any = SimpleNamespace(
    function_name="fleet-manage-fleet", memory_limit_in_mb=512, invoked_function_arn="arn", aws_request_id="test"
)


class World:
    """A fleet of two pools, `busy` with a late backlog and every agent at work, and `idle`."""

    def __init__(self, mode: ScalingMode = "auto", **spec: Any) -> None:
        self.clock = FixedClock()
        self.queues = FakeQueues(self.clock)
        specs = {"busy": PoolSpec(name="busy", scaling=mode, **spec), "idle": PoolSpec(name="idle")}
        self.catalog = Catalog(fleet="fleet", pools=specs)
        self.pools = FakePools(self.catalog, self.queues)
        self.fleets, self.records, self.signals = FakeFleets(), FakeScalings(), FakeSignals()
        self.queues.send_tasks([TaskMessage("g", n, "acme", "busy", "normal") for n in range(40)])
        self.queues.take("fleet-busy-normal", 10)
        self.signals.signals["busy"] = Signals(oldest_age=61.0, invocations=5)
        self.autoscaler = Autoscaler(self.pools, self.signals, self.fleets, self.records, self.catalog, self.clock)

    def decide(self) -> list[PoolDecision]:
        """One pass, in which nothing goes wrong."""
        managed = self.autoscaler()
        assert not managed.problems
        return list(managed.decisions)

    def size(self) -> int:
        """Of the busy pool."""
        return self.pools.read(["busy"])[0].concurrency


def test_a_late_backlog_makes_its_pool_grow_and_the_reason_is_kept() -> None:
    """The other pool is left as it is, and both decisions are stored."""
    world = World()

    made = {one.pool: one.decision for one in world.decide()}

    assert (made["busy"].action, made["busy"].applied, world.size()) == (Action.UP, True, 19)
    assert made["busy"].reason == "30 waiting, the oldest for 61 s"
    assert made["idle"].action is Action.HOLD
    assert world.records.records["busy"].decisions == (made["busy"],)


REFUSALS = [DeliveryFailed("Lambda is throttled"), RetryableError("ResourceInUse"), InvalidRequest.of("concurrency", "no")]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_change_that_came_to_a_halt_half_way_is_undone_and_tried_again(refusal: Exception) -> None:
    """However it was refused: the size that stayed holds for all queues two passes later, and then the load decides."""
    world = World()
    world.pools.halting["busy"] = refusal
    world.autoscaler()
    assert (world.size(), world.pools.read(["busy"])[0].is_uneven) == (19, True)

    sizes = []
    for _ in range(3):
        world.clock.advance(60)
        [busy, _idle] = world.decide()
        sizes.append((busy.decision.action, world.size()))

    assert sizes == [(Action.HOLD, 19), (Action.EVEN, 10), (Action.UP, 19)]
    assert world.pools.read(["busy"])[0].settled


def test_evening_out_that_is_refused_as_well_is_tried_again() -> None:
    """What the pool should have is remembered; a dry run only says so."""
    world = World()
    for refusal in (REFUSALS[1], None, REFUSALS[1], None):
        if refusal:
            world.pools.halting["busy"] = refusal
        world.autoscaler()
        world.clock.advance(60)

    [busy, _idle] = world.decide()

    assert (busy.decision.action, busy.decision.concurrency) == (Action.UP, 19)
    assert [one.action for one in world.records.records["busy"].decisions[:3]] == [Action.UP, Action.EVEN, Action.EVEN]


def test_a_dry_run_says_what_it_would_do() -> None:
    """Nothing moves, pass after pass, and no pass takes the size that stayed for somebody's change."""
    world = World("dry-run")

    for _ in range(3):
        [busy, _idle] = world.decide()
        world.clock.advance(60)

        assert (busy.mode, busy.decision.action, busy.decision.concurrency) == ("dry-run", Action.UP, 19)
        assert (busy.decision.applied, world.size()) == (False, 10)


def test_a_pool_whose_scaling_is_off_is_not_looked_at() -> None:
    """No decision, no record."""
    world = World("off")

    assert [one.pool for one in world.decide()] == ["idle"]
    assert "busy" not in world.records.records


def test_an_operators_fleet_wins_until_it_is_released() -> None:
    """Its size is left alone; afterwards the load decides again."""
    world = World()
    fleet = Fleet("f7", "acme", 3, ("busy",), {"busy": 10}, world.clock(), by_operator=True)
    world.fleets.put(fleet)
    world.pools.set_concurrency("busy", 3)

    [held, _idle] = world.decide()
    world.fleets.put(replace(fleet, released=world.clock()))
    world.pools.set_concurrency("busy", 10)
    world.clock.advance(60)
    [free, _idle] = world.decide()

    assert held.decision.reason == "held by fleet f7 until it is released"
    assert (free.decision.action, world.size()) == (Action.UP, 19)


def test_a_tenants_fleet_keeps_nobody_from_growing_and_nothing_from_halving_its_pools() -> None:
    """It makes room: load and throttles go on to decide, and when it is quiet the pool rests at the fleet's size."""
    world = World()
    world.fleets.put(Fleet("f7", "acme", 12, ("busy",), {"busy": 10}, world.clock()))
    world.pools.set_concurrency("busy", 12)
    world.queues.take("fleet-busy-normal", 2)

    def decide() -> tuple[Action, int]:
        [busy, _idle] = world.decide()
        world.clock.advance(60)
        return busy.decision.action, world.size()

    assert decide() == (Action.UP, 21)
    world.signals.signals["busy"] = Signals(throttles=5)
    assert decide() == (Action.HALVE, 10)
    world.signals.signals.clear()
    world.queues.purge()
    assert [decide() for _ in range(6)][-2:] == [(Action.UP, 12), (Action.HOLD, 12)]


def test_a_refused_change_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While an earlier change takes hold; the next pass is not misled by it."""
    world = World()

    def refuse(pool: str, concurrency: int) -> None:
        raise RetryableError(f"pool {pool!r} is still taking an earlier change on")

    with monkeypatch.context() as patch:
        patch.setattr(world.pools, "set_concurrency", refuse)
        [refused, _idle] = world.decide()
    world.clock.advance(60)
    [again, _idle] = world.decide()

    assert not refused.decision.applied
    assert "not applied: pool 'busy' is still taking" in refused.decision.reason
    assert (again.decision.applied, world.size()) == (True, 19)


def test_one_pool_that_cannot_be_read_does_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All others are managed; what went wrong names the pool."""
    world = World()
    read = world.pools.read

    def broken(pools: list[str]) -> Any:
        if pools == ["busy"]:
            raise NotFound("pool 'busy' is not deployed")
        return read(pools)

    monkeypatch.setattr(world.pools, "read", broken)

    managed = world.autoscaler()

    assert [one.pool for one in managed.decisions] == ["idle"]
    assert [problem.__notes__ for problem in managed.problems] == [["pool busy"]]
    assert "idle" in world.records.records


def test_pools_are_managed_where_their_health_is_not_known() -> None:
    """It is said, and judged again with the next pass."""
    world, routing = World(), LocalRouting()
    manager = Autoscaler(
        world.pools, world.signals, world.fleets, world.records, world.catalog, world.clock, HealthWatch(routing)
    )
    read = routing.read

    def fail() -> RoutingTable:
        routing.read = read  # type: ignore[method-assign]
        raise RetryableError("the table does not answer")

    routing.read = fail  # type: ignore[method-assign]

    first = manager()
    world.clock.advance(60)
    second = manager()

    assert [one.pool for one in first.decisions] == ["busy", "idle"]
    assert [problem.__notes__ for problem in first.problems] == [["health of all pools"]]
    assert (world.size(), second.problems, set(routing.read().health)) == (19, (), {"busy", "idle"})


def test_metrics_are_asked_for_where_they_count() -> None:
    """They cost money: a pool with nothing to do and no budget is not asked about."""
    plain, budgeted = World(), World()
    budgeted.catalog.pools["idle"] = replace(budgeted.catalog.pools["idle"], daily_budget=1.0)

    plain.decide()
    budgeted.decide()

    assert plain.signals.asked == ["busy"]
    assert budgeted.signals.asked == ["busy", "idle"]


def test_rivals_that_worked_of_late_are_asked_about_though_their_queues_are_empty() -> None:
    """A canary fails its few tasks faster than anyone looks; a pool that nobody could stand in for is not worth a metric."""
    rivals = {
        name: PoolSpec(name=name, capabilities=(CapabilitySpec(name="work.do", pool=name),))
        for name in ("idle", "resting", "new")
    }
    world = World()
    catalog = Catalog(fleet="fleet", pools={**rivals, "alone": PoolSpec(name="alone")})
    pools, agents, routing = FakePools(catalog), FakeAgents(), LocalRouting()
    for name, seen in {"idle": 4, "new": 1, "alone": 1}.items():
        at = world.clock() - timedelta(minutes=seen)
        agents.put(Agent(f"{name}-1", name, ("work.do",), AgentState.IDLE, at, at))
    world.signals.signals["new"] = Signals(invocations=20, lost=20.0)
    rest = (world.signals, world.fleets, world.records, catalog, world.clock, HealthWatch(routing))

    Autoscaler(pools, *rest, agents)()

    assert world.signals.asked == ["new"]
    assert routing.read().health["new"].state is HealthState.UNHEALTHY


def test_the_function_makes_one_pass(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It answers with pool and action, and logs a line with the reason for each."""
    world = World()
    monkeypatch.setattr(bootstrap, "autoscaler", lambda: world.autoscaler)
    remote = Agent("ocr", "web", ("ocr.read",), AgentState.IDLE, world.clock(), world.clock(), endpoint="https://ocr.test")
    monkeypatch.setattr(bootstrap, "remote_watch", lambda: lambda: [remote])

    assert function.handler({"detail-type": "Scheduled Event"}, CONTEXT) == {"busy": "up", "idle": "hold"}
    *passed, asked = map(vars, caplog.records)
    assert [line["reason"] for line in passed] == ["30 waiting, the oldest for 61 s", "nothing to do"]
    assert (asked["agent"], asked["state"]) == ("ocr", "IDLE")


def test_what_goes_wrong_is_raised_after_all_else_is_done_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One pool that fails keeps no decision out of the log, and no remote agent from being asked."""
    world = World()
    asked: list[str] = []

    def watch() -> list[Agent]:
        asked.append("remotes")
        raise RegistryUnavailable("no answer")

    def broken(pools: list[str]) -> Any:
        raise NotFound("pool 'idle' is not deployed")

    read = world.pools.read
    monkeypatch.setattr(world.pools, "read", lambda pools: broken(pools) if pools == ["idle"] else read(pools))
    monkeypatch.setattr(bootstrap, "autoscaler", lambda: world.autoscaler)
    monkeypatch.setattr(bootstrap, "remote_watch", lambda: watch)

    with pytest.raises(ExceptionGroup, match="2 parts of the fleet") as raised:
        function.handler({}, CONTEXT)

    assert [error.__notes__ for error in raised.value.exceptions] == [["pool idle"], ["remote agents"]]
    assert asked == ["remotes"]
    lines = [vars(record) for record in caplog.records]
    assert [line["pool"] for line in lines if line["message"] == "scaling"] == ["busy"]
    assert [line["what"] for line in lines if line["message"] == "not managed"] == ["pool idle", "remote agents"]


def test_time_alone_makes_an_unmeasured_backlog_late() -> None:
    """Where nobody measures ages, the second pass that finds the backlog acts."""
    world = World()
    world.signals.signals.clear()

    actions = []
    for _ in range(2):
        actions.append(world.decide()[0].decision.action)
        world.clock.advance(timedelta(minutes=1))

    assert actions == [Action.HOLD, Action.UP]


def test_each_pass_says_how_well_the_pools_are() -> None:
    """Also those whose scaling is off; a failing pool at once, and the next pass goes on from there."""
    world = World("off")
    routing = LocalRouting()
    world.signals.signals["busy"] = Signals(invocations=20, errors=15)
    manager = Autoscaler(
        world.pools, world.signals, world.fleets, world.records, world.catalog, world.clock, HealthWatch(routing)
    )

    assert [one.pool for one in manager().decisions] == ["idle"]
    found = routing.read().health
    assert (found["busy"].state, found["busy"].reason) == (HealthState.UNHEALTHY, "15 of 20 invocations failed")
    assert found["idle"].state is HealthState.HEALTHY
    world.signals.signals["busy"] = Signals(invocations=20)
    states = []
    for _ in range(3):
        world.clock.advance(60)
        manager()
        states.append(routing.read().health["busy"].state)
    assert states == [HealthState.UNHEALTHY, HealthState.UNHEALTHY, HealthState.DEGRADED]

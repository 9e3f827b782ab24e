"""The kill switch beside the healer, without its store, and as it is read."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from agentfleet.agent import Agent
from agentfleet.domain.goal import GoalState
from agentfleet.domain.kill import Kill, Scope, pause
from agentfleet.services.kill import KillSwitch, LocalKills
from tests.fakes import START, FixedClock
from tests.fakes.fleet import InProcessFleet, catalog_of

work = Agent("work")


@work.capability("work.one", idempotent=True)
async def one(input: dict[str, Any]) -> int:
    """A task."""
    return 1


GOAL = {"plan": {"tasks": [{"id": "a", "capability": "work.one", "retries": 0}]}}
EVERYTHING = Scope("all")


def test_it_is_read_at_most_once_in_two_seconds() -> None:
    """However many tasks ask; a store that is down leaves what was known."""

    class Counted(LocalKills):
        reads = 0
        is_down = False

        def read(self) -> Any:
            self.reads += 1
            if self.is_down:
                raise ConnectionError
            return super().read()

    store, clock = Counted(), FixedClock()
    switch = KillSwitch(store, clock, catalog_of(work))
    store.put(Kill(EVERYTHING, "r", "acme", START))
    assert all(switch.stopping(f"tenant-{number}", "work") for number in range(100))
    assert store.reads == 1

    store.is_down = True
    clock.advance(2)
    assert switch.stopping("acme") is not None
    store.is_down = False
    store.put(Kill(EVERYTHING, "r", "acme", START, lifted=START))
    clock.advance(2)
    assert switch.stopping("acme") is None
    assert store.reads == 3


def test_a_kill_of_a_pool_holds_for_all_its_shards() -> None:
    """A further shard has queues and functions of its own, but is the same pool to people."""
    plain = catalog_of(work)
    shard = replace(plain.pools["work"], name="work-2", shard_of="work")
    store = LocalKills()
    switch = KillSwitch(store, FixedClock(), replace(plain, pools={**plain.pools, "work-2": shard}))
    store.put(Kill(Scope("pool", "work"), "r", "acme", START))

    assert switch.stopping("acme", "work") is not None
    assert switch.stopping("acme", "work-2") is not None
    assert switch.stopping("acme", "web") is None
    assert switch.quiet_until("acme", ["work-2"]) == START
    assert switch.quiet_until("acme", ["web"]) is None


def test_the_healer_leaves_alone_what_is_stopped_and_what_just_was() -> None:
    """Its messages are sent anew again and again, which must not look like lost ones; nothing is sent twice."""
    fleet = InProcessFleet(work)
    desk = fleet.platform.governance().kills
    goal = fleet.submit(GOAL)
    desk.kill(EVERYTHING, "r", "acme")
    fleet.clock.advance(2)
    for _ in range(20):
        for queue in fleet.queues.busy():
            fleet.invoke(queue)
        fleet.clock.advance(timedelta(minutes=4))
        report = fleet.heal()
        assert (report.repaired, report.sent) == ((), 0)
    sent = fleet.queues.sent

    desk.lift(EVERYTHING, "acme")
    fleet.clock.advance(2)
    assert fleet.heal().repaired == ()
    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert fleet.result_of(goal.id, 0).attempt == 1
    assert fleet.queues.sent == sent


def test_long_stops_cost_little_and_short_ones_end_soon() -> None:
    """A message stays away for about as long as the stop has lasted, five minutes at most."""
    kill = Kill(EVERYTHING, "r", "acme", START)

    waits = [pause(kill, START + timedelta(seconds=lasted), 0.0).total_seconds() for lasted in (0, 60, 86_400)]

    assert waits == [5, 60, 300]
    assert pause(kill, START, 0.999) < pause(kill, START, 0.0)

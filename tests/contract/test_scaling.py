"""The contract of ScalingStore, and of what FleetStore says about who holds a pool."""

from datetime import timedelta

from msgspec.structs import replace

from agentfleet.domain.fleet import Fleet
from agentfleet.domain.scaling import Action, Decision, Memory, ScalingRecord
from tests.contract.world import World


def test_a_record_comes_back_as_it_was_stored(world: World) -> None:
    """Every field, and the newest record of a pool only; None for a pool that has none."""
    pool, now = world.fresh("pool"), world.clock()
    memory = Memory(19, 3, now - timedelta(seconds=90), now - timedelta(minutes=2), now - timedelta(hours=1), held=True)
    decision = Decision(now, Action.UP, 10, 19, "50 waiting, é", applied=True, since=now - timedelta(microseconds=1))

    assert world.scalings.get(pool) is None
    for record in (ScalingRecord(Memory(2)), ScalingRecord(memory, (decision, replace(decision, since=None)))):
        world.scalings.put(pool, record)
        assert world.scalings.get(pool) == record


def test_fleets_hold_a_pool_until_they_are_released_the_newest_first(world: World) -> None:
    """Whatever their tenants; nobody holds a pool that no fleet took."""
    pool, other = world.fresh("pool"), world.fresh("pool")
    first, second = (
        Fleet(world.fresh("f"), world.fresh("tenant"), 7, (pool,), {pool: 10}, world.clock() - timedelta(seconds=age))
        for age in (60, 30)
    )
    for fleet in (second, first):
        world.fleets.put(fleet)

    assert (list(world.fleets.holders(pool)), list(world.fleets.holders(other))) == ([second, first], [])
    world.fleets.put(replace(second, released=world.clock()))
    assert list(world.fleets.holders(pool)) == [first]
    world.fleets.put(replace(first, released=world.clock()))
    assert list(world.fleets.holders(pool)) == []

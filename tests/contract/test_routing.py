"""The contract of RoutingStore."""

from datetime import timedelta

from agentfleet.domain.pool_health import HealthState, PoolHealth
from tests.contract.world import World


def test_health_comes_back_as_it_was_stored(world: World) -> None:
    """Every field, the newest of each pool, and all pools in one read."""
    first, second, now = world.fresh("pool"), world.fresh("pool"), world.clock()
    sick = PoolHealth(HealthState.UNHEALTHY, now, now - timedelta(microseconds=1), "6 of 10 invocations failed, é", 2)
    fine = PoolHealth(HealthState.HEALTHY, now, now)

    world.routing.put_health(first, fine)
    world.routing.put_health(second, fine)
    world.routing.put_health(first, sick)

    table = world.routing.read()
    assert (table.health[first], table.health[second], table.tripped) == (sick, fine, {})
    assert first not in table.draining


def test_a_pool_drains_until_it_is_said_to_drain_no_more(world: World) -> None:
    """Draining and undraining twice is fine, and what is known of its health stays."""
    pool, now = world.fresh("pool"), world.clock()
    health = PoolHealth(HealthState.DEGRADED, now, now, "why")
    world.routing.put_health(pool, health)

    for _ in range(2):
        world.routing.drain(pool, now)
    assert world.routing.read().draining[pool] == now
    for _ in range(2):
        world.routing.drain(pool, None)

    table = world.routing.read()
    assert pool not in table.draining
    assert table.health[pool] == health

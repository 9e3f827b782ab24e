"""The kill switch as several processes see it."""

from datetime import timedelta

from msgspec.structs import replace

from agentfleet.domain.kill import Kill, Scope
from tests.contract.world import World


def test_what_is_stopped_is_read_by_everybody(world: World) -> None:
    """Every kind of scope comes back exactly, by itself and with the others."""
    scopes = [Scope("all"), Scope("pool", world.fresh("pool")), Scope("tenant", world.fresh("tenant"))]
    kills = [Kill(scope, f"because of {scope}", "acme", world.clock() + timedelta(microseconds=1)) for scope in scopes]
    for kill in kills:
        world.kills.put(kill)

    found = {kill.scope: kill for kill in world.kills.read()}

    assert all(found[kill.scope] == kill == world.kills.get(kill.scope) for kill in kills)
    assert world.kills.get(Scope("pool", "unknown")) is None


def test_a_lifted_kill_is_told_for_a_while(world: World) -> None:
    """Who decides what has been kept from moving must still see it; stopping again forgets that it was lifted."""
    scope = Scope("tenant", world.fresh("tenant"))
    kill = Kill(scope, "first", "acme", world.clock())
    world.kills.put(kill)
    world.kills.put(replace(kill, lifted=world.clock(), lifted_by="ops"))
    world.clock.advance(timedelta(minutes=30))

    assert [one.lifted for one in world.kills.read() if one.scope == scope] == [kill.since]
    world.kills.put(replace(kill, reason="again"))
    assert [one for one in world.kills.read() if one.scope == scope] == [replace(kill, reason="again")]

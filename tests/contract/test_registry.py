"""The contracts of AgentStore and FleetStore."""

from datetime import timedelta

from msgspec.structs import replace

from agentfleet.domain.fleet import Agent, AgentState, Fleet
from tests.contract.world import World


def agent(world: World, pool: str, name: str) -> Agent:
    """An idle agent."""
    return Agent(name, pool, ("data.query", "data.load"), AgentState.IDLE, world.clock(), world.clock())


def fleet(world: World, tenant: str, age: float = 0.0) -> Fleet:
    """A fleet of two pools that was made so many seconds ago."""
    created = world.clock() - timedelta(seconds=age)
    return Fleet(world.fresh("f"), tenant, 7, ("data", "web"), {"data": 10, "web": 20}, created)


def test_agents_are_listed_by_pool_and_id(world: World) -> None:
    """Every field survives; pools that were not asked for, or have nobody, add nothing."""
    first, second = sorted([world.fresh("pool"), world.fresh("pool")])
    busy = replace(
        agent(world, second, "a"),
        state=AgentState.EXECUTING,
        tasks=("g1/load", "g2/é"),
        completed=41,
        endpoint="https://agents.example/a",
        last="g2/é",
        cache={"memory.hits": 3, "loads": 1},
        seen=world.clock() + timedelta(microseconds=1),
    )
    agents = [agent(world, first, "a"), agent(world, first, "b"), busy]
    for one in reversed(agents):
        world.agents.put(one)
    world.agents.put(agent(world, world.fresh("pool"), "c"))

    assert list(world.agents.list([second, first, "pool-of-nobody", first])) == agents
    assert list(world.agents.list([])) == []


def test_an_agents_newest_word_counts(world: World) -> None:
    """Storing it again replaces what it said before."""
    pool = world.fresh("pool")
    world.agents.put(agent(world, pool, "a"))
    later = replace(agent(world, pool, "a"), state=AgentState.OFFLINE, seen=world.clock() + timedelta(minutes=1))

    world.agents.put(later)

    assert list(world.agents.list([pool])) == [later]


def test_a_fleet_comes_back_as_it_was_stored(world: World) -> None:
    """By its id alone; an unknown one is None."""
    stored = replace(fleet(world, world.fresh("tenant")), by_operator=True)

    world.fleets.put(stored)

    assert world.fleets.get(stored.id) == stored
    assert world.fleets.get("fabsent") is None


def test_a_tenants_fleets_are_listed_newest_first(world: World) -> None:
    """Only those that are held, and nobody else's."""
    tenant = world.fresh("tenant")
    old, new, gone = fleet(world, tenant, 60), fleet(world, tenant), fleet(world, tenant, 30)
    for one in (new, gone, old, fleet(world, world.fresh("tenant"))):
        world.fleets.put(one)

    world.fleets.put(replace(gone, released=world.clock()))

    assert list(world.fleets.list(tenant)) == [new, old]
    assert world.fleets.get(gone.id) == replace(gone, released=world.clock())
    assert list(world.fleets.list(world.fresh("tenant"))) == []


def test_storing_a_fleet_again_lists_it_once(world: World) -> None:
    """Also when it is released twice."""
    tenant = world.fresh("tenant")
    stored = fleet(world, tenant)
    for one in (stored, replace(stored, size=9)):
        world.fleets.put(one)

    assert list(world.fleets.list(tenant)) == [replace(stored, size=9)]

    for _ in range(2):
        world.fleets.put(replace(stored, released=world.clock()))
    assert list(world.fleets.list(tenant)) == []

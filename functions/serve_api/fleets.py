"""Routes of agents, pools and fleets: who does what now, and how many."""

from agentfleet.routes import Routes
from agentfleet.services import fleet_views, routing_views
from agentfleet.services.openapi import answers

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Body, Query

routes = Routes()


@routes.get("/agents", tags=["agents"], summary="Living agents", **answers(404))
def list_agents(
    capability: Annotated[str | None, Query(max_length=64)] = None, pool: Annotated[str | None, Query(max_length=64)] = None
) -> fleet_views.AgentList:
    """Those that offer a capability or belong to a pool, or all."""
    if pool is not None:
        routes.fleet.scale.pool(pool)
    return routes.fleet.inspect.agents(routes.tenant(), routes.fleet.registry.discover(capability, pool))


@routes.get("/pools", tags=["pools"], summary="Every pool as it is now", **answers())
def list_pools() -> fleet_views.PoolList:
    """By name."""
    routes.tenant()
    return routes.fleet.scale.pools()


@routes.get("/pools/<name>", tags=["pools"], summary="A pool as it is now", **answers(404))
def get_pool(name: str) -> fleet_views.PoolView:
    """One pool."""
    routes.tenant()
    return routes.fleet.scale.pool(name)


@routes.patch("/pools/<name>", tags=["pools"], summary="Change a pool's concurrency", **answers(403, 404))
def scale_pool(name: str, change: Annotated[fleet_views.PoolChange, Body()]) -> fleet_views.PoolView:
    """Operators only. Takes hold a little later; `settled` tells when."""
    routes.operator()
    return routes.fleet.scale.scale_pool(name, change.concurrency)


@routes.post("/pools/<name>/drain", tags=["pools"], summary="Let a pool get no new work", **answers(403, 404))
def drain_pool(name: str) -> fleet_views.PoolView:
    """Operators only. Where another pool offers the same; what it has, it finishes. Again changes nothing."""
    routes.operator()
    routes.fleet.discovery.drain(name)
    return routes.fleet.scale.pool(name)


@routes.post("/pools/<name>/undrain", tags=["pools"], summary="Let a pool get work again", **answers(403, 404))
def undrain_pool(name: str) -> fleet_views.PoolView:
    """Operators only. For one that isn't draining it changes nothing."""
    routes.operator()
    routes.fleet.discovery.undrain(name)
    return routes.fleet.scale.pool(name)


@routes.get("/capabilities/<name>", tags=["agents"], summary="Who offers a capability", **answers(404))
def discover(name: str) -> routing_views.OfferList:
    """Pools by health and weight, those that get most of its new work first."""
    routes.tenant()
    return routes.fleet.discovery.discover(name)


@routes.get("/pools/<name>/logs", tags=["pools"], summary="A pool's newest log lines, oldest first", **answers(404))
def get_logs(
    name: str,
    minutes: Annotated[int, Query(ge=1, le=1440, description="How far back")] = 10,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> fleet_views.LogPage:
    """Without lines that belong to others."""
    return routes.fleet.scale.logs(routes.tenant(), name, minutes, limit)


@routes.post("/fleets", tags=["fleets"], summary="Size pools for a purpose", **answers(success=201, description="Made"))
def spawn_fleet(order: Annotated[fleet_views.FleetOrder, Body()]) -> fleet_views.FleetView:
    """Room for so many agents, within half of the pools' largest size; operators take all of it, and pools down too.

    Takes hold a little later; `ready` tells when.
    """
    who = routes.caller()
    return routes.fleet.scale.spawn_fleet(who.tenant, order.size, order.capabilities, by_operator=who.is_operator)


@routes.get("/fleets", tags=["fleets"], summary="Fleets that have not been released, newest first", **answers())
def list_fleets() -> fleet_views.FleetList:
    """Yours."""
    return routes.fleet.scale.fleets(routes.tenant())


@routes.get("/fleets/<fleet_id>", tags=["fleets"], summary="A fleet", **answers(404))
def get_fleet(fleet_id: str) -> fleet_views.FleetView:
    """`ready` tells whether its size holds."""
    return routes.fleet.scale.fleet(routes.tenant(), fleet_id)


@routes.patch("/fleets/<fleet_id>", tags=["fleets"], summary="Change a fleet's size", **answers(404))
def resize_fleet(fleet_id: str, change: Annotated[fleet_views.FleetChange, Body()]) -> fleet_views.FleetView:
    """Takes hold a little later; `ready` tells when."""
    return routes.fleet.scale.resize_fleet(routes.tenant(), fleet_id, change.size)


@routes.delete("/fleets/<fleet_id>", tags=["fleets"], summary="Release a fleet", **answers(404))
def release_fleet(fleet_id: str) -> fleet_views.FleetView:
    """Its pools go to the other fleets that hold them, or get back what they had. Again changes nothing."""
    return routes.fleet.scale.release_fleet(routes.tenant(), fleet_id)

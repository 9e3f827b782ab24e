"""Commands about agents, pools and fleets."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from client.cli.session import Json, Limit, connect, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentfleet.services.fleet_views import PoolView
    from agentfleet.services.routing_views import OfferView

Pool = Annotated[str, typer.Argument(metavar="POOL", help="A pool's name.")]

_PLATFORM: Final = ("START ", "END ", "REPORT ", "INIT_START ", "XRAY ")
_UNTOLD: Final = frozenset({"level", "message", "timestamp", "service", "location", "tenant", "xray_trace_id"})


def agents(
    ctx: typer.Context,
    capability: Annotated[str | None, typer.Option(help="Only agents that can do this.")] = None,
    pool: Annotated[str | None, typer.Option(help="Only agents of this pool.")] = None,
    as_json: Json = False,
) -> None:
    """List living agents; with --capability also the pools that offer it, by what they get of its work."""
    from agentfleet.services.fleet_views import AgentList  # noqa: PLC0415

    with connect(ctx) as client:
        found = client.agents(capability, pool)
        offers = client.discover(capability) if capability else ()
    if as_json:
        listed = AgentList(agents=tuple(found)).model_dump(mode="json")
        print_json({**listed, "offers": [one.model_dump(mode="json") for one in offers]} if capability else listed)
        return
    from client.cli.show import ago, console, state_text, table  # noqa: PLC0415

    if offers:
        print_offers(offers)
    rows = (
        (
            agent.id,
            agent.pool,
            state_text(agent.state),
            ", ".join(agent.tasks[:3]),
            agent.last or "",
            agent.completed,
            ago(agent.seen),
        )
        for agent in found
    )
    headings = ("agent", "pool", "state", "works on", "last task", "completed", "last seen")
    console().print(table(*headings, rows=rows, empty="no living agents: they appear with work", numbers=("completed",)))


def print_offers(offers: "Sequence[OfferView]") -> None:
    """The pools that offer a capability, as a table."""
    from client.cli.show import console, table  # noqa: PLC0415

    rows = ((one.pool, one.health.value.lower(), one.weight, f"{one.share:.0%}", one.agents, one.reason) for one in offers)
    headings = ("offered by", "health", "weight", "share", "agents", "why")
    console().print(table(*headings, rows=rows, empty="no pools", numbers=headings[2:5]))


def drain(ctx: typer.Context, pool: Pool, as_json: Json = False) -> None:
    """Let a pool get no new work where another offers the same; what it has, it finishes."""
    with connect(ctx) as client:
        view = client.drain_pool(pool)
    if as_json:
        print_json(view)
    else:
        typer.echo(f"{view.name}: draining, {view.waiting + view.in_flight} left; fleet undrain {view.name} takes it back")


def undrain(ctx: typer.Context, pool: Pool, as_json: Json = False) -> None:
    """Let a pool get work again."""
    with connect(ctx) as client:
        view = client.undrain_pool(pool)
    if as_json:
        print_json(view)
    else:
        typer.echo(f"{view.name}: {view.health.value.lower()}, gets work again")


def pools(ctx: typer.Context, as_json: Json = False) -> None:
    """List pools: load, limits and what they can do."""
    from agentfleet.services.fleet_views import PoolList  # noqa: PLC0415

    with connect(ctx) as client:
        found = client.pools()
    if as_json:
        print_json(PoolList(pools=tuple(found)))
        return
    from client.cli.show import console, table  # noqa: PLC0415

    rows = (
        (
            pool.name,
            f"{pool.concurrency}{'' if pool.settled else ' …'}",
            f"{pool.min_concurrency}–{pool.max_concurrency}",
            pool.waiting,
            pool.in_flight,
            pool.dead,
            pool.health.value.lower(),
            _latest(pool),
            ", ".join(capability.name for capability in pool.capabilities),
        )
        for pool in found
    )
    headings = ("pool", "concurrency", "limits", "waiting", "in flight", "dead", "health", "fleet manager", "capabilities")
    console().print(table(*headings, rows=rows, empty="no pools", numbers=headings[1:6]))


def _latest(pool: "PoolView") -> str:
    """What the fleet manager decided last, and why."""
    if not pool.decisions:
        return {"off": "off"}.get(pool.scaling, "has not looked yet")
    latest = pool.decisions[0]
    moved = "" if latest.action == "hold" else f" {latest.before} → {latest.concurrency}"
    return f"{latest.action}{moved}{' (dry run)' if pool.scaling == 'dry-run' else ''}: {latest.reason}"


def scale(
    ctx: typer.Context,
    pool: Pool,
    concurrency: Annotated[int, typer.Argument(min=1, max=1000, help="Agents that may work at once, per priority.")],
    as_json: Json = False,
) -> None:
    """Change a pool's concurrency."""
    with connect(ctx) as client:
        view = client.scale_pool(pool, concurrency)
    if as_json:
        print_json(view)
    else:
        note = "" if view.settled else "; it takes hold in a moment"
        typer.echo(f"{view.name}: {view.concurrency} of at most {view.max_concurrency}{note}")


def fleets(
    ctx: typer.Context,
    spawn: Annotated[int | None, typer.Option(metavar="SIZE", help="Spawn a fleet of this size.")] = None,
    capability: Annotated[list[str] | None, typer.Option(help="With --spawn: what it must be able to do.")] = None,
    release: Annotated[str | None, typer.Option(metavar="FLEET", help="Release this fleet.")] = None,
    as_json: Json = False,
) -> None:
    """List the fleets you hold, spawn one or release one."""
    from agentfleet.services.fleet_views import FleetList  # noqa: PLC0415

    if spawn is not None and release is not None:
        raise typer.BadParameter("give --spawn or --release, not both")
    if capability and spawn is None:
        raise typer.BadParameter("--capability goes with --spawn")
    with connect(ctx) as client:
        if spawn is not None:
            found = [client.spawn_fleet(spawn, capability)]
        elif release is not None:
            found = [client.release_fleet(release)]
        else:
            found = list(client.fleets())
    if as_json:
        print_json(FleetList(fleets=tuple(found)))
        return
    from client.cli.show import ago, console, table  # noqa: PLC0415

    rows = (
        (
            fleet.id,
            fleet.size,
            ", ".join(fleet.pools),
            "released" if fleet.released else "ready" if fleet.ready else "takes hold",
            ago(fleet.created),
        )
        for fleet in found
    )
    headings = ("fleet", "size", "pools", "state", "spawned")
    console().print(table(*headings, rows=rows, empty="no fleets", numbers=("size",)))


def logs(
    ctx: typer.Context,
    pool: Annotated[str | None, typer.Argument(metavar="POOL", help="A pool's name; all pools without it.")] = None,
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="How far back.")] = 10,
    limit: Limit = 100,
    raw: Annotated[bool, typer.Option("--raw", help="Lines as they are, Lambda's own among them.")] = False,
    as_json: Json = False,
) -> None:
    """Show the newest log lines, oldest first."""
    with connect(ctx) as client:
        names = [pool] if pool else [one.name for one in client.pools()]
        lines = sorted(
            ((line, name) for name in names for line in client.logs(name, minutes, limit)), key=lambda found: found[0].at
        )[-limit:]
    if as_json:
        print_json({"lines": [{"pool": name, **line.model_dump(mode="json")} for line, name in lines]})
        return
    for line, name in lines:
        message = line.message.rstrip() if raw else _words(line.message)
        if message:
            typer.echo(f"{line.at.astimezone():%H:%M:%S} {name}: {message}")
    if not lines:
        typer.echo(f"no lines in the last {minutes} minutes", err=True)


def _words(message: str) -> str:
    """A log line for people: a structured one as level, message and fields; nothing for one of Lambda's own."""
    if message.startswith(_PLATFORM):
        return ""
    try:
        fields: Any = json.loads(message)
    except ValueError:
        return message.rstrip()
    if not isinstance(fields, dict) or "message" not in fields:
        return message.rstrip()
    told = {name: value for name, value in fields.items() if name not in _UNTOLD}
    rest = "  ".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in told.items())
    return f"{fields.get('level', '')} {fields['message']}{'  ' if rest else ''}{rest}".strip()

"""Commands that run the whole fleet on this machine, say how it is, and show what it can do."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from client.cli.doctor import doctor
from client.cli.session import FAILED, Json, connect, print_json, session
from client.errors import ConfigError

if TYPE_CHECKING:
    from agentfleet.services.fleet_views import AgentView
    from agentfleet.services.goal_views import GoalResult
    from client.local import LocalCloud

__all__ = ["demo", "doctor", "down", "status", "up"]

DEMO: Final = "stdlib-report"
REPORT: Final = "report"
"""The task of the demo's playbook that renders its report."""


def project(directory: Path) -> Path:
    """The project's folder: this one, or the nearest above it with a fleet.toml. Raises ConfigError."""
    for folder in (directory, *directory.parents):
        if (folder / "fleet.toml").is_file():
            return folder
    raise ConfigError(f"{directory} is not inside a fleet's project: there is no fleet.toml here or above")


def _cloud(ctx: typer.Context) -> "LocalCloud":
    from client.local import LocalCloud  # noqa: PLC0415 - brings boto3

    return LocalCloud(project(session(ctx).directory), progress=lambda step: typer.secho(f"· {step}", dim=True, err=True))


Model = Annotated[
    str | None,
    typer.Option(
        envvar=["FLEET_MODEL", "FLEET_MODEL_URL"],
        help="A language model for the agents: small, coder-small, coder, FILE.gguf, its URL#sha256=…, "
        "the URL of an OpenAI-compatible server, or none.",
    ),
]


def up(ctx: typer.Context, as_json: Json = False, model: Model = None) -> None:
    """Start the fleet on this machine: an emulator of AWS with everything deployed in it."""
    cloud = _cloud(ctx)
    cloud.up(model)
    if as_json:
        print_json(
            {"api_url": cloud.api_url, "endpoint": cloud.endpoint, "outputs": cloud.outputs, "model": cloud.models.wanted}
        )
        return
    typer.secho("The fleet is up.", fg="green", bold=True)
    typer.echo(f"  API  {cloud.api_url}\n  AWS  {cloud.endpoint}  (AWS_ENDPOINT_URL, any key)")
    if cloud.models.url:
        typer.echo(f"  LLM  {cloud.models.url}  ({cloud.models.wanted}; AWS_ENDPOINT_URL_BEDROCK_RUNTIME)")
    typer.echo("Next: fleet demo  ·  fleet pools  ·  fleet submit --playbook NAME --watch")


def down(ctx: typer.Context) -> None:
    """Stop the fleet on this machine; goals and results in it are gone."""
    _cloud(ctx).stop()
    typer.echo("The fleet on this machine is down.")


def _cache_of(agents: "Sequence[AgentView]") -> dict[str, Any]:
    """Of the living agents of each pool that has a cache, since they started: hits by tier, and the share that were hits."""
    counts: dict[str, Counter[str]] = {}
    for agent in agents:
        if agent.cache:
            counts.setdefault(agent.pool, Counter()).update(agent.cache)
    found = {}
    for pool, counted in sorted(counts.items()):
        hits = {name.removesuffix(".hits"): number for name, number in counted.items() if name.endswith(".hits") and number}
        kept = sum(hits.values()) + counted["shared"]
        asked = kept + counted["loads"]
        found[pool] = {"asked": asked, "rate": kept / asked if asked else 0.0, "hits": hits, "loads": counted["loads"]}
    return found


def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Say where the fleet is and how it is doing."""
    from agentfleet.domain.goal import GoalState  # noqa: PLC0415

    with connect(ctx) as client:
        url = client.config.api_url
        pools = client.pools()
        running = client.goals(GoalState.RUNNING, 200)
        stopped = client.kills().kills
        incidents = client.incidents()
        cache = _cache_of(client.agents())
    found: dict[str, Any] = {
        "api_url": url,
        "goals_running": len(running.goals),
        "more_goals_running": running.cursor is not None,
        "stopped": [kill.model_dump(mode="json") for kill in stopped],
        "pools": {
            pool.name: {
                "concurrency": pool.concurrency,
                "waiting": pool.waiting,
                "in_flight": pool.in_flight,
                "dead": pool.dead,
            }
            for pool in pools
        },
        "incidents": {
            "open": len(incidents.open),
            "healed": len(incidents.healed),
            "without_person": incidents.without_person,
            "median_seconds": incidents.median_seconds,
        },
        "cache": cache,
    }
    if as_json:
        print_json(found)
        return
    from rich.markup import escape  # noqa: PLC0415

    from client.cli.governance import describe  # noqa: PLC0415
    from client.cli.show import console, seconds, table  # noqa: PLC0415

    out = console()
    more = "+" if running.cursor else ""
    out.print(f"[green]✓[/] {url}  [bold]{len(running.goals)}{more}[/] goals running")
    for kill in stopped:
        out.print(f"[bold red]■ stopped[/] {escape(describe(kill))}")
    rows = ((pool.name, pool.concurrency, pool.waiting, pool.in_flight, pool.dead) for pool in pools)
    headings = ("pool", "concurrency", "waiting", "in flight", "dead")
    out.print(table(*headings, rows=rows, empty="no pools", numbers=headings[1:]))
    for name, one in cache.items():
        tiers = ", ".join(f"{tier} {count:,}" for tier, count in one["hits"].items())
        out.print(f"cache of {name}: [bold]{one['rate']:.0%}[/] of {one['asked']:,} results were kept ones ({tiers or 'none'})")
    if incidents.open or incidents.healed:
        out.print(
            f"stood still: [bold]{len(incidents.open)}[/] goals now; {len(incidents.healed)} of late healed, "
            f"{incidents.without_person} of them without anybody, half of them within {seconds(incidents.median_seconds)}"
        )


def _report_of(result: "GoalResult") -> "GoalResult":
    """The result with the files of its report alone, under their own names."""
    report = tuple(
        file.model_copy(update={"name": file.name.removeprefix(f"{REPORT}/")})
        for file in result.files
        if file.name.startswith(f"{REPORT}/")
    )
    return result.model_copy(update={"files": report})


def demo(
    ctx: typer.Context,
    save: Annotated[Path | None, typer.Option(help="Where to save the report. Default: .fleet/report.")] = None,
) -> None:
    """Watch the fleet measure Python's standard library, and read its report."""
    from client.cli.live import watch_goal  # noqa: PLC0415
    from client.cli.results import save_result, show_result  # noqa: PLC0415
    from client.cli.show import console  # noqa: PLC0415

    try:
        client = connect(ctx)
    except ConfigError:
        up(ctx)
        client = connect(ctx)
    with client:
        goal = client.submit({"playbook": DEMO})
        typer.echo(f"Goal {goal.id}: {goal.tasks} tasks, from playbook {DEMO}")
        ended = watch_goal(client, goal.id, console())
        result = client.result(goal.id)
        folder = save or project(session(ctx).directory) / ".fleet" / "report"
        saved = save_result(client, _report_of(result), folder)
    show_result(result)
    if ended.state != "SUCCEEDED":
        typer.echo(f"Why: fleet tasks {goal.id} --state FAILED  ·  fleet logs")
        raise typer.Exit(FAILED)
    pages = [path for path in saved if path.suffix == ".html"]
    typer.secho(f"\nThe report: {(pages or [folder])[0]}", fg="green", bold=True)
    typer.echo(
        f"Its plan: playbooks/{DEMO}.toml  ·  its tasks: fleet tasks {goal.id}  ·  its agents: functions/code, functions/data"
    )
    typer.echo(f'Your own: fleet playbooks  ·  fleet submit --playbook {DEMO} --param \'packages=["json","email"]\' --watch')

"""The command's root: its global options and all its commands."""

from typing import Annotated

import typer

from client.cli import (
    ask,
    audit,
    fleets,
    goals,
    governance,
    healing,
    knowledge,
    machine,
    memory,
    planning,
    playbooks,
    results,
    review,
)
from client.cli.session import EXIT_CODES, FleetGroup, Session

app = typer.Typer(
    name="fleet",
    cls=FleetGroup,
    help="Submit goals to a fleet of agents, watch them, take their results; run the whole fleet on this machine.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,  # they would show keys
)


@app.callback()
def root(
    ctx: typer.Context,
    api_url: Annotated[str | None, typer.Option(help="The API. Default: FLEET_API_URL, else the local cloud.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Your key. Default: FLEET_API_KEY, else the local cloud's.")] = None,
    aws_profile: Annotated[
        str | None, typer.Option(help="Find API and key in the stacks of this AWS profile's account.")
    ] = None,
) -> None:
    """Remember where the fleet is."""
    if ctx.obj is None:
        ctx.obj = Session()
    ctx.obj.api_url, ctx.obj.api_key, ctx.obj.aws_profile = api_url, api_key, aws_profile


for _panel, _commands in {
    "This machine": (machine.up, machine.down, machine.status, machine.demo, machine.doctor),
    "Goals": (
        goals.submit,
        planning.plan,
        goals.watch,
        goals.goals,
        results.tasks,
        results.task,
        results.result,
        goals.cancel,
        goals.pause,
        goals.resume,
        goals.fork,
        goals.compensate,
    ),
    "Bounds": (
        governance.budget,
        governance.approvals,
        governance.approve,
        governance.reject,
        governance.kill,
        governance.unkill,
    ),
    "Agents": (fleets.agents, fleets.pools, fleets.scale, fleets.drain, fleets.undrain, fleets.fleets, fleets.logs),
    "Audit": (audit.history, audit.verify, audit.receipt, audit.kills),
}.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.command(rich_help_panel="Library")(playbooks.playbooks)
app.command(rich_help_panel="Library")(ask.ask)
app.command(rich_help_panel="Library")(review.review)
app.command(rich_help_panel="Health")(healing.heal)
app.add_typer(healing.dlq, name="dlq", rich_help_panel="Health")
app.add_typer(knowledge.app, name="knowledge", rich_help_panel="Library")
app.add_typer(memory.app, name="memory", rich_help_panel="Library")

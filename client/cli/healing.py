"""Commands about goals that stood still and messages that their queues have given up."""

from typing import Annotated

import typer

from client.cli.session import Json, Limit, connect, print_json

dlq = typer.Typer(help="Dead letters: why each is there, and what to do about it.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="A pool's name, or `submissions`: goals that came as events.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The letter's key, as `fleet dlq list` shows it.")]


def heal(
    ctx: typer.Context,
    incidents: Annotated[bool, typer.Option("--incidents", help="Only show what stood still, without a run.")] = False,
    as_json: Json = False,
) -> None:
    """Run the healer now, and show which goals stood still."""
    with connect(ctx) as client:
        report = None if incidents else client.heal()
        summary = client.incidents()
    if as_json:
        print_json(report or summary)
        return
    from client.cli.show import ago, console, seconds, table  # noqa: PLC0415

    if report:
        letters = ", ".join(f"{count} {action.lower()}" for action, count in report.letters.items()) or "none"
        typer.echo(
            f"looked at {report.looked} living goals: {report.repaired} repaired, {report.sent} tasks sent again, "
            f"{report.failed} repairs failed; dead letters: {letters}"
        )
    rows = (
        (one.goal, one.kind.lower(), ago(one.found), one.repairs, seconds(one.seconds) if one.healed else "open")
        for one in (*summary.open, *summary.healed)
    )
    headings = ("goal", "what", "found", "repairs", "healed after")
    console().print(table(*headings, rows=rows, empty="no goal has stood still", numbers=("repairs",)))
    if summary.healed:
        typer.echo(f"{summary.without_person} of {len(summary.healed)} healed without anybody")


@dlq.command("list")
def list_letters(
    ctx: typer.Context,
    pool: Annotated[str | None, typer.Argument(metavar="POOL", help="A pool's name, or `submissions`; all without it.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List dead letters with their diagnosis, those that can be read first."""
    with connect(ctx) as client:
        found = client.dead_letters(pool, min(limit, 200))
    if as_json:
        print_json(found)
        return
    from client.cli.show import ago, console, table  # noqa: PLC0415

    rows = (
        (one.pool, one.key, one.cause.lower(), one.next.lower(), ", ".join(one.tasks[:3]), one.receives, ago(one.first_sent))
        for one in found.letters
    )
    headings = ("pool", "key", "cause", "next", "tasks", "receives", "sent")
    console().print(table(*headings, rows=rows, empty="no dead letters", numbers=("receives",)))
    if not found.complete:
        typer.echo("these are not all: --limit shows up to 200, `fleet dlq show POOL KEY` any one")


@dlq.command()
def show(ctx: typer.Context, pool: Pool, key: Key) -> None:
    """Show one dead letter in full, as JSON."""
    with connect(ctx) as client:
        found = client.dead_letters(pool, 1, key)
    if not found.letters:
        where = "has no" if found.complete else "has too many to look through in time: none of the first is"
        typer.secho(f"error: pool {pool} {where} dead letter {key!r}", fg="red", err=True)
        raise typer.Exit(3)
    print_json(found.letters[0])


@dlq.command()
def redrive(
    ctx: typer.Context,
    pool: Pool,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="One letter; all that can run without it.")] = None,
    as_json: Json = False,
) -> None:
    """Send the tasks of dead letters again, and submit the goals of events again."""
    from agentfleet.domain.dead_letters import Cause  # noqa: PLC0415

    with connect(ctx) as client:
        sent = client.redrive(pool, key)
    if as_json:
        print_json(sent)
        return
    typer.echo(f"{len(sent.letters)} sent again")
    for one in sent.letters:
        goal = f" → {one.goal or 'rejected, as GoalRejected told its sender'}" if one.cause is Cause.NOT_ACCEPTED else ""
        typer.echo(f"  {one.key}{goal}")
    if not sent.complete:
        typer.echo("there was no time to look at all of them: run it again")


@dlq.command()
def bury(
    ctx: typer.Context,
    pool: Pool,
    key: Key,
    reason: Annotated[str, typer.Option(help="Why; kept with what the letter was.")],
    as_json: Json = False,
) -> None:
    """Take a dead letter out of its queue, keeping a record of it."""
    with connect(ctx) as client:
        buried = client.bury(pool, key, reason)
    if as_json:
        print_json(buried)
    else:
        typer.echo(f"{buried.key}: buried")

"""Commands that look back: what happened to a goal, whether that still stands as recorded, what it cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.goals import GoalId
from client.cli.session import FAILED, Json, Limit, connect, print_json

if TYPE_CHECKING:
    from rich.text import Text

    from agentfleet.services.audit_views import EventView, VerdictView
    from client.api import FleetClient


def history(ctx: typer.Context, goal: GoalId, limit: Limit = 200, as_json: Json = False) -> None:
    """Show what happened to a goal, event by event."""
    from agentfleet.services.audit_views import HistoryPage  # noqa: PLC0415

    with connect(ctx) as client:
        found: list[EventView] = []
        cursor = None
        while len(found) < limit:
            page = client.history(goal, min(200, limit - len(found)), cursor)
            found += page.events
            if (cursor := page.cursor) is None:
                break
    if as_json:
        print_json(HistoryPage(events=tuple(found), cursor=cursor))
        return
    from client.cli.show import console, table  # noqa: PLC0415

    rows = (
        (event.number, f"{event.at:%Y-%m-%d %H:%M:%S}", event.kind, " ".join(event.tasks[:3]) or None, _said(event),
         event.hash[:12])
        for event in found
    )  # fmt: skip
    headings = ("event", "when", "what", "task", "facts", "hash")
    console().print(table(*headings, rows=rows, empty="nothing recorded yet", numbers=("event",)))
    if cursor:
        console().print(f"[dim]… there are more: --limit {limit * 2}[/]")


def _said(event: "EventView") -> "Text":
    """What matters of an event, with people's words as they wrote them."""
    from rich.text import Text  # noqa: PLC0415

    shown = {"state", "states", "agent", "attempt", "seconds", "failure", "failures"}
    shown |= {"decision", "by", "note", "why", "scope", "name", "reason", "lifted_by"}
    return Text("  ".join(f"{name}={value}" for name, value in event.facts.items() if name in shown))


def kills(
    ctx: typer.Context,
    week: Annotated[str | None, typer.Option(help="Of ISO 8601, such as 2026-W47; this week without it.")] = None,
    as_json: Json = False,
) -> None:
    """Show what was stopped and lifted, by whom and why. Exit code 1 if that was tampered with. For operators."""
    with connect(ctx) as client:
        found = client.kill_history(week)
    if as_json:
        print_json(found)
    else:
        from client.cli.show import console, table  # noqa: PLC0415

        rows = (
            (event.number, f"{event.at:%Y-%m-%d %H:%M:%S}", event.kind, _said(event), event.hash[:12]) for event in found.events
        )
        headings = ("event", "when", "what", "facts", "hash")
        console().print(table(*headings, rows=rows, empty=f"nothing recorded in {found.week}", numbers=("event",)))
        if found.broken:
            typer.secho(f"broken at event {found.broken.number} ({found.broken.fault}): {found.broken.message}", fg="red")
    if found.broken:
        raise typer.Exit(FAILED)


def verify(
    ctx: typer.Context,
    goal: GoalId,
    copy: Annotated[
        Path | None, typer.Option(help="A copy from the locked bucket to compare with.", exists=True, dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that a goal's history is as it was recorded. Exit code 1 if it isn't, with the event named."""
    with connect(ctx) as client:
        verdict = client.verify(goal)
        if copy and verdict.holds:
            verdict = _compared(client, verdict, copy)
    if as_json:
        print_json(verdict)
    elif verdict.broken:
        typer.secho(f"broken at event {verdict.broken.number} ({verdict.broken.fault}): {verdict.broken.message}", fg="red")
        typer.echo(f"{verdict.events} of {verdict.recorded} events hold")
    else:
        typer.secho(f"{verdict.events} events hold; the last one's hash is {verdict.hash or '–'}", fg="green")
        if (missing := verdict.tasks_ended - verdict.tasks_recorded) > 0:
            typer.secho(f"{missing} tasks that ended are not recorded (yet)", fg="yellow")
    if not verdict.holds:
        raise typer.Exit(FAILED)


def _compared(client: "FleetClient", verdict: "VerdictView", copy: Path) -> "VerdictView":
    """The verdict, or that an event which holds is not the one that was copied: somebody wrote the whole chain anew."""
    from agentfleet.domain.history import Unreadable  # noqa: PLC0415
    from agentfleet.services.archive import hashes_in  # noqa: PLC0415
    from agentfleet.services.audit_views import BreakView  # noqa: PLC0415

    try:
        with copy.open("rb") as body:
            copied = hashes_in(body, verdict.goal)
    except Unreadable as error:
        raise typer.BadParameter(f"{copy}: {error}", param_hint="--copy") from error
    if not copied:
        raise typer.BadParameter(f"{copy} holds nothing of goal {verdict.goal}", param_hint="--copy")
    now: dict[int, str] = {}
    cursor = None
    while page := client.history(verdict.goal, 200, cursor):
        now |= {event.number: event.hash for event in page.events}
        if (cursor := page.cursor) is None:
            break
    for number, sealed in sorted(copied.items()):
        if now.get(number) != sealed:
            broken = BreakView(number=number, fault="changed", message=f"event {number} is not the one that was copied")
            return verdict.model_copy(update={"holds": False, "events": number - 1, "broken": broken})
    return verdict


def receipt(ctx: typer.Context, goal: GoalId, as_json: Json = False) -> None:
    """Show what a goal has cost, and which of it is counted and which estimated."""
    with connect(ctx) as client:
        view = client.receipt(goal)
    if as_json:
        print_json(view)
        return
    from client.cli.show import console, table  # noqa: PLC0415

    rows = (
        (line.service, line.what, f"{line.quantity:,.6g}", line.unit, f"{line.dollars:.9f}", line.basis, line.how)
        for line in view.lines
    )
    headings = ("service", "what", "quantity", "unit", "$", "basis", "how")
    console().print(table(*headings, rows=rows, empty="nothing", numbers=("quantity", "$")))
    counted = view.counted_dollars / view.dollars if view.dollars else 0.0
    console().print(
        f"\n[bold]${view.dollars:.9f}[/] for {view.tasks:,} tasks (${view.dollars_per_million_tasks:.3f} per million), "
        f"{counted:.0%} of it counted; {view.tokens:,} model tokens"
    )
    console().print(f"[dim]Prices: {view.prices['region']}, {view.prices['day']}, {view.prices['source']}[/]")
    console().print(f"[dim]Not included: {'; '.join(view.not_included)}[/]")
    if not view.is_complete:
        console().print(
            "[yellow]The history lacks some of it (yet): results are taken as they are stored, the rest may grow.[/]"
        )

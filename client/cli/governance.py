"""Commands that hold the fleet within bounds: budgets, approvals, the kill switch."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.goals import read_pairs
from client.cli.session import Json, connect, print_json

if TYPE_CHECKING:
    from agentfleet.domain.kill import Kind
    from agentfleet.services.governance_views import ApprovalView, KillView

Ref = Annotated[str, typer.Argument(metavar="GOAL.TASK", help="The goal's id, a dot, the task's id.")]
Pool = Annotated[str | None, typer.Option(help="This pool.")]
Tenant = Annotated[str | None, typer.Option(help="This tenant.")]
All = Annotated[bool, typer.Option("--all", help="Everything.")]


def amounts(given: list[str] | None, option: str) -> dict[str, Any]:
    """`dollars=1`, `tokens=5000`, `seconds=60`, as numbers by name."""
    found: dict[str, Any] = {}
    for name, text in read_pairs(given, option).items():
        try:
            found[name] = json.loads(text)
        except ValueError:
            raise typer.BadParameter(f"{option} {name} must be a number, not {text!r}") from None
    return found


def budget(
    ctx: typer.Context,
    goal: Annotated[str | None, typer.Argument(metavar="GOAL", help="A goal's id; your day without it.")] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", metavar="MEASURE=N", help="Let it spend more: dollars, tokens, seconds.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what may be spent, was spent and is reserved."""
    more = amounts(add, "--add")
    if unknown := set(more) - {"dollars", "tokens", "seconds"}:
        raise typer.BadParameter(f"--add takes dollars, tokens or seconds, not {', '.join(sorted(unknown))}")
    if more and goal is None:
        raise typer.BadParameter("--add goes with a goal")
    with connect(ctx) as client:
        view = client.add_to_budget(goal, **more) if more and goal else client.budget(goal)
    if as_json:
        print_json(view)
        return
    from client.cli.show import console, table  # noqa: PLC0415

    rows = (
        (account.name, one.measure, _number(one.limit), _number(one.spent), _number(one.reserved), _number(one.left))
        for account in view.accounts
        for one in account.balances
        if one.limit is not None or one.spent or one.reserved
    )
    headings = ("account", "measure", "limit", "spent", "reserved", "left")
    console().print(table(*headings, rows=rows, empty="nothing is limited, so nothing is counted", numbers=headings[2:]))
    if view.depth is not None:
        console().print(f"[dim]sub-plans: {view.depth} levels deep at most[/]")


def _number(amount: float | None) -> str:
    return "no limit" if amount is None else f"{amount:,.9f}".rstrip("0").rstrip(".")


def approvals(ctx: typer.Context, as_json: Json = False) -> None:
    """List the tasks that wait for somebody's approval, oldest first."""
    from agentfleet.services.governance_views import ApprovalPage  # noqa: PLC0415

    found: list[ApprovalView] = []
    with connect(ctx) as client:
        cursor = None
        while len(found) < 1000:
            page = client.approvals(100, cursor)
            found += page.approvals
            if (cursor := page.cursor) is None:
                break
    if as_json:
        print_json(ApprovalPage(approvals=tuple(found), cursor=cursor))
        return
    from client.cli.show import ago, console, table  # noqa: PLC0415

    rows = ((one.ref, one.capability, one.why, ago(one.asked), json.dumps(one.input)[:80]) for one in found)
    headings = ("task", "capability", "why", "asked", "input")
    console().print(table(*headings, rows=rows, empty="nothing waits for approval"))
    if found:
        console().print("[dim]fleet approve GOAL.TASK · fleet reject GOAL.TASK --reason …[/]")


def approve(
    ctx: typer.Context,
    ref: Ref,
    note: Annotated[str | None, typer.Option(help="Kept with the decision.")] = None,
    as_json: Json = False,
) -> None:
    """Let a task run that waits for approval."""
    with connect(ctx) as client:
        view = client.approve(ref, note)
    _say_decided(view, as_json=as_json)


def reject(
    ctx: typer.Context,
    ref: Ref,
    reason: Annotated[str, typer.Option(help="Why; the task fails with it.")],
    as_json: Json = False,
) -> None:
    """Let a task that waits for approval fail, under its failure policy."""
    with connect(ctx) as client:
        view = client.reject(ref, reason)
    _say_decided(view, as_json=as_json)


def _say_decided(view: "ApprovalView", *, as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        typer.echo(f"{view.ref}: {view.decision.lower()} by {view.by}{f': {view.note}' if view.note else ''}")


def _scope(pool: str | None, tenant: str | None, everything: bool) -> "tuple[Kind, str]":
    given: list[tuple[Kind, str]] = [("all", "")] if everything else []
    given += [("pool", pool)] if pool else []
    given += [("tenant", tenant)] if tenant else []
    if len(given) != 1:
        raise typer.BadParameter("give one of --pool NAME, --tenant NAME and --all")
    return given[0]


def kill(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; shown to everybody who is stopped by it.")],
    pool: Pool = None,
    tenant: Tenant = None,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """Stop a pool, a tenant or everything within seconds. Work is kept, what runs is finished. For operators."""
    kind, name = _scope(pool, tenant, everything)
    with connect(ctx) as client:
        view = client.kill(kind, name, reason=reason)
    if as_json:
        print_json(view)
    else:
        typer.echo(f"stopped: {describe(view)}")


def unkill(
    ctx: typer.Context, pool: Pool = None, tenant: Tenant = None, everything: All = False, as_json: Json = False
) -> None:
    """Let a pool, a tenant or everything go on that was stopped. For operators."""
    kind, name = _scope(pool, tenant, everything)
    with connect(ctx) as client:
        view = client.unkill(kind, name)
    if as_json:
        print_json(view)
    else:
        typer.echo(f"goes on: {describe(view)}")


def describe(kill: "KillView") -> str:
    """What was stopped, by whom and why."""
    scope = f"{kill.kind} {kill.name}" if kill.name else "everything"
    return f"{scope} (since {kill.since.astimezone():%Y-%m-%d %H:%M:%S} by {kill.by}: {kill.reason})"

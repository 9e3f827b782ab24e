"""Commands that show tasks and results."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from client.cli.goals import GoalId
from client.cli.session import FAILED, Json, Limit, connect, one_of, print_json

if TYPE_CHECKING:
    from agentfleet.services.goal_views import GoalResult, GoalView, TaskView
    from client.api import FleetClient

MAX_FILES: Final = 10


def tasks(
    ctx: typer.Context,
    goal: GoalId,
    state: Annotated[str | None, typer.Option(help="Only tasks in this state, such as FAILED.")] = None,
    limit: Limit = 200,
    as_json: Json = False,
) -> None:
    """List a goal's tasks in the order of its plan."""
    from agentfleet.domain.result import TaskState  # noqa: PLC0415
    from agentfleet.services.goal_views import TaskPage  # noqa: PLC0415

    wanted = one_of(TaskState, state, "--state")
    with connect(ctx) as client:
        found: list[TaskView] = []
        cursor = None
        while len(found) < limit:
            page = client.tasks(goal, wanted, min(200, limit - len(found)), cursor)
            found += page.tasks
            if (cursor := page.cursor) is None:
                break
    if as_json:
        print_json(TaskPage(tasks=tuple(found), cursor=cursor))
        return
    from client.cli.show import console, seconds, state_text, table  # noqa: PLC0415

    rows = (
        (task.id, state_text(task.state), task.capability, task.sub_goal or task.agent, task.attempt, seconds(task.duration),
         task.failure.message if task.failure else "")
        for task in found
    )  # fmt: skip
    headings = ("task", "state", "capability", "agent", "attempt", "took", "failure")
    console().print(table(*headings, rows=rows, empty="no tasks", numbers=("attempt", "took")))
    if cursor:
        console().print(f"[dim]… there are more: --limit {limit * 2}[/]")


def task(
    ctx: typer.Context,
    goal: GoalId,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's id inside the goal's plan.")],
    as_json: Json = False,
) -> None:
    """Show one task with its input and output."""
    with connect(ctx) as client:
        detail = client.task(goal, task)
    if as_json:
        print_json(detail)
        return
    from client.cli.show import console, seconds, state_text, value  # noqa: PLC0415

    out = console()
    out.print(state_text(detail.state), f"[bold]{detail.id}[/]", detail.capability, seconds(detail.duration))
    if detail.failure:
        out.print(f"{detail.failure.error}: {detail.failure.message}", style="red", markup=False)
    out.print("[bold underline]input[/]", value(detail.input), sep="\n")
    if detail.output is not None:
        out.print("[bold underline]output[/]", value(detail.output), sep="\n")


def result(
    ctx: typer.Context,
    goal: GoalId,
    save: Annotated[Path | None, typer.Option(help="Save output and files into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Show what came of a goal that has ended; the exit code is 1 if it failed."""
    with connect(ctx) as client:
        found = client.result(goal)
        saved = save_result(client, found, save) if save else []
    if as_json:
        print_json(found)
    else:
        show_result(found)
        for path in saved:
            typer.echo(f"saved {path}")
    if found.goal.state != "SUCCEEDED":
        raise typer.Exit(FAILED)


def show_result(result: "GoalResult") -> None:
    """State, output and files on the terminal."""
    from client.cli.show import console, size, table, value  # noqa: PLC0415

    say_end(result.goal, hint=False)
    if result.output is not None:
        console().print(value(result.output))
    if result.files:
        # What the output points to comes first: the rest is often intermediate.
        named = json.dumps(result.output)
        files = sorted(result.files, key=lambda file: json.dumps(file.uri) not in named)
        rows = ((file.name, size(file.size)) for file in files[:MAX_FILES])
        console().print(table("file", "size", rows=rows, empty="", numbers=("size",)))
        rest = f"… and {len(files) - MAX_FILES} more files; " if len(files) > MAX_FILES else ""
        console().print(f"[dim]{rest}fleet result {result.goal.id} --save FOLDER[/]")


def say_end(goal: "GoalView", *, hint: bool = True) -> None:
    """One line on how a goal ended, and why if it failed."""
    from client.cli.show import console, seconds, state_text  # noqa: PLC0415

    counts = ", ".join(f"{number} {state.lower()}" for state, number in (goal.counts or {}).items())
    out = console()
    out.print(state_text(goal.state), f"[bold]{goal.name}[/]", f"[dim]{goal.id}  {seconds(goal.duration)}  {counts}[/]")
    if goal.failure:
        where = f"{goal.failure.task}: " if goal.failure.task else ""
        out.print(f"  {where}{goal.failure.error}: {goal.failure.message}", style="red", markup=False)
    if hint:
        out.print(f"[dim]fleet result {goal.id}[/]")


def save_result(client: "FleetClient", result: "GoalResult", folder: Path) -> list[Path]:
    """Save the output as output.json and every file under its name; gives where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    output = folder / "output.json"
    output.write_text(json.dumps(result.output, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    saved = [output]
    for file in result.files:
        path = folder / file.name
        if root not in path.resolve().parents:
            typer.secho(f"not saved: {file.name!r} would leave the folder", fg="yellow", err=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.download(file))
        saved.append(path)
    return saved

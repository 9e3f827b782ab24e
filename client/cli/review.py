"""`fleet review`: have the fleet review Python code."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from client.cli.session import FAILED, Json, connect, print_json

if TYPE_CHECKING:
    from agentfleet.services.goal_views import GoalResult

PLAYBOOK: Final = "code-review"
SHOWN: Final = 10


def review(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="A folder, an archive (.zip, .tar.gz), or the address of one in the web.")],
    folder: Annotated[str, typer.Option(help="Only what lies below this folder of it.")] = "",
    save: Annotated[Path | None, typer.Option(help="Save report and findings into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Review Python code: what rules find, heaviest first, and a model's remarks where there is one. Nothing of it is run."""
    from client.cli.live import watch_goal  # noqa: PLC0415
    from client.cli.results import save_result  # noqa: PLC0415
    from client.cli.show import console  # noqa: PLC0415
    from client.files import archive_of  # noqa: PLC0415

    parameters: dict[str, Any] = {"folder": folder, "title": f"Review of {source}"[:300]}
    with connect(ctx) as client:
        if source.startswith(("http://", "https://")):
            parameters["url"] = source
        else:
            parameters["archive"] = client.upload(*archive_of(Path(source))).uri
        goal = client.submit({"playbook": PLAYBOOK, "parameters": parameters})
        ended = client.wait(goal.id, timeout=600).goal if as_json else watch_goal(client, goal.id, console())
        result = client.result(goal.id)
        saved = save_result(client, result, save) if save else []
    if as_json:
        print_json(result)
    elif ended.state == "SUCCEEDED":
        _show(result)
        typer.echo(f"fleet result {goal.id} --save FOLDER" if save is None else f"saved {len(saved)} files in {save}")
    if ended.state != "SUCCEEDED":
        typer.echo(f"Why: fleet tasks {goal.id} --state FAILED  ·  fleet logs")
        raise typer.Exit(FAILED)


def _show(result: "GoalResult") -> None:
    found: dict[str, Any] = result.output
    typer.secho(f"\n{found['findings']} findings, {found['high']} of them high", bold=True)
    for one in found["top"][:SHOWN]:
        typer.echo(f"  {one['place']}  {one['rule']}: {one['finding']}")
    for one in found["remarks"] or ():
        typer.echo(f"  {one['place']}  {one['remark']}")
    by = "rules and a model" if found["how"] == "model" else "rules: no model was asked"
    typer.secho(f"\nReviewed by {by}.", fg="green")

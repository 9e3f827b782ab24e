"""The command that shows playbooks."""

from typing import Annotated

import typer

from client.cli.session import Json, connect, print_json


def playbooks(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Show this one with its parameters and plan.")] = None,
    as_json: Json = False,
) -> None:
    """List playbooks, or show one."""
    from agentfleet.services.goal_views import PlaybookList  # noqa: PLC0415

    with connect(ctx) as client:
        if name is None:
            found = client.playbooks()
        else:
            detail = client.playbook(name)
    if as_json:
        print_json(PlaybookList(playbooks=tuple(found)) if name is None else detail)
        return
    from client.cli.show import console, table  # noqa: PLC0415

    out = console()
    if name is None:
        rows = (
            (
                one.name,
                one.description,
                ", ".join(key if parameter.required else f"[{key}]" for key, parameter in one.parameters.items()),
            )
            for one in found
        )
        out.print(table("playbook", "description", "parameters", rows=rows, empty="no playbooks"), markup=False)
        return
    out.print(f"[bold]{detail.name}[/]  {detail.description}")
    parameters = (
        (key, one.type, "required" if one.required else repr(one.default)[:60], one.description)
        for key, one in detail.parameters.items()
    )
    out.print(table("parameter", "type", "default", "description", rows=parameters, empty="no parameters"))
    steps = ((task.get("id"), task.get("capability"), "foreach" if "foreach" in task else "") for task in detail.plan["tasks"])
    out.print(table("task", "capability", "", rows=steps, empty=""))
    out.print(f"[dim]fleet submit --playbook {detail.name} --watch[/]")

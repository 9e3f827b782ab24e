"""Commands that submit, watch and list goals, and take a hand in them."""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from client.cli.session import FAILED, INTERRUPTED, Json, Limit, connect, one_of, print_json
from client.errors import ApiUnreachable, FleetApiError

if TYPE_CHECKING:
    from agentfleet.services.goal_views import GoalView, ParameterView
    from client.api import FleetClient

SERVER_ERRORS: Final = 500
"""Of HTTP's status: from here on it is not the caller's mistake."""

GoalId = Annotated[str, typer.Argument(metavar="GOAL", help="A goal's id.")]


def submit(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="A goal in JSON, TOML or YAML; - reads standard input.")] = None,
    playbook: Annotated[str | None, typer.Option("--playbook", "-p", help="Submit this playbook instead of a file.")] = None,
    words: Annotated[
        str | None, typer.Option("--goal", "-g", help="Submit what is wanted, in words, instead of a file.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option("--param", metavar="K=V", help="A parameter of the playbook.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the goal.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="A label to keep with it.")] = None,
    priority: Annotated[str | None, typer.Option(help="high, normal or low.")] = None,
    budget: Annotated[
        list[str] | None, typer.Option("--budget", metavar="K=N", help="A limit: dollars, tokens, seconds or depth.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key again gives the same goal.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay and watch it.")] = False,
    as_json: Json = False,
) -> None:
    """Submit a goal from a file, a playbook, or in words."""
    if [file, playbook, words].count(None) != 2:
        raise typer.BadParameter("give one of a file, --playbook NAME or --goal WORDS")
    with connect(ctx) as client:
        from client.sources import to_request  # noqa: PLC0415

        parameters = _parameters(client, playbook, read_pairs(param, "--param")) if param else None
        source = {"goal": words} if words is not None else file if file is not None else playbook or ""
        request = to_request(source, parameters)
        add_options(request, name=name, label=label, priority=priority, budget=budget)
        goal = client.submit(request, key=key)
        if watch:
            follow(client, goal.id, as_json=as_json)
        elif as_json:
            print_json(goal)
        else:
            _say_submitted(goal)


def add_options(
    request: dict[str, Any],
    *,
    name: str | None,
    label: Sequence[str] | None,
    priority: str | None,
    budget: Sequence[str] | None,
) -> None:
    """Put what options say into a request, over what it says itself. Raises BadParameter."""
    if label:
        request["labels"] = {**request.get("labels", {}), **read_pairs(label, "--label")}
    if budget:
        limits = {name: _typed(name, text, None) for name, text in read_pairs(budget, "--budget").items()}
        request["budget"] = {**request.get("budget", {}), **limits}
    request |= {field: given for field, given in (("name", name), ("priority", priority)) if given}


def _say_submitted(goal: "GoalView") -> None:
    from client.cli.show import console  # noqa: PLC0415

    console().print(f"[bold]{goal.id}[/]  {goal.tasks} tasks  [dim]fleet watch {goal.id}[/]")


def read_pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` options by name. Raises BadParameter."""
    pairs = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option} takes NAME=VALUE, not {one!r}")
        pairs[name] = value
    return pairs


def _parameters(client: "FleetClient", playbook: str | None, given: Mapping[str, str]) -> dict[str, Any]:
    """The values in the types that the playbook asks for; of a file's playbook nothing is known, so that JSON is tried."""
    declared: Mapping[str, ParameterView] = client.playbook(playbook).parameters if playbook else {}
    return {name: _typed(name, text, declared[name].type if name in declared else None) for name, text in given.items()}


def _typed(name: str, text: str, kind: str | None) -> Any:
    if kind == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        if kind is None:
            return text
        if kind == "list":
            return [part.strip() for part in text.split(",")]
        raise typer.BadParameter(f"--param {name} must be a JSON {kind}, not {text!r}") from None


def watch(ctx: typer.Context, goal: GoalId, as_json: Json = False) -> None:
    """Watch a goal until it ends. Ctrl-C leaves it running."""
    with connect(ctx) as client:
        follow(client, goal, as_json=as_json)


def follow(client: "FleetClient", goal_id: str, *, as_json: bool = False) -> None:
    """Watch a goal and say how it ended; the exit code says it too."""
    from client.cli.live import watch_goal  # noqa: PLC0415
    from client.cli.results import say_end  # noqa: PLC0415
    from client.cli.show import console  # noqa: PLC0415

    try:
        if as_json:
            result = client.wait(goal_id)
            print_json(result)
            goal = result.goal
        else:
            goal = watch_goal(client, goal_id, console())
            say_end(goal)
    except KeyboardInterrupt:
        typer.echo(
            f"\nGoal {goal_id} goes on. Watch it again: fleet watch {goal_id}  ·  stop it: fleet cancel {goal_id}", err=True
        )
        raise typer.Exit(INTERRUPTED) from None
    if goal.state != "SUCCEEDED":
        raise typer.Exit(FAILED)


def goals(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only goals in this state, such as RUNNING.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List goals, newest first."""
    from agentfleet.domain.goal import GoalState  # noqa: PLC0415
    from agentfleet.services.goal_views import GoalPage  # noqa: PLC0415

    wanted = one_of(GoalState, state, "--state")
    with connect(ctx) as client:
        found: list[GoalView] = []
        cursor = None
        while len(found) < limit:
            page = client.goals(wanted, min(200, limit - len(found)), cursor)
            found += page.goals
            if (cursor := page.cursor) is None:
                break
    if as_json:
        print_json(GoalPage(goals=tuple(found), cursor=cursor))
        return
    from client.cli.show import ago, console, seconds, state_text, table  # noqa: PLC0415

    rows = (
        (goal.id, goal.name, state_text(goal.state), f"{goal.done}/{goal.tasks}" if goal.counts else goal.tasks,
         seconds(goal.duration), ago(goal.created))
        for goal in found
    )  # fmt: skip
    headings = ("goal", "name", "state", "tasks", "took", "submitted")
    console().print(table(*headings, rows=rows, empty="no goals", numbers=("tasks", "took")))


def cancel(ctx: typer.Context, goal: GoalId, as_json: Json = False) -> None:
    """Cancel a goal: agents drop its tasks from then on."""
    with connect(ctx) as client:
        view = client.cancel(goal)
    if as_json:
        print_json(view)
    else:
        from client.cli.show import console, state_text  # noqa: PLC0415

        console().print(state_text(view.state), view.id, view.name)


def pause(ctx: typer.Context, goal: GoalId, as_json: Json = False) -> None:
    """Hold a goal's tasks back; what runs is finished."""
    with connect(ctx) as client:
        view = client.pause(goal)
    _say_changed(view, f"paused · fleet resume {view.id}", as_json=as_json)


def resume(ctx: typer.Context, goal: GoalId, as_json: Json = False) -> None:
    """Let a paused goal go on."""
    with connect(ctx) as client:
        view = client.resume(goal)
    _say_changed(view, f"goes on · fleet watch {view.id}", as_json=as_json)


def compensate(
    ctx: typer.Context,
    goal: GoalId,
    resume: Annotated[bool, typer.Option("--resume", help="Go on undoing it with what is left.")] = False,
    as_json: Json = False,
) -> None:
    """Show how far it is to undo a goal, or go on with it after its compensation failed."""
    with connect(ctx) as client:
        view = client.compensate(goal) if resume else client.goal(goal)
    undoing = view.undoing
    if undoing is None:
        word = "nothing of it is to be undone"
    elif undoing.done:
        word = "all is undone"
    elif undoing.failure:
        where = f"{undoing.failure.task}: " if undoing.failure.task else ""
        word = f"{where}{undoing.failure.error}: {undoing.failure.message} · fleet compensate {view.id} --resume"
    else:
        word = f"saga {undoing.attempt} undoes it · fleet watch {view.id}"
    _say_changed(view, word, as_json=as_json)


def fork(
    ctx: typer.Context,
    goal: GoalId,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", "-k", metavar="PATTERN", help="Tasks whose results are kept; default all.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="TASK.input.PATH=VALUE", help="Another input; the task and all after it run again."
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key again goes on with the fork that it began.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay and watch it.")] = False,
    as_json: Json = False,
) -> None:
    """Run a goal again, as a new one, from some of its results."""
    changes: dict[str, dict[str, Any]] = {}
    for place, text in read_pairs(change, "--set").items():
        task, found, path = place.partition(".input.")
        if not found or not task or not path:
            raise typer.BadParameter(f"--set takes TASK.input.PATH=VALUE, not {place!r}")
        changes.setdefault(task, {})[path] = _typed(place, text, None)
    with connect(ctx) as client:
        key = key or secrets.token_hex(8)
        try:
            view = client.fork(goal, keep or ("*",), changes, key=key)
        except (ApiUnreachable, FleetApiError) as error:
            if isinstance(error, ApiUnreachable) or error.status >= SERVER_ERRORS:
                typer.echo(f"What was copied so far is kept: the same command with --key {key} goes on from there.", err=True)
            raise
        if watch:
            follow(client, view.id, as_json=as_json)
            return
    _say_changed(view, f"forked from {goal} · fleet watch {view.id}", as_json=as_json)


def _say_changed(view: "GoalView", word: str, *, as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    from client.cli.show import console, state_text  # noqa: PLC0415

    console().print(state_text(view.state), view.id, view.name, f"[dim]{word}[/]")

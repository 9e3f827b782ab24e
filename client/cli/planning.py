"""`fleet plan`: say what is wanted in words, look at the plan, or have it carried out."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from client.cli.answers import Rates, answers_in, no_rates, show_answer
from client.cli.goals import add_options, follow
from client.cli.rates import rates_in_words
from client.cli.session import FAILED, Json, connect, print_json, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from agentfleet.services.planning_views import Draft, TaskEstimateView
    from client.api import FleetClient

CAPABILITY: Final = "plan.make"
TASK: Final = "plan"
PLAN_FILE: Final = f"{TASK}/plan.json"
"""How it was planned, as a file of that task."""
PATIENCE: Final = 600.0
"""Seconds that planning may take: a small model on a laptop reads slowly."""
DRAWN: Final = 60
"""Up to so many tasks are drawn one by one."""


def plan(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORDS…", help="What is wanted.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show the plan and what it will take; run nothing.")] = False,
    name: Annotated[str | None, typer.Option(help="What to call the goal.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="A label to keep with it.")] = None,
    priority: Annotated[str | None, typer.Option(help="high, normal or low.")] = None,
    budget: Annotated[
        list[str] | None, typer.Option("--budget", metavar="K=N", help="A limit: dollars, tokens, seconds or depth.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key again gives the same goal.")] = None,
    as_json: Json = False,
) -> None:
    """Plan a goal given in words, and run it: a language model plans if there is one, else the nearest playbook is taken."""
    said = " ".join(words)
    request: dict[str, Any] = _rehearsal(said) if dry_run else {"goal": said}
    add_options(request, name=name, label=label, priority=priority, budget=budget)
    with connect(ctx) as client:
        goal = client.submit(request, key=key)
        rates = partial(rates_in_words, session(ctx).directory)
        if not dry_run:
            follow(client, goal.id, as_json=as_json)
            if not as_json:
                _show_outcome(client, goal.id, rates)
            return
        result = client.wait(goal.id, timeout=PATIENCE)
    if result.goal.state != "SUCCEEDED":
        from client.cli.results import say_end  # noqa: PLC0415

        print_json(result) if as_json else say_end(result.goal)
        raise typer.Exit(FAILED)
    from agentfleet.services.planning_views import Draft  # noqa: PLC0415

    draft = Draft.model_validate(result.output)
    if as_json:
        print_json(draft)
    else:
        show_draft(draft, rates)


def _show_outcome(client: "FleetClient", goal_id: str, rates: Rates) -> None:
    """How a goal in words was planned, and what came of it: its answers, or whatever its output is."""
    from agentfleet.services.planning_views import Draft  # noqa: PLC0415
    from client.cli.results import show_result  # noqa: PLC0415

    result = client.result(goal_id)
    for file in result.files:
        if file.name == PLAN_FILE:
            draft = Draft.model_validate_json(client.download(file))
            how = _provenance(draft, rates)
            typer.secho(f"Planned {how[0].lower()}{how[1:]}", fg="green")
    answers = list(answers_in(result.output))
    for answer in answers:
        show_answer(answer, rates)
    if not answers:
        show_result(result)


def _rehearsal(words: str) -> dict[str, Any]:
    """A goal whose output is a draft."""
    task = {"id": TASK, "capability": CAPABILITY, "input": {"goal": words, "dry_run": True}}
    return {"name": f"plan: {' '.join(words.split())[:80]}", "plan": {"tasks": [task], "output": {"$from": TASK}}}


def show_draft(draft: "Draft", rates: Rates = no_rates) -> None:
    """The graph, what it will take, what to know about it, and how it came about."""
    from rich.text import Text  # noqa: PLC0415

    from client.cli.show import console, seconds  # noqa: PLC0415

    out = console()
    out.print(_graph(draft))
    estimate = draft.estimate
    surely = all(one.measured for one in estimate.tasks)
    out.print(
        Text.assemble(
            ("about " if surely else "at most ", "dim"),
            (seconds(estimate.seconds), "bold"),
            (f" along {' → '.join(estimate.path[:6])}{' → …' if len(estimate.path) > 6 else ''}", "dim"),
        )
    )
    out.print(
        Text.assemble(
            ("about " if surely else "at most ", "dim"),
            (_dollars(estimate.dollars), "bold"),
            (f": {_dollars(estimate.platform_dollars)} for the platform, {_dollars(estimate.model_dollars)} for models", "dim"),
        )
    )
    if draft.budget:
        units = {"dollars": _dollars, "tokens": lambda amount: f"{amount:,.0f} tokens", "seconds": seconds}
        most = ", ".join(units[name](amount) for name, amount in draft.budget.items())
        out.print(Text.assemble(("its models may use up ", "dim"), most))
    for warning in draft.warnings:
        out.print(Text.assemble(("! ", "yellow"), warning))
    out.print(Text(_provenance(draft, rates), style="green"))


def _provenance(draft: "Draft", rates: Rates = no_rates) -> str:
    what = f"the playbook {draft.playbook}" if draft.playbook else "a plan of its own"
    if draft.how == "rules":
        return f"By rules: {what}. {draft.why}."
    tokens = f"{draft.input_tokens:,} + {draft.output_tokens:,} tokens"
    rounds = "1 round" if draft.rounds == 1 else f"{draft.rounds} rounds"
    fast = rates(draft.model, draft.input_tokens, draft.output_tokens)
    return f"By {draft.model}: {what}, in {rounds}, {tokens}, {draft.seconds:.1f} s, {_dollars(draft.dollars)}{fast}."


def _dollars(amount: float) -> str:
    return "$0" if amount == 0 else f"${amount:.4f}" if amount >= 0.0001 else f"${amount:.7f}"


def _graph(draft: "Draft") -> "RenderableType":
    """Each task below the last of those that it waits for; what else it waits for stands beside it."""
    from rich.text import Text  # noqa: PLC0415
    from rich.tree import Tree  # noqa: PLC0415

    tree = Tree(Text(draft.goal.splitlines()[0][:200], style="bold"), guide_style="dim")
    below: dict[str, Tree] = {}
    shown = draft.estimate.tasks[:DRAWN]
    waiting = list(shown)
    inputs = {task["id"]: task.get("input", {}) for task in draft.plan["tasks"]}
    undone = {task["id"]: task["compensation"]["capability"] for task in draft.plan["tasks"] if "compensation" in task}
    while waiting:
        later = []
        for task in waiting:
            if all(one in below for one in task.after):
                parent = max(task.after, key=lambda one: list(below).index(one), default=None)
                branch = below[parent] if parent else tree
                below[task.id] = branch.add(_line(task, parent, inputs[task.id], undone.get(task.id)))
            else:
                later.append(task)
        if len(later) == len(waiting):
            break
        waiting = later
    rest = len(draft.estimate.tasks) - len(below)
    if rest:
        tree.add(Text(f"… and {rest} more tasks (--json has all)", style="dim"))
    return tree


def _line(task: "TaskEstimateView", parent: str | None, given: dict[str, Any], undo: str | None) -> Any:
    from rich.text import Text  # noqa: PLC0415

    from client.cli.show import seconds  # noqa: PLC0415

    line = Text.assemble((task.id, "bold"), (f"  {task.capability}", "cyan"))
    line.append(f"  {'~' if task.measured else '≤ '}{seconds(task.seconds)}", style="dim")
    if others := [one for one in task.after if one != parent]:
        line.append(f"  after {', '.join(others[:4])}{' …' if len(others) > 4 else ''} too", style="dim")
    if undo:
        line.append(f"  undone by {undo}", style="yellow")
    if task.model_dollars:
        line.append(f"  {_dollars(task.model_dollars)}", style="dim")
    if text := _brief(given):
        line.append(f"  {text}", style="dim italic")
    return line


def _brief(given: dict[str, Any]) -> str:
    """The input's plain values, shortly."""
    plain = [f"{name}={one!r:.50}" for name, one in given.items() if isinstance(one, str | int | float | bool)]
    return ", ".join(plain[:3])

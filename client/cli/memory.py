"""Commands about what agents remember: facts, conversations, what became of goals in words."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.session import Json, Limit, connect, print_json

if TYPE_CHECKING:
    from agentfleet.services.memory_views import FactView, SessionView

app = typer.Typer(help="See what agents remember; have them remember and forget.", no_args_is_help=True)
facts = typer.Typer(help="What agents know.", no_args_is_help=True)
sessions = typer.Typer(help="Conversations that go on from task to task.", no_args_is_help=True)
episodes = typer.Typer(help="What became of goals in words.", no_args_is_help=True)
for _name, _topic in {"facts": facts, "sessions": sessions, "episodes": episodes}.items():
    app.add_typer(_topic, name=_name)

FactRef = Annotated[str, typer.Argument(metavar="AGENT/FACT", help="As `fleet memory facts list` shows them.")]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Its id.")]
GoalId = Annotated[str, typer.Argument(metavar="GOAL", help="The goal's id.")]


@facts.command("list")
def list_facts(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="Only what it calls for, best first.")] = "",
    agent: Annotated[str | None, typer.Option(help="Only this agent's.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List facts, the strongest first."""
    from agentfleet.services.memory_views import FactList  # noqa: PLC0415

    with connect(ctx) as client:
        found = client.facts(agent, query, min(limit, 200))
    if as_json:
        print_json(FactList(facts=found))
        return
    from client.cli.show import ago, console, table  # noqa: PLC0415

    rows = (
        (f"{one.agent}/{one.id}", f"{one.strength:.2f}", one.about, one.text[:120], one.source, ago(one.when)) for one in found
    )
    headings = ("fact", "strength", "about", "text", "from", "said")
    console().print(table(*headings, rows=rows, empty="nothing is remembered", numbers=("strength",)))


@facts.command("show")
def show_fact(ctx: typer.Context, fact: FactRef, as_json: Json = False) -> None:
    """Show a fact in full."""
    with connect(ctx) as client:
        found = client.fact(*_fact(fact))
    _tell_fact(found, as_json=as_json)


@facts.command("add")
def add_fact(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="What to remember, in a sentence.")],
    about: Annotated[str, typer.Option(help="What it is about, in a word or two.")] = "",
    agent: Annotated[str, typer.Option(help="Whose memory it goes into; shared: all agents'.")] = "shared",
    as_json: Json = False,
) -> None:
    """Have agents remember a fact."""
    with connect(ctx) as client:
        kept = client.remember(text, about, agent)
    _tell_fact(kept, as_json=as_json)


@facts.command("forget")
def forget_fact(ctx: typer.Context, fact: FactRef) -> None:
    """Have an agent forget a fact."""
    with connect(ctx) as client:
        client.forget_fact(*_fact(fact))
    typer.echo(f"forgot {fact}")


def _fact(ref: str) -> tuple[str, str]:
    agent, slash, name = ref.partition("/")
    if not slash or not agent or not name:
        raise typer.BadParameter(f"give AGENT/FACT, not {ref!r}")
    return agent, name


def _tell_fact(fact: "FactView", *, as_json: bool) -> None:
    if as_json:
        print_json(fact)
        return
    about = f"{fact.about}: " if fact.about else ""
    typer.echo(f"{fact.agent}/{fact.id}  {about}{fact.text}")
    typer.echo(f"from {fact.source}, {fact.when.astimezone():%Y-%m-%d %H:%M}, strength {fact.strength:.2f}")


@sessions.command("list")
def list_sessions(ctx: typer.Context, limit: Limit = 50, as_json: Json = False) -> None:
    """List conversations, by id."""
    from agentfleet.services.memory_views import SessionPage  # noqa: PLC0415

    found: list[SessionView] = []
    with connect(ctx) as client:
        cursor = None
        while len(found) < limit:
            page = client.sessions(min(limit - len(found), 200), cursor)
            found += page.sessions
            if (cursor := page.cursor) is None:
                break
    if as_json:
        print_json(SessionPage(sessions=tuple(found), cursor=cursor))
        return
    from client.cli.show import ago, console, table  # noqa: PLC0415

    rows = ((one.id, one.turns, one.summarised, one.bytes, one.how or "", ago(one.updated)) for one in found)
    headings = ("session", "turns", "summarised", "bytes", "summary by", "updated")
    console().print(table(*headings, rows=rows, empty="no conversations", numbers=headings[1:4]))


@sessions.command("show")
def show_session(ctx: typer.Context, session: SessionId, as_json: Json = False) -> None:
    """Show a conversation as agents go on from it."""
    with connect(ctx) as client:
        found = client.session(session)
    if as_json:
        print_json(found)
        return
    for message in found.messages:
        words = (block["text"] if "text" in block else json.dumps(block, ensure_ascii=False) for block in message["content"])
        typer.echo(f"{message['role']}: " + "\n  ".join(words))


@sessions.command("add")
def add_turn(
    ctx: typer.Context,
    session: SessionId,
    file: Annotated[Path, typer.Argument(help="A JSON list of messages in Converse's shape; - reads standard input.")],
    key: Annotated[str | None, typer.Option(help="The same key again adds nothing.")] = None,
    as_json: Json = False,
) -> None:
    """Add a turn to a conversation, or begin one."""
    with connect(ctx) as client:
        view = client.add_turn(session, _messages(file), key)
    if as_json:
        print_json(view)
    else:
        typer.echo(f"{view.id}: {view.turns} turns, {view.bytes} bytes")


def _messages(file: Path) -> list[Any]:
    try:
        found = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file} can't be read as JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise typer.BadParameter(f"{file} must hold a list of messages: objects with role and content")
    return found


@sessions.command("forget")
def forget_session(ctx: typer.Context, session: SessionId) -> None:
    """Forget a conversation with all its turns."""
    with connect(ctx) as client:
        client.forget_session(session)
    typer.echo(f"forgot {session}")


@episodes.command("list")
def list_episodes(ctx: typer.Context, limit: Limit = 50, as_json: Json = False) -> None:
    """List what became of goals in words, newest first."""
    from agentfleet.services.memory_views import EpisodeList  # noqa: PLC0415

    with connect(ctx) as client:
        found = client.episodes(min(limit, 200))
    if as_json:
        print_json(EpisodeList(episodes=found))
        return
    from client.cli.show import ago, console, seconds, state_text, table  # noqa: PLC0415

    rows = (
        (
            one.goal,
            state_text("SUCCEEDED" if one.succeeded else "FAILED"),
            one.words[:80],
            one.tasks,
            seconds(one.seconds),
            f"{one.dollars:.6f}",
            ago(one.when),
        )
        for one in found
    )
    headings = ("goal", "state", "words", "tasks", "took", "dollars", "ended")
    console().print(table(*headings, rows=rows, empty="no goals in words have ended", numbers=("tasks", "took", "dollars")))


@episodes.command("show")
def show_episode(ctx: typer.Context, goal: GoalId) -> None:
    """Print what became of a goal in words, with its plan, as JSON."""
    with connect(ctx) as client:
        print_json(client.episode(goal))


@episodes.command("forget")
def forget_episode(ctx: typer.Context, goal: GoalId) -> None:
    """Forget what became of a goal; the goal itself stays."""
    with connect(ctx) as client:
        client.forget_episode(goal)
    typer.echo(f"forgot {goal}")


@app.command()
def figures(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what tasks of your goals in words took, by capability."""
    from agentfleet.services.memory_views import FigureList  # noqa: PLC0415

    with connect(ctx) as client:
        found = client.figures()
    if as_json:
        print_json(FigureList(figures=found))
        return
    from client.cli.show import console, seconds, table  # noqa: PLC0415

    rows = ((one.capability, one.count, seconds(one.seconds), f"{one.dollars:.6f}") for one in found)
    headings = ("capability", "tasks", "seconds", "dollars")
    console().print(table(*headings, rows=rows, empty="nothing was measured yet", numbers=headings[1:]))


@app.command()
def forget(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="All facts, conversations, episodes and figures.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Forget everything that is remembered for you; what is one of a kind by `facts forget` and the like."""
    if not everything:
        raise typer.BadParameter("say --all, or use `fleet memory facts|sessions|episodes forget`")
    if not yes:
        typer.confirm("Forget all facts, conversations, episodes and figures of this tenant?", abort=True, err=True)
    with connect(ctx) as client:
        gone = client.forget_everything()
    if as_json:
        print_json(gone)
    else:
        typer.echo(
            f"forgot {gone.facts} facts, {gone.sessions} conversations, {gone.episodes} episodes, "
            f"figures of {gone.figures} capabilities"
        )

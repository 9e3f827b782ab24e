"""`fleet ask`: put a question to files of one's own."""

from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from client.cli.session import FAILED, Json, connect, print_json, session

PLAYBOOK: Final = "ask-text"
MAX_BYTES: Final = 56_000
"""Of all files together: a task's input may have 64 KB of JSON."""


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    files: Annotated[list[Path], typer.Argument(help="Text files that may hold the answer.", exists=True, dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Ask text files a question: a language model answers if there is one, otherwise their own sentences do."""
    texts = [{"title": file.name, "text": file.read_text(encoding="utf-8", errors="replace")} for file in files]
    if (size := sum(len(one["text"].encode()) for one in texts)) > MAX_BYTES:
        raise typer.BadParameter(f"the files have {size:,} bytes together; at most {MAX_BYTES:,} are allowed")
    from client.cli.answers import show_answer  # noqa: PLC0415
    from client.cli.live import watch_goal  # noqa: PLC0415
    from client.cli.rates import rates_in_words  # noqa: PLC0415
    from client.cli.show import console  # noqa: PLC0415

    with connect(ctx) as client:
        goal = client.submit({"playbook": PLAYBOOK, "parameters": {"question": question, "texts": texts}})
        ended = client.wait(goal.id, timeout=600).goal if as_json else watch_goal(client, goal.id, console())
        result = client.result(goal.id)
    if as_json:
        print_json(result)
    elif ended.state == "SUCCEEDED":
        show_answer(result.output, partial(rates_in_words, session(ctx).directory))
    if ended.state != "SUCCEEDED":
        typer.echo(f"Why: fleet tasks {goal.id} --state FAILED  ·  fleet logs")
        raise typer.Exit(FAILED)

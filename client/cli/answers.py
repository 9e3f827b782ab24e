"""Answers in the output of a goal, as people read them: words first, what they rest on below."""

from collections.abc import Callable, Iterator, Mapping
from textwrap import shorten
from typing import Any, Final

import typer

QUOTED: Final = 160
"""Characters of a source that are shown, whole words of it."""
Rates = Callable[[str | None, int, int], str]
"""Words on how fast a model (its name) was in a call with so many tokens, in and out."""


def no_rates(_model: str | None, _input_tokens: int, _output_tokens: int) -> str:
    """Where nobody knows."""
    return ""


def answers_in(output: Any) -> Iterator[Mapping[str, Any]]:
    """Every object with a text `answer`, wherever it stands in an output, in its order."""
    if isinstance(output, Mapping):
        if isinstance(output.get("answer"), str):
            yield output
        else:
            for value in output.values():
                yield from answers_in(value)
    elif isinstance(output, list):
        for value in output:
            yield from answers_in(value)


def show_answer(found: Mapping[str, Any], rates: Rates = no_rates) -> None:
    """An answer, its citations, and by what it was made."""
    if isinstance(question := found.get("question"), str):
        typer.secho(f"\n{question}", bold=True)
    typer.echo(f"\n{found['answer'] or 'There is no answer.'}\n")
    for number, source in enumerate(found.get("citations") or found.get("sources") or (), 1):
        if isinstance(source, Mapping):
            typer.secho(f"  [{source.get('number', number)}] {_place(source)}", dim=True)
    typer.secho(_made(found, rates), fg="green")


def _made(found: Mapping[str, Any], rates: Rates) -> str:
    if not found.get("model"):
        return "In the texts' own words: no model was asked."
    tokens = f"{found['input_tokens']:,} + {found['output_tokens']:,} tokens, " if "input_tokens" in found else ""
    took = f"{found['seconds']:.1f} s, " if "seconds" in found else ""
    fast = rates(found["model"], found.get("input_tokens", 0), found.get("output_tokens", 0))
    # A model's words are not used where it cited nothing, or what it was not given; what it cost stands there all the same.
    own = f"In the texts' own words, because {found['why']}. Asked was" if found.get("method") == "extractive" else "By"
    return f"{own} {found['model']}: {tokens}{took}${found.get('dollars', 0):.4f}{fast}."


def _place(source: Mapping[str, Any]) -> str:
    """Where it stands, and what it says there."""
    named = source.get("source")
    title = named if isinstance(named, str) and named else source.get("title", "")
    text = source.get("quote") or source.get("text") or ""
    lines = f", lines {source['first_line']}–{source['last_line']}" if "first_line" in source else ""
    return f"{title}{lines}: {shorten(str(text), QUOTED, placeholder=' …')}"

"""Commands about what the fleet knows."""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.session import Json, Limit, connect, print_json

if TYPE_CHECKING:
    from agentfleet.services.knowledge_views import AnswerView, Finding

app = typer.Typer(help="Keep documents; find what they say and ask them questions.", no_args_is_help=True)

Domain = Annotated[str | None, typer.Option(help="Only documents of this domain.")]
Domains = Annotated[list[str] | None, typer.Option("--domain", help="Only this domain; may be given several times.")]


@app.command()
def add(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; - reads standard input.")],
    title: Annotated[str | None, typer.Option(help="Its title, of a single file; the file's name without it.")] = None,
    domain: Annotated[str, typer.Option(help="The field they belong to.")] = "general",
    as_json: Json = False,
) -> None:
    """Keep documents: Markdown, HTML, PDF, text and source code.

    A file that is added again from the same path is a new version of its document, or nothing new.
    """
    from agentfleet.services.knowledge_views import DocumentList  # noqa: PLC0415

    files = [file for path in paths for file in _files(path)]
    if not files:
        raise typer.BadParameter("there is no file of a known kind there: Markdown, HTML, PDF, text or source code")
    if title is not None and len(files) > 1:
        raise typer.BadParameter(f"--title goes with one file, these are {len(files)}")
    kept = []
    with connect(ctx) as client:
        for file in files:
            document = client.add_document({"domain": domain, **_order(file, title)})
            kept.append(document)
            if not as_json:
                typer.echo(f"{document.domain}/{document.id}  {document.source}  {document.chunks} chunks")
    if as_json:
        print_json(DocumentList(documents=tuple(kept)))


def _files(path: Path) -> Iterator[Path]:
    """The path, or what a folder holds of known kinds; nothing hidden."""
    from agentfleet.domain.knowledge import media_of  # noqa: PLC0415

    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith((".", "__pycache__")) for part in file.relative_to(path).parts)
        if file.is_file() and not hidden and media_of(file.name) is not None:
            yield file


def _order(file: Path, title: str | None) -> dict[str, Any]:
    from agentfleet.domain.knowledge import media_of  # noqa: PLC0415

    try:
        if str(file) == "-":
            return {"title": title or "standard input", "text": sys.stdin.read()}
        named = {"title": title or file.name, "source": file.as_posix()[-500:]}
        if media_of(file.name) == "application/pdf":
            return {**named, "content": base64.b64encode(file.read_bytes()).decode()}
        return {**named, "text": file.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} can't be read: {error}") from error


@app.command("list")
def list_documents(ctx: typer.Context, domain: Domain = None, as_json: Json = False) -> None:
    """List documents, newest first."""
    from agentfleet.services.knowledge_views import DocumentList  # noqa: PLC0415

    with connect(ctx) as client:
        found = client.documents(domain)
    if as_json:
        print_json(DocumentList(documents=tuple(found)))
        return
    from client.cli.show import ago, console, table  # noqa: PLC0415

    rows = (
        (one.domain, one.id, one.title, one.chunks, f"{len(one.conflicts)}" if one.conflicts else "", ago(one.created))
        for one in found
    )
    headings = ("domain", "document", "title", "chunks", "conflicts", "kept")
    console().print(table(*headings, rows=rows, empty="no documents", numbers=("chunks", "conflicts")))


@app.command()
def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="What to look for, in any words.")],
    domain: Domains = None,
    limit: Limit = 10,
    as_json: Json = False,
) -> None:
    """Find pieces of documents by meaning and by words, best first."""
    with connect(ctx) as client:
        found = client.search(query, domain, min(limit, 200))
    if as_json:
        print_json(found)
        return
    from client.cli.show import console, table  # noqa: PLC0415

    rows = ((f"{one.score:.2f}", one.place.domain, one.place.place, _excerpt(one)) for one in found.findings)
    console().print(table("score", "domain", "where", "text", rows=rows, empty="nothing found", numbers=("score",)))
    _warn(found.missing)


@app.command()
def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(help="A question in plain words.")],
    domain: Domains = None,
    as_json: Json = False,
) -> None:
    """Answer a question from the documents, and say where each part of the answer stands."""
    with connect(ctx) as client:
        answer = client.ask(question, domain)
    if as_json:
        print_json(answer)
        return
    typer.echo(written(answer))
    _warn(answer.missing)


def written(answer: "AnswerView") -> str:
    """An answer as text, its sources below it."""
    lines = [answer.answer or "The documents don't say.", ""]
    lines += [f"[{one.number}] {one.domain}/{one.document}  {one.place}" for one in answer.citations]
    return "\n".join([*lines, f"({answer.method})"])


def _excerpt(finding: "Finding") -> str:
    text = " ".join(finding.text.split())
    return text if len(text) <= 160 else f"{text[:159]}…"


def _warn(missing: dict[str, str]) -> None:
    for name, reason in missing.items():
        typer.secho(f"not asked in full: {name}: {reason}", fg="yellow", err=True)


@app.command()
def delete(
    ctx: typer.Context,
    document: Annotated[str, typer.Argument(metavar="DOMAIN/DOCUMENT", help="As `fleet knowledge list` shows them.")],
) -> None:
    """Forget a document."""
    domain, slash, identity = document.partition("/")
    if not slash or not domain or not identity:
        raise typer.BadParameter(f"give DOMAIN/DOCUMENT, not {document!r}")
    with connect(ctx) as client:
        client.delete_document(domain, identity)
    typer.echo(f"forgot {document}")

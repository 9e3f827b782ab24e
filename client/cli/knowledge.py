"""Commands about what the fleet knows."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from client.cli.session import Json, Limit, connect, print_json

app = typer.Typer(help="Keep documents, find them by the words they share with a question.", no_args_is_help=True)

Domain = Annotated[str | None, typer.Option(help="Only documents of this domain.")]


@app.command()
def add(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A text file; - reads standard input.")],
    title: Annotated[str | None, typer.Option(help="Its title; the file's name without it.")] = None,
    domain: Annotated[str, typer.Option(help="The field it belongs to.")] = "general",
    as_json: Json = False,
) -> None:
    """Keep a document."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} can't be read: {error}") from error
    with connect(ctx) as client:
        document = client.add_document(title or file.name, text, domain)
    if as_json:
        print_json(document)
    else:
        typer.echo(f"{document.domain}/{document.id}  {document.title}")


@app.command("list")
def list_documents(ctx: typer.Context, domain: Domain = None, as_json: Json = False) -> None:
    """List documents, newest first."""
    from agentfleet.services.views import DocumentList  # noqa: PLC0415

    with connect(ctx) as client:
        found = client.documents(domain)
    if as_json:
        print_json(DocumentList(documents=tuple(found)))
        return
    from client.cli.show import ago, console, table  # noqa: PLC0415

    rows = ((one.domain, one.id, one.title, one.size, ago(one.created)) for one in found)
    headings = ("domain", "document", "title", "characters", "kept")
    console().print(table(*headings, rows=rows, empty="no documents", numbers=("characters",)))


@app.command()
def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="Words to look for.")],
    domain: Domain = None,
    limit: Limit = 10,
    as_json: Json = False,
) -> None:
    """Find documents, best first."""
    from agentfleet.services.views import FindingList  # noqa: PLC0415

    with connect(ctx) as client:
        found = client.search(query, domain, min(limit, 200))
    if as_json:
        print_json(FindingList(findings=tuple(found)))
        return
    from client.cli.show import console, table  # noqa: PLC0415

    rows = ((f"{one.score:.2f}", one.document.domain, one.document.title, one.excerpt) for one in found)
    console().print(table("score", "domain", "title", "excerpt", rows=rows, empty="nothing found", numbers=("score",)))


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

"""What every command shares: options, the connection, exit codes, and how errors are told."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, cast

import typer
from typer.core import TyperGroup

from client.errors import (
    ApiUnreachable,
    ConfigError,
    ConflictError,
    FleetApiError,
    FleetClientError,
    InvalidRequestError,
    NotFoundError,
    UnauthorizedError,
    WaitTimeout,
)
from client.processes import LocalCloudError

if TYPE_CHECKING:
    import httpx

    from client.api import FleetClient

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
UNREACHABLE: Final = 4
UNAUTHORIZED: Final = 5
CONFLICT: Final = 6
TIMEOUT: Final = 7
ERROR: Final = 8
INTERRUPTED: Final = 130

EXIT_CODES: Final = (
    "Exit codes: 0 ok · 1 the goal failed · 2 wrong usage or invalid input · 3 not found · 4 API unreachable · "
    "5 unauthorized · 6 not in that state · 7 timed out · 8 other error · 130 interrupted"
)

_CODES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (InvalidRequestError, USAGE),
    (NotFoundError, NOT_FOUND),
    (ApiUnreachable, UNREACHABLE),
    (ConfigError, UNREACHABLE),
    (UnauthorizedError, UNAUTHORIZED),
    (ConflictError, CONFLICT),
    (WaitTimeout, TIMEOUT),
    (Exception, ERROR),
)

E = TypeVar("E", bound=StrEnum)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, with the fields of the API.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")]


@dataclass
class Session:
    """Where the fleet is, as the global options say."""

    api_url: str | None = None
    api_key: str | None = None
    aws_profile: str | None = None
    directory: Path = field(default_factory=Path.cwd)
    transport: "httpx.BaseTransport | None" = None

    def client(self) -> "FleetClient":
        """A connection. Raises ConfigError."""
        from client.api import FleetClient  # noqa: PLC0415 - half of a command's start-up
        from client.config import load_config  # noqa: PLC0415

        config = load_config(self.api_url, self.api_key, aws_profile=self.aws_profile, directory=self.directory)
        return FleetClient(config, transport=self.transport)


def session(ctx: typer.Context) -> Session:
    """The session of a command."""
    return cast("Session", ctx.find_root().obj)


def connect(ctx: typer.Context) -> "FleetClient":
    """A connection for a command."""
    return session(ctx).client()


class FleetGroup(TyperGroup):
    """Turns what the SDK raises into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (FleetClientError, LocalCloudError) as error:
            tell(error)
            raise typer.Exit(next(code for kind, code in _CODES if isinstance(error, kind))) from error


def tell(error: Exception) -> None:
    """Say on standard error what went wrong, field by field."""
    typer.secho(f"error: {error}", fg="red", err=True)
    problems = error.problems if isinstance(error, FleetApiError) else ()
    if len(problems) > 1:
        for problem in problems:
            typer.echo(f"  {problem.field}: {problem.message}", err=True)


def one_of(kind: type[E], text: str | None, option: str) -> E | None:
    """An option's value as a member of an enumeration, None for none. Raises BadParameter naming what there is."""
    if text is None:
        return None
    try:
        return kind(text.upper())
    except ValueError:
        raise typer.BadParameter(f"{option} must be one of {', '.join(kind)}, not {text!r}") from None


def print_json(value: Any) -> None:
    """Print a view, or plain data, as JSON."""
    typer.echo(value.model_dump_json(indent=2) if hasattr(value, "model_dump_json") else json.dumps(value, indent=2))

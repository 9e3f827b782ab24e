"""`fleet doctor`: what is here, what is missing, and how to get it."""

import ctypes.util
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import typer

from client.cli.session import FAILED, Json, Session, print_json, session
from client.errors import FleetClientError

PYTHON: Final = (3, 11)
NODE: Final = 20
FREE_GB: Final = 2
GATEWAY_PORT: Final = 4566
PACKAGES: Final = ("aws_cdk", "boto3", "httpx", "localstack_client", "pydantic", "rich")

Verdict = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `note` is worth knowing, `missing` must be there; `fix` says how to get it."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Check this machine and the fleet: what is missing, and how to get it. The exit code is 1 if something must be there."""
    checks = list(examine(session(ctx)))
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            glyph, colour = {"ok": ("✓", "green"), "note": ("·", "yellow"), "missing": ("✗", "red")}[check.verdict]
            typer.echo(f"{typer.style(glyph, fg=colour)} {check.name:<12} {check.found}")
            if check.fix:
                typer.secho(f"  → {check.fix}", fg=colour)
    if any(check.verdict == "missing" for check in checks):
        raise typer.Exit(FAILED)


def examine(here: Session) -> Iterator[Check]:
    """Every check, in the order in which a person would fix things."""
    yield python()
    yield packages()
    yield node()
    yield npm()
    yield disk(here.directory)
    yield port(GATEWAY_PORT)
    yield emulator(here.directory)
    yield model(here.directory)
    yield credentials(here.aws_profile)
    yield api(here)


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """3.11 or newer, in an environment of its own."""
    said = ".".join(map(str, version))
    if version < PYTHON:
        return Check(
            "Python", "missing", said, f"install Python {'.'.join(map(str, PYTHON))} or newer from python.org or with uv"
        )
    if sys.prefix == sys.base_prefix:
        return Check("Python", "note", f"{said}, not in a virtual environment", "python3 -m venv .venv && . .venv/bin/activate")
    return Check("Python", "ok", f"{said} in {sys.prefix}")


def packages() -> Check:
    """What requirements.txt asks for."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        return Check("packages", "missing", f"no {', '.join(absent)}", "pip install -r requirements.txt")
    return Check("packages", "ok", "as in requirements.txt")


def node(run: Callable[[str], str | None] | None = None) -> Check:
    """For the CDK; the local cloud brings its own if there is none."""
    version = (run or _version)("node")
    major = int(version.removeprefix("v").partition(".")[0]) if version else 0
    if major >= NODE:
        return Check("Node", "ok", version or "")
    found = f"{version}, older than {NODE}" if version else "none"
    return Check(
        "Node", "note", found, f"`fleet up` brings its own; for deploys to AWS install Node {NODE} or newer (nodejs.org)"
    )


def npm(run: Callable[[str], str | None] | None = None) -> Check:
    """For the CDK command."""
    version = (run or _version)("npm")
    if version:
        return Check("npm", "ok", version)
    return Check("npm", "note", "none", "`fleet up` brings its own; it otherwise comes with Node")


def _version(program: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20)
    return asked.stdout.strip() or None


def disk(directory: Path) -> Check:
    """Room for the emulator, Node and the stacks' assets."""
    free = shutil.disk_usage(directory).free / 1024**3
    if free < FREE_GB:
        return Check("disk", "missing", f"{free:.1f} GB free", f"make room: the local cloud wants {FREE_GB} GB")
    return Check("disk", "ok", f"{free:.0f} GB free")


def port(number: int) -> Check:
    """Where tools expect a local AWS."""
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", number)) == 0
    if taken:
        return Check(
            "port", "note", f"{number} is in use", "fine if it is this fleet's emulator; otherwise `fleet up` takes another"
        )
    return Check("port", "ok", f"{number} is free")


def emulator(directory: Path) -> Check:
    """The local cloud of this project."""
    from client.config import STATE_FILE  # noqa: PLC0415

    for folder in (directory, *directory.parents):
        if (folder / STATE_FILE).is_file():
            from client.local import LocalCloud  # noqa: PLC0415

            cloud = LocalCloud(folder)
            if cloud.running:
                return Check("emulator", "ok", f"runs at {cloud.endpoint}")
            break
    return Check("emulator", "note", "doesn't run", "fleet up")


def model(directory: Path) -> Check:
    """The language model of this project's local cloud."""
    from client.gateway.weights import PACKAGED  # noqa: PLC0415
    from client.local_model import ModelServers, is_fetched  # noqa: PLC0415

    folder = next((one for one in (directory, *directory.parents) if (one / "fleet.toml").is_file()), directory) / ".fleet"
    servers = ModelServers(folder, folder / "models", lambda _: None)
    if servers.url:
        return Check("model", "ok", f"{servers.wanted} at {servers.url}")
    here = [name for name in PACKAGED if is_fetched(name, folder / "models")]
    fix = "fleet up --model coder (or small, FILE.gguf, the URL of an OpenAI-compatible server)"
    if sys.platform == "linux" and ctypes.util.find_library("gomp") is None:
        fix = f"install libgomp1 (apt-get install libgomp1), which llama.cpp needs; then {fix}"
    found = f"doesn't run; {', '.join(here)} fetched" if here else "doesn't run"
    return Check("model", "note", f"{found}; agents do without", fix)


def credentials(profile: str | None) -> Check:
    """For deploys to AWS and --aws-profile; nothing local needs them."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    from botocore.session import Session as AwsSession  # noqa: PLC0415

    # Asking the metadata service of a cloud machine takes seconds where there is none.
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    try:
        found = AwsSession(profile=profile).get_credentials()
    except BotoCoreError as error:
        return Check("AWS", "note", f"no credentials: {error}", "aws configure --profile NAME")
    if found is None:
        return Check("AWS", "note", "no credentials", "only for deploys to AWS: aws configure, or aws sso login")
    return Check("AWS", "ok", f"credentials by {found.method}")


def api(here: Session) -> Check:
    """Whatever the options and the environment point to."""
    try:
        with here.client() as client:
            count = len(client.pools())
    except FleetClientError as error:
        return Check("API", "note", str(error), "fleet up, or set FLEET_API_URL and FLEET_API_KEY")
    return Check("API", "ok", f"{client.config.api_url} answers; {count} pools")

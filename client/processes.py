"""Start servers that outlive the command that started them, and stop them by process id."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

GRACE_SECONDS: Final = 5.0
"""How long a server may take to end by itself: the emulator polls on after a custom resource that hangs."""

_POLL_SECONDS: Final = 0.05
_LOG_TAIL_LINES: Final = 20
_CHILDREN: Final[dict[int, subprocess.Popen[bytes]]] = {}
"""Servers that this process started: it has to collect their exit status, whoever stops them."""


class LocalCloudError(RuntimeError):
    """The local cloud can't do what was asked; the message says why and where to look."""


def start_server(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, with its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        server = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _CHILDREN[server.pid] = server
    return server


def wait_until_ready(
    name: str, server: subprocess.Popen[bytes], ready: Callable[[], bool], *, seconds: float, log: Path
) -> None:
    """Return when `ready` says so.

    Raises LocalCloudError with the log's tail when the server ends before that, or `seconds` pass.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            # Waiting for the server's end is the pause between two looks, and notices a crash at once.
            status = server.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if ready():
                return
        else:
            raise LocalCloudError(f"{name} ended with status {status} while it started; {tail(log)}")
    raise LocalCloudError(f"{name} was not ready after {seconds:g} s; {tail(log)}")


def stop_server(pid: int, program: str) -> None:
    """End the process group that `start_server` began: politely, and after a grace period by force.

    Does nothing when `pid` is gone or by now belongs to something that is not `program`.
    """
    if not is_running(pid, program):
        return
    _signal_group(pid, signal.SIGTERM)
    if not _ended(pid, program, GRACE_SECONDS):
        _signal_group(pid, signal.SIGKILL)
        if not _ended(pid, program, GRACE_SECONDS):
            raise LocalCloudError(f"{program} (process {pid}) does not end; end it by hand")
    # The leader is gone; what it spawned and did not take along goes now.
    left = _group(pid)
    _signal_group(pid, signal.SIGKILL)
    _collect(pid)
    psutil.wait_procs(left, timeout=GRACE_SECONDS)


def _group(leader: int) -> list[psutil.Process]:
    """The processes of a group, as far as they can be seen."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == leader:
                found.append(process)
    return found


def kill_server(pid: int, program: str) -> None:
    """End the process group that `start_server` began, without a word. Does nothing when it is gone."""
    if is_running(pid, program):
        _signal_group(pid, signal.SIGKILL)
        _collect(pid)


def _collect(pid: int) -> None:
    if child := _CHILDREN.pop(pid, None):
        child.wait()


def is_running(pid: int, program: str) -> bool:
    """Whether process `pid` exists, is not a zombie, and has `program` in its command line."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any(program in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def free_port(preferred: int | None = None) -> int:
    """`preferred` if nothing listens there, else a port that the system picks."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LocalCloudError("no free port on 127.0.0.1")


def accepts_connections(port: int) -> bool:
    """Whether something listens on 127.0.0.1:`port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def tail(log: Path) -> str:
    """The last lines of a log with its path, for an error message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:] if log.exists() else []
    return f"the end of {log}:\n" + "\n".join(f"  {line}" for line in lines or ["(empty)"])


def _ended(pid: int, program: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid, program):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return

"""DBOS: a workflow that puts no-ops into a queue, one workflow each, and ends when it has the result of every one.

Worker: `python -m bench.peers.dbos_peer NAME`. The database's URL is in PEER_URL.
"""

import os
import signal
import sys
from typing import Any, Final

from dbos import DBOS, DBOSClient, DBOSConfig

APPLICATION: Final = "peer"
VERSION: Final = "1"
POLL_SECONDS: Final = 0.05
AT_ONCE: Final = 50
"""Workflows that a worker takes from the queue at a time."""
TASKS: Final = "tasks"
PARENTS: Final = "parents"


def _noop(value: int) -> int:
    return value


def _fan_out(count: int) -> int:
    handles = [DBOS.enqueue_workflow(TASKS, noop, number) for number in range(count)]
    return len([handle.get_result(polling_interval_sec=POLL_SECONDS) for handle in handles])


noop: Any = DBOS.workflow(name="noop")(_noop)
collect: Any = DBOS.workflow(name="fan_out")(_fan_out)
_known: list[DBOSClient] = []


def _run(queue: str, name: str, value: int, timeout: float) -> int:
    if not _known:
        _known.append(DBOSClient(system_database_url=os.environ["PEER_URL"]))
    handle: Any = _known[0].enqueue(
        {"queue_name": queue, "workflow_name": name, "app_version": VERSION, "workflow_timeout": timeout}, value
    )
    seen: int = handle.get_result(polling_interval_sec=0.01)
    return seen


def fan_out(count: int, timeout: float) -> None:
    """Run `count` no-ops and one workflow that collects them; return when its result is here."""
    seen = _run(PARENTS, "fan_out", count, timeout)
    if seen != count:
        raise RuntimeError(f"the workflow saw {seen} results of {count}")


def lone(timeout: float) -> None:
    """Run one no-op and wait for its result."""
    _run(TASKS, "noop", 1, timeout)


def work(name: str) -> None:
    """Take workflows from the queues until SIGTERM."""
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": os.environ["PEER_URL"],
        "executor_id": name,
        "application_version": VERSION,
        "run_admin_server": False,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    for queue, at_once in ((TASKS, AT_ONCE), (PARENTS, 1)):
        DBOS.register_queue(queue, worker_concurrency=at_once, polling_interval_sec=POLL_SECONDS)
    print("worker is ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    DBOS.destroy()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    work(sys.argv[1])

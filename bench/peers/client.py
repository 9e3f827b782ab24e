"""The measured client of one peer: `python -m bench.peers.client MODULE WORKER_PID SERVER_PID`, in the peers' environment.

Prints one JSON object: see `measure`.
"""

import json
import os
import statistics
import sys
import time
from importlib import import_module
from typing import Any, Final, Protocol

from bench.cpu import read_usage

TASKS: Final = 2_000
RUNS: Final = 3
LONE_TASKS: Final = 200
TIMEOUT: Final = 300.0
"""Seconds that one fan-out may take."""


class Peer(Protocol):
    """What a peer's module offers."""

    def fan_out(self, count: int, timeout: float) -> None:
        """Run `count` no-ops and one callback after them all; return when the callback's result is here."""

    def lone(self, timeout: float) -> None:
        """Run one no-op and wait for its result."""


def measure(peer: Peer, others: list[int]) -> dict[str, Any]:
    """tasks_per_second and cpu_ms_per_task are medians of three fan-outs after a warm-up; p50_ms and p95_ms are of lone
    no-ops, one after the other, from submit to result. CPU is user + system of this process and the trees of `others`."""
    peer.fan_out(TASKS, TIMEOUT)
    speeds: list[float] = []
    costs: list[float] = []
    for _ in range(RUNS):
        cpu, started = _cpu(others), time.perf_counter()
        peer.fan_out(TASKS, TIMEOUT)
        speeds.append(TASKS / (time.perf_counter() - started))
        costs.append((_cpu(others) - cpu) * 1000 / TASKS)
    waits = sorted(_timed(peer) for _ in range(LONE_TASKS))
    return {
        "tasks_per_second": round(statistics.median(speeds), 1),
        "cpu_ms_per_task": round(statistics.median(costs), 3),
        "p50_ms": round(waits[len(waits) // 2], 1),
        "p95_ms": round(waits[int(len(waits) * 0.95)], 1),
        "runs": [round(speed, 1) for speed in speeds],
    }


def _cpu(others: list[int]) -> float:
    return sum(read_usage(pid).total for pid in (os.getpid(), *others))


def _timed(peer: Peer) -> float:
    started = time.perf_counter()
    peer.lone(TIMEOUT)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    module: Any = import_module(sys.argv[1])
    print(json.dumps(measure(module, [int(pid) for pid in sys.argv[2:]])))

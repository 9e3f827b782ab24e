"""The measured client of one peer: `python -m bench.peers.client MODULE TASKS PID …`, in the peer's environment.

Prints one JSON object: see `measure`. The process ids are those of the peer's servers and workers.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, Protocol

from bench.cpu import read_usage

TASKS: Final = 2_000
RUNS: Final = 3
RUN_SECONDS: Final = 30.0
"""A fan-out is not begun any more when those before it took so long: one of a slow peer has to do."""
WARM_UP_TASKS: Final = 200
LONE_TASKS: Final = 200
LONE_SECONDS: Final = 8.0
TIMEOUT: Final = 90.0
"""Seconds that one fan-out may take."""


class Peer(Protocol):
    """What a peer's module offers."""

    def fan_out(self, count: int, timeout: float) -> None:
        """Run `count` no-ops and what comes after them all; return when its result is here."""

    def lone(self, timeout: float) -> None:
        """Run one no-op and wait for its result."""


def measure(peer: Peer, tasks: int, cpu_seconds: Callable[[], float]) -> dict[str, Any]:
    """tasks_per_second and cpu_ms_per_task are medians of up to three fan-outs after a warm-up; p50_ms and p95_ms are of lone
    no-ops, one after the other, from submit until the client has the result. CPU is user + system of all that takes part."""
    peer.fan_out(min(tasks, WARM_UP_TASKS), TIMEOUT)
    speeds: list[float] = []
    costs: list[float] = []
    begun = time.perf_counter()
    while len(speeds) < RUNS and (not speeds or time.perf_counter() - begun < RUN_SECONDS):
        cpu, started = cpu_seconds(), time.perf_counter()
        peer.fan_out(tasks, TIMEOUT)
        speeds.append(tasks / (time.perf_counter() - started))
        costs.append((cpu_seconds() - cpu) * 1000 / tasks)
    return {
        "tasks_per_second": round(statistics.median(speeds), 1),
        "cpu_ms_per_task": round(statistics.median(costs), 3),
        **latency(lambda: peer.lone(TIMEOUT)),
        "runs": [round(speed, 1) for speed in speeds],
    }


def latency(work: Callable[[], None]) -> dict[str, float]:
    """p50_ms and p95_ms of doing it again and again: 200 times, or for eight seconds."""
    waits: list[float] = []
    begun = time.perf_counter()
    while len(waits) < LONE_TASKS and (not waits or time.perf_counter() - begun < LONE_SECONDS):
        started = time.perf_counter()
        work()
        waits.append((time.perf_counter() - started) * 1000)
    return percentiles(waits)


def percentiles(waits: Sequence[float]) -> dict[str, float]:
    """p50_ms and p95_ms of so many milliseconds."""
    ordered = sorted(waits)
    return {"p50_ms": round(ordered[len(ordered) // 2], 1), "p95_ms": round(ordered[int(len(ordered) * 0.95)], 1)}


def _cpu(others: Sequence[int]) -> float:
    return sum(read_usage(pid).total for pid in (os.getpid(), *others))


if __name__ == "__main__":
    module: Any = import_module(sys.argv[1])
    pids = [int(pid) for pid in sys.argv[3:]]
    print(json.dumps(measure(module, int(sys.argv[2]), lambda: _cpu(pids))))

"""This fleet on the peers' workload, measured as they are: no counting proxy, the same number of workers."""

import statistics
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from bench.observe import CHUNKED, SINGLE, fan_out
from bench.peers.client import RUNS, TASKS, WARM_UP_TASKS, latency
from bench.peers.setups import WORKERS
from bench.stack import Stack

NAMES: Final = {"fleet": SINGLE, "fleet-chunked": CHUNKED}
POLL_SECONDS: Final = 0.005
"""How often the client of a lone goal asks whether it has ended."""


def measure_fleet(stack: Stack, progress: Callable[[str], None], tasks: int = TASKS) -> dict[str, dict[str, Any]]:
    """A row for tasks that travel one to a message, and one for chunks of ten."""
    stack.limit_workers(WORKERS)
    about = {"version": version("agentfleet"), "store": "the emulator, in memory"}
    rows = {}
    for name, capability in NAMES.items():
        progress(f"Measuring {name}")
        rows[name] = {**_measure(stack, capability, tasks), **about}
    return rows


def _measure(stack: Stack, capability: str, tasks: int) -> dict[str, Any]:
    stack.time_goal(fan_out(capability, min(tasks, WARM_UP_TASKS)))
    goal = fan_out(capability, tasks)
    speeds: list[float] = []
    costs: list[float] = []
    for _ in range(RUNS):
        stack.wait_until_idle()
        before = _cpu(stack)
        speeds.append(tasks / stack.time_goal(goal))
        stack.wait_until_idle()
        costs.append((_cpu(stack) - before) * 1000 / tasks)
    lone = {"name": "bench lone", "plan": {"tasks": [{"id": "only", "capability": capability, "input": {"value": 1}}]}}
    return {
        "tasks_per_second": round(statistics.median(speeds), 1),
        "cpu_ms_per_task": round(statistics.median(costs), 3),
        **latency(lambda: _run(stack, lone)),
        "runs": [round(speed, 1) for speed in speeds],
    }


def _run(stack: Stack, goal: dict[str, Any]) -> None:
    stack.wait_for_goal(stack.client.submit(goal).id, POLL_SECONDS)


def _cpu(stack: Stack) -> float:
    client, servers = stack.usage()
    return client.own + servers.total

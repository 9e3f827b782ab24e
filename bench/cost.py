"""Dollars per million tasks by scenario, here and elsewhere, from requests that were counted: `python -m bench.cost`.

Requests and CPU per task come from bench/results/hot_path.json, prices from agentfleet.domain.prices and bench.prices. Nothing
is started. Results go to bench/results/cost.json.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from agentfleet.domain import names
from agentfleet.domain.prices import PRICES
from bench.markdown import number
from bench.observe import request_dollars
from bench.prices import OTHERS, temporal_dollars
from bench.programs import BenchFailed, run_bench
from bench.quotas import LATENCIES, MB_PER_CPU
from bench.report import load, save
from cdk.catalog import read_fleet

FLEET: Final = read_fleet(Path(__file__).parents[1])
MEMORY_MB: Final = FLEET.pools["flow"].memory
HANDLER_SECONDS: Final = 0.002
"""Of a function that does nothing, called by somebody else's orchestrator."""
EXPRESS_GB: Final = 64 / 1024
EXPRESS_STEP_SECONDS: Final = 0.1
KEPT_MONTHS: Final = 14 / 30
"""How long a durable execution's data is kept."""
SMALL_BYTES: Final = 100
TASKS_A_MONTH: Final = 5.0
"""Millions; Temporal's price falls with it."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of task."""

    label: str
    counted: str
    """Row of hot_path.json with the requests it takes here."""
    seconds: float = 0.0
    """How long a task waits for something; here the tasks of a batch wait together."""
    chunk: int = 1
    """Tasks that make one step, activity or child elsewhere."""
    result_bytes: int = SMALL_BYTES


SCENARIOS: Final = {
    "noop": Scenario("no-op", "single"),
    "chunks": Scenario("no-op, chunks of ten", "chunked", chunk=10),
    "wait": Scenario("1 s wait", "single", seconds=1.0),
    "large": Scenario("4 KB result", "large", result_bytes=4096),
    "model": Scenario("model call of 5 s, tokens excluded", "single", seconds=5.0),
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Workers that always run, two at least, and a Valkey that holds their queues."""

    workers: int = 2
    """At least: one may fail."""
    vcpus: float = 1.0
    gigabytes: float = 2.0
    busy: float = 0.7
    """Share of a worker's CPU that may be used, so that queues stay short."""
    stored_gb: float = 0.1
    commands_per_task: float = 10.0
    """Valkey commands of about 1 KB, from queueing to result."""


HOURS_A_MONTH: Final = 730.0
QUEUES: Final = len(FLEET.pools) * len(names.PRIORITIES) + 3
"""With a trigger: each pool's, and those of submissions, releases and endings."""
RECEIVES_A_MINUTE: Final = 15
"""Of one empty queue: Lambda holds five polls of 20 seconds open (Lambda Developer Guide, 'Using Lambda with Amazon SQS')."""
IDLE_REQUESTS_MONTH: Final = QUEUES * RECEIVES_A_MINUTE * 60 * HOURS_A_MONTH / 1e6
"""Millions."""
IDLE_DOLLARS_MONTH: Final = 1.00 + 0.40 + IDLE_REQUESTS_MONTH * PRICES.requests_sqs
"""Of this platform: a key, a secret, the polling of empty queues (README, 'Deploy to AWS'). Alarms: left out on both sides."""


def lambda_gb_seconds(row: Mapping[str, float], waited: float = 0.0, memory: int = MEMORY_MB) -> float:
    """GB-seconds of functions per task: the CPU measured, stretched to the share of a core that the memory buys, the requests'
    latency, and what the tasks of a batch wait for together."""
    calls = row["dynamodb_requests_per_task"] + row["sqs_requests_per_task"] - 2 * row["invocations_per_task"]
    cpu = row["cpu_functions_ms_per_task"] / 1000 * max(1.0, MB_PER_CPU / memory)
    return memory / 1024 * (cpu + max(0.0, calls) * LATENCIES.write.p50 / 1000 + waited * row["invocations_per_task"])


def fleet_dollars(row: Mapping[str, float], waited: float = 0.0) -> dict[str, float]:
    """Per million tasks here: requests by counted numbers, and the time of functions."""
    duration = lambda_gb_seconds(row, waited) * PRICES.gb_second_arm * 1e6
    return {"requests": request_dollars(row), "duration": duration, "total": request_dollars(row) + duration}


def function_dollars(scenario: Scenario, *, shared: int = 1) -> float:
    """Per million tasks: a function of the same memory per step, in which `shared` steps wait together."""
    seconds = HANDLER_SECONDS + scenario.seconds / shared
    return (PRICES.requests_lambda / shared + seconds * MEMORY_MB / 1024 * PRICES.gb_second_arm * 1e6) / scenario.chunk


def elsewhere_dollars(scenario: Scenario) -> dict[str, float]:
    """Per million tasks on others' orchestrators. Temporal's workers are not in it: they are somebody's to run."""
    express_seconds = math.ceil((HANDLER_SECONDS + scenario.seconds) / EXPRESS_STEP_SECONDS) * EXPRESS_STEP_SECONDS
    express = OTHERS.requests_express + express_seconds * EXPRESS_GB * OTHERS.gb_hour_express / 3600 * 1e6
    kept = scenario.result_bytes / 1e9 * 1e6 * (OTHERS.written_durable + OTHERS.retained_durable * KEPT_MONTHS)
    function, chunk = function_dollars(scenario), scenario.chunk
    return {
        "Step Functions Standard": OTHERS.transitions_standard / chunk + function,
        "Step Functions Express": express / chunk + function,
        "Distributed Map of Express": (OTHERS.transitions_standard + express) / chunk + function,
        "Lambda durable functions": OTHERS.operations_durable / chunk + kept + function_dollars(scenario, shared=10),
        "Temporal Cloud": temporal_dollars(TASKS_A_MONTH / chunk) / TASKS_A_MONTH,
    }


def cluster_dollars_hour(rate: float, cpu_ms: float, cluster: Cluster) -> float:
    """Of a cluster that can carry so many tasks a second, each of so much CPU."""
    workers = max(cluster.workers, math.ceil(rate * cpu_ms / 1000 / (cluster.vcpus * cluster.busy)))
    worker = cluster.vcpus * OTHERS.vcpu_hour_fargate + cluster.gigabytes * OTHERS.gb_hour_fargate
    commands = rate * 3600 * cluster.commands_per_task / 1e6 * OTHERS.units_valkey
    return workers * worker + cluster.stored_gb * OTHERS.gb_hour_valkey + commands


def break_even(dollars_per_million: float, cpu_ms: float, cluster: Cluster) -> float | None:
    """Tasks per second, on average over a month, from which on the cluster costs less; None if it never does up to 10,000."""
    rate = 0.001
    while rate < 10_000:
        here = IDLE_DOLLARS_MONTH / HOURS_A_MONTH + rate * 3600 / 1e6 * dollars_per_million
        if here > cluster_dollars_hour(rate, cpu_ms, cluster):
            return round(rate, 2)
        rate *= 1.01
    return None


def calculate(hot_path: dict[str, Any], peers: dict[str, Any] | None) -> dict[str, Any]:
    """Scenarios, break-even rates, and the prices that they are made from."""
    scenarios: dict[str, Any] = {
        name: {
            "label": scenario.label,
            "fleet": {
                part: round(value, 4) for part, value in fleet_dollars(hot_path[scenario.counted], scenario.seconds).items()
            },
            "elsewhere": {other: round(value, 4) for other, value in elsewhere_dollars(scenario).items()},
        }
        for name, scenario in SCENARIOS.items()
    }
    cluster = Cluster()
    known = {name: row for name, row in (peers or {}).items() if name in {"celery", "dramatiq"} and "cpu_ms_per_task" in row}
    return {
        "counted": hot_path["date"],
        "prices": {"region": PRICES.region, "day": PRICES.day.isoformat(), "sources": [PRICES.source, *OTHERS.sources]},
        "millions_of_tasks_a_month": TASKS_A_MONTH,
        "memory_mb": MEMORY_MB,
        "scenarios": scenarios,
        "cluster": {
            "workers": cluster.workers,
            "vcpus": cluster.vcpus,
            "gigabytes": cluster.gigabytes,
            "dollars_hour": round(cluster_dollars_hour(0.0, 0.0, cluster), 4),
            "dollars_month": round(cluster_dollars_hour(0.0, 0.0, cluster) * HOURS_A_MONTH, 2),
            "fleet_idle_dollars_month": round(IDLE_DOLLARS_MONTH, 2),
            "fleet_idle_million_requests_month": round(IDLE_REQUESTS_MONTH, 1),
        },
        "break_even": {
            f"{kind} against {peer}": {
                "cpu_ms_per_task": row["cpu_ms_per_task"],
                "tasks_per_second": break_even(scenarios[kind]["fleet"]["total"], row["cpu_ms_per_task"], cluster),
            }
            for peer, row in known.items()
            for kind in ("noop", "chunks")
        },
    }


def main() -> int:
    """Calculate, write the results and show them."""
    hot_path = load("hot_path")
    if hot_path is None or "large" not in hot_path:
        raise BenchFailed(
            "bench/results/hot_path.json is missing or was written by an older version: run python -m bench.hot_path"
        )
    results = save("cost", calculate(hot_path, load("peers")))
    console = Console()
    for row in results["scenarios"].values():
        others = ", ".join(f"{name} {number(dollars)}" for name, dollars in row["elsewhere"].items())
        console.print(f"{row['label']}: {number(row['fleet']['total'])} $/M here; {others}", highlight=False)
    for name, row in results["break_even"].items():
        console.print(f"break-even, {name}: {number(row['tasks_per_second'])} tasks/s", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

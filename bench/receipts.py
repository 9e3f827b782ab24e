"""What receipts say against what was counted: `python -m bench.receipts`.

Goals of several shapes run on the deployed fleet behind the counting proxy, one after the other; when the history has
caught up, the lines of the receipt are put beside what went by, and the writes of the history are told per task.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from agentfleet.services.audit_views import ReceiptView
from bench.peers.setups import WORKERS
from bench.programs import BenchFailed, stop_on_termination
from bench.stack import REQUESTS_PER_INVOCATION, Stack, deployed_stack, since_now
from client.processes import LocalCloudError

AGENTS: Final = ("flow", "release_tasks")
"""Functions that a goal's queues invoke."""
MEMORY: Final = {"flow": 512, "release_tasks": 1024, "serve_api": 1024}


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity of one goal, counted and as its receipt says."""

    counted: float
    receipt: float

    @property
    def error(self) -> float:
        """Of the receipt, as a part of what was counted."""
        return self.receipt / self.counted - 1 if self.counted else 0.0


def shapes() -> dict[str, dict[str, Any]]:
    """Plans by name: wide with a join, in chunks, one after the other, and with a claim each."""

    def wide(capability: str, count: int) -> dict[str, Any]:
        tasks: list[dict[str, Any]] = [{"id": f"t.{n}", "capability": capability, "input": {"value": n}} for n in range(count)]
        return {"tasks": [*tasks, {"id": "end", "capability": capability, "input": {"value": 0}, "depends_on": ["t.*"]}]}

    steps: list[dict[str, Any]] = [{"id": "s0", "capability": "flow.step", "input": {"value": 0}}]
    steps += [{"id": f"s{n}", "capability": "flow.step", "input": {"value": {"$from": f"s{n - 1}"}}} for n in range(1, 20)]
    return {
        "500 tasks and one that waits for them": wide("flow.step", 500),
        "1,000 tasks in chunks, and one that waits": wide("flow.noop", 1000),
        "20 tasks one after the other": {"tasks": steps},
        "one task": {"tasks": steps[:1]},
    }


def measure(stack: Stack, plan: Mapping[str, Any]) -> tuple[dict[str, Figure], dict[str, float]]:
    """Figures by name, and what the history and an invocation cost."""
    stack.wait_until_idle()
    stack.reset_counts()
    since = since_now()
    goal = stack.client.submit({"plan": plan})
    stack.wait_for_goal(goal.id)
    stack.wait_until_idle()
    stack.wait_for_history(goal.id, goal.tasks)
    counts = stack.counts()
    durations = {name: stack.invocations(name, since) for name in (*AGENTS, "serve_api", "record_history")}
    bill = stack.client.receipt(goal.id)
    history = {label: units for label, units in counts["write_units"].items() if label.startswith("fleet-history")}
    overhead = sum(durations["flow"]) - _task_ms(stack, goal.id)
    costs = {
        "history write units per task": sum(history.values()) / goal.tasks,
        "history write units": sum(history.values()),
        "ms of an invocation besides its tasks": overhead / max(1, len(durations["flow"])),
        "ms of the submission": sum(durations["serve_api"]),
        "record_history invocations": float(len(durations["record_history"])),
        "record_history ms per event": sum(durations["record_history"]) / (goal.tasks + 3),
    }
    return _figures(bill, counts, durations), costs


def _figures(bill: ReceiptView, counts: Mapping[str, Any], durations: Mapping[str, list[float]]) -> dict[str, Figure]:
    said = {(line.service, line.what): line.quantity for line in bill.lines}
    written: Mapping[str, float] = counts["write_units"]
    history = sum(units for label, units in written.items() if label.startswith("fleet-history"))
    work = sum(units for label, units in written.items() if not label.startswith("fleet-history"))
    invoked = sum(len(durations[name]) for name in AGENTS)
    seconds = sum(sum(durations[name]) / 1000 * memory / 1024 for name, memory in MEMORY.items())
    reads = sum(units for label, units in counts["read_units"].items() if not label.startswith("fleet-history"))
    kinds = ("goal and results", "plan", "joins, claims, agents")
    return {
        "write units": Figure(work, sum(said["DynamoDB", kind] for kind in kinds)),
        "history's write units": Figure(history, said["DynamoDB", "history"]),
        "read units": Figure(reads, said["DynamoDB", "reads"]),
        "SQS requests": Figure(
            counts["sqs_billed"] + REQUESTS_PER_INVOCATION * invoked, said["SQS", "messages sent"] + said["SQS", "polling"]
        ),
        "invocations": Figure(invoked + len(durations["serve_api"]), said["Lambda", "invocations"]),
        "GB-seconds": Figure(seconds, said["Lambda", "time"]),
        "events": Figure(counts["requests"].get("events.PutEvents", 0), said["EventBridge", "goal events"]),
    }


def _task_ms(stack: Stack, goal_id: str) -> float:
    """Milliseconds that the tasks of a goal took, each agent's overlapping ones once."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for task in stack.client.all_tasks(goal_id):
        if task.agent and task.started and task.duration is not None:
            begin = task.started.timestamp()
            spans.setdefault(task.agent, []).append((begin, begin + task.duration))
    total = 0.0
    for found in spans.values():
        end = 0.0
        for begin, until in sorted(found):
            total += max(0.0, until - max(begin, end))
            end = max(end, until)
    return total * 1000


def main() -> int:
    """Print a table per shape; 2 if it could not be measured."""
    stop_on_termination()
    console = Console()
    try:
        with deployed_stack(console.log) as stack:
            stack.limit_workers(WORKERS)
            for name, plan in shapes().items():
                measure(stack, plan)  # warm-up: a cold start is nobody's usual cost
                _print(console, name, *measure(stack, plan))
    except (BenchFailed, LocalCloudError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _print(console: Console, name: str, figures: Mapping[str, Figure], costs: Mapping[str, float]) -> None:
    table = Table("", "counted", "receipt", "error", title=name, title_justify="left")
    for label, figure in figures.items():
        table.add_row(label, f"{figure.counted:.4g}", f"{figure.receipt:.4g}", f"{figure.error:+.0%}")
    console.print(table)
    for label, cost in costs.items():
        console.print(f"{label}: {cost:.4g}")


if __name__ == "__main__":
    sys.exit(main())

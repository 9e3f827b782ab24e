"""How near a receipt's estimates are to what really went by: `python -m bench.receipts`.

Runs goals on the deployed fleet with the counting proxy in between, and compares each one's receipt with the counts.
"""

import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from agentfleet.services.audit_views import ReceiptView
from bench.programs import stop_on_termination
from bench.stack import REQUESTS_PER_INVOCATION, Stack, deployed_stack, since_now

RESULTS: Final = Path(__file__).parent / "results" / "receipts.json"
RECORDED_WITHIN: Final = 60.0
WORKERS: Final = 2
BY_QUEUE: Final = ("flow", "release_tasks")


def _parallel(capability: str, count: int) -> dict[str, Any]:
    tasks: list[dict[str, Any]] = [{"id": f"t.{n}", "capability": capability, "input": {"value": n}} for n in range(count)]
    return {"plan": {"tasks": [*tasks, {"id": "end", "capability": capability, "depends_on": ["t.*"]}]}}


def _chain(length: int) -> dict[str, Any]:
    step = {"capability": "flow.step", "input": {"value": 1}}
    return {"plan": {"tasks": [{"id": f"s{n}", "depends_on": [f"s{n - 1}"] if n else [], **step} for n in range(length)]}}


GOALS: Final = {
    "2,000 single tasks and one that waits": _parallel("flow.step", 2000),
    "2,000 tasks in chunks of ten": _parallel("flow.noop", 2000),
    "a chain of 30": _chain(30),
    "one task": _chain(1),
}


def compare(stack: Stack, body: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Counted beside what the receipt says, by what is billed."""
    stack.wait_until_idle()
    stack.reset_counts()
    since = since_now()
    goal = stack.client.submit(body).id
    stack.wait_for_goal(goal)
    stack.wait_until_idle()
    counts = stack.counts()
    invoked = sum(len(stack.invocations(name, since)) for name in BY_QUEUE)
    receipt = _complete(stack, goal)
    own = _of_table(counts["write_units"], history=False), _of_table(counts["read_units"], history=False)
    counted = {
        "write units": own[0],
        "read units": own[1],
        "SQS requests": counts["sqs_billed"] + REQUESTS_PER_INVOCATION * invoked,
        "invocations": invoked + 1,
    }
    said = {
        "write units": _sum(receipt, "DynamoDB", "write units", without=("history",)),
        "read units": _sum(receipt, "DynamoDB", "read units"),
        "SQS requests": _sum(receipt, "SQS", "requests"),
        "invocations": _sum(receipt, "Lambda", "requests"),
    }
    return {name: {"counted": counted[name], "receipt": said[name]} for name in counted}


def _complete(stack: Stack, goal: str) -> ReceiptView:
    deadline = time.monotonic() + RECORDED_WITHIN
    while not (receipt := stack.client.receipt(goal)).is_complete and time.monotonic() < deadline:
        time.sleep(0.2)
    return receipt


def _of_table(units: dict[str, float], *, history: bool) -> float:
    return sum(number for label, number in units.items() if label.startswith("fleet-history") is history)


def _sum(receipt: ReceiptView, service: str, unit: str, without: Iterable[str] = ()) -> float:
    return sum(
        line.quantity for line in receipt.lines if (line.service, line.unit) == (service, unit) and line.what not in without
    )


def main() -> int:
    """Measure, print, and write bench/results/receipts.json."""
    stop_on_termination()
    console = Console()
    rows: dict[str, Any] = {}
    with deployed_stack(lambda text: console.print(f"[dim]{text}[/]")) as stack:
        stack.limit_workers(WORKERS)
        compare(stack, GOALS["one task"])
        for name, body in GOALS.items():
            rows[name] = compare(stack, body)
            for what, row in rows[name].items():
                error = row["receipt"] / row["counted"] - 1 if row["counted"] else 0.0
                row["error"] = round(error, 4)
                console.print(f"{name:40} {what:14} {row['counted']:10.1f} {row['receipt']:10.1f} {error:+8.1%}")
    RESULTS.write_text(json.dumps({"date": datetime.now(UTC).isoformat(timespec="seconds"), "goals": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the hot path may cost, and whether it does."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.markdown import number

HOT_PATH: Final[dict[str, dict[str, float]]] = {
    "single": {"wru_per_task": 1.3, "sqs_requests_per_task": 0.35, "dollars_per_million_tasks": 0.95},
    "chunked": {"wru_per_task": 0.25, "dollars_per_million_tasks": 0.15},
}
"""At most."""

KINDS: Final = {"single": "one per message", "chunked": "chunks of ten", "large": "4 KB results", "lone": "a goal of one"}

ROWS: Final = (
    ("wru_per_task", "write units"),
    ("rru_per_task", "read units"),
    ("sqs_requests_per_task", "SQS requests"),
    ("dynamodb_requests_per_task", "DynamoDB requests"),
    ("other_requests_per_task", "other AWS requests"),
    ("invocations_per_task", "Lambda invocations"),
    ("dollars_per_million_tasks", "$ per million, requests only"),
    ("cpu_functions_ms_per_task", "CPU ms, functions"),
    ("cpu_emulator_ms_per_task", "CPU ms, emulator"),
    ("cpu_client_ms_per_task", "CPU ms, client"),
)


def misses(results: dict[str, Any]) -> list[str]:
    """A line for every number that is over its limit."""
    return [
        f"{kind}: {name} is {results[kind][name]:.3f}, wanted at most {limit}"
        for kind, limits in HOT_PATH.items()
        for name, limit in limits.items()
        if results[kind][name] > limit
    ]


def print_table(console: Console, results: dict[str, Any]) -> None:
    """Show the hot path's numbers, what was missed, and what could not be counted."""
    table = Table(title=f"Per task, medians of {results['workload']['runs']} runs")
    for heading in ("", *KINDS):
        table.add_column(heading, justify="right" if heading else "left")
    for name, label in ROWS:
        table.add_row(label, *(_marked(results, kind, name) for kind in KINDS))
    console.print(table)
    for line in misses(results):
        console.print(f"[red]{line}[/red]")
    for reason in sorted({reason for kind in KINDS for reason in results[kind]["last_run"]["uncounted"]}):
        console.print(f"[yellow]not counted: {reason}[/yellow]")


def _marked(results: dict[str, Any], kind: str, name: str) -> str:
    text = number(results[kind].get(name))
    limit = HOT_PATH.get(kind, {}).get(name)
    if limit is None:
        return text
    return f"[green]{text}[/green]" if results[kind][name] <= limit else f"[red]{text}[/red]"

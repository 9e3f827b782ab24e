"""How the results are shown: a table for the terminal, a table and a picture for docs/benchmarks.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

TARGETS: Final[dict[str, dict[str, float]]] = {
    "single": {"wru_per_task": 1.3, "sqs_requests_per_task": 0.35, "dollars_per_million_tasks": 0.95},
    "chunked": {"wru_per_task": 0.25, "dollars_per_million_tasks": 0.15},
}
"""At most."""

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PICTURE: Final = PAGE.with_name("benchmarks.svg")
BEGIN: Final = "<!-- results: written by python -m bench -->"
END: Final = "<!-- /results -->"

OWN: Final = ("single", "chunked", "lone")

_ROWS: Final = (
    ("wru_per_task", "write units"),
    ("rru_per_task", "read units"),
    ("sqs_requests_per_task", "SQS requests"),
    ("dynamodb_requests_per_task", "DynamoDB requests"),
    ("other_requests_per_task", "other AWS requests"),
    ("invocations_per_task", "Lambda invocations"),
    ("dollars_per_million_tasks", "$ per million, requests only"),
    ("cpu_ms_per_task", "CPU ms, all"),
    ("cpu_functions_ms_per_task", "CPU ms, functions"),
    ("cpu_emulator_ms_per_task", "CPU ms, emulator"),
    ("cpu_client_ms_per_task", "CPU ms, client"),
    ("tasks_per_second", "tasks/s here"),
)
_SHARED: Final = ("cpu_ms_per_task", "tasks_per_second", "p50_ms", "p95_ms")


def print_table(console: Console, results: dict[str, Any]) -> bool:
    """Show the results; True if every target was met."""
    table = Table(title=f"Per task, medians of {results['workload']['runs']} runs")
    for heading in ("", *OWN, *results["peers"]):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, label in (*_ROWS, ("p50_ms", "lone task p50, ms"), ("p95_ms", "lone task p95, ms")):
        own = [_marked(results, kind, name) for kind in OWN]
        table.add_row(label, *own, *(_number(peer.get(name)) for peer in results["peers"].values()))
    console.print(table)
    missed = [
        f"{kind}: {name} is {results[kind][name]:.3f}, wanted at most {limit}"
        for kind, limits in TARGETS.items()
        for name, limit in limits.items()
        if results[kind][name] > limit
    ]
    for line in missed:
        console.print(f"[red]{line}[/red]")
    uncounted = {reason for kind in OWN for reason in results[kind]["last_run"]["uncounted"]}
    for reason in sorted(uncounted):
        console.print(f"[yellow]not counted: {reason}[/yellow]")
    return not missed


def _marked(results: dict[str, Any], kind: str, name: str) -> str:
    text = _number(results[kind].get(name))
    limit = TARGETS.get(kind, {}).get(name)
    if limit is None:
        return text
    return f"[green]{text}[/green]" if results[kind][name] <= limit else f"[red]{text}[/red]"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}".rstrip("0").rstrip(".")


def write_pages(results: dict[str, Any], page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Put tables and picture into the page, between its two marks. Raises ValueError if the page has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} needs the lines {BEGIN} and {END}: the results go between them")
    page.write_text(f"{before}{begin}\n\n{_tables(results)}\n{end}{after}", encoding="utf-8")
    picture.write_text(_picture(results), encoding="utf-8")


def _tables(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    cpus = results["machine"]["cpus"]
    costs = [
        (label, *(_limited(results, kind, name) for kind in OWN))
        for name, label in _ROWS
        if name not in {"tasks_per_second", "cpu_ms_per_task"}
    ]
    latency = {name: results["lone"][name] for name in ("p50_ms", "p95_ms")}
    rows = {"this fleet, one task per message": results["single"] | latency, "this fleet, chunks of ten": results["chunked"]}
    rows |= {f"{name.title()} {results['versions'][name]}": row for name, row in results["peers"].items()}
    compared = [(name, *(_number(row.get(column)) for column in _SHARED)) for name, row in rows.items()]
    return "\n".join(
        [
            f"Measured {results['date'][:10]} on {cpus} shared CPUs: {versions}.",
            "",
            "What a task costs:",
            "",
            *_markdown(("per task", "one per message", "chunks of ten", "a goal of one"), costs),
            "",
            "The same workload elsewhere:",
            "",
            *_markdown(("", "CPU ms per task", "tasks/s", "lone task p50, ms", "p95, ms"), compared),
            "",
        ]
    )


def _limited(results: dict[str, Any], kind: str, name: str) -> str:
    limit = TARGETS.get(kind, {}).get(name)
    return _number(results[kind][name]) + (f" (target ≤ {limit})" if limit is not None else "")


def _markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows)]


def _picture(results: dict[str, Any]) -> str:
    """Bars of CPU per task; the emulator's share is pale, for on AWS it is not yours."""
    bars: list[tuple[str, float, float]] = []
    for kind, label in (("chunked", "this fleet, chunks of ten"), ("single", "this fleet, one per message")):
        row = results[kind]
        ours = row["cpu_functions_ms_per_task"] + row["cpu_client_ms_per_task"]
        bars.append((label, ours, row["cpu_ms_per_task"] - ours))
    for name, peer in results["peers"].items():
        bars.append((f"{name.title()} {results['versions'][name]} + Valkey", peer["cpu_ms_per_task"], 0.0))
    widest = max(solid + pale for _, solid, pale in bars)
    scale, left, height = 380 / widest, 220, 34
    parts = []
    for index, (label, solid, pale) in enumerate(sorted(bars, key=lambda bar: bar[1] + bar[2])):
        y = 44 + index * height
        end = left + (solid + pale) * scale
        parts += [
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{label}</text>',
            f'<rect x="{left}" y="{y}" width="{solid * scale:.1f}" height="20" fill="#2f6fb3"/>',
            f'<rect x="{left + solid * scale:.1f}" y="{y}" width="{pale * scale:.1f}" height="20" fill="#a9c6e6"/>',
            f'<text x="{end + 8:.1f}" y="{y + 15}">{_number(solid + pale)}</text>',
        ]
    total = 44 + len(bars) * height + 10
    style = "text{font:13px system-ui,sans-serif;fill:#6b7280}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {total}" role="img" aria-label="CPU per task">',
            f"<style>{style}</style>",
            '<text x="10" y="22">CPU ms per task of client, workers and servers; pale: the emulator. Less is better.</text>',
            *parts,
            "</svg>",
            "",
        ]
    )

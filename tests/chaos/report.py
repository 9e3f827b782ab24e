"""A run's results: as data, as text, as a page with a picture."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from tests.chaos.project import HIDDEN, ROOT
from tests.chaos.run import Record
from tests.chaos.verdict import Verdict, kinds, shapes

RESULTS: Final = ROOT / "bench" / "results" / "chaos.json"
PAGE: Final = ROOT / "docs" / "chaos.md"
PICTURE: Final = PAGE.with_suffix(".svg")
BEGIN: Final = "<!-- results: written by make chaos -->"
END: Final = "<!-- /results -->"
HEALED: Final = 0.95
"""Of the faults, at least."""
SHOWN: Final = 20


def to_results(record: Record, verdict: Verdict) -> dict[str, Any]:
    """All that is kept of a run."""
    struck = len(record.struck)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": record.script.seed,
        "goals": len(record.submitted),
        "goals_by_shape": shapes(record),
        "tasks": sum(expected.tasks for expected in record.submitted.values()),
        "faults": struck,
        "faults_by_kind": kinds(record),
        "faults_not_met": record.withdrawn,
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled),
        "untold": len(verdict.untold),
        "histories_broken": len(verdict.broken),
        "struck_work": verdict.met,
        "struck_nothing": struck - verdict.met,
        "healed_ratio": round(verdict.healed / verdict.met, 4) if verdict.met else None,
        "time_to_heal_seconds": _percentiles(verdict.times),
        "message_hidden_seconds": HIDDEN,
        "duration_seconds": round(record.seconds, 1),
        "what_was_wrong": [*verdict.lost, *verdict.doubled, *verdict.untold, *verdict.broken][:SHOWN],
    }


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    if len(times) < 2:
        return {"measured": len(times)}
    cuts = quantiles(times, n=100, method="inclusive")
    return {
        "measured": len(times),
        "p50": round(cuts[49], 2),
        "p95": round(cuts[94], 2),
        "longest": round(max(times), 2),
    }


def is_proof(results: Mapping[str, Any]) -> bool:
    """Was nothing lost, doubled, left untold or out of its history, and enough healed without a command?

    A run whose faults met no work proves nothing.
    """
    is_right = not any(results[one] for one in ("lost", "doubled", "untold", "histories_broken"))
    return is_right and results["healed_ratio"] is not None and results["healed_ratio"] >= HEALED


def describe(results: Mapping[str, Any]) -> str:
    """The results as text."""
    heal = results["time_to_heal_seconds"]
    kinds_told = ", ".join(f"{count} {kind}" for kind, count in results["faults_by_kind"].items())
    lines = [
        f"seed {results['seed']}: {results['goals']} goals with {results['tasks']} tasks, {results['faults']} faults"
        f" in {results['duration_seconds']:.0f} s",
        f"  {kinds_told}",
        f"  lost {results['lost']} · doubled {results['doubled']} · ends untold {results['untold']}"
        f" · histories broken {results['histories_broken']}",
        f"  {results['struck_work']} faults struck work, {results['struck_nothing']} struck nothing"
        f" · healed without a command {_share(results)}",
    ]
    if "p50" in heal:
        lines.append(f"  time to heal: p50 {heal['p50']} s, p95 {heal['p95']} s, longest {heal['longest']} s")
    lines += [f"  wrong: {one}" for one in results["what_was_wrong"]]
    return "\n".join(lines)


def _share(results: Mapping[str, Any]) -> str:
    return "none" if results["healed_ratio"] is None else f"{results['healed_ratio']:.1%}"


def write_pages(results: Mapping[str, Any], page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Put the numbers into the page, between its two marks, and draw the picture. Raises ValueError if it has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} needs the lines {BEGIN} and {END}: the results go between them")
    page.write_text(f"{before}{begin}\n\n{_table(results)}\n{end}{after}", encoding="utf-8")
    picture.write_text(_picture(results), encoding="utf-8")


def _table(results: Mapping[str, Any]) -> str:
    heal = results["time_to_heal_seconds"]
    rows = [
        ("goals, tasks (sub-plans' not counted)", f"{results['goals']}, {results['tasks']:,}"),
        ("faults", str(results["faults"])),
        ("lost", str(results["lost"])),
        ("done twice", str(results["doubled"])),
        ("ends that the bus did not tell", str(results["untold"])),
        ("histories that are not whole", str(results["histories_broken"])),
        ("faults that struck work", str(results["struck_work"])),
        ("of these healed without a command", f"{_share(results)} (target ≥ {HEALED:.0%})"),
        ("time to heal, p50", f"{heal['p50']} s"),
        ("time to heal, p95", f"{heal['p95']} s"),
        ("time to heal, longest", f"{heal['longest']} s"),
        ("the run took", f"{results['duration_seconds']:.0f} s"),
    ]
    told = f"Seed {results['seed']}, {results['date'][:10]}, on the emulator:"
    return "\n".join(
        [
            "![Faults by kind](chaos.svg)",
            "",
            told,
            "",
            "| | |",
            "| --- | ---: |",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
        ]
    )


def _picture(results: Mapping[str, Any]) -> str:
    """Bars of the faults by kind."""
    bars = sorted(results["faults_by_kind"].items(), key=lambda bar: -bar[1])
    scale, left, height = 420 / max(count for _, count in bars), 150, 26
    parts = []
    for index, (kind, count) in enumerate(bars):
        y = 44 + index * height
        parts += [
            f'<text x="{left - 10}" y="{y + 14}" text-anchor="end">{kind}</text>',
            f'<rect x="{left}" y="{y}" width="{count * scale:.1f}" height="18" fill="#2f6fb3"/>',
            f'<text x="{left + count * scale + 8:.1f}" y="{y + 14}">{count}</text>',
        ]
    title = (
        f"{results['faults']} faults over {results['goals']} goals: {results['lost']} lost, {results['doubled']} done twice,"
        f" {_share(results)} of {results['struck_work']} that struck work healed without a command"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {54 + len(bars) * height}" role="img"'
            ' aria-label="Faults by kind">',
            "<style>text{font:13px system-ui,sans-serif;fill:#6b7280}</style>",
            f'<text x="10" y="22">{title}</text>',
            *parts,
            "</svg>",
            "",
        ]
    )

"""`python -m tests.simulation --seeds 1000`: run seeds, print what failed, small and with its trace."""

import argparse
import gc
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.simulation.scenario import Scenario
from tests.simulation.shrink import shrink
from tests.simulation.simulate import Report, restored, run, run_seed

RESULTS: Final = Path(__file__).parents[2] / "bench" / "results" / "simulation.json"
PART: Final = 100
"""Seeds that a worker takes at a time."""
COLLECTED: Final = 5
"""After so many seeds a worker collects its garbage."""
SHOWN: Final = 5
"""Failing seeds that are replayed and made small."""
TOLD_EVERY: Final = 10.0
"""Seconds between two lines of progress."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was violated."""
    options = _options(arguments)
    started = time.perf_counter()
    with restored():
        if options.seed is not None:
            failed = _replay(options.seed, lost_sends=options.lost_sends)
            seeds = 1
        else:
            seeds = options.seeds
            found = _sweep(options.start, seeds, options.workers, lost_sends=options.lost_sends)
            failed = len(found)
            for seed in found[:SHOWN]:
                _explain(run_seed(seed, lost_sends=options.lost_sends))
    elapsed = time.perf_counter() - started
    print(f"{seeds} seeds, {failed} violations, {seeds / elapsed:.0f} seeds/s")
    if options.write:
        results = to_results(seeds, failed, options.workers, elapsed, _cpu_seconds())
        options.write.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 1 if failed else 0


def to_results(seeds: int, violations: int, workers: int, elapsed: float, cpu: float) -> dict[str, Any]:
    """What is kept of a run; `elapsed` and `cpu` are seconds, of all processes together."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seeds": seeds,
        "violations": violations,
        "processes": workers,
        "duration_seconds": round(elapsed, 1),
        "seeds_per_second": round(seeds / elapsed, 1),
        "cpu_ms_per_seed": round(1000 * cpu / seeds, 2),
    }


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one alone, with its trace")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--lost-sends", action="store_true", help="messages vanish in every seed, not in a quarter of them")
    parser.add_argument("--write", type=Path, nargs="?", const=RESULTS, help=f"keep the figures, in {RESULTS.name} or here")
    return parser.parse_args(arguments)


def _sweep(start: int, seeds: int, workers: int, *, lost_sends: bool) -> list[int]:
    """The seeds that failed, each printed as soon as it is known."""
    parts = [(first, min(first + PART, start + seeds), lost_sends) for first in range(start, start + seeds, PART)]
    if workers <= 1:
        return _tell(map(_run_part, parts), seeds)
    gc.collect()
    gc.freeze()  # what was imported is no garbage: looking through it takes a tenth of a run
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        failed = _tell(pool.imap_unordered(_run_part, parts), seeds)
        pool.close()
        pool.join()  # what they used is known once they have ended
    return failed


def _tell(parts: Iterable[list[tuple[int, list[str]]]], seeds: int) -> list[int]:
    failed: list[int] = []
    started = told = time.monotonic()
    for number, part in enumerate(parts, 1):
        for seed, violations in part:
            print(f"seed {seed}: {violations[0]}", flush=True)
            failed.append(seed)
        now = time.monotonic()
        if now - told >= TOLD_EVERY:
            told, done = now, min(number * PART, seeds)
            print(f"{done:,} of {seeds:,} seeds, {done / (now - started):.0f} seeds/s", file=sys.stderr, flush=True)
    return sorted(failed)


def _run_part(part: tuple[int, int, bool]) -> list[tuple[int, list[str]]]:
    first, end, lost_sends = part
    found = []
    gc.disable()  # a run leaves its garbage all at once: looking for it meanwhile takes an eighth of the time
    try:
        for seed in range(first, end):
            if violations := run_seed(seed, lost_sends=lost_sends).violations:
                found.append((seed, violations))
            if seed % COLLECTED == 0:
                gc.collect()
    finally:
        gc.enable()
    return found


def _replay(seed: int, *, lost_sends: bool) -> int:
    report = run_seed(seed, traced=True, lost_sends=lost_sends)
    print("\n".join(report.trace))
    if not report.violations:
        print(f"seed {seed}: nothing violated in {report.steps} steps, {len(report.faults)} faults")
        return 0
    _explain(report)
    return 1


def _explain(report: Report) -> None:
    """A failing seed: what was violated, and the smallest relative of it, step by step."""
    seed = report.scenario.seed
    small = shrink(report)
    print(f"\nseed {seed} violates:")
    print("\n".join(f"  {one}" for one in report.violations))
    print(f"replay it alone: python -m tests.simulation --seed {seed}\nmade small:")
    _describe(small.scenario)
    print("\n".join(run(small.scenario, traced=True).trace) + "\n")


def _describe(scenario: Scenario) -> None:
    for goal in scenario.goals:
        print(f"  goal {goal.key} on_failure={goal.on_failure} submitted {goal.submissions} cancelled at {goal.cancel_at}")
        print(f"    paused {goal.pauses}, deadline {goal.deadline}, tokens {goal.tokens}, {goal.fork}")
        for task in goal.plan["tasks"]:
            print(f"    {task}")
    used = {task["input"]["sub"] for goal in scenario.goals for task in goal.plan["tasks"] if "sub" in task["input"]}
    for number in sorted(used):
        print(f"  sub-plan {number}: {scenario.subplans[number]}")
    print(f"  {scenario.weather}\n  {scenario.stops}")


if __name__ == "__main__":
    raise SystemExit(main())

"""A few hundred seeds hold, a seed is always the same run, and a failing one can be made small."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import run as run_command
from sys import executable

import pytest

from tests.simulation.__main__ import main
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.scenario import scenario_of, with_weather
from tests.simulation.shrink import shrink
from tests.simulation.simulate import Report, Simulation, restored, run, run_seed

ROOT = Path(__file__).parents[2]
WITHIN = 1000
"""Seeds in which a mutant must be caught."""


@pytest.fixture(autouse=True)
def _services_restored() -> Iterator[None]:
    with restored():
        yield


@pytest.mark.parametrize("part", range(3))
def test_nothing_is_violated(part: int) -> None:
    """Goals end as their plans call for, whatever happens to those who carry them out."""
    failed = {seed: found for seed in range(part * 80, part * 80 + 80) if (found := run_seed(seed).violations)}

    assert failed == {}


def test_the_weather_is_bad_enough() -> None:
    """Among a few seeds every kind of fault strikes, and cancellations, sub-plans and repeated submissions occur."""
    scenarios = [scenario_of(seed) for seed in range(60)]
    kinds = {kind for seed in range(60) for _, kind in run_seed(seed).faults}

    assert kinds >= {"crash-before", "crash-after", "refused", "answer-lost", "torn", "stall", "duplicate"}
    assert any(goal.cancel_at for one in scenarios for goal in one.goals)
    assert any(len(goal.submissions) > 1 for one in scenarios for goal in one.goals)
    assert any(one.subplans for one in scenarios)
    assert any(goal.pauses for one in scenarios for goal in one.goals)
    assert any(goal.deadline for one in scenarios for goal in one.goals)
    assert any(goal.tokens for one in scenarios for goal in one.goals)
    assert any(goal.fork for one in scenarios for goal in one.goals)
    assert any(one.stops for one in scenarios)
    assert sum(one.weather.lost_sends for one in scenarios) > 10


def test_the_healer_has_work() -> None:
    """Among some hundred seeds it finds what was never sent, never set running, or given up by a queue."""
    kinds: Counter[str] = Counter()
    for seed in range(400):
        simulation = Simulation(scenario_of(seed))
        simulation.run()
        kinds.update(incident.kind for incident in simulation.keepers.health.healed(100))

    assert kinds.keys() >= {"UNSENT", "STUCK_PLANNING", "DEAD_LETTER"}


def test_a_seed_is_always_the_same_run() -> None:
    """Step for step, also in a process that hashes differently."""
    here = run_seed(7, traced=True).trace
    program = "from tests.simulation.simulate import run_seed; print('\\n'.join(run_seed(7, traced=True).trace))"
    there = run_command(
        [executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": "99"}, capture_output=True, text=True, check=True
    )

    assert run_seed(7, traced=True).trace == here
    assert there.stdout.splitlines() == here


def test_given_faults_strike_as_drawn_ones_did() -> None:
    """What shrinking starts from: the same run, its faults written down."""
    drawn = next(report for seed in range(50) if len((report := run_seed(seed, traced=True)).faults) > 3)

    given = run(with_weather(drawn.scenario, faults=drawn.faults), traced=True)

    assert given.trace == drawn.trace


def _first_failure(mutant: Mutant) -> Report | None:
    reports = (run_seed(seed) for seed in range(mutant.first, mutant.first + WITHIN))
    return next((report for report in reports if report.violations), None)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_deliberate_bug_is_caught(mutant: Mutant) -> None:
    """Each of them within a bounded number of seeds."""
    with mutant.planted():
        assert _first_failure(mutant) is not None


def test_a_failing_seed_shrinks() -> None:
    """What is left is smaller and still fails."""
    mutant = next(one for one in MUTANTS if one.name == "only a first completion releases")
    with mutant.planted():
        found = _first_failure(mutant)
        assert found is not None
        small = shrink(found)

    assert small.violations
    assert len(small.faults) <= len(found.faults)
    assert sum(len(goal.plan["tasks"]) for goal in small.scenario.goals) <= 3


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The last line counts seeds and violations; a failing seed comes with its number, its trace and a small relative."""
    assert main(["--seeds", "3", "--workers", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 seeds, 0 violations, ")

    kept = tmp_path / "kept.json"
    assert main(["--seeds", "2", "--workers", "1", "--write", str(kept)]) == 0
    figures = json.loads(kept.read_text(encoding="utf-8"))
    assert (figures["seeds"], figures["violations"]) == (2, 0)
    assert min(figures["seeds_per_second"], figures["cpu_ms_per_seed"]) > 0

    mutant = next(one for one in MUTANTS if one.name == "joins are never too small")
    with mutant.planted():
        assert main(["--seeds", "1", "--workers", "1"]) == 1
    shown = capsys.readouterr().out
    assert "replay it alone: python -m tests.simulation --seed 0" in shown
    assert shown.splitlines()[-1].startswith("1 seeds, 1 violations, ")

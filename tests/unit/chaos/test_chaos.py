"""The fault runs' own rules: the plan of faults, the reference, the verdict."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

import pytest
from msgspec.structs import replace

from agentfleet.domain.goal import Failure, Goal, GoalState
from tests.chaos.faults import Kind, by_kind, draw_faults
from tests.chaos.goals import SHAPES, Expected, draw_goal
from tests.chaos.report import BEGIN, END, describe, is_proof, to_results, write_pages
from tests.chaos.run import Record, Script, Struck
from tests.chaos.stage import Stage
from tests.chaos.verdict import judge

SCRIPT = Script(seed=1, goals=2, faults=3, window=2, pace=1.0, deadline=1.0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Quiet:
    """Stands for a deployed fleet that has come to rest."""

    def __init__(self, goals: dict[str, Goal], ledger: list[dict[str, Any]]) -> None:
        self._goals, self._ledger = goals, ledger

    def goals(self, goal_ids: list[str]) -> dict[str, Goal]:
        """Those there are."""
        return {name: self._goals[name] for name in goal_ids}

    def finished(self, goal: Goal) -> dict[int, float]:
        """One unit, ten seconds after the start."""
        return {0: NOW.timestamp() + 10}

    def ledger(self) -> list[dict[str, Any]]:
        """All charges."""
        return self._ledger


def charged() -> Expected:
    """A goal with charges."""
    return draw_goal(Random(1), 2)


def ended(expected: Expected) -> Goal:
    """Its right end."""
    goal = Goal("g1", "default", expected.shape, GoalState.RUNNING, NOW, expected.tasks, 1)
    state = GoalState(expected.state)
    return replace(
        goal, state=state, finished=NOW + timedelta(seconds=20), output=expected.output, counts=dict(expected.counts)
    )


def charges(expected: Expected) -> list[dict[str, Any]]:
    """Each of its charges once."""
    return [
        {"goal": "g1", "task": task, "amount": amount, "fences": [1], "refunded": expected.is_undone}
        for task, amount in expected.charges.items()
    ]


def results_of(
    expected: Expected,
    goal: Goal | None,
    ledger: list[dict[str, Any]],
    told: set[str],
    *,
    after: float = 0.0,
    history: str = "",
) -> dict[str, Any]:
    """What a run with this one goal and one kill, so many seconds after its start, comes to."""
    body = '{"goal":"g1","unit":0,"tenant":"default"}'
    kill = next(fault for fault in draw_faults(Random(1), 13) if fault.kind is Kind.KILL)
    record = Record(SCRIPT, {"g1": expected}, {"g1": goal} if goal else {}, [Struck(kill, NOW.timestamp() + after, (body,))])
    record.chains = {"g1": history} if history else {}
    record.told["g1"] = told
    stands = goal or replace(ended(expected), state=GoalState.RUNNING, finished=None)
    return to_results(record, judge(cast("Stage", Quiet({"g1": stands}, ledger)), record))


def test_a_seed_gives_the_same_faults_and_every_kind_comes() -> None:
    """So that a run can be run again."""
    assert draw_faults(Random(5), 60) == draw_faults(Random(5), 60)
    assert set(by_kind(draw_faults(Random(5), 60))) == {kind.value for kind in Kind}


def test_every_shape_has_its_turn_and_counts_its_tasks() -> None:
    """The reference of each goal covers as many tasks as its plan has, but for those that never run."""
    goals = [draw_goal(Random(number), number) for number in range(len(SHAPES))]

    assert {goal.shape for goal in goals} == {shape.__name__ for shape in SHAPES}
    for goal in goals:
        assert len(goal.request["plan"]["tasks"]) == goal.tasks
        assert sum(goal.counts.values()) == goal.tasks - (goal.shape == "failing")


def test_the_right_end_is_a_proof() -> None:
    """Nothing lost, doubled, untold; the kill is healed, after ten seconds."""
    expected = charged()
    results = results_of(expected, ended(expected), charges(expected), {"SUCCEEDED"})

    assert is_proof(results), describe(results)
    assert (results["healed_ratio"], results["faults_by_kind"]) == (1.0, {"kill": 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [("state", GoalState.FAILED), ("output", -1), ("counts", {}), ("failure", None)],
)
def test_a_wrong_end_is_a_loss(field: str, value: Any) -> None:
    """State, output and counts are all compared; a goal without an end is lost as well."""
    expected = charged()
    goal = None if field == "failure" else replace(ended(expected), **{field: value}, failure=Failure("E", "why"))

    results = results_of(expected, goal, charges(expected), {"SUCCEEDED"})

    assert (results["lost"], results["healed_ratio"], is_proof(results)) == (1, 0.0, False)


def test_charges_that_are_missing_doubled_or_fenced_off_are_found() -> None:
    """By goal and task, whatever their keys were."""
    expected = charged()
    good = charges(expected)

    missing = results_of(expected, ended(expected), good[1:], {"SUCCEEDED"})
    doubled = results_of(expected, ended(expected), [*good, good[0]], {"SUCCEEDED"})
    late = results_of(expected, ended(expected), [{**good[0], "fences": [2, 1]}, *good[1:]], {"SUCCEEDED"})
    unasked = results_of(expected, ended(expected), [*good, {**good[0], "task": "other"}], {"SUCCEEDED"})

    assert [one["lost"] for one in (missing, doubled, late, unasked)] == [1, 0, 0, 0]
    assert [one["doubled"] for one in (missing, doubled, late, unasked)] == [0, 1, 1, 1]


@pytest.mark.parametrize(("after", "heals"), [(0.0, [10.0]), (15.0, [5.0]), (25.0, [])])
def test_a_fault_is_healed_when_the_work_that_it_struck_went_on(after: float, heals: list[float]) -> None:
    """By the task's result, or where that was there by the goal's end; where the goal had ended nothing was struck."""
    expected = charged()
    results = results_of(expected, ended(expected), charges(expected), {"SUCCEEDED"}, after=after)

    assert results["struck_work"] == len(heals)
    assert results["struck_nothing"] == 1 - len(heals)
    assert results["healed_ratio"] == (1.0 if heals else None)
    assert is_proof(results) is bool(heals), "a run whose faults struck nothing proves nothing"


def test_work_that_never_went_on_is_not_healed_though_nothing_is_wrong_with_other_goals() -> None:
    """One of two faults struck a goal that stands still."""
    expected = charged()
    kill = next(fault for fault in draw_faults(Random(1), 13) if fault.kind is Kind.KILL)
    bodies = [f'{{"goal":"{name}","unit":0,"tenant":"default"}}' for name in ("g1", "g2")]
    strikes = [Struck(kill, NOW.timestamp() + after, (body,)) for body, after in zip(bodies, (0.0, 12.0), strict=True)]
    stuck = Goal("g2", "default", "chain", GoalState.RUNNING, NOW, 1, 1)
    stage = Quiet({"g1": ended(expected), "g2": stuck}, charges(expected))

    verdict = judge(cast("Stage", stage), Record(SCRIPT, {"g1": expected}, {"g1": ended(expected)}, strikes))

    assert (verdict.met, verdict.healed, verdict.times) == (2, 1, (10.0,))


def test_a_history_that_is_not_whole_is_no_proof() -> None:
    """However right all else is."""
    expected = charged()
    results = results_of(expected, ended(expected), charges(expected), {"SUCCEEDED"}, history="event 3 is missing")

    assert (results["histories_broken"], is_proof(results)) == (1, False)
    assert "event 3 is missing" in describe(results)


def test_what_must_be_taken_back_is_and_nothing_else() -> None:
    """A charge of a goal that is undone may not be kept, nor one of a goal that succeeded be taken back."""
    kept, taken = draw_goal(Random(1), 2), draw_goal(Random(1), len(SHAPES) - 1)
    assert taken.is_undone

    for expected in (kept, taken):
        good = charges(expected)
        wrong = [{**good[0], "refunded": not expected.is_undone}, *good[1:]]
        right = results_of(expected, ended(expected), good, {expected.state})
        assert is_proof(right), describe(right)
        assert results_of(expected, ended(expected), wrong, {expected.state})["doubled"] == 1


def test_an_end_that_was_not_told_or_told_wrongly_is_found() -> None:
    """The bus must have told the goal's end, and no other."""
    expected = charged()

    for told in (set[str](), {"FAILED"}, {"FAILED", "SUCCEEDED"}):
        assert results_of(expected, ended(expected), charges(expected), told)["untold"] == 1


def test_the_page_has_the_numbers_and_the_picture_the_kinds(tmp_path: Any) -> None:
    """Between the marks, and nowhere else."""
    expected = charged()
    results = results_of(expected, ended(expected), charges(expected), {"SUCCEEDED"})
    results["time_to_heal_seconds"] = {"measured": 2, "p50": 1.0, "p95": 2.0, "longest": 3.0}
    page, picture = tmp_path / "chaos.md", tmp_path / "chaos.svg"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n", encoding="utf-8")

    write_pages(results, page, picture)

    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "| done twice | 0 |" in text
    assert ">kill<" in picture.read_text(encoding="utf-8")

"""The simulation of a flood."""

from typing import Any

import pytest

from bench import fairness
from bench.sections import SECTIONS


def test_a_window_shortens_what_the_quiet_tenant_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small flood, with and without: the waits follow from what may stand before a goal, to the second."""
    monkeypatch.setattr(fairness, "FLOOD", 1_000)
    monkeypatch.setattr(fairness, "QUIET_GOALS", 3)

    free, held = fairness.measure(fairness.NONE, 1), fairness.measure(400, 1)

    assert fairness.measure_idle()["p95_seconds"] == 1.0
    # A thousand tasks are ten seconds of the pool; half of the window is two.
    assert 6.0 <= free["p95_seconds"] <= 11.0
    assert held["p95_seconds"] <= 3.0
    assert held["flood_tasks_per_second"] > 0


def test_a_flood_of_small_goals_is_held_back_like_a_wide_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred goals of ten tasks are not the way past the window."""
    monkeypatch.setattr(fairness, "FLOOD", 1_000)
    monkeypatch.setattr(fairness, "QUIET_GOALS", 3)

    free, held = fairness.measure(fairness.NONE, 100), fairness.measure(200, 100)

    assert free["p95_seconds"] >= 6.0
    assert held["p95_seconds"] <= 4.0


def test_the_section_has_a_row_for_each_flood_and_a_column_for_each_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the benchmark saves is what the page is written from; a missed target fails it."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(fairness, "FLOOD", 200)
    monkeypatch.setattr(fairness, "QUIET_GOALS", 2)
    monkeypatch.setattr(fairness, "FLOODS", {"one goal": 1, "ten goals": 10})
    monkeypatch.setattr(fairness, "save", lambda name, results: kept.update({name: results}))

    failed = fairness.main()

    [(name, results)] = kept.items()
    text, pictures = SECTIONS[name]({**results, "date": "2026-11-22T00:00:00", "machine": {"cpus": 2}})
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == "| the flood comes as | no window | 10,000 | 2,000 (default) | 1,000 |"
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| one goal", "| ten goals"]
    assert (failed, pictures) == (1, {})  # a flood as small as that needs no window

"""The simulation of a flood."""

import pytest

from bench import fairness


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

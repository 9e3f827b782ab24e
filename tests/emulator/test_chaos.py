"""A short run under faults; `make chaos` is the long one."""

from tests.chaos.faults import Kind
from tests.chaos.report import describe, is_proof, to_results
from tests.chaos.run import Run, Script
from tests.chaos.stage import stage
from tests.chaos.verdict import judge

QUICK = tuple(kind for kind in Kind if kind not in {Kind.LOSE, Kind.DEAD_FLOOD})
"""A lost message is found after minutes: when no queue can hold it any more."""


def test_goals_end_right_while_agents_die_and_calls_fail() -> None:
    """Nothing is lost, nothing done twice, every end told, and nobody had to help."""
    script = Script(seed=16, goals=6, faults=20, window=6, pace=0.4, deadline=180.0, kinds=QUICK)
    with stage(print) as deployed:
        record = Run(deployed, script, print).to_end()
        results = to_results(record, judge(deployed, record))

    assert is_proof(results), describe(results)
    assert results["faults"] >= 12, describe(results)

"""Ten agents in one batch: they wait side by side, in one loop of one environment."""

import time

from agentfleet.domain.goal import GoalState
from agentfleet.domain.model import ModelRequest, Reply
from tests.fakes.models import call, say, turn_of
from tests.unit.agents.fleet import AgentFleet

AGENTS, TURNS, THINKING = 10, 3, 0.25
"""Seconds that each turn of the model takes."""


def test_ten_agents_take_as_long_as_one() -> None:
    """Thirty turns and twenty calls of tools; one after the other the turns alone would take seven and a half seconds."""

    def slow(request: ModelRequest) -> Reply:
        time.sleep(THINKING)
        return say("Done.") if turn_of(request) == TURNS - 1 else call(("flow__noop", {"value": turn_of(request)}))

    fleet = AgentFleet(slow, allowed=("flow.*",))
    fleet.ask()  # the first one imports
    fleet.model.requests.clear()
    work = [{"id": f"a.{number}", "capability": "agent.work", "input": {"task": f"Work {number}."}} for number in range(AGENTS)]
    goal_id = fleet.submit({"plan": {"tasks": work}}).id

    began, cpu = time.perf_counter(), time.process_time()
    fleet.rest(goal_id)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu

    each = cpu / AGENTS / TURNS * 1000
    print(f"{AGENTS} agents, {TURNS} turns each of {THINKING} s: {seconds:.1f} s, {each:.0f} ms CPU a turn")  # noqa: T201
    assert fleet.goal(goal_id).state is GoalState.SUCCEEDED
    assert len(fleet.model.requests) == AGENTS * TURNS
    assert seconds < AGENTS * TURNS * THINKING / 2

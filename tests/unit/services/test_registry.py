"""Who is alive and what can they do."""

from datetime import timedelta

import pytest

from agentfleet.domain.errors import RegistryUnavailable
from agentfleet.domain.fleet import LIFETIME, Agent, AgentState
from agentfleet.domain.goal import GoalState
from tests.fakes.fleet import InProcessFleet
from tests.unit.services.test_platform import goal_of, pool


def test_environments_register_themselves_and_are_found_by_capability_while_they_live() -> None:
    """discover gives only the living, by capability or pool."""
    fleet = InProcessFleet(pool)
    fleet.submit(goal_of({"id": "a"}))
    fleet.settle()

    registry = fleet.platform.registry
    assert [agent.id for agent in registry.discover("work.echo")] == ["work-1"]
    assert registry.discover("other.thing") == []
    assert [agent.pool for agent in registry.discover(pool="work")] == ["work"]
    fleet.clock.advance(LIFETIME + timedelta(minutes=1))
    assert registry.discover("work.echo") == []


def test_short_tasks_do_not_cost_an_entry_each() -> None:
    """Forty batches within a second or two write a handful of entries, not eighty."""
    fleet = InProcessFleet(pool)
    fleet.batch = 1
    fleet.submit(goal_of(*[{"id": f"t{n}", "capability": "work.add", "input": {"numbers": [n]}} for n in range(40)]))
    fleet.faults.arm(None)

    fleet.settle()

    assert fleet.faults.calls.count("agents.put") <= 4
    assert fleet.faults.calls.count("results.put") == 40


def test_an_agent_shows_what_it_works_on() -> None:
    """The first batch is shown as EXECUTING with its tasks."""
    fleet = InProcessFleet(pool)
    goal = fleet.submit(goal_of({"id": "a", "capability": "work.add", "input": {"numbers": [1]}}))

    fleet.invoke("fleet-work-normal")

    entry = fleet.entries.list(["work"])[0]
    assert (entry.state, entry.tasks) == (AgentState.EXECUTING, (f"{goal.id}/a",))


def test_work_goes_on_while_the_registry_takes_no_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """It only shows what happens: no task waits for it, and no message comes again because of it."""
    fleet = InProcessFleet(pool)

    def refuse(agent: Agent) -> None:
        raise RegistryUnavailable(f"no entry for {agent.id}")

    monkeypatch.setattr(fleet.entries, "put", refuse)
    goal = fleet.submit(goal_of({"id": "a"}))

    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert fleet.faults.calls.count("results.put") == 1

"""Agents that are thinking when somebody throws the kill switch or cancels their goal."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import Agent, SubPlan, TaskContext
from agentfleet.domain.goal import GoalState
from agentfleet.domain.kill import Scope
from agentfleet.domain.model import ModelRequest, Reply
from agentfleet.services.cache import CacheManager, Tier
from agentfleet.services.kill import Halt, KillSwitch, LocalKills
from tests.fakes.cache import FakeCache
from tests.fakes.clock import FixedClock
from tests.fakes.fleet import InProcessFleet, catalog_of
from tests.fakes.models import call, say, turn_of
from tests.fakes.work import FakeGoals
from tests.unit.agents.fleet import AgentFleet

SCOPES = [Scope("tenant", "acme"), Scope("pool", "agents"), Scope("all")]


delegating = Agent("delegating")


@delegating.capability("delegating.give", idempotent=True)
async def give(input: dict[str, Any]) -> SubPlan:
    """An agent of its own."""
    return SubPlan([{"id": "a", "capability": "agent.work", "input": {"task": "Work."}}], {"$from": "a"})


def during(turn: int, act: Callable[[AgentFleet], object], *pools: Agent) -> AgentFleet:
    """A fleet in which this happens while an agent's model is at this turn; at each but the last it calls a tool.

    There is none of that name: it answers at once, so that all turns are taken in one invocation.
    """

    def script(request: ModelRequest) -> Reply:
        if turn_of(request) == turn and fleet.model.asked["Work.", turn] == 1:
            act(fleet)
            fleet.clock.advance(3)
        return say("Done.") if turn_of(request) == 4 else call(("nothing__there", {}))

    fleet = AgentFleet(script, *pools)
    return fleet


def start(fleet: AgentFleet, **goal: Any) -> str:
    """One agent at work."""
    return fleet.submit({"plan": {"tasks": [{"id": "a", "capability": "agent.work", "input": {"task": "Work."}}]}, **goal}).id


def steps(fleet: AgentFleet, number: int) -> None:
    """Let so much happen."""
    for _ in range(number):
        fleet.step()


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_the_kill_switch_stops_an_agent_between_two_steps(scope: Scope) -> None:
    """After the turn that was under way nothing is asked and no tool called; later it goes on, and no attempt was used up."""
    fleet = during(1, lambda one: one.platform.governance().kills.kill(scope, "runs wild", "ops"))
    goal_id = start(fleet)
    steps(fleet, 40)
    assert fleet.goal(goal_id).state is GoalState.RUNNING
    assert len(fleet.model.requests) == 2
    assert len(fleet.refusals) == 1  # of the first turn's call: the second's was not made

    fleet.platform.governance().kills.lift(scope, "acme")
    fleet.clock.advance(3)
    ended = fleet.rest(goal_id)

    assert ended.output["answer"] == "Done."
    assert fleet.result_of(goal_id, 0).attempt == 1
    assert max(fleet.model.asked.values()) == 1


def test_a_stop_that_lasts_for_days_costs_no_attempt() -> None:
    """However often the message goes round, and with what the agent has done already."""
    fleet = during(0, lambda one: one.platform.governance().kills.kill(SCOPES[0], "r", "ops"))
    goal_id = start(fleet)
    steps(fleet, 60)
    began = fleet.clock()
    while fleet.clock() - began < timedelta(hours=6):
        fleet.step()
        assert not fleet.heal().repaired
    fleet.platform.governance().kills.lift(SCOPES[0], "acme")
    fleet.clock.advance(3)

    assert fleet.rest(goal_id).output["turns"] == 5
    assert fleet.result_of(goal_id, 0).attempt == 1


def test_an_agent_of_a_cancelled_goal_thinks_no_further() -> None:
    """It ends where it is, without a result."""
    fleet = during(1, lambda one: one.platform.control.cancel(goal_id, "acme"))
    goal_id = start(fleet)

    ended = fleet.rest(goal_id)

    assert ended.state is GoalState.CANCELLED
    assert len(fleet.model.requests) == 2
    assert not fleet.results.get(goal_id, ended.shards, [0])


def test_an_agent_stops_when_a_goal_above_its_own_ends() -> None:
    """A sub-plan's agent has a goal of its own; what counts is the one that somebody cancelled."""
    top: list[str] = []
    fleet = during(1, lambda one: one.platform.control.cancel(top[0], "acme"), delegating)
    top.append(fleet.submit({"plan": {"tasks": [{"id": "p", "capability": "delegating.give", "input": {}}]}}).id)

    fleet.rest(top[0])

    assert len(fleet.model.requests) == 2


def test_a_stop_is_no_answer_of_a_tool_that_runs_in_the_same_invocation() -> None:
    """Neither is it told to the model nor written down: the call is made when the task goes on."""
    thrown: list[bool] = []

    @delegating.capability("delegating.slow", idempotent=True)
    def slow(input: dict[str, Any], context: TaskContext) -> str:
        if not thrown:
            thrown.append(True)
            fleet.platform.governance().kills.kill(Scope("all"), "r", "ops")
            fleet.clock.advance(3)
        context.raise_if_stopped()
        return "slow"

    @delegating.capability("delegating.calls", idempotent=True)
    async def calls(input: dict[str, Any], context: TaskContext) -> Any:
        return (await context.tools.call("delegating.slow", {}, key="x")).value

    plain = catalog_of(delegating)
    spec = replace(plain.pools["delegating"], tools=("delegating.*",))
    fleet = InProcessFleet(delegating, catalog=replace(plain, pools={"delegating": spec}))
    goal_id = fleet.submit({"plan": {"tasks": [{"id": "a", "capability": "delegating.calls", "input": {}}]}}).id
    for _ in range(20):
        fleet.step()
    assert fleet.goal(goal_id).state is GoalState.RUNNING
    fleet.platform.governance().kills.lift(Scope("all"), "acme")
    fleet.clock.advance(3)
    fleet.settle()

    assert fleet.result_of(goal_id, 0).outcomes[0].output == "slow"
    assert fleet.result_of(goal_id, 0).attempt == 1


def test_who_shares_a_result_does_not_share_its_end() -> None:
    """Two goals want the same of a cacheable capability; the one that works on it for both is cancelled."""
    pool = Agent("shared")
    ran: list[str] = []

    @pool.capability("shared.look", idempotent=True, cacheable=True)
    async def look(input: dict[str, Any], context: TaskContext) -> str:
        ran.append(context.goal_id)
        if len(ran) == 1:
            fleet.platform.control.cancel(context.goal_id, "acme")
            fleet.clock.advance(2)
            await asyncio.sleep(0.2)  # the other goal's task joins meanwhile
        context.raise_if_stopped()
        return "seen"

    clock = FixedClock()
    cache = CacheManager([Tier("memory", FakeCache(clock), timedelta(hours=1), 1_000_000)], None, clock, lambda: 0.5)
    fleet = InProcessFleet(pool, cache=cache)
    plan = {"plan": {"tasks": [{"id": "a", "capability": "shared.look", "input": {}}]}}
    goals = [fleet.submit(plan).id for _ in range(2)]

    fleet.settle()

    assert len(ran) == 2
    assert sorted(fleet.goal(one).state for one in goals) == [GoalState.CANCELLED, GoalState.SUCCEEDED]


def test_a_goal_is_read_once_a_second_and_the_switch_every_two() -> None:
    """However often a task asks; what it was told when it was taken up counts as read."""
    fleet = AgentFleet([])
    goal = fleet.goal(start(fleet))
    reads: list[Any] = []

    class Counted(FakeGoals):
        def get(self, goal_ids: Any) -> Any:
            reads.append(goal_ids)
            return fleet.goals.get(goal_ids)

    clock = FixedClock()
    ask = Halt(KillSwitch(LocalKills(), clock, fleet.platform.catalog), Counted(), "agents", clock, lambda: 0.5).of(goal)
    for _ in range(40):
        ask()
        clock.advance(0.1)

    assert reads == [[goal.id]] * 3

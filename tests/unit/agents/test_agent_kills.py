"""Agents killed at every call that leaves their process: the same conversation in the end, nothing done or paid twice."""

import asyncio
from datetime import timedelta

import pytest

from agentfleet.domain.goal import GoalState
from agentfleet.domain.model import Message, ModelRequest, Reply
from tests.fakes.fleet import READS
from tests.fakes.models import call, say, turn_of
from tests.unit.agents.fleet import AgentFleet

SCRIPT = (
    call(("shop__price", {"thing": "tea"})),
    call(("shop__buy", {"thing": "tea"}), ("shop__price", {"thing": "milk"}), ("secret__read", {})),
    call(("ask_person", {"question": "Milk too?", "value": 1})),
    call(("shop__buy", {"thing": "milk"})),
    say("Tea and milk."),
)
TOOLS = ["shop.price", "shop.buy", "shop.price", "secret.read", "ask_person", "shop.buy"]


def run(fleet: AgentFleet) -> str:
    """An agent buys two things, and a person is asked in between; gives the goal's id."""
    goal = fleet.ask("Buy.")
    while waiting := fleet.approvals.waiting("acme", 10, None).items:
        fleet.decide(waiting[0].ref)
        goal = fleet.rest(goal.id)
    return goal.id


def make() -> AgentFleet:
    """With what the script needs."""
    fleet = AgentFleet(SCRIPT, allowed=("shop.*", "ask_person"))
    fleet.patient = True
    return fleet


def conversation(fleet: AgentFleet) -> tuple[Message, ...]:
    """What the model was shown at its last turn."""
    return max((one.messages for one in fleet.model.requests), key=len)


def quiet_run() -> AgentFleet:
    """Nothing goes wrong."""
    fleet = make()
    fleet.faults.arm(None, left_out=READS)
    run(fleet)
    return fleet


QUIET = quiet_run()
CALLS = list(QUIET.faults.calls)
PLACES = 120
"""Somewhat more than there are calls. Tools that run at once call in whatever order, so a place has a number and no name."""


def test_the_quiet_run_makes_the_calls_that_the_kills_are_placed_at() -> None:
    """Journal, model, tools' goals, approval."""
    assert {"journals.take", "journals.record", "model.converse", "goals.create", "approvals.ask", "blobs.put"} <= set(CALLS)
    assert CALLS.count("model.converse") == len(SCRIPT)
    assert 90 < len(CALLS) < PLACES


@pytest.mark.parametrize("number", range(PLACES))
def test_killed_after_any_call_the_agent_goes_on_from_its_last_turn(number: int) -> None:
    """Each thing was bought once; no turn that was written down was paid twice; the conversation is that of the quiet run.

    After a call is before the next, and a call that only reads changes nothing: whoever is dead leaves what it wrote.
    """
    fleet = make()
    fleet.faults.arm(number, stays_dead=True, left_out=READS)

    goal_id = run(fleet)

    ended = fleet.goal(goal_id)
    assert ended.state is GoalState.SUCCEEDED
    assert ended.output["answer"] == "Tea and milk."
    assert [one["name"] for one in ended.output["tool_calls"]] == TOOLS
    assert conversation(fleet) == conversation(QUIET)
    assert len(fleet.files("bought/")) == 2
    # Calls that die take no second turn with them: at most the one that was in flight is asked for again.
    assert sum(fleet.model.asked.values()) <= len(SCRIPT) + 1
    assert max(fleet.model.asked.values()) <= 2
    assert ended.output["input_tokens"] == 10 * len(SCRIPT)
    assert {goal.state for goal in fleet.goals.goals.values()} <= {GoalState.SUCCEEDED}


def test_two_that_run_at_once_agree() -> None:
    """A message delivered twice: the tools run once, and both tell the same story."""
    fleet = make()
    fleet.submit({"plan": {"tasks": [{"id": "a", "capability": "agent.work", "input": {"task": "Buy."}}]}}, key="k")
    fleet.queues.duplicate("fleet-agents-normal", times=2)

    goal_id = run(fleet)

    assert fleet.goal(goal_id).output["answer"] == "Tea and milk."
    assert len(fleet.files("bought/")) == 2


def test_a_cancelled_goal_takes_its_open_tools_with_it() -> None:
    """What a tool's goal still had to do is dropped."""
    fleet = make()
    goal_id = fleet.submit({"plan": {"tasks": [{"id": "a", "capability": "agent.work", "input": {"task": "Buy."}}]}}).id
    fleet.invoke("fleet-agents-normal")  # has asked for the price, and waits

    fleet.platform.control.cancel(goal_id, "acme")
    fleet.clock.advance(2)
    fleet.rest(goal_id)

    assert {goal.state for goal in fleet.goals.goals.values()} == {GoalState.CANCELLED}
    assert not fleet.files("bought/")


def test_waiting_uses_up_neither_attempts_nor_postponements() -> None:
    """An approval that takes 25 days."""
    fleet = AgentFleet([call(("ask_person", {"question": "May I?"})), say("Yes.")], allowed=("ask_person",))
    fleet.patient = True
    goal = fleet.ask("Ask.", goal={})
    fleet.clock.advance(25 * 86_400)
    for _ in range(100):
        fleet.step()
    assert fleet.goal(goal.id).state is GoalState.RUNNING

    fleet.decide(fleet.approvals.waiting("acme", 10, None).items[0].ref)

    assert fleet.rest(goal.id).output["answer"] == "Yes."
    assert fleet.result_of(goal.id, 0).attempt == 1
    assert sum(fleet.model.asked.values()) == 2


def test_when_little_time_is_left_the_task_goes_on_in_the_next_invocation() -> None:
    """Without an attempt, and with the turns that were taken."""

    def slow(request: ModelRequest) -> Reply:
        fleet.clock.advance(20)
        return say("Done.") if turn_of(request) == 3 else call(("shop__price", {"thing": "tea"}))

    fleet = AgentFleet(slow)

    goal = fleet.ask()

    assert goal.output["turns"] == 4
    assert max(fleet.model.asked.values()) == 1
    assert fleet.result_of(goal.id, 0).attempt == 1


def test_the_healer_leaves_an_agent_alone_that_waits_for_days() -> None:
    """Its message is never older than a quarter of an hour, its last result is days old: it is not lost."""
    fleet = AgentFleet([call(("ask_person", {"question": "May I?"})), say("Yes.")], allowed=("ask_person",))
    fleet.patient = True
    goal = fleet.ask("Ask.", goal={})

    for _ in range(150):
        fleet.step()
        report = fleet.heal()
        assert not report.repaired
        assert not report.errors
    assert fleet.clock() - goal.created > timedelta(hours=6)
    assert len(fleet.queues.bodies("fleet-agents-normal")) == 1


def resting(*turns: Reply) -> tuple[AgentFleet, str]:
    """An agent that has waited for a person for hours, so that it looks every quarter of an hour; and its goal."""
    fleet = AgentFleet(turns, allowed=("ask_person",))
    fleet.patient = True
    goal = fleet.ask("Ask.", goal={})
    while fleet.clock() - goal.created < timedelta(hours=6):
        fleet.step()
    fleet.invoke("fleet-agents-normal")
    return fleet, goal.id


def test_an_agent_goes_on_as_soon_as_what_it_waits_for_has_ended() -> None:
    """And not when it would have looked again; its own message finds the goal ended."""
    fleet, goal_id = resting(call(("ask_person", {"question": "May I?"})), say("Yes."))
    began = fleet.clock()

    fleet.decide(fleet.approvals.waiting("acme", 10, None).items[0].ref)
    while fleet.goal(goal_id).state is GoalState.RUNNING:
        fleet.step()

    assert fleet.goal(goal_id).output["answer"] == "Yes."
    assert fleet.clock() - began < timedelta(seconds=2)
    assert len(fleet.queues.bodies("fleet-agents-normal")) == 1
    fleet.rest(goal_id)
    assert fleet.result_of(goal_id, 0).attempt == 1
    assert sum(fleet.model.asked.values()) == 2


def test_an_agent_that_was_woken_for_one_of_two_things_waits_on() -> None:
    """It looks twice and leaves the rest to its own message: no second one goes round. The healer sees nothing in it."""
    fleet, goal_id = resting(call(("ask_person", {"question": "A?"}), ("ask_person", {"question": "B?"})), say("Yes."))
    first, second = (one.ref for one in fleet.approvals.waiting("acme", 10, None).items)

    fleet.decide(first)
    for _ in range(20):
        fleet.step()
        assert not fleet.heal().repaired
    assert fleet.goal(goal_id).state is GoalState.RUNNING
    assert len(fleet.queues.bodies("fleet-agents-normal")) == 1
    began = fleet.clock()
    fleet.decide(second)
    while fleet.goal(goal_id).state is GoalState.RUNNING:
        fleet.step()

    assert fleet.clock() - began < timedelta(seconds=2)
    assert sum(fleet.model.asked.values()) == 2


@pytest.mark.parametrize("number", range(20))
def test_killed_after_any_call_of_waking_the_agent_goes_on(number: int) -> None:
    """At worst by its own message: the answer is the same, and nothing is asked or decided twice."""
    fleet, goal_id = resting(call(("ask_person", {"question": "May I?"})), say("Yes."))
    ref = fleet.approvals.waiting("acme", 10, None).items[0].ref
    fleet.faults.arm(number, stays_dead=True, left_out=READS)

    fleet.decide(ref)
    ended = fleet.rest(goal_id)

    assert ended.output["answer"] == "Yes."
    assert sum(fleet.model.asked.values()) <= 3
    assert len(fleet.goals.goals) == 2


def test_who_is_at_work_is_not_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends within seconds is seen in the same invocation: no message is sent for it."""

    async def pause(_: float) -> None:
        await asyncio.to_thread(fleet.invoke, "fleet-tools-high")

    monkeypatch.setattr("tests.fakes.fleet._at_once", pause)
    fleet = AgentFleet([call(("shop__price", {"thing": "tea"})), say("Seven.")])

    goal = fleet.ask()

    assert goal.output["answer"] == "Seven."
    assert fleet.queues.sent == 2  # the agent's and the tool's


def test_an_agent_that_waits_and_whose_message_is_lost_is_set_going_again() -> None:
    """A while after it should have looked again."""
    fleet = AgentFleet([call(("ask_person", {"question": "May I?"})), say("Yes.")], allowed=("ask_person",))
    fleet.patient = True
    goal = fleet.ask("Ask.", goal={})
    fleet.decide(fleet.approvals.waiting("acme", 10, None).items[0].ref)
    fleet.invoke("fleet-flow-high")  # the tool's goal ends, and wakes the agent
    fleet.queues.purge()
    fleet.patient = False

    for _ in range(60):
        fleet.clock.advance(120)
        fleet.heal()
        for _ in range(4):
            fleet.step()

    assert fleet.goal(goal.id).output["answer"] == "Yes."

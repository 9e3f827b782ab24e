"""Tasks that wait for a person: at no cost, through crashes and repairs, until somebody decides or time runs out."""

from datetime import timedelta
from typing import Any

import pytest

from agentfleet.agent import Agent, TaskContext
from agentfleet.domain.approval import ApprovalRule, Decision
from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.errors import IllegalTransition
from agentfleet.domain.goal import GoalState
from agentfleet.services.approval import ApprovalPolicy
from tests.fakes.fleet import InProcessFleet, Killed

bank = Agent("bank")
PAID: dict[str, str] = {}
"""By idempotency key."""
LONG = timedelta(hours=12)


@bank.capability("bank.pay", approval="required")
async def pay(input: dict[str, Any], context: TaskContext) -> str:
    """Pays."""
    PAID[context.idempotency_key] = input["to"]
    return str(input["to"])


@bank.capability("bank.look", idempotent=True, chunk=10)
async def look(input: dict[str, Any]) -> Any:
    """Looks."""
    return input.get("value")


def goal(**pay: Any) -> dict[str, Any]:
    """Look, pay to whom was found, look at it."""
    return {
        "plan": {
            "tasks": [
                {"id": "find", "capability": "bank.look", "input": {"value": "ann"}},
                {"id": "pay", "capability": "bank.pay", "input": {"to": {"$from": "find"}}, **pay},
                {"id": "told", "capability": "bank.look", "input": {"value": {"$from": "pay"}}},
            ],
            "output": {"$from": "told"},
        }
    }


@pytest.fixture(autouse=True)
def nobody_is_paid() -> None:
    """A fresh ledger."""
    PAID.clear()


def decide(fleet: InProcessFleet, goal_id: str, decision: Decision = Decision.APPROVED, note: str | None = None) -> None:
    """A person's word."""
    fleet.platform.governance().approvals.decide("acme", f"{goal_id}.pay", decision, note)


def test_nothing_happens_while_a_task_waits() -> None:
    """No message, no repair, no incident, however long; the request shows the input as it will run."""
    fleet = InProcessFleet(bank)
    goal_id = fleet.submit(goal()).id
    fleet.settle()

    for _ in range(5):
        fleet.clock.advance(LONG)
        report = fleet.heal()
        assert (report.repaired, report.sent, report.errors) == ((), 0, ())
        assert not fleet.queues.busy()
        assert fleet.queues.next_visible() is None
    [request] = fleet.approvals.of_goal(goal_id).values()
    assert (request.input, request.tasks, request.why) == ('{"to":"ann"}', ("pay",), "bank.pay is declared so")
    assert fleet.goal(goal_id).state is GoalState.RUNNING
    assert not fleet.claims.claims

    decide(fleet, goal_id)
    fleet.settle()
    assert (fleet.goal(goal_id).output, list(PAID.values())) == ("ann", ["ann"])


def test_no_other_task_costs_anything() -> None:
    """A goal without such capabilities never asks the store."""
    fleet = InProcessFleet(bank)
    fleet.submit({"plan": {"tasks": [{"id": "a", "capability": "bank.look"}]}})
    fleet.settle()
    fleet.clock.advance(LONG)
    fleet.heal()

    assert not [name for name in fleet.faults.calls if name.startswith("approvals")]


@pytest.mark.parametrize(("policy", "state"), [("fail", GoalState.FAILED), ("skip", GoalState.SUCCEEDED)])
def test_a_rejection_follows_the_failure_policy(policy: str, state: GoalState) -> None:
    """The task fails with who and why, without a retry."""
    fleet = InProcessFleet(bank)
    goal_id = fleet.submit(goal(on_failure=policy, retries=3)).id
    fleet.settle()

    decide(fleet, goal_id, Decision.REJECTED, "not to her")
    fleet.settle()

    failure = fleet.result_of(goal_id, 1).first_failure
    assert failure is not None
    assert (failure.error, failure.message) == ("ApprovalRejected", "rejected by acme: not to her")
    assert (fleet.goal(goal_id).state, list(PAID.values())) == (state, [])
    with pytest.raises(IllegalTransition):
        decide(fleet, goal_id)


def test_the_deadline_still_counts() -> None:
    """Nothing of the goal is in a queue to notice that it is late: the healer does, and calls it no incident."""
    fleet = InProcessFleet(bank)
    goal_id = fleet.submit({**goal(), "deadline": 3600}).id
    fleet.settle()
    fleet.clock.advance(timedelta(hours=2))

    report = fleet.heal()

    ended = fleet.goal(goal_id)
    assert ended.failure is not None
    assert (ended.state, ended.failure.error, report.repaired) == (GoalState.FAILED, "DeadlineExceeded", ())


def calls_of(act: Any) -> int:
    """How many calls leave the process while this happens."""
    fleet = InProcessFleet(bank)
    goal_id = fleet.submit(goal()).id
    fleet.settle()
    fleet.faults.arm(None)
    act(fleet, goal_id)
    return len(fleet.faults.calls)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("call", range(calls_of(decide)))
def test_who_dies_while_deciding_is_made_up_for(call: int, before: bool) -> None:
    """Either nothing was decided, or the healer sends what was: and the task is paid for once."""
    fleet = InProcessFleet(bank)
    goal_id = fleet.submit(goal()).id
    fleet.settle()

    fleet.faults.arm(call, before=before)
    with pytest.raises(Killed):
        decide(fleet, goal_id)
    fleet.faults.arm(None)
    fleet.kill()
    fleet.settle()
    [request] = fleet.approvals.of_goal(goal_id).values()
    if request.decision is Decision.PENDING:
        decide(fleet, goal_id)
        fleet.settle()
    else:
        fleet.clock.advance(LONG)
        fleet.heal()
        fleet.settle()

    assert (fleet.goal(goal_id).state, list(PAID.values())) == (GoalState.SUCCEEDED, ["ann"])


def calls_of_a_whole_run() -> int:
    """How many calls leave the process from the first message to the end."""
    fleet = InProcessFleet(bank)
    goal_id = fleet.submit(goal()).id
    fleet.faults.arm(None)
    fleet.settle()
    decide(fleet, goal_id)
    fleet.settle()
    return len(fleet.faults.calls)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("call", range(calls_of_a_whole_run()))
def test_an_agent_that_dies_anywhere_asks_and_pays_once(call: int, before: bool) -> None:
    """Killed at any call from the submission to the end: one request, told at least once, one payment."""
    fleet = InProcessFleet(bank)
    goal_id = fleet.submit(goal()).id
    fleet.faults.arm(call, before=before)
    for _ in range(4):
        try:
            fleet.settle()
        except Killed:
            fleet.kill()
            fleet.settle()
        if not fleet.goal(goal_id).state.is_alive:
            break
        if any(one.decision is Decision.PENDING for one in fleet.approvals.of_goal(goal_id).values()):
            assert [message["task"] for topic, message in fleet.bus.published if topic == "ApprovalRequested"]
            try:
                decide(fleet, goal_id)
            except Killed:
                decide(fleet, goal_id)

    assert (fleet.goal(goal_id).state, list(PAID.values())) == (GoalState.SUCCEEDED, ["ann"])
    assert len(fleet.approvals.of_goal(goal_id)) == 1


def test_rules_cover_capabilities_and_inputs() -> None:
    """By name or pattern, for every input or some; an expression that can't be applied asks, rather than not."""
    specs = tuple(CapabilitySpec(name=name, pool="p") for name in ("http.get", "http.post", "mail.send"))
    rules = (
        ApprovalRule(capability="http.*", when="method == 'POST'"),
        ApprovalRule(capability="mail.send", when="length(to) > `1`"),
    )
    policy = ApprovalPolicy(Catalog(fleet="f", pools={"p": PoolSpec(name="p", capabilities=specs)}, approvals=rules))

    assert policy.reason("http.get", {"method": "GET"}) is None
    assert policy.reason("http.post", {"method": "POST"}) == "rule http.* when method == 'POST'"
    assert policy.reason("mail.send", {"to": ["a", "b"]}) is not None
    assert policy.reason("mail.send", {"to": ["a"]}) is None
    assert policy.reason("mail.send", {"to": 5}) is not None
    with pytest.raises(ValueError, match="not valid JMESPath"):
        ApprovalRule(capability="x.y", when="][")


def test_what_is_approved_alone_shares_no_message() -> None:
    """Said where it is declared."""
    with pytest.raises(ValueError, match="don't go together"):
        bank.capability("bank.many", idempotent=True, chunk=5, approval="required")
    with pytest.raises(ValueError, match="must be 'required'"):
        bank.capability("bank.odd", approval="maybe")  # type: ignore[arg-type]

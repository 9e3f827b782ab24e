"""`context.tools` without a model: what runs where, what is asked twice, what is not let through, how long is waited."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import Agent, SubPlan, TaskContext
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.services.task_tools import delay_after
from functions.flow.handler import agent as flow
from tests.fakes.fleet import InProcessFleet, catalog_of

pool = Agent("pool")


@pool.capability("pool.call", idempotent=True)
async def call_tools(input: dict[str, Any], context: TaskContext) -> list[Any]:
    """Calls tools one after the other."""
    answers = []
    for number, (name, arguments) in enumerate(input["calls"]):
        answer = await context.tools.call(name, arguments, key=str(number))
        answers.append([answer.value, answer.is_error])
    return answers


@pool.capability("pool.double", idempotent=True)
async def double(input: dict[str, int], context: TaskContext) -> dict[str, Any]:
    """Twice a number, and whose task it was."""
    return {"n": 2 * input["n"], "task": context.task_id}


@pool.capability("pool.nested", idempotent=True)
async def nested(input: dict[str, Any], context: TaskContext) -> Any:
    """Calls tools itself."""
    return (await context.tools.call("pool.double", {"n": 1}, key="x")).value


@pool.capability("pool.spread", idempotent=True)
async def spread(input: dict[str, Any]) -> SubPlan:
    """A sub-plan."""
    return SubPlan([{"id": "x", "capability": "flow.noop", "input": {"value": 5}}], {"$from": "x"})


@pool.capability("pool.pay")
def pay(input: dict[str, Any], context: TaskContext) -> str:
    """A side effect."""
    context.blobs.store.put(f"paid/{context.idempotency_key}", b"1", "text/plain")
    return "paid"


def make(*allowed: str, **changes: Any) -> InProcessFleet:
    """A fleet whose pool `pool` may call these tools."""
    catalog = catalog_of(pool, flow)
    spec = replace(catalog.pools["pool"], tools=allowed, **changes)
    return InProcessFleet(pool, flow, catalog=replace(catalog, pools={**catalog.pools, "pool": spec}))


def run(fleet: InProcessFleet, *calls: tuple[str, Any], budget: Any = None) -> Goal:
    """A goal of one task that calls these."""
    task = {"id": "a", "capability": "pool.call", "input": {"calls": calls}}
    goal = fleet.submit({"plan": {"tasks": [task], "output": {"$from": "a"}}, **({"budget": budget} if budget else {})})
    fleet.settle()
    return fleet.goal(goal.id)


def test_what_the_pool_can_do_harmlessly_is_done_at_once() -> None:
    """Under a task of its own name, without a goal."""
    fleet = make("pool.*")

    goal = run(fleet, ("pool.double", {"n": 2}))

    assert goal.output == [[{"n": 4, "task": "a:0"}, False]]
    assert len(fleet.goals.goals) == 1


def test_effects_sub_plans_and_other_pools_go_through_the_queues() -> None:
    """Each as a goal of one task; a tool of the pool that calls tools itself has none within the invocation."""
    fleet = make("pool.*", "flow.*")

    goal = run(fleet, ("pool.pay", {}), ("pool.spread", {}), ("flow.noop", {"value": 3}), ("pool.nested", {}))

    assert [answer for answer, _ in goal.output[:3]] == ["paid", 5, 3]
    assert goal.output[3][1] is True
    assert "there are no tools here" in goal.output[3][0]
    assert len(fleet.blobs.list("paid/")) == 1
    assert {one.state for one in fleet.goals.goals.values()} == {GoalState.SUCCEEDED}
    assert len([one for one in fleet.goals.goals.values() if one.parent and not one.parent.reports]) == 3


def test_what_may_need_approval_is_never_done_at_once() -> None:
    """A rule of the fleet holds for calls as for tasks."""
    from agentfleet.domain.approval import ApprovalRule

    fleet = make("pool.*")
    rule = ApprovalRule(capability="pool.double")
    fleet.platform.approval_policy._rules["pool.double"] = [rule]
    goal_id = fleet.submit(
        {"plan": {"tasks": [{"id": "a", "capability": "pool.call", "input": {"calls": [["pool.double", {"n": 1}]]}}]}}
    ).id

    for _ in range(20):
        fleet.step()

    assert fleet.goal(goal_id).state is GoalState.RUNNING
    assert [one.capability for one in fleet.approvals.waiting("acme", 10, None).items] == ["pool.double"]


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("flow.noop", {"value": 1}, "ToolNotAllowed"),
        ("nothing", {}, "ToolNotAllowed"),
        ("pool.double", {"n": "https://evil.net/"}, "EgressRefused"),
    ],
)
def test_what_is_not_allowed_is_refused_and_counted(name: str, arguments: Any, error: str) -> None:
    """As an answer; nothing runs."""
    fleet = make("pool.*")

    goal = run(fleet, (name, arguments))

    assert goal.output[0][1] is True
    assert goal.output[0][0].startswith("refused: ")
    assert fleet.refusals == [(name, error)]


def test_hosts_hold_for_what_a_call_sets_going() -> None:
    """An address that a sub-plan puts together is found where it is used."""
    fleet = make("flow.*", hosts=("docs.example.com",))
    pieces = {"items": [["https:", "//evil.net/"]], "capability": "flow.noop", "input": {"value": {"$item": "join('', @)"}}}
    fine = {"items": ["docs"], "capability": "flow.noop", "input": {"value": "https://docs.example.com/{{ item }}"}}

    goal = run(fleet, ("flow.map", pieces), ("flow.map", fine))

    assert "EgressRefused" in goal.output[0][0]
    assert goal.output[1] == [["https://docs.example.com/docs"], False]


def test_a_pool_without_tools_has_none() -> None:
    """The task fails and says what is missing."""
    goal = run(make(), ("pool.double", {"n": 1}))

    assert goal.failure is not None
    assert "[pools.<name>] tools" in goal.failure.message


def test_depth_is_counted_in_calls() -> None:
    """A call at depth 0 is refused; what runs at once needs no depth."""
    goal = run(make("*"), ("flow.noop", {"value": 1}), ("pool.double", {"n": 1}), budget={"depth": 0})

    assert goal.output[0][1] is True
    assert "depth 0" in goal.output[0][0]
    assert goal.output[1][1] is False


def test_looks_are_further_apart_the_longer_one_waits() -> None:
    """Half as long as it has waited, two seconds to a quarter of an hour."""
    assert [delay_after(timedelta(seconds=waited)) for waited in (0, 5, 60, 7 * 86_400)] == [2.0, 2.5, 30.0, 900.0]


class _Broken:
    """A memory whose table does not answer."""

    def remember(self, text: str, about: str = "") -> Any:
        raise ConnectionError("the table does not answer")

    def recall(self, query: str, limit: int = 5) -> Any:
        raise ConnectionError("the table does not answer")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("recall", {"query": "tea", "limit": "many"}, "recall.limit: must be a whole number, not 'many'"),
        ("recall", {"query": "tea", "limit": 50}, "recall.limit: must be at most 20, not 50"),
        ("recall", {"limit": 3}, "recall.query: is required"),
        ("remember", {"text": "Tea.", "abuot": "x"}, "remember.abuot: is not a field"),
        ("remember", {"text": ""}, "remember.text: must have 1 to 4000 characters, not 0"),
        ("ask_person", {"question": 7}, "ask_person.question: must be a text, not 7"),
        ("remember", {"text": "Tea is green."}, "remember did not succeed: ConnectionError: the table does not answer"),
        ("recall", {"query": "tea"}, "recall did not succeed: ConnectionError: the table does not answer"),
    ],
)
def test_what_the_caller_did_wrong_is_an_answer(name: str, arguments: Any, said: str) -> None:
    """So is a memory that is down: the task goes on, and the model may try again."""
    fleet = make("*")
    fleet.memories = lambda _: _Broken()  # type: ignore[assignment,return-value]

    goal = run(fleet, (name, arguments))

    assert goal.state is GoalState.SUCCEEDED
    [[answer, is_error]] = goal.output
    assert is_error
    assert said in answer
    assert len(fleet.goals.goals) == 1

"""Budgets, approvals, the kill switch and operators, over the API."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.api.world import World

GUEST = "guest"


def balance(view: Any, account: int, measure: str) -> dict[str, Any]:
    """One measure of one account of a budget's view."""
    return next(one for one in view["accounts"][account]["balances"] if one["measure"] == measure)


def pay(most: float, actual: float) -> dict[str, Any]:
    """A task that spends dollars."""
    return {"id": "pay", "capability": "work.pay", "input": {"most": most, "actual": actual}}


def test_a_goal_spends_within_its_budget_and_its_tenants_day(world: World) -> None:
    """What was settled shows in the goal's account and in the day's; nothing stays reserved."""
    goal = world.submit(pay(0.5, 0.2), budget={"dollars": 1, "depth": 2})
    world.fleet.settle()

    shown = world.call("GET", f"/goals/{goal}/budget").body
    day = world.call("GET", "/budget").body

    assert world.call("GET", f"/goals/{goal}").body["budget"] == {"dollars": 1, "tokens": None, "seconds": None, "depth": 2}
    assert [one["name"] for one in shown["accounts"]] == [f"goal {goal}", "tenant acme on 2026-01-02"]
    assert balance(shown, 0, "dollars") == {"measure": "dollars", "limit": 1, "spent": 0.2, "reserved": 0, "left": 0.8}
    assert balance(day, 0, "dollars") == {"measure": "dollars", "limit": 10, "spent": 0.2, "reserved": 0, "left": 9.8}
    assert shown["depth"] == 2


def test_a_task_that_would_overspend_fails_and_says_where(world: World) -> None:
    """The error names account, measure, limit, spent, reserved and asked; more may be granted, and the goal forked."""
    goal = world.submit(pay(2, 2), budget={"dollars": 1.5})
    world.fleet.settle()

    failure = world.call("GET", f"/goals/{goal}").body["failure"]
    granted = world.call("POST", f"/goals/{goal}/budget", {"dollars": 1}).body

    assert failure["error"] == "BudgetExceeded"
    assert failure["message"] == (
        f"the budget of goal {goal} has no room: dollars: limit $1.5, spent $0, reserved $0, asked $2"
    )
    assert (balance(granted, 0, "dollars")["limit"], balance(granted, 0, "dollars")["left"]) == (2.5, 2.5)


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        ({"dollars": -1}, "budget.dollars"),
        ({"tokens": 1.5}, "budget.tokens"),
        ({"depth": 9}, "budget.depth"),
        ({"euros": 1}, "budget.euros"),
    ],
)
def test_a_budget_is_checked_where_it_is_submitted(world: World, budget: Any, field: str) -> None:
    """Negative, broken and unknown amounts are named."""
    answer = world.call("POST", "/goals", {"plan": {"tasks": [pay(1, 1)]}, "budget": budget})

    assert (answer.status, answer.fields) == (422, [field])


@pytest.mark.parametrize(("order", "field"), [({"tokens": 5}, "tokens"), ({}, "budget")])
def test_only_a_limit_can_be_added_to(world: World, order: Any, field: str) -> None:
    """A measure without a limit takes no more, and nothing is no amount."""
    goal = world.submit(pay(1, 1), budget={"dollars": 1})

    answer = world.call("POST", f"/goals/{goal}/budget", order)

    assert (answer.status, answer.fields) == (422, [field])
    assert world.call("POST", f"/goals/{goal}/budget", {"dollars": 1}, tenant=GUEST).status == 404


def test_a_task_waits_for_approval_and_runs_once_it_has_it(world: World) -> None:
    """It shows as waiting, nothing is in a queue; the decision stands and is told again, the other one is a conflict."""
    goal = world.submit({"id": "a", "input": {"value": 7, "ask": True}})
    world.fleet.settle()

    [waiting] = world.call("GET", "/approvals").body["approvals"]
    tasks = world.call("GET", f"/goals/{goal}/tasks").body["tasks"]
    counts = world.call("GET", f"/goals/{goal}").body["counts"]
    first = world.call("POST", f"/approvals/{goal}.a/approve", {"note": "fine"})
    again = world.call("POST", f"/approvals/{goal}.a/approve", {})
    other = world.call("POST", f"/approvals/{goal}.a/reject", {"reason": "no"})
    ready = world.call("GET", f"/goals/{goal}/tasks").body["tasks"][0]["state"]
    world.fleet.settle()

    assert (waiting["ref"], waiting["input"], waiting["why"]) == (
        f"{goal}.a",
        {"value": 7, "ask": True},
        "rule work.* when ask",
    )
    assert [task["state"] for task in tasks] == ["WAITING_FOR_APPROVAL"]
    assert counts == {"WAITING_FOR_APPROVAL": 1}
    assert (first.status, first.body["decision"], first.body["by"], first.body["note"]) == (200, "APPROVED", "acme", "fine")
    assert (again.status, other.status) == (200, 409)
    assert ready != "WAITING_FOR_APPROVAL"
    assert world.call("GET", f"/goals/{goal}/result").body["output"] == 7
    assert world.call("POST", f"/approvals/{goal}.a/approve", {}).body["note"] == "fine"
    assert world.call("POST", f"/approvals/{goal}.a/reject", {"reason": "no"}).status == 409
    assert world.call("GET", "/approvals").body["approvals"] == []
    [event] = [message for topic, message in world.fleet.bus.published if topic == "ApprovalRequested"]
    assert (event["goal"], event["task"], event["tenant"]) == (goal, "a", "acme")


def test_a_rejected_task_fails_with_the_reason(world: World) -> None:
    """Under its failure policy; a rejection needs a reason."""
    goal = world.submit({"id": "a", "input": {"ask": True}})
    world.fleet.settle()

    bare = world.call("POST", f"/approvals/{goal}.a/reject", {})
    world.call("POST", f"/approvals/{goal}.a/reject", {"reason": "too dear"})
    world.fleet.settle()

    assert (bare.status, bare.fields) == (422, ["reason"])
    failure = world.call("GET", f"/goals/{goal}").body["failure"]
    assert (failure["error"], failure["message"]) == ("ApprovalRejected", "rejected by acme: too dear")
    assert world.call("POST", f"/approvals/{goal}.a/reject", {"reason": "again"}).body["note"] == "too dear"
    assert world.call("POST", f"/approvals/{goal}.a/approve", {}).status == 409


def test_nobody_decides_about_what_is_not_theirs_or_not_there(world: World) -> None:
    """404 for another tenant, for a task that nobody asked about, for a goal that there isn't; ended goals leave the list."""
    goal = world.submit({"id": "a", "input": {"ask": True}}, {"id": "b"})
    world.fleet.settle()

    assert world.call("GET", "/approvals", tenant=GUEST).body["approvals"] == []
    assert world.call("POST", f"/approvals/{goal}.a/approve", {}, tenant=GUEST).status == 404
    assert world.call("POST", f"/approvals/{goal}.b/approve", {}).status == 404
    assert world.call("POST", "/approvals/nothing.a/approve", {}).status == 404
    world.call("DELETE", f"/goals/{goal}")
    assert world.call("GET", "/approvals").body["approvals"] == []
    assert world.call("POST", f"/approvals/{goal}.a/approve", {}).status == 409


@pytest.mark.parametrize("scope", [{"kind": "all"}, {"kind": "pool", "name": "work"}, {"kind": "tenant", "name": "acme"}])
def test_what_is_stopped_is_kept_and_goes_on(world: World, scope: dict[str, str]) -> None:
    """Within seconds nothing of it runs, no attempt is used up, and it is done once the kill is lifted."""
    goal = world.submit({"id": "a", "retries": 0})
    killed = world.call("POST", "/kills", {**scope, "reason": "too dear"})
    world.fleet.clock.advance(timedelta(seconds=2))
    for _ in range(5):
        world.step()
        world.fleet.clock.advance(timedelta(minutes=10))

    held = world.call("GET", f"/goals/{goal}").body
    listed = world.call("GET", "/kills").body["kills"]
    lifted = world.call("POST", "/kills/lift", scope)
    world.fleet.settle()

    assert (killed.status, killed.body["by"], [one["reason"] for one in listed]) == (200, "acme", ["too dear"])
    assert held["state"] == "RUNNING"
    assert (lifted.status, world.call("GET", "/kills").body["kills"]) == (200, [])
    assert world.call("GET", f"/goals/{goal}").body["state"] == "SUCCEEDED"
    assert world.call("GET", f"/tasks/{goal}.a").body["attempt"] == 1
    assert world.call("POST", "/kills/lift", scope).status == 404


def test_a_stopped_tenant_submits_nothing(world: World) -> None:
    """403 with the reason, by API and by event; others are not touched, and what it has may be asked for again."""
    known = world.call("POST", "/goals", {"plan": {"tasks": [{"id": "a", "capability": "work.echo"}]}},
                       headers={"idempotency-key": "k"}, tenant=GUEST)  # fmt: skip
    world.call("POST", "/kills", {"kind": "tenant", "name": GUEST, "reason": "unpaid"})
    world.fleet.clock.advance(timedelta(seconds=2))
    body = {"plan": {"tasks": [{"id": "a", "capability": "work.echo"}]}}

    refused = world.call("POST", "/goals", body, tenant=GUEST)
    forked = world.call("POST", f"/goals/{known.body['id']}/fork", {}, tenant=GUEST)
    again = world.call("POST", "/goals", body, headers={"idempotency-key": "k"}, tenant=GUEST)
    world.fleet.platform.intake(json.dumps({"id": "e", "detail": {**body, "tenant": GUEST}}))

    assert (refused.status, refused.body["error"]) == (403, "forbidden")
    assert refused.body["message"].endswith(": unpaid")
    assert "tenant guest has been stopped since" in refused.body["message"]
    assert (forked.status, again.status, world.call("POST", "/goals", body).status) == (403, 200, 202)
    assert [message["tenant"] for topic, message in world.fleet.bus.published if topic == "GoalRejected"] == [GUEST]


def test_a_tenant_sees_the_kills_that_concern_it(world: World) -> None:
    """Not those of other tenants; an operator sees all."""
    for scope in ({"kind": "tenant", "name": "other"}, {"kind": "tenant", "name": GUEST}, {"kind": "pool", "name": "web"}):
        world.call("POST", "/kills", {**scope, "reason": "r"})

    theirs = world.call("GET", "/kills", tenant=GUEST).body["kills"]

    assert {(one["kind"], one["name"]) for one in theirs} == {("tenant", GUEST), ("pool", "web")}
    assert len(world.call("GET", "/kills").body["kills"]) == 3


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ({"kind": "pool", "name": "wrok", "reason": "r"}, 404),
        ({"kind": "pool", "reason": "r"}, 422),
        ({"kind": "all", "name": "x", "reason": "r"}, 422),
        ({"kind": "all"}, 422),
        ({"kind": "tenant", "name": "no tenant", "reason": "r"}, 422),
    ],
)
def test_a_kill_says_what_and_why(world: World, order: Any, status: int) -> None:
    """A pool that there is, a name where one is needed, a reason."""
    assert world.call("POST", "/kills", order).status == status


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/pools/work", {"concurrency": 3}),
        ("POST", "/pools/work/drain", None),
        ("POST", "/pools/work/undrain", None),
        ("POST", "/heal", None),
        ("POST", "/kills", {"kind": "all", "reason": "r"}),
        ("POST", "/kills/lift", {"kind": "all"}),
    ],
)
def test_what_all_share_is_changed_by_operators_alone(world: World, method: str, path: str, body: Any) -> None:
    """403 with a stable word and who may."""
    answer = world.call(method, path, body, tenant=GUEST)

    assert (answer.status, answer.body["error"]) == (403, "forbidden")
    assert "$operators" in answer.body["message"]


def test_a_tenant_moves_its_own_dead_letters_and_an_operator_all(world: World) -> None:
    """Letters of others, and those that nobody can read, are an operator's."""
    goal = world.call("POST", "/goals", {"plan": {"tasks": [{"id": "a", "capability": "work.echo"}]}}, tenant=GUEST).body["id"]
    [body] = world.fleet.queues.bodies("fleet-work-normal")
    world.fleet.queues.purge()
    for text in (body, "?"):
        world.fleet.queues.put("fleet-work-dead", text)

    mine = world.call("GET", "/dead-letters", tenant=GUEST).body["letters"]
    everything = world.call("GET", "/dead-letters").body["letters"]
    strange = next(one["key"] for one in everything if one["goal"] is None)
    refused = world.call("POST", "/dead-letters/work/bury", {"key": strange, "reason": "r"}, tenant=GUEST)
    sent = world.call("POST", "/dead-letters/work/redrive", {}, tenant=GUEST).body["letters"]

    assert ([one["goal"] for one in mine], len(everything), refused.status) == ([goal], 2, 404)
    assert [one["goal"] for one in sent] == [goal]
    assert world.call("POST", "/dead-letters/work/bury", {"key": strange, "reason": "r"}).status == 200

"""Goals in words, from the door to the end: planned, run as a sub-plan, undone when they fail."""

import json
from typing import Any

import pytest

from agentfleet.agent import Agent, PermanentError, TaskContext
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.goal import GoalState
from agentfleet.domain.model import ModelRequest, Reply, StopReason, ToolCall, Usage
from agentfleet.domain.task import parse_request
from agentfleet.domain.tool_policy import ToolPolicy
from agentfleet.services.planner import Planner
from functions.plan import handler as plan
from tests.fakes.fleet import InProcessFleet
from tests.fakes.planning import catalog, playbooks
from tests.unit.model.conftest import Environment
from tests.unit.pools.test_think import Model

WORDS = "Fetch https://example.com/ and say what the page is about"
web, text, trips = Agent("web"), Agent("text"), Agent("trips")
seats: list[str] = []


@web.capability("web.fetch", idempotent=True, timeout=20)
async def fetch(input: dict[str, Any]) -> dict[str, Any]:
    """A page."""
    return {"url": input["url"], "status": 200, "text": "a page", "links": []}


@text.capability("text.sum", idempotent=True)
async def summarize(input: dict[str, Any]) -> dict[str, Any]:
    """All of it."""
    return {"summary": ", ".join(input["texts"])}


@text.capability("text.any", idempotent=True)
async def whatever(input: dict[str, Any]) -> None:
    """Fails."""
    raise PermanentError("sold out")


@trips.capability("flights.book", undone_by="flights.cancel")
async def book(input: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """A seat."""
    seats.append(input["city"])
    return {"seat": "12A", "price": 90}


@trips.capability("flights.cancel", idempotent=True)
async def cancel(input: dict[str, Any]) -> None:
    """Gives it back."""
    assert input["seat"] == "12A"
    seats.remove(input["city"])


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> InProcessFleet:
    """With a planner that may plan everything; without a model."""
    monkeypatch.setattr(plan, "planner", lambda: Planner(catalog(), playbooks(), ToolPolicy("plan", ("*",))))
    seats.clear()
    return InProcessFleet(web, text, trips, plan.agent, playbooks=playbooks(), catalog=catalog())


def test_words_run_the_playbook_that_they_mean(fleet: InProcessFleet) -> None:
    """Its output is the goal's; the goal keeps its words, and all that is told of it has them."""
    goal = fleet.submit({"goal": f"  {WORDS} ", "labels": {"team": "blue"}})
    fleet.settle()
    ended = fleet.goal(goal.id)

    assert ended.state is GoalState.SUCCEEDED, ended.failure
    assert ended.output == {"about": "a page"}
    assert (ended.name, ended.words) == (WORDS, WORDS)
    told = dict(fleet.bus.published)
    assert told["GoalAccepted"]["words"] == told["GoalSucceeded"]["words"] == WORDS


def test_words_that_nothing_fits_fail_with_what_is_near(fleet: InProcessFleet) -> None:
    """Before anything ran."""
    goal = fleet.submit({"goal": "Answer a question about the weather: will it rain?"})
    fleet.settle()

    failure = fleet.goal(goal.id).failure
    assert failure
    assert failure.message.startswith("playbook asked fits, but the goal does not say its city")


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (
            {"goal": "x", "playbook": "digest"},
            "request",
            "give one of plan (with tasks), playbook (a name) or goal (what is wanted",
        ),
        ({"goal": "x", "plan": {"tasks": [{"id": "a", "capability": "b.c"}]}}, "request", "not plan and goal"),
        ({}, "request", "none was given"),
        ({"goal": "x", "parameters": {"a": 1}}, "request", "parameters go with playbook; a goal takes none"),
        ({"goal": "  "}, "goal", "at least 1 character"),
        ({"goal": "x" * 4001}, "goal", "at most 4000 characters"),
        ({"goal": 5}, "goal", "valid string"),
        ({"goal": "x", "budget": {"depth": 0}}, "budget.depth", "allow at least 1"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(fleet: InProcessFleet, body: dict[str, Any], field: str, says: str) -> None:
    """By field."""
    with pytest.raises(InvalidRequest) as error:
        fleet.submit(body)

    [problem] = error.value.problems
    assert problem.field == field
    assert says in problem.message


def test_a_fleet_without_a_planner_says_so() -> None:
    """When the goal is submitted."""
    with pytest.raises(InvalidRequest, match=r"goal: needs a planner, and no pool offers plan.make"):
        InProcessFleet(web).submit({"goal": "x"})


def test_a_long_goal_has_a_short_name(fleet: InProcessFleet) -> None:
    """One line of it; a name that is given stands."""
    words = "Fetch\n\nhttps://example.com/ " + "and say it again " * 20

    assert fleet.submit({"goal": words}).name == "Fetch https://example.com/ " + "and say it again " * 3 + "a…"
    assert fleet.submit({"goal": words, "name": "mine"}).name == "mine"


def test_words_come_as_events_too(fleet: InProcessFleet) -> None:
    """`goal` in the detail of GoalSubmitted."""
    event = {"id": "e1", "detail": {"tenant": "acme", "goal": WORDS}}

    goal = fleet.platform.intake(json.dumps(event))
    fleet.settle()

    assert goal
    assert fleet.goal(goal.id).output == {"about": "a page"}
    assert parse_request({"goal": " x "}).goal == "x"


def modelled(fleet: InProcessFleet, *tasks: dict[str, Any]) -> None:
    """The fleet's pools ask a model that plans these tasks."""

    class Planning(Model):
        def converse(self, model: str, request: ModelRequest, timeout: float) -> Reply:
            call = ToolCall(id="t", name="make_plan", input={"plan": {"tasks": list(tasks)}})
            return Reply(parts=(call,), stop=StopReason.TOOLS, usage=Usage(input=100, output=10))

    fleet.models = Environment().models(Planning(lambda _: ""))


def test_a_plan_that_fails_half_way_is_undone(fleet: InProcessFleet) -> None:
    """The compensation that the planner filled in gives the seat back."""
    modelled(
        fleet,
        {"id": "t1", "capability": "flights.book", "input": {"city": "Oslo"}},
        {"id": "t2", "capability": "text.any", "input": {"price": "{{t1.price}}"}},
    )
    goal = fleet.submit({"goal": "Book a flight to Oslo, then do whatever"})
    while not seats:
        for queue in fleet.queues.busy():
            fleet.invoke(queue)
    fleet.settle()

    ended = fleet.goal(goal.id)
    assert ended.state is GoalState.FAILED
    assert ended.failure
    assert ended.failure.message == "sold out"
    assert seats == []


def test_a_goal_that_may_spend_nothing_runs_nothing(fleet: InProcessFleet) -> None:
    """The estimate of its playbook is over the budget: it fails before the first task."""
    goal = fleet.submit({"goal": WORDS, "budget": {"dollars": 0.001}})
    fleet.settle()

    ended = fleet.goal(goal.id)
    assert ended.state is GoalState.FAILED
    assert ended.failure
    assert ended.failure.error == "PlanTooDear"
    assert len(fleet.goals.goals) == 1


def test_a_fork_keeps_the_words(fleet: InProcessFleet) -> None:
    """It is the same goal once more."""
    goal = fleet.submit({"goal": WORDS})
    fleet.settle()

    assert fleet.platform.control.fork(goal.id, "acme", ["*"], {}).words == WORDS

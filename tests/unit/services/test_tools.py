"""The fleet as tools: what is offered, and what comes of calls, right and wrong ones."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agentfleet.services.learn import Draft
from agentfleet.services.tools import Call, ToolAnswer, ToolBox
from tests.unit.api.world import World

OWN = {"submit_goal", "get_goal", "get_result", "list_goals", "cancel_goal", "search_knowledge"}


@pytest.fixture
def world() -> World:
    """A fleet in one process."""
    return World()


def toolbox(world: World, *allowed: str, pause: Callable[[float], None] | None = None) -> ToolBox:
    """All tools over the world; waiting lets its agents work."""
    api = world.api

    def work(_: float) -> None:
        world.step()

    find, clock = world.knowledge.finder.find, world.fleet.clock
    return ToolBox(world.catalog, api.accept, api.inspect, api.control, find, clock, pause or work, allowed or ("*",))


def call(
    world: World, tools: ToolBox, name: str, *, tenant: str = "acme", key: str | None = None, **arguments: Any
) -> ToolAnswer:
    """Call a tool that has a minute."""
    return tools.call(name, Call(tenant, arguments, world.fleet.clock() + timedelta(minutes=1), key))


def test_every_capability_is_a_tool(world: World) -> None:
    """Under a name that model APIs accept, with its description and its input as an object."""
    tools = {tool.name: tool for tool in toolbox(world).tools}

    assert tools.keys() == OWN | {"work__echo", "work__pay", "work__broken", "work__delegate", "web__fetch"}
    assert tools["work__echo"].description == "The capability work.echo"
    assert all(tool.input["type"] == "object" for tool in tools.values())


def test_only_allowed_capabilities_are_offered(world: World) -> None:
    """The others can't be called either."""
    tools = toolbox(world, "web.*")

    assert {tool.name for tool in tools.tools} == OWN | {"web__fetch"}
    answer = call(world, tools, "work__echo", value=1)
    assert answer.is_error
    assert "there is no tool 'work__echo'" in answer.text


def test_a_capability_is_called_and_waited_for(world: World) -> None:
    """Its output is the answer."""
    assert call(world, toolbox(world), "work__echo", value={"n": 1}) == ToolAnswer({"n": 1})


def test_a_failure_is_an_answer_that_says_why(world: World) -> None:
    """A model can read it and try something else."""
    answer = call(world, toolbox(world), "work__broken")

    assert answer == ToolAnswer("work.broken did not succeed: PermanentError: broken on purpose", is_error=True)


def test_what_takes_too_long_is_named_by_its_goal(world: World) -> None:
    """It goes on; get_result tells later."""

    def idle(seconds: float) -> None:
        world.fleet.clock.advance(seconds)

    tools = toolbox(world, pause=idle)
    waiting = call(world, tools, "work__echo", value=7)
    goal_id = waiting.value["goal_id"]

    assert (waiting.value["state"], waiting.is_error) == ("RUNNING", False)
    assert "has a result once it has ended" in call(world, tools, "get_result", goal_id=goal_id).text
    world.fleet.settle()
    assert call(world, tools, "get_result", goal_id=goal_id).value["output"] == 7


def test_the_same_key_is_the_same_goal(world: World) -> None:
    """A call that is repeated because its answer was lost does nothing twice."""
    tools = toolbox(world)
    call(world, tools, "work__echo", key="k", value=1)

    again, other = call(world, tools, "work__echo", key="k", value=1), call(world, tools, "work__echo", key="k", value=2)

    assert (again.value, len(world.fleet.goals.goals)) == (1, 1)
    assert other.is_error
    assert "was used for another request" in other.text
    assert len(call(world, tools, "list_goals").value["goals"]) == 1


def test_a_goal_is_submitted_watched_and_cancelled(world: World) -> None:
    """The tools for goals show what the API shows."""
    tools = toolbox(world)
    plan = {"tasks": [{"id": "a", "capability": "work.echo", "input": {"value": 3}}]}

    goal_id = call(world, tools, "submit_goal", plan=plan).value["id"]

    assert call(world, tools, "get_goal", goal_id=goal_id).value["state"] == "RUNNING"
    assert call(world, tools, "cancel_goal", goal_id=goal_id).value["state"] == "CANCELLED"


def test_a_goal_that_is_submitted_again_with_its_key_is_the_same(world: World) -> None:
    """A host repeats a call whose answer it did not get; another tenant's key is another one."""
    tools = toolbox(world)
    plan = {"tasks": [{"id": "a", "capability": "work.echo", "input": {"value": 3}}]}

    first, again = (call(world, tools, "submit_goal", plan=plan, idempotency_key="k").value["id"] for _ in range(2))
    other = call(world, tools, "submit_goal", plan=plan, idempotency_key="l").value["id"]
    foreign = call(world, tools, "submit_goal", tenant="other", plan=plan, idempotency_key="k").value["id"]

    assert first == again
    assert len({first, other, foreign}) == 3


def test_knowledge_is_searched(world: World) -> None:
    """Documents of the tenant that calls."""
    world.knowledge.librarian.add("acme", "docs", [Draft("Queues", "", "text/plain", b"A queue keeps messages.")])
    tools = toolbox(world)

    assert call(world, tools, "search_knowledge", query="queue").value["findings"][0]["place"]["title"] == "Queues"
    assert call(world, tools, "search_knowledge", tenant="other", query="queue").value["findings"] == []


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("submit_goal", {"plan": {"tasks": []}}, "plan.tasks: "),
        ("submit_goal", {"goal": "Fetch a page"}, "goal: needs a planner"),
        ("submit_goal", {"goal": "Fetch a page", "playbook": "greet"}, "give one of plan"),
        ("submit_goal", {"plan": {"tasks": [{"id": "a", "capability": "no.such"}]}}, "no.such"),
        ("submit_goal", {"goal": "x", "idempotency_key": ""}, "idempotency_key: must be a text of 1 to 255 characters, not ''"),
        ("get_goal", {}, "goal_id: must be a text, not None"),
        ("get_goal", {"goal_id": "g-other"}, "there is no goal"),
        ("search_knowledge", {"query": "x", "limit": 0}, "limit: must be a number from 1 to 50, not 0"),
        ("no_such_tool", {}, "there is no tool 'no_such_tool'; there are submit_goal, get_goal"),
    ],
)
def test_what_the_caller_did_wrong_is_said(world: World, name: str, arguments: dict[str, Any], says: str) -> None:
    """As an answer: the caller is a model that can mend it."""
    answer = call(world, toolbox(world), name, **arguments)

    assert answer.is_error
    assert says in answer.text


def test_a_goal_of_another_tenant_is_not_there(world: World) -> None:
    """As everywhere."""
    tools = toolbox(world)
    plan = {"tasks": [{"id": "a", "capability": "work.echo"}]}
    goal_id = call(world, tools, "submit_goal", plan=plan).value["id"]

    assert call(world, tools, "get_goal", tenant="other", goal_id=goal_id).is_error

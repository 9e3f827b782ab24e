"""Goals in words on the command line: what is drawn, what is submitted."""

import asyncio
import json
from typing import Any

import pytest

from agentfleet.agent import Agent, SubPlan
from agentfleet.domain.estimate import estimate_plan
from agentfleet.domain.plan_draft import checked, read_draft
from agentfleet.domain.plan_policy import PlanPolicy
from agentfleet.domain.tool_policy import ToolPolicy
from agentfleet.services.planner import Planned
from agentfleet.services.planning_views import Draft
from client.cli import planning
from client.cli.answers import answers_in, show_answer
from client.coordinator import AgentCoordinator
from tests.fakes.planning import catalog, playbooks
from tests.unit.api.world import World
from tests.unit.client import test_cli
from tests.unit.client.test_cli import Fleet
from tests.unit.client.test_coordinator import Make

fleet = test_cli.fleet

planner = Agent("plan")
FETCH = {"capability": "web.fetch", "input": {"url": "https://example.com/"}}
TASKS = [
    {"capability": "flights.book", "input": {"city": "Oslo"}},
    FETCH,
    {"capability": "text.sum", "input": {"texts": ["{{t2.text}}", "{{t1.seat}}"]}},
]


def planned(why: str = "no model was asked: there is none here", playbook: str | None = None) -> Planned:
    """Three tasks, the last after both others."""
    policy = PlanPolicy(ToolPolicy("plan", ("*",)))
    drafted = read_draft({"plan": {"tasks": TASKS}}, sorted(policy.plannable(catalog())), playbooks(), 8)
    plan = checked(drafted.plan, catalog(), policy)
    return Planned(type(drafted)(plan, playbook), estimate_plan(plan, catalog()), ("book waits for nobody",), why)


@planner.capability("plan.make", idempotent=True)
async def make(input: dict[str, Any]) -> Any:
    """Plans one task, or shows a draft."""
    if input["goal"] == "fail":
        raise ValueError("no such thing")
    if input.get("dry_run"):
        budget = {"dollars": 0.1, "tokens": 96_240, "seconds": 600.0}
        return Draft.of(input["goal"], planned(playbook="digest"), budget=budget).model_dump(mode="json")
    return SubPlan(tasks=[{"id": "a", "capability": "work.echo", "input": {"value": input["goal"]}}], output={"$from": "a"})


@pytest.fixture
def more_agents() -> tuple[Agent, ...]:
    """A planner."""
    return (planner,)


def test_a_rehearsal_draws_the_plan(fleet: Fleet, world: World) -> None:
    """The graph with what each waits for, times, dollars, warnings, and how it was planned; nothing of it runs."""
    shown = fleet("plan", "Fly", "to Oslo", "--dry-run", "--budget", "dollars=1").stdout

    assert "its models may use up $0.1000, 96,240 tokens, 10 min" in shown
    assert "Fly to Oslo" in shown
    assert "book  flights.book  ≤ 1 min 00 s  undone by flights.cancel  city='Oslo'" in shown
    assert "fetch  web.fetch  ≤ 20.0 s  url='https://example.com/'" in shown
    assert "sum  text.sum  ≤ 1 min 00 s  after book too  $0.0100" in shown
    assert "at most 2 min 00 s along book → sum" in shown
    assert "for models" in shown
    assert "! book waits for nobody" in shown
    assert "By rules: the playbook digest. no model was asked: there is none here." in shown
    [goal] = world.fleet.goals.goals.values()
    assert (goal.name, goal.words) == ("plan: Fly to Oslo", "")


def test_a_rehearsal_in_json_is_the_draft(fleet: Fleet) -> None:
    """For programs: all of it."""
    draft = json.loads(fleet("plan", "Fly to Oslo", "-n", "--json").stdout)

    assert (draft["how"], draft["goal"], draft["estimate"]["seconds"]) == ("rules", "Fly to Oslo", 120.0)
    assert [task["id"] for task in draft["plan"]["tasks"]] == ["book", "fetch", "sum"]


def test_words_are_submitted_and_watched(fleet: Fleet, world: World) -> None:
    """As `fleet submit --goal … --watch`; by both doors the goal keeps its words."""
    lines = fleet("plan", "Say", "it", "--label", "team=blue", "--key", "k").stdout
    again = json.loads(fleet("submit", "--goal", "Say it", "--label", "team=blue", "--key", "k", "--watch", "--json").stdout)

    assert "SUCCEEDED" in lines
    assert (again["output"], again["goal"]["words"], again["goal"]["labels"]) == ("Say it", "Say it", {"team": "blue"})
    assert "give one of a file" in fleet("submit", "--goal", "x", "--playbook", "y", code=2).output


def test_answers_are_shown_wherever_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """With what they rest on, by whom they were made, and what that took."""
    cited = {
        "number": 1,
        "source": "topics/for",
        "title": "for",
        "first_line": 3,
        "last_line": 4,
        "text": "Don't.",
        "domain": "d",
    }
    asked = {"model": "local/coder", "input_tokens": 900, "output_tokens": 20, "seconds": 1.5, "dollars": 0.0}
    output = {
        "learned": [{"chunks": 3}],
        "answers": [{"question": "May I?", "answer": "No [1].", "citations": [cited], **asked}],
    }

    for found in answers_in(output):
        show_answer(found)

    shown = capsys.readouterr().out
    assert "May I?" in shown
    assert "No [1]." in shown
    assert "  [1] topics/for, lines 3–4: Don't." in shown
    assert "By local/coder: 900 + 20 tokens, 1.5 s, $0.0000." in shown
    assert list(answers_in({"rows": [1, None], "answer": None})) == []


def test_whose_words_an_answer_has_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A model that was asked and not used is not named as the author; a long source ends with a whole word."""
    asked = {"model": "local/coder", "input_tokens": 900, "output_tokens": 20, "seconds": 1.5, "dollars": 0.0}
    source = {"number": 1, "title": "try", "text": "word " * 100}

    show_answer(
        {"answer": "No.", "method": "extractive", "why": "it cited nothing of 5 passages", "citations": [source], **asked}
    )

    shown = capsys.readouterr().out
    assert (
        "In the texts' own words, because it cited nothing of 5 passages. Asked was local/coder: 900 + 20 tokens, 1.5 s"
        in shown
    )
    assert "By local" not in shown
    assert shown.splitlines()[3].endswith("word word …")


def test_what_can_not_be_planned_is_exit_code_1(fleet: Fleet) -> None:
    """With the reason."""
    assert "no such thing" in fleet("plan", "fail", "--dry-run", code=1).output
    assert json.loads(fleet("plan", "fail", "-n", "--json", code=1).stdout)["goal"]["state"] == "FAILED"
    fleet("plan", code=2)


def test_a_large_plan_is_cut() -> None:
    """Sixty tasks are drawn; a plan by a model says what it took."""
    draft = Draft.of("Many", planned())
    one = draft.estimate.tasks[1]
    tasks = tuple(one.model_copy(update={"id": f"page.{number}"}) for number in range(100))
    plan = {"tasks": [{"id": task.id} for task in tasks]}
    many = draft.model_copy(update={"estimate": draft.estimate.model_copy(update={"tasks": tasks}), "plan": plan})
    by_model = many.model_copy(
        update={"how": "model", "model": "local/coder", "rounds": 2, "input_tokens": 900, "seconds": 12.0}
    )

    tree: Any = planning._graph(many)
    assert (len(tree.children), str(tree.children[-1].label)) == (61, "… and 40 more tasks (--json has all)")
    assert planning._provenance(by_model) == "By local/coder: a plan of its own, in 2 rounds, 900 + 0 tokens, 12.0 s, $0."


def test_the_sdk_takes_words(make_async: Make, world: World) -> None:
    """`submit(goal=…)`, or a text of several words; a file's name with a space in it stays a file."""

    async def run() -> list[Any]:
        async with AgentCoordinator(client=make_async()) as coordinator:
            first = await coordinator.submit(goal="Say this", budget={"depth": 2})
            assert first.words == "Say this"
            await coordinator.distribute_goal("Say that, not data.json")
            return [result.output for result in await coordinator.collect_results()]

    assert asyncio.run(run()) == ["Say this", "Say that, not data.json"]

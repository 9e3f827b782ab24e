"""What a model is shown: what matters for the goal, in few words."""

from pathlib import Path

import pytest

from agentfleet.domain.catalog import CapabilitySpec
from agentfleet.domain.plan_draft import as_text, draft_schema
from agentfleet.domain.plan_policy import PlanPolicy
from agentfleet.domain.plan_prompt import SHOWN, SYSTEM, capability_line, near_playbooks, pair_example, prompt, relevant
from agentfleet.domain.tool_policy import ToolPolicy
from cdk.catalog import read_fleet
from cdk.playbooks import read_playbooks
from tests.fakes.planning import catalog, playbooks

ROOT = Path(__file__).parents[3]
FLEET, PLAYBOOKS = read_fleet(ROOT).catalog, read_playbooks(ROOT)
OFFERED = PlanPolicy(ToolPolicy("plan", ("*",))).plannable(FLEET)


@pytest.mark.parametrize(
    ("goal", "needed"),
    [
        ("Fetch https://example.com/ and summarize it in one sentence", {"http.fetch", "think.summarize"}),
        ("Tell me about https://example.com/", {"http.fetch"}),
        ("Load a CSV table, profile its columns and find anomalies", {"data.load", "data.profile", "data.anomalies"}),
        ("Search the knowledge base and write a report", {"knowledge.search", "report.render"}),
        ("Measure a package of the standard library and draw a bar chart", {"code.package", "report.chart"}),
    ],
)
def test_what_a_goal_needs_is_among_what_is_shown(goal: str, needed: set[str]) -> None:
    """Of the fleet's own capabilities, a few."""
    shown = relevant(goal, OFFERED)

    assert len(shown) == SHOWN < len(OFFERED)
    assert needed <= set(shown)


def test_a_small_fleet_is_shown_whole() -> None:
    """In its order; and of playbooks those that share a word."""
    known = {name: one for name, one in OFFERED.items() if one.pool == "think"}

    assert relevant("anything", known) == list(known)
    assert near_playbooks("say what pages are about", playbooks()) == ["digest", "asked"]


def test_a_capability_is_one_line() -> None:
    """What it gives, what it does, and the shape of fields that the schema leaves open."""
    line = capability_line(FLEET.capabilities["report.render"][0])

    assert line.startswith("report.render(sections: [{heading, text, facts, rows, chart}]) gives html_uri, markdown_uri")
    assert len(line) < 250
    bare = CapabilitySpec(name="a.b", pool="a", description="Does it")
    assert capability_line(bare) == "a.b: Does it"


def test_an_example_is_made_of_what_there_is() -> None:
    """Two tasks of which the second uses the first; none where nothing fits together."""
    specs = {name: one[0] for name, one in catalog().capabilities.items()}
    found = pair_example([specs["flights.book"], specs["flights.cancel"]])

    assert found
    assert found[1]["plan"]["tasks"][1] == {
        "id": "t2",
        "capability": "flights.cancel",
        "input": {"seat": "{{t1.seat}}", "city": "<city>"},
    }
    assert pair_example([specs["text.any"], specs["web.fetch"]]) is None


def test_a_small_model_need_not_read_much() -> None:
    """All of it together, for the fleet's own capabilities and playbooks: some 1,500 tokens."""
    goal = "Fetch https://example.com/ and https://example.org/ and report what they are about"
    shown = [OFFERED[name] for name in relevant(goal, OFFERED)]
    near = [PLAYBOOKS[name] for name in near_playbooks(goal, PLAYBOOKS)]
    example = pair_example(shown)
    assert example

    text = SYSTEM + prompt(goal, shown, near, [example]) + as_text(draft_schema(shown, near, 8))

    assert len(text) < 6_000

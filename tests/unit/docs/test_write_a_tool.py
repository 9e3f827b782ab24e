"""The guide's tool, taken out of the guide, is offered to an agent with its schema, and works."""

import re
import types
from pathlib import Path

from agentfleet.domain.catalog import CapabilitySpec
from agentfleet.domain.goal import GoalState
from cdk.capabilities import read_capabilities
from tests.fakes.models import call, say, told
from tests.unit.agents.fleet import AgentFleet

GUIDE = Path(__file__).parents[3] / "docs" / "write-a-tool.md"


def block(language: str) -> str:
    """The guide's first code block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def declared(tmp_path: Path) -> dict[str, CapabilitySpec]:
    """What synth reads from the guide's file."""
    file = tmp_path / "handler.py"
    file.write_text(block("python"), encoding="utf-8")
    return {one.name: one for one in read_capabilities(file, shown_as="handler.py", pool="stock", pool_timeout=60)}


def test_the_guides_tool_is_what_the_guide_says(tmp_path: Path) -> None:
    """Its schema and description come from the code, and the one with effects waits for a person."""
    specs = declared(tmp_path)

    assert specs["stock.order"].approval == "required"
    assert specs["stock.order"].description.startswith("Order pieces of an article.")
    assert specs["stock.level"].input["properties"]["article"]["description"] == "Its number, such as AB-1234."


def test_an_agent_calls_the_guides_tools() -> None:
    """A wrong argument is told in words; an order waits."""
    module = types.ModuleType("guide_handler")
    exec(compile(block("python"), "handler.py", "exec"), module.__dict__)
    turns = [
        call(("stock__level", {"article": "AB-1234", "pieces": 3})),
        call(("stock__level", {"article": "nonsense", "pieces": 3})),
        call(("stock__order", {"article": "AB-1234", "pieces": 3})),
        say("Ordered."),
    ]
    fleet = AgentFleet(turns, module.agent, allowed=("stock.*",))
    fleet.patient = True

    goal = fleet.ask()
    assert [one.capability for one in fleet.approvals.waiting("acme", 10, None).items] == ["stock.order"]
    fleet.decide(fleet.approvals.waiting("acme", 10, None).items[0].ref)
    goal = fleet.rest(goal.id)

    assert goal.state is GoalState.SUCCEEDED
    assert [one["ok"] for one in goal.output["tool_calls"]] == [True, False, True]
    assert '"left": 37' in told(fleet.model.requests[1])
    assert "article" in told(fleet.model.requests[2])

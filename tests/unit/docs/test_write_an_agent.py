"""The guide's own agent, taken out of the guide, works."""

import re
import types
from pathlib import Path

import pytest

from cdk.catalog import read_fleet
from tests.fakes.fleet import InProcessFleet

GUIDE = Path(__file__).parents[3] / "docs" / "write-an-agent.md"


def block(language: str) -> str:
    """The guide's first code block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_guides_agent_is_under_twenty_lines_of_code() -> None:
    """What the guide promises."""
    assert len([line for line in block("python").splitlines() if line.strip()]) < 20


def test_the_guides_agent_is_found_declared_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its block and its code make a catalog entry, and a goal that uses it ends with the right output."""
    folder = tmp_path / "functions" / "text"
    folder.mkdir(parents=True)
    (folder / "handler.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "fleet.toml").write_text('[fleet]\nname = "fleet"\n' + block("toml"), encoding="utf-8")
    catalog = read_fleet(tmp_path).catalog
    module = types.ModuleType("guide_handler")
    exec(compile(block("python"), "handler.py", "exec"), module.__dict__)

    fleet = InProcessFleet(module.agent)
    goal = fleet.submit(
        {"plan": {"tasks": [{"id": "count", "capability": "text.words", "input": {"text": "a b a", "most": 1}}]}}
    )
    fleet.settle()

    assert [spec.description for spec in catalog.capabilities["text.words"]] == ["Count the most frequent words of a text."]
    assert fleet.goal(goal.id).output == {"a": 2}

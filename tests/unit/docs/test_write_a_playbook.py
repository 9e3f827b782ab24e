"""The guide's own playbook and its test, taken out of the guide, work."""

import re
import types
from pathlib import Path

import pytest

from agentfleet.domain.playbook import read_playbook

GUIDE = Path(__file__).parents[3] / "docs" / "write-a-playbook.md"


def block(language: str) -> str:
    """The guide's first code block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_guides_playbook_passes_the_guides_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from a project's folder, as the guide has it."""
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "gists.toml").write_text(block("toml"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("guide_test")
    exec(compile(block("python"), "test_gists.py", "exec"), module.__dict__)

    module.test_gists()


def test_every_piece_of_toml_in_the_guide_is_a_playbook_or_part_of_one() -> None:
    """Nothing that one could not copy."""
    import tomllib

    pieces = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    whole = tomllib.loads(pieces[0])

    assert read_playbook(whole, "gists.toml").name == "gists"
    assert [task["id"] for task in tomllib.loads(pieces[1])["plan"]["tasks"]] == ["source", "fetch"]

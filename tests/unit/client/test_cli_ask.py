"""`fleet ask`: what is sent, and how an answer is shown."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from client.cli import ask
from client.cli.app import app

BY_MODEL = {
    "answer": "In 1070 [1].",
    "sources": [{"title": "a.md", "quote": "It was founded in 1070.", "source": 1}],
    "model": "local/tiny",
    "dollars": 0.0,
}
BY_QUOTING = {**BY_MODEL, "model": None}
NOTHING: dict[str, Any] = {"answer": "", "sources": [], "model": None, "dollars": 0.0}


class Client:
    """An API whose goals have ended before one looks."""

    def __init__(self, output: Any, state: str = "SUCCEEDED") -> None:
        self.output, self.state = output, state
        self.sent: list[dict[str, Any]] = []

    def submit(self, body: dict[str, Any]) -> Any:
        """Remember what was asked."""
        self.sent.append(body)
        return SimpleNamespace(id="g1")

    def result(self, goal: str) -> Any:
        """What came out."""
        return SimpleNamespace(output=self.output)


def run(monkeypatch: pytest.MonkeyPatch, client: Client, *arguments: str) -> Any:
    """Run the command against a client."""

    @contextmanager
    def connected(ctx: Any) -> Iterator[Client]:
        yield client

    monkeypatch.setattr(ask, "connect", connected)
    monkeypatch.setattr("client.cli.live.watch_goal", lambda *_: SimpleNamespace(state=client.state))
    return CliRunner().invoke(app, ["ask", *arguments])


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (BY_MODEL, ["In 1070 [1].", "[1] a.md: It was founded in 1070.", "By local/tiny: $0.0000."]),
        (BY_QUOTING, ["no model was asked"]),
        (NOTHING, ["There is no answer."]),
    ],
)
def test_an_answer_with_its_sources_and_who_gave_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: Any, says: list[str]
) -> None:
    """Files are sent with their names; the answer says what it rests on and who gave it."""
    (tmp_path / "a.md").write_text("It was founded in 1070.")
    client = Client(output)

    result = run(monkeypatch, client, "When?", str(tmp_path / "a.md"))

    assert result.exit_code == 0
    assert all(words in result.output for words in says)
    [sent] = client.sent
    texts = [{"title": "a.md", "text": "It was founded in 1070."}]
    assert sent == {"playbook": "ask-text", "parameters": {"question": "When?", "texts": texts}}


def test_what_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the exit code of a goal that failed."""
    (tmp_path / "a.md").write_text("x")

    result = run(monkeypatch, Client(None, "FAILED"), "When?", str(tmp_path / "a.md"))

    assert result.exit_code == 1
    assert "fleet tasks g1 --state FAILED" in result.output


def test_files_that_are_too_large_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is sent."""
    (tmp_path / "a.md").write_text("x" * 60_000)
    client = Client(None)

    result = run(monkeypatch, client, "When?", str(tmp_path / "a.md"))

    assert result.exit_code == 2
    assert "56,000" in result.output
    assert json.dumps(client.sent) == "[]"

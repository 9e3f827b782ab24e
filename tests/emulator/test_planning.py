"""Goals in words on the deployed stack, without a model: the playbook that they mean runs end to end, or is only shown."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.cli import show
from client.cli.app import app
from client.local import LocalCloud
from tests.emulator.conftest import Aws, until

WORDS = 'Measure the packages "json", "tomllib" and "logging" of the standard library and report on them'

Fleet = Callable[..., Any]


@pytest.fixture
def fleet(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Runs the command against the deployed fleet."""
    monkeypatch.setenv("FLEET_API_URL", cloud.api_url)
    monkeypatch.setenv("FLEET_API_KEY", cloud.api_key)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str, code: int = 0) -> Any:
        show.console.cache_clear()
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == code, f"{result.exit_code}: {result.output} {result.exception!r}"
        return result

    return run


def test_a_goal_in_words_runs_a_playbook(fleet: Fleet, client: FleetClient) -> None:
    """Planned by rules, run as a sub-plan; how it came about is kept as a file of the planning task."""
    found = json.loads(fleet("plan", WORDS, "--json").stdout)

    goal = found["goal"]
    assert (goal["state"], goal["words"]) == (GoalState.SUCCEEDED, WORDS), goal
    assert found["output"]["report"].endswith(".html")
    [kept] = [file for file in client.result(goal["id"]).files if file.name.endswith("plan.json")]
    draft = json.loads(client.download(kept))
    assert (draft["how"], draft["playbook"], draft["parameters"]) == (
        "rules",
        "stdlib-report",
        {"packages": ["json", "tomllib", "logging"]},
    )


def test_a_rehearsal_draws_and_runs_nothing(fleet: Fleet, client: FleetClient) -> None:
    """The graph, what it will take, how it was planned; one goal, of one task."""
    shown = fleet("plan", WORDS, "--dry-run").stdout

    assert "measure.0  code.package" in shown
    assert "By rules: the playbook stdlib-report." in shown
    assert re.search(r"(at most|about) \S.* along measure", shown)  # about: once such goals were measured
    newest = client.goals(limit=1).goals[0]
    assert (newest.name.startswith("plan: Measure"), newest.tasks, newest.words) == (True, 1, "")


def test_words_that_mean_nothing_here_fail_with_what_is_near(fleet: Fleet) -> None:
    """At once, and the exit code says it."""
    assert "no playbook fits" in fleet("plan", "Bake a cake", code=1).output


def test_words_come_over_the_bus(cloud: LocalCloud, client: FleetClient, aws: Aws) -> None:
    """As the `goal` of a GoalSubmitted."""
    detail = json.dumps({"goal": WORDS, "name": "by event"})
    entry = {"EventBusName": cloud.outputs["Bus"], "Source": "shop", "DetailType": "GoalSubmitted", "Detail": detail}
    aws("events").put_events(Entries=[entry])

    goal = until(lambda: next((one for one in client.goals(limit=20).goals if one.name == "by event"), None))
    assert client.wait(goal.id, timeout=120).goal.state is GoalState.SUCCEEDED

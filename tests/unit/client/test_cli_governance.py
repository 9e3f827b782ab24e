"""Commands that hold the fleet within bounds, and what watching says of tasks that wait for approval."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.adapters.stream import read_change
from agentfleet.domain.result import TaskState
from agentfleet.services.history import Recorder
from client.api import FleetClient
from client.cli.live import families, words
from tests.unit.api.test_audit import stream_record
from tests.unit.api.world import World
from tests.unit.client.test_cli import Fleet, fleet

__all__ = ["fleet"]


def submitted(fleet: Fleet, folder: Path, *options: str, **task: Any) -> str:
    """Submit one task. Gives the goal's id."""
    path = folder / "goal.json"
    path.write_text(json.dumps({"plan": {"tasks": [{"id": "a", "capability": "work.echo", **task}]}}))
    return str(json.loads(fleet("submit", str(path), "--json", *options).stdout)["id"])


def test_a_budget_is_given_shown_and_raised(fleet: Fleet, world: World, tmp_path: Path) -> None:
    """Limits at the submission; what stands in every account; more for a goal, never for a day."""
    goal = submitted(
        fleet, tmp_path, "--budget", "dollars=1.5", "--budget", "depth=2",
        capability="work.pay", input={"most": 0.5, "actual": 0.000000001},
    )  # fmt: skip
    world.fleet.settle()

    shown = fleet("budget", goal).stdout
    raised = json.loads(fleet("budget", goal, "--add", "dollars=1", "--json").stdout)

    assert f"goal {goal}" in shown
    assert "tenant acme on" in shown
    assert "0.000000001" in shown
    assert "1.499999999" in shown
    assert "2 levels deep" in shown
    assert raised["accounts"][0]["balances"][0]["limit"] == 2.5
    assert "tenant acme on" in fleet("budget").stdout
    fleet("budget", "--add", "dollars=1", code=2)
    fleet("budget", goal, "--add", "euros=1", code=2)
    fleet("budget", goal, "--add", "dollars=much", code=2)
    fleet("budget", goal, "--add", "tokens=1", code=2)
    fleet("budget", "nothing", code=3)


def test_tasks_are_approved_and_rejected(fleet: Fleet, world: World, tmp_path: Path) -> None:
    """Listed with their input; the first decision stands, the other is a conflict."""
    yes, no = (submitted(fleet, tmp_path, input={"value": value, "ask": True}) for value in ("yes", "no"))
    world.fleet.settle()

    listed = fleet("approvals").stdout
    tasks = fleet("tasks", yes, "--state", "waiting_for_approval").stdout
    approved = fleet("approve", f"{yes}.a", "--note", "fine").stdout
    rejected = fleet("reject", f"{no}.a", "--reason", "too dear").stdout
    world.fleet.settle()

    assert f"{yes}.a" in listed
    assert '"value": "yes"' in listed
    assert "WAITING_FOR_APPROVAL" in tasks
    assert approved == f"{yes}.a: approved by acme: fine\n"
    assert rejected == f"{no}.a: rejected by acme: too dear\n"
    assert json.loads(fleet("approvals", "--json").stdout)["approvals"] == []
    assert "nothing waits" in fleet("approvals").stdout
    fleet("watch", yes)
    fleet("watch", no, code=1)
    fleet("reject", f"{yes}.a", "--reason", "late", code=6)
    fleet("approve", "nothing.a", code=3)


def test_what_is_stopped_is_seen_and_lifted(fleet: Fleet, world: World, tmp_path: Path) -> None:
    """One scope at a time, with a reason; status shows it until it goes on."""
    assert "stopped: pool work" in fleet("kill", "--pool", "work", "--reason", "too dear").stdout

    status = fleet("status").stdout
    told = json.loads(fleet("status", "--json").stdout)["stopped"]
    lifted = fleet("unkill", "--pool", "work").stdout

    assert "stopped pool work" in status
    assert "by acme: too dear" in status
    assert [(one["kind"], one["name"]) for one in told] == [("pool", "work")]
    assert "goes on: pool work" in lifted
    assert "stopped" not in fleet("status").stdout
    assert "stopped: everything" in fleet("kill", "--all", "--reason", "r").stdout
    world.fleet.clock.advance(timedelta(seconds=2))
    assert "nothing can be submitted" in fleet("submit", "--playbook", "greet", "--param", "who=x", code=5).stderr
    fleet("unkill", "--pool", "work", code=3)
    fleet("kill", "--reason", "r", code=2)
    fleet("kill", "--all", "--tenant", "acme", "--reason", "r", code=2)


def test_who_stopped_and_lifted_what_is_listed(fleet: Fleet, world: World) -> None:
    """Words as they were written; exit code 1 once somebody tampered with them."""
    assert "nothing recorded in 2026-W47" in fleet("kills", "--week", "2026-W47").stdout
    killed = {"reason": {"S": "runs [b]wild[/b]"}, "who": {"S": "acme"}, "since": {"N": "1"}}
    lifted = {**killed, "lifted": {"N": "2"}, "lifted_by": {"S": "ops"}}
    record = Recorder(world.history, read_change, world.fleet.clock)
    record([stream_record("KILL", "pool#work", 1, None, killed), stream_record("KILL", "pool#work", 2, killed, lifted)])

    words = fleet("kills", "--week", "2026-W47").stdout
    chain = world.history.stored["kills-2026-W47"]
    chain[1] = replace(chain[1], text=chain[1].text.replace("wild", "well"))

    assert "KillThrown" in words
    assert "reason=runs [b]wild[/b]" in words
    assert "lifted_by=ops" in words
    assert "broken at event 1 (changed)" in fleet("kills", "--week", "2026-W47", code=1).output
    assert json.loads(fleet("kills", "--week", "2026-W47", "--json", code=1).stdout)["broken"]["number"] == 1
    fleet("kills", "--week", "47", code=2)


def test_waiting_for_approval_matters_more_than_work(client: FleetClient, world: World) -> None:
    """What somebody must do shows before what agents do; a failure before both."""
    tasks = [{"id": f"t.{number}", "input": {"ask": number == 1}} for number in range(3)]
    goal = world.submit(*tasks)
    world.step()

    [family] = families(tuple(client.all_tasks(goal)), rows=1)

    assert family.state is TaskState.WAITING_FOR_APPROVAL
    assert words(TaskState.WAITING_FOR_APPROVAL) == "waiting for approval"


@pytest.mark.parametrize("call", ["budget", "approvals", "kills"])
def test_the_client_reads_what_governs(client: FleetClient, call: str) -> None:
    """Typed views, also where there is nothing."""
    assert getattr(client, call)()

"""The playbook `code-review`, carried out by the whole platform in one process: by rules, and with a model's remarks."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import functions.code.handler
from agentfleet.agent import PermanentError, TaskContext
from agentfleet.domain.archives import pack
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.model import ModelRequest, ToolCall
from agentfleet.ports_model import ModelPort
from cdk.playbooks import read_playbooks
from functions.flow import handler as flow
from functions.report import handler as report
from functions.think import handler as think
from functions.web import handler as web
from tests.fakes.fleet import InProcessFleet
from tests.unit.model.conftest import Environment
from tests.unit.pools.test_think import Model

ROOT = Path(__file__).parents[3]
PLAYBOOKS = read_playbooks(ROOT)
CODE = functions.code.handler
OWN = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted((ROOT / "client").rglob("*.py"))}
POOR = b'"""Doc."""\n\n\ndef first(found=[]):\n    """Doc."""\n    return found\n'


def fleet_of(model: Model | None = None) -> InProcessFleet:
    """The pools that the playbook needs."""
    port: ModelPort | None = model
    models = Environment().models(port) if port else None
    return InProcessFleet(CODE.agent, flow.agent, report.agent, think.agent, web.agent, playbooks=PLAYBOOKS, models=models)


def review(fleet: InProcessFleet, files: dict[str, bytes], **parameters: Any) -> Goal:
    """The goal of a review, at its end."""
    uri = fleet.blobs.put("blobs/acme/uploads/code.zip", pack(files), "application/zip")
    goal = fleet.submit({"playbook": "code-review", "parameters": {"archive": uri, **parameters}})
    fleet.settle()
    return fleet.goal(goal.id)


def test_this_projects_own_client_is_reviewed_by_rules() -> None:
    """In parts side by side; findings with file and line, heaviest first; it says that no model was asked."""
    fleet = fleet_of()

    goal = review(fleet, OWN, title="The client")

    assert goal.state is GoalState.SUCCEEDED, goal.failure
    page = fleet.blobs.get(goal.output["report"]).decode()
    assert goal.output["how"] == "rules"
    assert goal.output["remarks"] == []
    assert "no model was asked" in page
    assert goal.output["findings"] >= 1
    place = goal.output["top"][0]["place"]
    assert place in page
    path, _, line = place.rpartition(":")
    assert 1 <= int(line) <= len(OWN[path].splitlines())
    parts = [one for one in fleet.goals.goals.values() if one.parent]
    assert max(one.tasks for one in parts) > 1


def test_a_model_remarks_on_the_worst_files() -> None:
    """Only on lines that it was shown: another line is told to it as wrong, and corrected."""
    said = iter([99, 4])

    def says(request: ModelRequest) -> Any:
        remark = {"line": next(said), "severity": "high", "remark": "Every caller shares this list."}
        return (ToolCall(id="t", name="Remarks", input={"remarks": [remark]}),)

    model = Model(says)
    fleet = fleet_of(model)
    goal = review(fleet, {"pkg/a.py": POOR, "pkg/b.py": b'"""Doc."""\n'})

    assert goal.state is GoalState.SUCCEEDED, goal.failure
    assert goal.output["how"] == "model"
    assert goal.output["remarks"] == [{"place": "pkg/a.py:4", "severity": "high", "remark": "Every caller shares this list."}]
    shown = str(model.seen[0].messages[0])
    assert "    4 def first(found=[]):" in shown
    assert "mutable-default" in shown
    assert "line 99 was not shown" in str(model.seen[1].messages[-1])
    assert "Every caller shares this list." in fleet.blobs.get(goal.output["report"]).decode()


def test_code_without_a_finding_has_a_report_too() -> None:
    """Nothing to chart or to list is no error, and nobody is asked for remarks."""
    model = Model(lambda request: "never")
    fleet = fleet_of(model)

    goal = review(fleet, {"good.py": b'"""Doc."""\n'})

    assert goal.state is GoalState.SUCCEEDED, goal.failure
    assert (goal.output["findings"], goal.output["top"]) == (0, [])
    assert not model.seen


def test_only_a_folder_and_what_no_test_covers() -> None:
    """Tests are looked at and not reviewed."""
    fleet = fleet_of()
    files = {
        "repo-1/pkg/a.py": POOR,
        "repo-1/pkg/c.py": POOR,
        "repo-1/other/b.py": b"def f(x={}): pass",
        "repo-1/tests/test_x.py": b"from pkg.a import first\nexec(first)\n",
    }

    goal = review(fleet, files, folder="pkg")

    assert [(one["place"], one["rule"]) for one in goal.output["top"]] == [
        ("pkg/a.py:4", "mutable-default"),
        ("pkg/c.py:4", "mutable-default"),
        ("pkg/c.py:1", "untested"),
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [({"archive": ""}, "give the archive's address"), ({"folder": "nowhere"}, "no Python files below nowhere/")],
)
def test_what_cannot_be_reviewed_says_why(given: dict[str, str], says: str) -> None:
    """Neither address nor archive; nothing in it."""
    goal = review(fleet_of(), {"a.py": POOR}, **given)

    assert goal.state is GoalState.FAILED
    assert goal.failure is not None
    assert says in goal.failure.message


def test_another_tenants_archive_cannot_be_read(context: TaskContext) -> None:
    """An URI is no key."""
    other = context.blobs.store.put("blobs/other/uploads/code.zip", pack({"a.py": POOR}), "application/zip")

    with pytest.raises(PermanentError, match="not a file of this tenant"):
        CODE.unpack_source(CODE.UnpackInput(uri=other), context)


class Forge(BaseHTTPRequestHandler):
    """Sends an archive after a redirect, as GitHub does; its one folder is named after repository and commit."""

    def do_GET(self) -> None:
        """Here, or there."""
        body = pack({"owner-repo-1a2b3c/pkg/a.py": POOR, "owner-repo-1a2b3c/README.md": b"# Read me"})
        if not self.path.startswith("/there"):
            self.send_response(302)
            self.send_header("Location", "/there")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_an_archive_is_fetched_from_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its address alone; the folder around everything is taken off."""
    monkeypatch.setattr(web, "_reachable", lambda address, private: True)
    fleet = fleet_of()
    with ThreadingHTTPServer(("127.0.0.1", 0), Forge) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/owner/repo/archive/main.zip"
        goal = fleet.submit({"playbook": "code-review", "parameters": {"url": url}})
        fleet.settle()
        server.shutdown()
        thread.join()

    ended = fleet.goal(goal.id)
    assert ended.state is GoalState.SUCCEEDED, ended.failure
    assert [one["place"] for one in ended.output["top"]] == ["pkg/a.py:4"]

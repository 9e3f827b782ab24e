"""The fleet command: what it prints, in words and in JSON, and the exit codes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from typer.testing import CliRunner

from agentfleet.domain.fleet import Agent, AgentState
from agentfleet.domain.goal import Goal
from agentfleet.domain.healing import Incident, IncidentKind
from agentfleet.domain.playbook import Playbook
from agentfleet.services.authorize import Caller
from agentfleet.services.goal_views import FileView, GoalResult
from client.api import FleetClient
from client.cli.app import app
from client.cli.results import save_result
from client.cli.session import Session
from tests.unit.api.world import World

if TYPE_CHECKING:
    from tests.unit.client.conftest import Gateway

Fleet = Callable[..., Any]


@pytest.fixture
def fleet(gateway: "Gateway", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    """Runs the command in an empty folder, against the API in this process."""
    from client.cli import show

    monkeypatch.setenv("FLEET_API_URL", "https://api.example.test")
    monkeypatch.setenv("FLEET_API_KEY", "test-key-of-acme")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, input: str | None = None, code: int = 0) -> Any:
        show.console.cache_clear()
        session = Session(transport=httpx.MockTransport(gateway))
        result = CliRunner().invoke(app, arguments, obj=session, input=input)
        assert result.exit_code == code, f"{result.exit_code}: {result.output} {result.exception!r}"
        return result

    return run


def goal_file(folder: Path, **task: Any) -> Path:
    """A goal with one task in a file."""
    path = folder / "goal.json"
    path.write_text(json.dumps({"plan": {"tasks": [{"id": "a", "capability": "work.echo", **task}]}}))
    return path


def test_submit_prints_the_id_and_json_prints_the_goal(fleet: Fleet, tmp_path: Path) -> None:
    """For people one line with what to do next, for programs the API's fields."""
    path = goal_file(tmp_path)

    words = fleet("submit", str(path)).stdout
    view = json.loads(
        fleet("submit", str(path), "--json", "--label", "team=blue", "--name", "mine", "--priority", "high").stdout
    )

    assert "fleet watch g" in words
    assert (view["name"], view["labels"], view["priority"], view["state"]) == ("mine", {"team": "blue"}, "high", "RUNNING")


def test_submit_reads_standard_input(fleet: Fleet, tmp_path: Path) -> None:
    """A dash is standard input, as JSON or YAML."""
    assert json.loads(fleet("submit", "-", "--json", input=goal_file(tmp_path).read_text()).stdout)["tasks"] == 1
    text = "plan:\n  tasks:\n  - {id: a, capability: work.echo}\n"
    assert json.loads(fleet("submit", "-", "--json", input=text).stdout)["tasks"] == 1


def test_the_same_key_submits_once(fleet: Fleet, tmp_path: Path) -> None:
    """A script that runs twice makes one goal."""
    arguments = ("submit", str(goal_file(tmp_path)), "--key", "nightly-1", "--json")

    assert json.loads(fleet(*arguments).stdout)["id"] == json.loads(fleet(*arguments).stdout)["id"]


def test_playbook_parameters_take_the_types_they_have(fleet: Fleet) -> None:
    """A string that looks like a number stays a string if the playbook wants one; a wrong type is a usage error."""
    goal = json.loads(
        fleet("submit", "--playbook", "greet", "--param", "who=42", "--param", "times=3", "--watch", "--json").stdout
    )

    assert goal["output"] == "42"
    assert "JSON integer" in fleet("submit", "-p", "greet", "--param", "who=x", "--param", "times=many", code=2).output
    assert "NAME=VALUE" in fleet("submit", "-p", "greet", "--param", "who", code=2).output
    assert "did you mean greet" in fleet("submit", "-p", "gret", code=2).output


@pytest.mark.parametrize(
    "arguments", [("submit",), ("submit", "x.json", "-p", "greet"), ("submit", "missing.json"), ("watch",)]
)
def test_wrong_usage_is_exit_code_2(fleet: Fleet, arguments: tuple[str, ...]) -> None:
    """Neither or both sources, a missing file, a missing argument."""
    fleet(*arguments, code=2)


def test_problems_are_listed_by_field(fleet: Fleet, tmp_path: Path) -> None:
    """A goal with several mistakes names each of them, on standard error."""
    path = tmp_path / "goal.json"
    path.write_text(json.dumps({"plan": {"tasks": [{"id": "a", "capability": "a.b"}, {"id": "a", "capability": "c.d"}]}}))

    result = fleet("submit", str(path), code=2)

    assert "tasks[a].capability: no pool can do 'a.b'" in result.stderr
    assert "tasks[a].id: is used twice" in result.stderr
    assert result.stdout == ""


def test_watch_follows_a_goal_to_its_end(fleet: Fleet, tmp_path: Path, world: World) -> None:
    """Plain lines where there is no terminal, then how it ended and where its result is."""
    goal = world.submit({"id": "a"}, {"id": "b", "depends_on": ["a"]})

    lines = fleet("watch", goal).stdout.splitlines()

    assert lines[0] == "RUNNING 0/2 done (1 ready, 1 waiting)"
    assert lines[-3] == "SUCCEEDED 2/2 done"
    assert lines[-2].startswith("✓ SUCCEEDED a")
    assert lines[-1] == f"fleet result {goal}"


def test_a_failed_goal_is_exit_code_1(fleet: Fleet, tmp_path: Path) -> None:
    """watch and result both say so, with the failure."""
    path = goal_file(tmp_path, capability="work.broken")

    watched = fleet("submit", str(path), "--watch", code=1).stdout
    goal = watched.split()[-1]
    shown = fleet("result", goal, code=1).stdout
    data = json.loads(fleet("result", goal, "--json", code=1).stdout)

    assert "a: PermanentError: broken on purpose" in watched
    assert "broken on purpose" in shown
    assert data["goal"]["state"] == "FAILED"


def test_status_tells_of_caches_and_of_goals_that_stood_still(fleet: Fleet, world: World) -> None:
    """By pool, over its living agents; and how often the healer needed nobody."""
    now = world.fleet.clock()
    for number, hits in enumerate((2, 3)):
        cache = {"memory.hits": hits, "s3.hits": 1, "memory.misses": 9, "loads": 2}
        world.fleet.entries.put(Agent(f"w-{number}", "work", (), AgentState.IDLE, now, now, cache=cache))
    incident = Incident("g1", "acme", IncidentKind.UNSENT, now, now, now, 1, 1, by_person=False, healed=now)
    world.fleet.health.record(incident)

    words, found = fleet("status").stdout, json.loads(fleet("status", "--json").stdout)

    assert "64% of 11" in words
    assert found["cache"]["work"] == {"asked": 11, "rate": 7 / 11, "hits": {"memory": 5, "s3": 2}, "loads": 4}
    assert "1 of late healed, 1 of them without anybody" in words
    assert found["incidents"] == {"open": 0, "healed": 1, "without_person": 1, "median_seconds": 0.0}


def test_interrupting_a_watch_leaves_the_goal_running(fleet: Fleet, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C says that the goal goes on and how to come back or stop it."""
    goal = world.submit({"id": "a"})

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world, "step", interrupt)
    result = fleet("watch", goal, code=130)

    assert f"fleet watch {goal}" in result.stderr
    assert f"fleet cancel {goal}" in result.stderr
    assert world.fleet.goal(goal).state == "RUNNING"


def test_results_are_shown_and_saved(fleet: Fleet, world: World, tmp_path: Path) -> None:
    """Output on the terminal; with --save also in a folder, with the goal's files under their names."""
    goal = world.submit({"id": "a", "input": {"value": {"rows": [{"n": 1, "word": "one"}], "total": 1234567}}})
    world.fleet.blobs.put(f"blobs/acme/{goal}/a/report.html", b"<html>", "text/html")
    world.fleet.settle()

    shown = fleet("result", goal).stdout
    saved = fleet("result", goal, "--save", str(tmp_path / "out"))

    assert "1,234,567" in shown
    assert "word" in shown
    assert (tmp_path / "out" / "a" / "report.html").read_bytes() == b"<html>"
    assert json.loads((tmp_path / "out" / "output.json").read_text())["total"] == 1234567
    assert f"saved {tmp_path / 'out' / 'a' / 'report.html'}" in saved.stdout


def test_no_file_leaves_the_folder_it_is_saved_in(world: World, client: FleetClient, tmp_path: Path) -> None:
    """A name that would lead out of the folder is left out, with a warning."""
    goal = client.submit({"plan": {"tasks": [{"id": "a", "capability": "work.echo"}]}})
    file = FileView(name="../evil.txt", uri="s3://b/k", size=1, url="https://fleet-bucket.example.test/k")
    result = GoalResult(goal=goal, files=(file, file.model_copy(update={"name": "/tmp/evil.txt"})))

    saved = save_result(client, result, tmp_path / "out")

    assert saved == [tmp_path / "out" / "output.json"]
    assert not (tmp_path / "evil.txt").exists()


def test_lists_for_people_and_for_programs(fleet: Fleet, world: World) -> None:
    """Every listing has a table and the API's JSON."""
    goal = world.submit({"id": "part.1"}, {"id": "part.2", "depends_on": ["part.1"]})
    world.busy(f"{goal}/part.1")

    assert goal in fleet("goals", "--state", "running").stdout
    assert json.loads(fleet("goals", "--json").stdout)["goals"][0]["id"] == goal
    assert "work-x" in fleet("tasks", goal).stdout
    assert [one["state"] for one in json.loads(fleet("tasks", goal, "--json").stdout)["tasks"]] == ["RUNNING", "WAITING"]
    assert json.loads(fleet("tasks", goal, "--state", "waiting", "--json").stdout)["tasks"][0]["id"] == "part.2"
    assert "input" in fleet("task", goal, "part.2").stdout
    assert "EXECUTING" in fleet("agents").stdout
    assert json.loads(fleet("agents", "--json").stdout)["agents"][0]["tasks"] == [f"{goal}/part.1"]
    assert "work.delegate" in fleet("pools").stdout
    assert [one["name"] for one in json.loads(fleet("pools", "--json").stdout)["pools"]] == ["web", "work"]
    assert "greet" in fleet("playbooks").stdout
    assert "whom" in fleet("playbooks", "greet").stdout
    assert json.loads(fleet("playbooks", "greet", "--json").stdout)["plan"]["tasks"]
    assert "1 goals running" in fleet("status").stdout
    assert json.loads(fleet("status", "--json").stdout)["pools"]["work"]["concurrency"] == 10
    assert "--state must be one of" in fleet("goals", "--state", "gone", code=2).output


def test_pools_are_scaled_and_fleets_spawned(fleet: Fleet) -> None:
    """Sizes move within limits; past them the exit code is 2 and the limit is named."""
    assert fleet("scale", "work", "12").stdout == "work: 12 of at most 50\n"
    assert "takes at most 50" in fleet("scale", "work", "60", code=2).stderr
    spawned = json.loads(fleet("fleets", "--spawn", "15", "--capability", "work.echo", "--json").stdout)["fleets"][0]
    assert spawned["id"] in fleet("fleets").stdout
    assert "released" in fleet("fleets", "--release", spawned["id"]).stdout
    fleet("fleets", "--spawn", "1", "--release", "x", code=2)
    fleet("fleets", "--capability", "x", code=2)


def test_pools_are_drained_and_taken_back(fleet: Fleet) -> None:
    """What is left is said, and the list of pools and the search by capability show it."""
    assert fleet("drain", "work").stdout == "work: draining, 0 left; fleet undrain work takes it back\n"
    assert "draining" in fleet("pools").stdout
    assert "draining" in fleet("agents", "--capability", "work.echo").stdout
    [offer] = json.loads(fleet("agents", "--capability", "work.echo", "--json").stdout)["offers"]
    assert (offer["pool"], offer["health"], offer["share"]) == ("work", "DRAINING", 1.0)
    assert json.loads(fleet("drain", "work", "--json").stdout)["health"] == "DRAINING"
    assert fleet("undrain", "work").stdout == "work: healthy, gets work again\n"
    assert json.loads(fleet("undrain", "work", "--json").stdout)["health"] == "HEALTHY"


def test_cancel_and_its_conflict(fleet: Fleet, world: World) -> None:
    """A cancelled goal can be cancelled again; one that ended otherwise is exit code 6."""
    goal = world.submit({"id": "a"})
    assert "CANCELLED" in fleet("cancel", goal).stdout
    assert json.loads(fleet("cancel", goal, "--json").stdout)["state"] == "CANCELLED"

    done = world.submit({"id": "a"})
    world.fleet.settle()
    fleet("cancel", done, code=6)


def test_logs_of_one_pool_or_all(fleet: Fleet, world: World) -> None:
    """Lines of several pools are merged by time."""
    now = world.fleet.clock()
    structured = json.dumps({"level": "INFO", "message": "batch", "service": "work", "received": 2, "tasks": ["g/a"]})
    world.pools.lines = {
        "work": [(now, structured), (now, "REPORT RequestId: 1")],
        "web": [(now.replace(microsecond=0), "first")],
    }

    lines = fleet("logs").stdout.splitlines()

    assert [line.split(" ", 1)[1] for line in lines] == ["web: first", 'work: INFO batch  received=2  tasks=["g/a"]']
    assert "REPORT RequestId" in fleet("logs", "work", "--raw").stdout
    assert json.loads(fleet("logs", "web", "--json").stdout)["lines"][0]["pool"] == "web"
    fleet("logs", "nope", code=3)


def test_knowledge_is_kept_found_and_forgotten(fleet: Fleet, tmp_path: Path) -> None:
    """From files, folders or standard input; found and answered with the place; only known kinds are taken from a folder."""
    (tmp_path / "notes.txt").write_text("Queues keep messages for fourteen days.")
    (tmp_path / "docs" / ".hidden").mkdir(parents=True)
    (tmp_path / "docs" / "guide.md").write_text("# Guide\n\n## Sizes\n\nPools grow by steps.\n")
    (tmp_path / "docs" / "page.pdf").write_bytes(b"%PDFA page about budgets.")
    (tmp_path / "docs" / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "docs" / ".hidden" / "secret.md").write_text("secret")

    added = json.loads(fleet("knowledge", "add", "notes.txt", "docs", "--domain", "aws", "--json").stdout)["documents"]
    fleet("knowledge", "add", "-", "--title", "T", input="other words")

    assert [(one["source"], one["media"]) for one in added] == [
        ("notes.txt", "text/plain"),
        ("docs/guide.md", "text/markdown"),
        ("docs/page.pdf", "application/pdf"),
    ]
    assert "notes.txt" in fleet("knowledge", "list").stdout
    assert "fourteen days" in fleet("knowledge", "search", "messages").stdout
    finding = json.loads(fleet("knowledge", "search", "budgets", "--domain", "aws", "--json").stdout)["findings"][0]
    assert (finding["place"]["document"], finding["place"]["page"]) == (added[2]["id"], 1)
    said = fleet("knowledge", "ask", "How long do queues keep messages?").stdout
    assert "Queues keep messages for fourteen days. [1]" in said
    assert "notes.txt, line 1" in said
    assert "(extractive)" in said
    assert "forgot" in fleet("knowledge", "delete", f"aws/{added[0]['id']}").stdout
    fleet("knowledge", "delete", f"aws/{added[0]['id']}", code=3)
    fleet("knowledge", "delete", "aws", code=2)
    fleet("knowledge", "add", "missing.txt", code=2)
    fleet("knowledge", "add", "docs", "--title", "one", code=2)


def test_exit_codes_tell_what_kind_of_trouble_it_is(fleet: Fleet, gateway: "Gateway", monkeypatch: pytest.MonkeyPatch) -> None:
    """Not found 3, unreachable 4, unauthorized 5, other errors 8."""
    assert "there is no goal 'gnope'" in fleet("watch", "gnope", code=3).stderr
    gateway.script = [httpx.ConnectError("refused")] * 5
    assert "no answer from https://api.example.test" in fleet("pools", code=4).stderr
    gateway.script = [httpx.Response(500)] * 5
    fleet("pools", code=8)
    assert "does not know this key" in fleet("--api-key", "wrong", "pools", code=5).stderr
    monkeypatch.delenv("FLEET_API_URL")
    assert "fleet up" in fleet("pools", code=4).stderr
    monkeypatch.setenv("FLEET_API_URL", "ftp://x")
    assert "must start with https://" in fleet("pools", code=4).stderr


def test_the_demo_saves_the_report_and_says_where_it_is(fleet: Fleet, world: World, tmp_path: Path) -> None:
    """It submits its playbook, watches, saves files and points to the page."""
    plan = {"tasks": [{"id": "report", "capability": "work.echo", "input": {"value": {"totals": {"modules": 3}}}}]}
    demo = Playbook.model_validate({"name": "stdlib-report", "plan": plan})
    world.fleet.platform.playbooks["stdlib-report"] = demo  # type: ignore[index]
    (tmp_path / "fleet.toml").write_text("[fleet]\n")
    create = world.fleet.goals.create

    def create_with_report(goal: Goal) -> bool:
        world.fleet.blobs.put(f"blobs/acme/{goal.id}/report/report.html", b"<html>", "text/html")
        return create(goal)

    world.fleet.goals.create = create_with_report  # type: ignore[method-assign]

    shown = fleet("demo").stdout

    page = tmp_path / ".fleet" / "report" / "report.html"
    assert page.read_bytes() == b"<html>"
    assert f"The report: {page}" in shown
    assert "modules" in shown


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    """--help and completion don't wait for the HTTP client, pydantic or boto3."""
    code = (
        "import sys; from client.cli.app import app; "
        "print([name for name in ('httpx', 'pydantic', 'boto3', 'botocore', 'agentfleet', 'yaml') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_every_command_and_option_is_explained() -> None:
    """No command, argument or option without a word of help."""
    import typer.main

    def walk(command: Any, path: str) -> None:
        assert command.help, path
        for parameter in command.params:
            hidden = parameter.name in {"install_completion", "show_completion", "help"}
            assert hidden or parameter.help, f"{path} {parameter.name}"
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}")

    walk(typer.main.get_command(app), "fleet")


def test_a_goal_is_paused_resumed_and_forked(fleet: Fleet, world: World) -> None:
    """An owner's hand from the command; a place that --set can't read is wrong usage."""
    goal = world.submit({"id": "a"})

    assert json.loads(fleet("pause", goal, "--json").stdout)["paused"]
    assert json.loads(fleet("resume", goal, "--json").stdout)["paused"] is None
    world.fleet.clock.advance(2)
    world.fleet.settle()
    forked = json.loads(fleet("fork", goal, "--keep", "a*", "--json").stdout)
    assert forked["origin"] == goal
    fleet("fork", goal, "--set", "a=1", code=2)
    fleet("pause", goal, code=6)


def test_a_fork_that_is_cut_off_says_how_to_go_on(
    fleet: Fleet, world: World, gateway: "Gateway", monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the key that it took; another try without it would begin anew."""
    monkeypatch.setattr("client.connection.delay", lambda *_: 0)
    goal = world.submit({"id": "a"})
    world.step()
    gateway.script = [httpx.ReadTimeout("too long") for _ in range(10)]

    said = fleet("fork", goal, code=4).stderr
    key = said.partition("--key ")[2].split()[0]
    gateway.script = []
    first, second = (json.loads(fleet("fork", goal, "--key", key, "--json").stdout)["id"] for _ in range(2))

    asked = {request.headers["idempotency-key"] for request in gateway.requests if request.url.path.endswith("/fork")}
    assert (asked, first) == ({key}, second)


def test_healing_and_dead_letters_are_shown_and_handled(fleet: Fleet, world: World, tmp_path: Path) -> None:
    """A run in words, incidents, letters with their diagnosis, redriven by key or buried with a reason."""
    goal = fleet("submit", str(goal_file(tmp_path)), "--json").stdout
    goal_id = json.loads(goal)["id"]
    [body] = world.fleet.queues.bodies("fleet-work-normal")
    world.fleet.queues.purge()
    for letter in (body, "?"):
        world.fleet.queues.put("fleet-work-dead", letter)

    listed = fleet("dlq", "list").stdout
    strange = next(
        one.key
        for one in world.fleet.healing.office.lying(Caller("acme", is_operator=True), "work", 10).letters
        if one.pointer is None
    )

    assert "returned" in listed
    assert json.loads(fleet("dlq", "show", "work", strange).stdout)["body"] == "?"
    assert fleet("dlq", "show", "work", "nothing", code=3)
    assert f"{goal_id}.0" in fleet("dlq", "redrive", "work").stdout
    assert "buried" in fleet("dlq", "bury", "work", strange, "--reason", "mine").stdout
    event = {"id": "e1", "detail": {"plan": {"tasks": []}, "tenant": "acme"}}
    world.fleet.queues.put("fleet-submissions-dead", json.dumps(event))
    assert "not_accepted" in fleet("dlq", "list", "submissions").stdout
    assert "e1 → rejected" in fleet("dlq", "redrive", "submissions").stdout
    assert "no dead letters" in fleet("dlq", "list", "work").stdout
    world.fleet.settle()
    assert "1 of 1 healed" not in fleet("heal").stdout
    assert "dead_letter" in fleet("heal", "--incidents").stdout

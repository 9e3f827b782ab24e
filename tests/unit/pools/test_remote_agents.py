"""Remote agents from fleet.toml to a goal's output, with real HTTP servers on the loopback address."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agentfleet.adapters.remote_probe import HttpProbe
from agentfleet.agent import Agent
from agentfleet.composition_pools import pool_runner
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.fleet import AgentState
from agentfleet.domain.goal import GoalState
from agentfleet.services.registry import Registry
from agentfleet.services.remote import RemoteOrder, RemoteWatch, remote_capabilities
from cdk.catalog import read_fleet
from cdk.errors import FleetError
from functions.web import handler as web
from tests.fakes.fleet import InProcessFleet

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

HANDLER = '''
from agentfleet.agent import Agent

agent = Agent("web")


@agent.capability("http.get", idempotent=True)
def get(input: dict) -> dict:
    """Get."""
    return input
'''


class RemoteSite:
    """An agent that somebody else runs: squares numbers, or answers what it is told to."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.status = 200
        self.body: bytes | None = None
        self.health = 200
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                task = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                site.tasks.append(task)
                site.keys.append(self.headers.get("Idempotency-Key"))
                body = json.dumps({"output": {"square": task["input"]["n"] ** 2}}).encode()
                self.answer(site.status, site.body if site.body is not None else body)

            def do_GET(self) -> None:
                if site.health == 302:
                    self.send_response(302)
                    self.send_header("Location", "/elsewhere")
                    self.end_headers()
                    return
                self.answer(site.health if self.path == "/do/health" else 200, b"")

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/do"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def sites() -> Iterator[list[RemoteSite]]:
    """Two of them."""
    made = [RemoteSite(), RemoteSite()]
    yield made
    for site in made:
        site.stop()


def project(root: Path, agents: str, pools: str = '[pools.web]\ndescription = "Web"\n') -> Path:
    """A project with a web pool and remote agents."""
    (root / "fleet.toml").write_text(f'[fleet]\nname = "fleet"\n{pools}{agents}')
    for pool in ("web", "echo"):
        (root / "functions" / pool).mkdir(parents=True, exist_ok=True)
        (root / "functions" / pool / "handler.py").write_text(HANDLER.replace('"web"', f'"{pool}"'))
    return root


def block(name: str, url: str, more: str = "") -> str:
    """A remote agent in fleet.toml."""
    return f'[agents.{name}]\nurl = "{url}"\ncapabilities = ["math.square"]\ndescription = "Squares"\n{more}\n'


def catalog_of(root: Path, sites: list[RemoteSite], more: str = "") -> Catalog:
    """A catalog in which both sites offer the same."""
    return read_fleet(project(root, "".join(block(f"remote{n}", site.url, more) for n, site in enumerate(sites)))).catalog


def fleet_of(catalog: Catalog, **settings: Any) -> InProcessFleet:
    """A fleet whose web pool has the real code for remote agents."""
    agent = Agent("web")
    fleet = InProcessFleet(agent, catalog=catalog)
    order = RemoteOrder(fleet.entries, fleet.clock)
    agent.capabilities = dict(remote_capabilities(catalog, "web", web.agent.remote_caller, order))
    fleet._runners["web"] = pool_runner(fleet.platform, "web", "web-1", agent.capabilities, settings=settings)
    return fleet


def squares(count: int) -> dict[str, Any]:
    """A goal of squares, and their list."""
    tasks = [{"id": f"s{n}", "capability": "math.square", "input": {"n": n}} for n in range(count)]
    return {"plan": {"tasks": tasks, "output": {"$from": "s*", "path": "[].square"}}}


def test_a_goal_is_done_by_remote_agents(tmp_path: Path, sites: list[RemoteSite]) -> None:
    """The plan knows their capability, both get tasks, each with its key, and their answers are outputs."""
    fleet = fleet_of(catalog_of(tmp_path, sites), allow_private=True)

    goal = fleet.submit(squares(12))
    fleet.settle()

    assert fleet.goal(goal.id).output == [n**2 for n in range(12)]
    tasks = [task for site in sites for task in site.tasks]
    assert all(site.tasks for site in sites)
    assert len({task["idempotency_key"] for task in tasks}) == len(tasks) == 12
    assert [task["idempotency_key"] for task in sites[0].tasks] == sites[0].keys
    expected = {"capability": "math.square", "goal": goal.id, "tenant": "acme", "attempt": 1}
    assert all(expected.items() <= task.items() for task in tasks)


def test_tasks_pass_over_an_agent_that_its_breaker_leaves_alone(tmp_path: Path, sites: list[RemoteSite]) -> None:
    """One that answers 503 is tried until its breaker opens; the other does all that follows."""
    fleet = fleet_of(catalog_of(tmp_path, sites), allow_private=True, breaker={"failures": 2, "recovery": 3600})
    sites[0].status = 503

    goal = fleet.submit(squares(12))
    fleet.settle()

    assert fleet.goal(goal.id).output == [n**2 for n in range(12)]
    assert len(sites[0].tasks) < 12
    assert len(sites[1].tasks) == 12


def test_a_failed_attempt_is_followed_by_one_at_another_agent(tmp_path: Path, sites: list[RemoteSite]) -> None:
    """Where an agent fails and nobody has noticed, no task of an idempotent capability fails with it."""
    catalog = catalog_of(tmp_path, sites, "idempotent = true")
    fleet = fleet_of(catalog, allow_private=True)
    sites[0].status = 503

    goal = fleet.submit(squares(12))
    fleet.settle()

    assert fleet.goal(goal.id).output == [n**2 for n in range(12)]
    assert {task["attempt"] for task in sites[0].tasks} == {1}


def test_what_must_not_be_done_twice_is_tried_again_where_it_may_have_been_done(
    tmp_path: Path, sites: list[RemoteSite]
) -> None:
    """Only that agent knows the task's key."""
    fleet = fleet_of(catalog_of(tmp_path, sites), allow_private=True)
    for site in sites:
        site.status = 503

    fleet.submit(squares(1))
    fleet.settle()

    [tried] = [site for site in sites if site.tasks]
    assert len(tried.tasks) > 1


def test_an_agent_that_is_known_to_be_down_is_passed_over(tmp_path: Path, sites: list[RemoteSite]) -> None:
    """After the health check has missed it, until the health check finds it well."""
    catalog = catalog_of(tmp_path, sites)
    fleet = fleet_of(catalog, allow_private=True)
    watch = RemoteWatch(catalog, HttpProbe(), fleet.entries, fleet.clock)
    sites[0].status = sites[0].health = 503
    watch()

    down = fleet.submit(squares(12))
    fleet.settle()
    missed = len(sites[0].tasks)
    sites[0].status = sites[0].health = 200
    watch()
    fleet.clock.advance(5)
    up = fleet.submit(squares(12))
    fleet.settle()

    assert [fleet.goal(goal.id).state for goal in (down, up)] == [GoalState.SUCCEEDED] * 2
    assert missed == 0
    assert sites[0].tasks


def test_an_agent_that_takes_no_connection_costs_no_attempt(tmp_path: Path) -> None:
    """Nothing can have been done there: the next one is asked at once."""
    sites = [RemoteSite(), RemoteSite()]
    fleet = fleet_of(catalog_of(tmp_path, sites), allow_private=True)
    sites[0].stop()

    goal = fleet.submit({"plan": {"tasks": [{**task, "retries": 0} for task in squares(6)["plan"]["tasks"]]}})
    fleet.settle()
    sites[1].stop()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert {task["attempt"] for task in sites[1].tasks} == {1}


def test_where_no_agent_is_well_one_is_tried_all_the_same(tmp_path: Path, sites: list[RemoteSite]) -> None:
    """It may have come back since it was asked."""
    catalog = catalog_of(tmp_path, sites)
    fleet = fleet_of(catalog, allow_private=True)
    for site in sites:
        site.health = 500
    RemoteWatch(catalog, HttpProbe(), fleet.entries, fleet.clock)()

    goal = fleet.submit(squares(2))
    fleet.settle()

    assert fleet.goal(goal.id).output == [0, 1]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (422, b"", "answered 422"),
        (302, b"", "answered 302"),
        (200, b"[]", "is not"),
        (200, b"{}", "is not"),
        (200, b"<", "is not"),
    ],
)
def test_an_answer_that_is_none_fails_the_task(
    tmp_path: Path, sites: list[RemoteSite], status: int, body: bytes, message: str
) -> None:
    """At once, with the agent's name."""
    fleet = fleet_of(catalog_of(tmp_path, sites[:1]), allow_private=True)
    sites[0].status, sites[0].body = status, body

    goal = fleet.submit(squares(1))
    fleet.settle()

    failure = fleet.goal(goal.id).failure
    assert failure is not None
    assert (failure.error, len(sites[0].tasks)) == ("PermanentError", 1)
    assert "remote0" in failure.message
    assert message in failure.message


def test_a_remote_agent_is_not_reached_inside_the_network(tmp_path: Path, sites: list[RemoteSite]) -> None:
    """The rules of the web pool hold: no private address unless its settings allow them."""
    fleet = fleet_of(catalog_of(tmp_path, sites))

    goal = fleet.submit(squares(1))
    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.FAILED
    assert not sites[0].tasks + sites[1].tasks


@pytest.mark.parametrize(("health", "state"), [(204, AgentState.IDLE), (500, AgentState.OFFLINE), (302, AgentState.OFFLINE)])
def test_a_pass_writes_how_remote_agents_are(tmp_path: Path, sites: list[RemoteSite], health: int, state: AgentState) -> None:
    """A 2xx is well and anything else isn't; the registry lists the well ones with their address."""
    catalog = catalog_of(tmp_path, sites[:1])
    fleet = fleet_of(catalog)
    watch = RemoteWatch(catalog, HttpProbe(), fleet.entries, fleet.clock)
    sites[0].health = health

    [agent] = watch()

    assert (agent.id, agent.state, agent.endpoint, agent.pool) == ("remote0", state, sites[0].url, "web")
    living = Registry(catalog, fleet.entries, fleet.clock).discover("math.square")
    assert [one.id for one in living] == (["remote0"] if state is AgentState.IDLE else [])


def test_one_that_is_gone_is_offline_and_keeps_when_it_was_seen(tmp_path: Path) -> None:
    """A refused connection is no error of the pass."""
    site = RemoteSite()
    catalog = catalog_of(tmp_path, [site])
    fleet = fleet_of(catalog)
    watch = RemoteWatch(catalog, HttpProbe(), fleet.entries, fleet.clock)
    [before] = watch()
    site.stop()
    fleet.clock.advance(60)

    [after] = watch()

    assert (before.state, after.state, after.seen) == (AgentState.IDLE, AgentState.OFFLINE, before.seen)


@pytest.mark.parametrize(
    ("agents", "pools", "message"),
    [
        (block("a", "ftp://x.test"), "", r"agents.a.url: String should match pattern"),
        (block("a", "https://user:word@x.test"), "", r"agents.a.url: String should match pattern"),
        (
            block("a", "https://x.test", "timeout = 56"),
            "",
            r"agents.a.timeout: 56 s; at most 55 s with",
        ),
        (block("a", "https://x.test", "wait = 1"), "", r"agents.a.wait: unknown field; allowed are url"),
        (block("a", "https://x.test").replace("math.square", "http.get"), "", r"'http.get' is offered by pool web already"),
        (
            block("a", "https://x.test"),
            '[pools.echo]\ndescription = "Echo"\n',
            r"called by pool web, which is not among",
        ),
        (
            block("a", "https://x.test") + block("b", "https://y.test", "idempotent = true"),
            "",
            r"agents.b: another agent offers 'math.square' with another timeout or idempotent",
        ),
    ],
)
def test_what_is_wrong_with_a_remote_agent_is_said(tmp_path: Path, agents: str, pools: str, message: str) -> None:
    """File, field and what is allowed."""
    with pytest.raises(FleetError, match=message):
        read_fleet(project(tmp_path, agents, *([pools] if pools else [])))

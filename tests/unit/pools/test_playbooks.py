"""The playbooks that come with the fleet, carried out by the whole platform in one process."""

from pathlib import Path
from typing import Any

import pytest

import functions.code.handler
from agentfleet.domain.goal import Goal, GoalState
from cdk.catalog import read_fleet
from cdk.playbooks import read_playbooks
from functions.data import handler as data
from functions.flow import handler as flow
from functions.knowledge import handler as knowledge
from functions.report import handler as report
from functions.think import handler as think
from functions.web import handler as web
from tests.fakes.fleet import InProcessFleet
from tests.unit.pools.test_web import Site, serving

ROOT = Path(__file__).parents[3]
PLAYBOOKS = read_playbooks(ROOT)
DEPLOYED = read_fleet(ROOT)
CODE = functions.code.handler


@pytest.fixture
def fleet() -> InProcessFleet:
    """The pools whose playbooks run here."""
    agents = (CODE.agent, data.agent, flow.agent, knowledge.agent, report.agent, think.agent, web.agent)
    return InProcessFleet(*agents, playbooks=PLAYBOOKS)


def carry_out(fleet: InProcessFleet, playbook: str, **parameters: Any) -> Goal:
    """The goal of a playbook, at its end."""
    goal = fleet.submit({"playbook": playbook, "parameters": parameters})
    fleet.settle()
    return fleet.goal(goal.id)


def page_of(fleet: InProcessFleet, goal: Goal) -> str:
    """The report that a goal wrote."""
    assert goal.state is GoalState.SUCCEEDED, goal.failure
    return fleet.blobs.get(goal.output["report"]).decode()


@pytest.mark.parametrize("name", sorted(PLAYBOOKS))
def test_playbooks_say_what_they_are(name: str) -> None:
    """People choose a playbook by its description and its parameters'."""
    playbook = PLAYBOOKS[name]

    assert len(playbook.description) > 20
    assert all(parameter.description for parameter in playbook.parameters.values())


@pytest.mark.parametrize("name", sorted(PLAYBOOKS))
def test_playbooks_only_ask_for_what_agents_can_do(name: str) -> None:
    """Every capability of a plan is some pool's."""
    assert {task["capability"] for task in PLAYBOOKS[name].plan.tasks} <= set(DEPLOYED.catalog.capabilities)


def test_stdlib_report(fleet: InProcessFleet) -> None:
    """Packages measured in parallel, several questions asked of all, one report; a name that is no package is left out."""
    goal = carry_out(fleet, "stdlib-report", packages=["json", "no_such_package", "tomllib", "logging"], title="Three packages")

    page = page_of(fleet, goal)
    assert goal.output["totals"]["packages"] == 3
    assert "<h1>Three packages</h1>" in page
    assert page.count("<svg") >= 6
    assert "logging.handlers" in page


def test_stdlib_report_by_default_is_a_real_fan_out() -> None:
    """Twenty packages and more, all of them in this Python, over three pools."""
    playbook = PLAYBOOKS["stdlib-report"]
    packages = playbook.parameters["packages"].default

    assert len(set(packages)) == len(packages) >= 20
    assert all(list(CODE._sources(package)) for package in packages)
    plan = playbook.instantiate({})
    assert len(plan.tasks) >= 30
    assert {task.capability.partition(".")[0] for task in plan.tasks} == {"code", "data", "report"}


CSV = "day,amount,shop\n" + "".join(f"2026-01-{day:02d},{100 + day % 7},{'ab'[day % 2]}\n" for day in range(1, 31))


def test_data_report_of_a_text(fleet: InProcessFleet) -> None:
    """A table given as text is profiled, its outlier found, a question answered."""
    goal = carry_out(
        fleet,
        "data-report",
        text=f"{CSV}2026-01-31,9000,a\n",
        column="amount",
        sql="SELECT shop, count(*) AS days FROM data GROUP BY shop ORDER BY shop",
    )

    page = page_of(fleet, goal)
    assert goal.output["anomalies"] == 1
    assert "9,000" in page
    assert "Rows by amount" in page
    assert "count(*)" in page


def test_data_report_of_a_blob(fleet: InProcessFleet) -> None:
    """The same from S3."""
    uri = fleet.blobs.put("blobs/acme/sales.csv", CSV.encode(), "text/csv")

    goal = carry_out(fleet, "data-report", uri=uri, column="amount", title="Sales")

    assert "<h1>Sales</h1>" in page_of(fleet, goal)
    assert goal.output["anomalies"] == 0


def test_data_report_of_nothing(fleet: InProcessFleet) -> None:
    """Neither text nor URI: the goal fails and says so."""
    goal = carry_out(fleet, "data-report", column="amount")

    assert goal.state is GoalState.FAILED
    assert goal.failure is not None
    assert "exactly one of uri, text and rows" in goal.failure.message


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_web_digest(fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are fetched and told; one that is not there is left out."""
    monkeypatch.setattr(web, "_reachable", lambda address, private: True)
    with serving() as origin:
        goal = carry_out(
            fleet,
            "web-digest",
            urls=[f"{origin}/?page=1&type=text/html", f"{origin}/?body=plain+words", f"{origin}/?status=404"],
        )

    page = page_of(fleet, goal)
    assert goal.output["pages"] == 2
    assert "What it is about." in page
    assert "plain words" in page
    assert len(Site.seen) >= 3


def test_ask_text(fleet: InProcessFleet) -> None:
    """The answer is the texts' own sentence, and says so."""
    texts = [
        {"title": "Bergen", "text": "Bergen has a harbour. It was founded in 1070 by King Olav Kyrre."},
        {"title": "Tools", "text": "A saw cuts wood. A hammer drives nails into wood."},
    ]

    goal = carry_out(fleet, "ask-text", question="When was Bergen founded?", texts=texts, title="Harbours")

    page = page_of(fleet, goal)
    assert goal.output["how"] == "quotations"
    assert "1070" in goal.output["answer"]
    assert goal.output["sources"][0]["title"] == "Bergen"
    assert "<h1>Harbours</h1>" in page
    assert "King Olav Kyrre" in page

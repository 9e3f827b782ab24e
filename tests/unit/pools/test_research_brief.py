"""The playbook `research-brief`, carried out by the whole platform in one process."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest

from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.model import ModelRequest, Text
from agentfleet.ports_model import ModelPort
from agentfleet.services.knowledge import Knowledge
from agentfleet.services.learn import Draft, Indexes
from cdk.playbooks import read_playbooks
from functions.flow import handler as flow
from functions.knowledge import handler as knowledge
from functions.report import handler as report
from functions.think import handler as think
from functions.web import handler as web
from tests.fakes import FakeDocuments, FakeEmbedder, FakePages, FakeVectors, FakeWords
from tests.fakes.fleet import InProcessFleet
from tests.unit.model.conftest import Environment
from tests.unit.pools.test_think import Model
from tests.unit.pools.test_web import serving

PLAYBOOKS = read_playbooks(Path(__file__).parents[3])
QUESTION = "Why do owls hunt by night?"
NIGHT = "Owls hunt by night because mice are about then. The weather was fine in spring."
EARS = "An owl's ears sit at unequal heights. Owls hear mice by night, and hunt by ear."


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Knowledge:
    """What the pool knows, in memory."""
    indexes = Indexes(FakeVectors(), FakeWords(), FakeEmbedder())
    made = Knowledge(FakeDocuments(), indexes, FakePages(), lambda: datetime.now(UTC), node="test")
    monkeypatch.setattr(knowledge, "knowledge", lambda: made)
    return made


def research(model: Model | None = None, **parameters: Any) -> tuple[Goal, str]:
    """The goal at its end, and its report."""
    port: ModelPort | None = model
    models = Environment().models(port) if port else None
    agents = (flow.agent, knowledge.agent, report.agent, think.agent, web.agent)
    fleet = InProcessFleet(*agents, playbooks=PLAYBOOKS, models=models)
    goal = fleet.submit({"playbook": "research-brief", "parameters": {"question": QUESTION, **parameters}})
    fleet.settle()
    ended = fleet.goal(goal.id)
    assert ended.state is GoalState.SUCCEEDED, ended.failure
    return ended, fleet.blobs.get(ended.output["report"]).decode()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_pages_and_documents_become_a_brief_of_their_own_sentences(monkeypatch: pytest.MonkeyPatch, known: Knowledge) -> None:
    """Numbered by source; what can't be read is named and the rest goes on; it says that no model was asked."""
    monkeypatch.setattr(web, "_reachable", lambda address, private: True)
    known.librarian.add("acme", "birds", [Draft("ears.txt", "ears.txt", "text/plain", EARS.encode())])
    with serving() as origin:
        good, bad = f"{origin}/?body={quote_plus(NIGHT)}", f"{origin}/?status=404"
        goal, page = research(urls=[bad, good], domains=["birds"])

    output = goal.output
    assert (output["how"], output["model"]) == ("quotations", None)
    assert output["skipped"] == [bad]
    assert [(one["number"], one["where"]) for one in output["sources"]] == [(1, good), (2, "ears.txt, lines 1–1")]
    assert "- Owls hunt by night because mice are about then. [1]" in output["brief"]
    assert "hunt by ear. [2]" in output["brief"]
    assert "weather" not in output["brief"].split("[1]")[0]
    assert bad in page.replace("&amp;", "&")


def test_a_model_words_the_brief_from_what_each_source_says(known: Knowledge) -> None:
    """Its citations stand for the sources' numbers."""
    known.librarian.add("acme", "birds", [Draft("ears.txt", "ears.txt", "text/plain", EARS.encode())])
    model = Model(lambda request: "They hear mice [1].")

    goal, page = research(model, domains=["birds"])

    assert (goal.output["how"], goal.output["brief"]) == ("model", "They hear mice [1].")
    assert goal.output["sources"][0]["is_cited"] is True
    assert "They hear mice [1]." in page
    [shown] = model.seen[-1].messages[0].parts
    assert isinstance(shown, Text)
    assert "[1] ears.txt\n" in shown.text


@pytest.mark.parametrize("says", ["They just do.", "They do [4]."])
def test_a_brief_that_cites_nothing_it_was_given_is_not_used(known: Knowledge, says: str) -> None:
    """The sources speak instead, and it is said why."""
    known.librarian.add("acme", "birds", [Draft("ears.txt", "ears.txt", "text/plain", EARS.encode())])

    def answer(request: ModelRequest) -> str:
        return says

    goal, _ = research(Model(answer), domains=["birds"])

    assert goal.output["how"] == "quotations"
    assert "of 1 sources" in goal.output["why"]
    assert "[1]" in goal.output["brief"]


def test_without_any_source_there_is_a_report_that_says_so() -> None:
    """Nothing is made up."""
    model = Model(lambda request: "never")

    goal, page = research(model)

    assert (goal.output["brief"], goal.output["sources"], goal.output["why"]) == ("", [], "no source says anything")
    assert not model.seen
    assert "Nothing to show" in page

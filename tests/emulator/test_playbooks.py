"""The playbooks that people want, on the deployed stack without a model: what comes out says how it was made."""

from collections.abc import Iterator

import pytest

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.files import archive_of
from client.local import LocalCloud
from tests.emulator.conftest import ROOT, until

UNREACHABLE = "http://127.0.0.1:9/page"
"""No public address: no agent may fetch it."""
SALES = "day,amount,shop\n" + "".join(f"2026-01-{day:02d},{100 + day},{'ab'[day % 2]}\n" for day in range(1, 31))


def test_this_projects_client_is_reviewed(client: FleetClient) -> None:
    """Uploaded, unpacked, reviewed in parts, ranked, reported; every place is a line of a file."""
    kept = client.upload(*archive_of(ROOT / "client"))

    goal = client.submit({"playbook": "code-review", "parameters": {"archive": kept.uri, "title": "The client"}})
    result = client.wait(goal.id, timeout=180)

    assert result.goal.state is GoalState.SUCCEEDED, result.goal.failure
    assert result.output["how"] == "rules"
    assert result.output["findings"] >= 1
    for one in result.output["top"]:
        path, _, line = one["place"].rpartition(":")
        assert 1 <= int(line) <= len((ROOT / path).read_text(encoding="utf-8").splitlines())
    [page] = [client.download(file) for file in result.files if file.uri == result.output["report"]]
    assert b"no model was asked" in page
    assert client.receipt(goal.id).models == ()


@pytest.fixture
def birds(cloud: LocalCloud, client: FleetClient) -> Iterator[str]:
    """A domain with one document, while the test runs."""
    dynamodb = cloud.client("dynamodb")

    def is_active() -> bool:
        [index] = dynamodb.describe_table(TableName="fleet-knowledge")["Table"]["VectorIndexes"]
        return bool(index["IndexStatus"] == "ACTIVE")

    until(is_active)
    text = "Owls hunt by night, for mice are about then."
    document = client.add_document({"domain": "birds", "title": "owls.txt", "text": text})
    yield "birds"
    client.delete_document("birds", document.id)


def test_a_brief_names_what_could_not_be_read(client: FleetClient, birds: str) -> None:
    """A page that no agent may fetch is skipped; a document's own sentence answers, cited by its number."""
    parameters = {"question": "When do owls hunt?", "urls": [UNREACHABLE], "domains": [birds]}

    goal = client.submit({"playbook": "research-brief", "parameters": parameters})
    result = client.wait(goal.id, timeout=120)

    assert result.goal.state is GoalState.SUCCEEDED, result.goal.failure
    assert result.output["skipped"] == [UNREACHABLE]
    assert result.output["how"] == "quotations"
    assert result.output["brief"] == "- Owls hunt by night, for mice are about then. [1]"
    assert result.output["sources"] == [{"number": 1, "title": "owls.txt", "where": "owls.txt, lines 1–1", "is_cited": True}]


def test_a_question_about_a_table_is_answered_by_rules(client: FleetClient) -> None:
    """With the query and its rows as evidence."""
    parameters = {"question": "What is the average amount per shop?", "text": SALES}

    goal = client.submit({"playbook": "ask-data", "parameters": parameters})
    result = client.wait(goal.id, timeout=120)

    assert result.goal.state is GoalState.SUCCEEDED, result.goal.failure
    assert (result.output["how"], result.output["rule"]) == ("rules", "the average of amount by shop")
    assert result.output["answer"] == "The average of amount by shop: shop a, average amount 116; shop b, average amount 115."


@pytest.mark.parametrize(("playbook", "given"), [("critic-loop", {"task": "Write."}), ("debate", {"question": "Why?"})])
def test_what_would_have_to_be_made_up_fails_without_a_model(client: FleetClient, playbook: str, given: dict[str, str]) -> None:
    """And says what is missing."""
    result = client.wait(client.submit({"playbook": playbook, "parameters": given}).id, timeout=120)

    assert result.goal.state is GoalState.FAILED
    assert result.goal.failure is not None
    assert result.goal.failure.error == "ModelUnavailable"

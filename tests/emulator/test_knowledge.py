"""Documents through the deployed stack: kept, found, answered from with citations, forgotten; the model is the real one."""

from pathlib import Path

import pytest

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.errors import NotFoundError
from client.local import LocalCloud
from tests.emulator.conftest import ROOT, Aws, until

TABLE = "fleet-knowledge"


@pytest.fixture(scope="module", autouse=True)
def _index_is_ready(cloud: LocalCloud) -> None:
    """An index that was added to a table takes some seconds, here as on AWS."""
    dynamodb = cloud.client("dynamodb")

    def is_active() -> bool:
        [index] = dynamodb.describe_table(TableName=TABLE)["Table"]["VectorIndexes"]
        return bool(index["IndexStatus"] == "ACTIVE")

    until(is_active)


def test_files_are_added_found_cited_and_forgotten(client: FleetClient, aws: Aws) -> None:
    """By meaning where no word is shared; the citation's lines are the file's; nothing of it is left in the end."""
    source = ROOT / "docs" / "scaling.md"
    text = source.read_text(encoding="utf-8")
    kept = client.add_document({"domain": "fleet", "title": source.name, "source": "docs/scaling.md", "text": text})
    other = client.add_document({"domain": "animals", "title": "owls.txt", "text": "Owls hunt for mice after sunset."})

    by_meaning = client.search("nocturnal predators", ["animals"])
    answer = client.ask("At what time of day do owls look for food?", ["animals"])

    assert by_meaning.missing == {}
    assert by_meaning.findings[0].place.document == other.id
    assert answer.answer == "Owls hunt for mice after sunset. [1]"
    assert answer.citations[0].place == "owls.txt, line 1"
    found = client.search("how fast may a pool grow", ["fleet"]).findings[0]
    lines = text.split("\n")[found.place.first_line - 1 : found.place.last_line]
    assert found.text.split() == "\n".join(lines).split()

    client.delete_document("fleet", kept.id)
    client.delete_document("animals", other.id)
    assert client.search("owls", ["animals"]).findings == ()
    with pytest.raises(NotFoundError):
        client.delete_document("animals", other.id)
    items = aws("dynamodb").scan(TableName=TABLE, ConsistentRead=True)["Items"]
    assert not {item["pk"]["S"] for item in items} & {"SPACE#default#fleet", "SPACE#default#animals"}


def test_tasks_learn_and_answer(client: FleetClient) -> None:
    """The pool adds a part of Python's reference and answers from it; what one task has learned, the next one knows."""
    tasks = [
        {
            "id": "learn",
            "capability": "knowledge.add_python_docs",
            "input": {"domain": "python", "topics": ["assert", "pass", "break"]},
        },
        {
            "id": "ask",
            "capability": "knowledge.ask",
            "depends_on": ["learn"],
            "input": {"question": "What does the pass statement do?", "domains": ["python"]},
        },
    ]
    goal = client.submit({"plan": {"tasks": tasks, "output": {"$from": "ask"}}})

    result = client.wait(goal.id, timeout=120)

    assert result.goal.state is GoalState.SUCCEEDED, result.goal.failure
    assert result.output["method"] == "extractive"
    assert result.output["citations"][0]["title"] == "pass"
    assert Path(result.output["citations"][0]["source"]).name == "pass"

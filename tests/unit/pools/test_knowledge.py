"""The pool `knowledge` as tasks reach it: documents learned in parts, questions answered, errors of the right kind."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentfleet.agent import PermanentError, RetryableError, TaskContext
from agentfleet.domain.errors import Postponed
from agentfleet.domain.goal import GoalState
from agentfleet.services.knowledge import Knowledge
from agentfleet.services.learn import Indexes
from cdk.playbooks import read_playbooks
from functions.knowledge import handler
from tests.fakes import FakeDocuments, FakeEmbedder, FakePages, FakeVectors, FakeWords
from tests.fakes.fleet import InProcessFleet

PLAYBOOKS = read_playbooks(Path(__file__).parents[3])


@pytest.fixture
def vectors() -> FakeVectors:
    """Which may be down."""
    return FakeVectors()


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch, vectors: FakeVectors) -> Knowledge:
    """What the pool knows, in memory."""
    indexes = Indexes(vectors, FakeWords(), FakeEmbedder())
    made = Knowledge(FakeDocuments(), indexes, FakePages(), lambda: datetime.now(UTC), node="test")
    monkeypatch.setattr(handler, "knowledge", lambda: made)
    return made


def note(text: str) -> handler.AddInput:
    """One document."""
    return handler.AddInput(domain="notes", documents=[handler.DocumentInput(title="note", text=text)])


def test_the_playbook_learns_in_parts_and_answers_with_citations(known: Knowledge) -> None:
    """Python's own reference, by four agents at once; every answer names a topic and its lines."""
    fleet = InProcessFleet(handler.agent, playbooks=PLAYBOOKS)
    goal = fleet.submit({"playbook": "ask-the-docs", "parameters": {"questions": ["What does the assert statement do?"]}})
    fleet.settle()
    ended = fleet.goal(goal.id)

    assert ended.state is GoalState.SUCCEEDED, ended.failure
    assert sum(part["documents"] for part in ended.output["learned"]) == len(known.librarian.list(goal.tenant, None).documents)
    [answer] = ended.output["answers"]
    assert answer["method"] == "extractive"
    assert "[1]" in answer["answer"]
    assert "assert" in {citation["title"] for citation in answer["citations"]}
    assert all(citation["last_line"] >= citation["first_line"] >= 1 for citation in answer["citations"])


def test_documents_come_as_text_or_by_uri(context: TaskContext) -> None:
    """A file's kind goes by its name; found and cited by its page."""
    uri = context.blobs.put("a.pdf", b"%PDFFirst.\fAbout badgers.", "application/pdf")
    documents = [handler.DocumentInput(title="a", uri=uri), handler.DocumentInput(title="b.md", text="# B\n\nOwls.")]

    added = handler.add(handler.AddInput(domain="notes", documents=documents), context)
    found = handler.search(handler.SearchInput(query="badgers", domains=["notes"]), context)

    assert (added.documents, added.chunks) == (2, 3)
    assert (found.findings[0].place.source, found.findings[0].place.page) == (uri, 2)


def test_what_time_does_not_suffice_for_goes_on_later(
    make_context: Callable[..., TaskContext], monkeypatch: pytest.MonkeyPatch, known: Knowledge
) -> None:
    """Without using up an attempt, and without doing again what was done."""
    text = "\n\n".join(f"Paragraph {number} {'x' * 800}." for number in range(20))
    embedder = FakeEmbedder()
    monkeypatch.setattr(known.librarian, "_indexes", Indexes(FakeVectors(), FakeWords(), embedder))
    monkeypatch.setattr(known.librarian, "_clock", lambda: datetime.max.replace(tzinfo=UTC, year=9000))

    with pytest.raises(Postponed, match="8 of 20 chunks"):
        handler.add(note(text), make_context(seconds=1))
    with pytest.raises(Postponed, match="16 of 20 chunks"):
        handler.add(note(text), make_context(seconds=1))
    assert handler.add(note(text), make_context(seconds=1)).chunks == 20
    assert len(embedder.embedded) == len(set(embedder.embedded)) == 20


def test_errors_are_of_the_right_kind(context: TaskContext, vectors: FakeVectors) -> None:
    """What can't work fails at once; what doesn't answer is tried again."""
    with pytest.raises(PermanentError, match="has no words"):
        handler.add(note("?!"), context)
    with pytest.raises(PermanentError, match="exactly one of text and uri"):
        handler.add(handler.AddInput(documents=[handler.DocumentInput(title="t")]), context)
    with pytest.raises(PermanentError, match="given by uri"):
        handler.add(handler.AddInput(documents=[handler.DocumentInput(title="t.pdf", text="x")]), context)
    with pytest.raises(PermanentError, match="topics: \\['nope'\\] are none"):
        handler.add_python_docs(handler.PythonDocsInput(topics=["nope"]), context)
    with pytest.raises(PermanentError, match="at least one word"):
        handler.ask(handler.AskInput(question="?"), context)
    vectors.down.add("notes")
    with pytest.raises(RetryableError, match="it is down"):
        handler.add(note("Text."), context)
    vectors.down.clear()
    assert handler.compact(handler.CompactInput(domain="notes"), context) == {"domain": "notes"}

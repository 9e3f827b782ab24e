"""The pool `knowledge` as tasks reach it: documents learned in parts, questions answered, errors of the right kind."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentfleet.agent import PermanentError, RetryableError, TaskContext
from agentfleet.domain.errors import ModelBusy, ModelRefused, ModelThrottled, Postponed
from agentfleet.domain.goal import GoalState
from agentfleet.domain.model import Text
from agentfleet.services.knowledge import Knowledge
from agentfleet.services.learn import Indexes
from cdk.playbooks import read_playbooks
from functions.knowledge import handler
from tests.fakes import FakeDocuments, FakeEmbedder, FakePages, FakeVectors, FakeWords
from tests.fakes.fleet import InProcessFleet
from tests.unit.pools.test_think import with_model

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
        asyncio.run(handler.ask(handler.AskInput(question="?"), context))
    vectors.down.add("notes")
    with pytest.raises(RetryableError, match="it is down"):
        handler.add(note("Text."), context)
    vectors.down.clear()
    assert handler.compact(handler.CompactInput(domain="notes"), context) == {"domain": "notes"}


@pytest.mark.parametrize(
    ("says", "method", "answer", "why"),
    [
        ("They hunt by night [1].", "model", "They hunt by night [1].", ""),
        ("NO ANSWER.", "model", None, ""),
        ("They hunt by night [3].", "extractive", "Owls hunt by night. [1]", "it cited [3]"),
        (ModelRefused("not that"), "extractive", "Owls hunt by night. [1]", "not that"),
    ],
)
def test_a_model_words_the_answer(says: object, method: str, answer: str | None, why: str) -> None:
    """From what was found, with its place; a refusal and a wrong citation leave the documents' own sentences."""
    context, model = with_model(lambda request: says)
    handler.add(note("Owls hunt by night."), context)

    found = asyncio.run(handler.ask(handler.AskInput(question="When do owls hunt?"), context))

    assert (found.method, found.answer) == (method, answer)
    assert why in found.why
    [shown] = model.seen[0].messages[0].parts
    assert isinstance(shown, Text)
    assert "[1] note, line 1\nOwls hunt by night." in shown.text
    if not isinstance(says, Exception):
        assert (found.input_tokens, found.output_tokens) == (100, 10)
        assert found.dollars > 0


def test_without_a_model_the_documents_answer_and_it_is_said(context: TaskContext) -> None:
    """How to get one, too; a model that is only busy has the task come again."""
    handler.add(note("Owls hunt by night."), context)

    found = asyncio.run(handler.ask(handler.AskInput(question="When do owls hunt?"), context))

    assert (found.method, found.model) == ("extractive", None)
    assert "[pools.<name>.model]" in found.why
    busy, _ = with_model(lambda request: ModelThrottled("slow down", 600.0))
    with pytest.raises(ModelBusy):
        asyncio.run(handler.ask(handler.AskInput(question="When do owls hunt?"), busy))

"""Keeping, finding and answering: what only shows when writers meet, domains fail, or a model words the answers."""

import asyncio
from collections.abc import Sequence

import pytest

from agentfleet.domain.errors import KnowledgeUnavailable
from agentfleet.domain.knowledge import Document, Match, Space, Vector
from agentfleet.ports_knowledge import Passage, Written
from agentfleet.services.find import Finder
from agentfleet.services.knowledge import Knowledge
from agentfleet.services.knowledge_views import AnswerView, DocumentView
from agentfleet.services.learn import Draft, Indexes
from tests.fakes import FakeDocuments, FakeEmbedder, FakePages, FakeVectors, FakeWords, FixedClock


class Shelf:
    """Knowledge in memory, which several processes share."""

    def __init__(self, documents: FakeDocuments | None = None) -> None:
        self.documents = documents or FakeDocuments()
        self.vectors, self.words, self.embedder, self.clock = FakeVectors(), FakeWords(), FakeEmbedder(), FixedClock()
        self.indexes = Indexes(self.vectors, self.words, self.embedder)
        self.known = self.process("one")

    def process(self, node: str) -> Knowledge:
        """Another process over the same stores."""
        return Knowledge(self.documents, self.indexes, FakePages(), self.clock, node=node)

    def ask(self, question: str, writer: "Model") -> AnswerView:
        """What the model makes of what is found."""
        return asyncio.run(self.known.answerer.ask_model("acme", question, None, writer))

    def add(self, text: str, domain: str = "d", title: str = "t") -> DocumentView:
        """Keep a text."""
        [kept] = self.known.librarian.add("acme", domain, [Draft(title, title, "text/plain", text.encode())])
        return kept


class Model:
    """A Writer that says what it is told to."""

    def __init__(self, says: str | KnowledgeUnavailable | None) -> None:
        self.says = says
        self.passages: Sequence[Passage] = ()

    async def write(self, question: str, passages: Sequence[Passage]) -> Written:
        self.passages = passages
        if isinstance(self.says, KnowledgeUnavailable):
            raise self.says
        return Written(self.says, "tiny", 100, 10, 0.25, 1.5)


class Meeting(FakeDocuments):
    """A store in which another writer always comes first, once."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Draft | None = None
        self.shelf: Shelf | None = None

    def save(self, space: Space, document: Document) -> bool:
        if self.other is not None and self.shelf is not None:
            other, self.other = self.other, None
            self.shelf.process("two").librarian.add(space.tenant, space.domain, [other])
        return super().save(space, document)


def test_writers_that_meet_leave_both_texts() -> None:
    """The one that comes second takes the first's text in as a conflict; the searches see one of them, whole."""
    # Both clocks stand still, so the name of the process decides: two is greater than one.
    store = Meeting()
    shelf = store.shelf = Shelf(store)
    shelf.add("The first text.")
    store.other = Draft("t", "t", "text/plain", b"The other text.")

    kept = shelf.add("My own text.")

    assert len(kept.conflicts) == 1
    [document] = shelf.known.librarian.list("acme", "d").documents
    assert document.conflicts == kept.conflicts
    assert [one.text for one in shelf.known.finder.find("acme", "text", None, 10).findings] == ["The other text."]
    assert {chunk.text for chunk in store.chunks.values()} == {"My own text.", "The other text."}
    solved = shelf.add("One text for both.")
    assert solved.conflicts == ()
    assert {chunk.text for chunk in store.chunks.values()} == {"One text for both."}
    assert len(shelf.vectors.vectors[Space("acme", "d")]) == len(shelf.words.words[Space("acme", "d")]) == 1


def test_what_is_the_same_costs_nothing() -> None:
    """Neither a model's time nor a write."""
    shelf = Shelf()
    first = shelf.add("A text.")
    embedded, changes = len(shelf.embedder.embedded), [one.changes for one in shelf.documents.documents.values()]

    assert shelf.add("A text.") == first
    assert len(shelf.embedder.embedded) == embedded
    assert [one.changes for one in shelf.documents.documents.values()] == changes


def test_a_deleted_document_leaves_nothing_and_can_come_back() -> None:
    """Not in table nor indexes; what an index that is behind still names is not shown."""
    shelf = Shelf()
    kept = shelf.add("A text about owls.")
    space = Space("acme", "d")
    vectors, words = dict(shelf.vectors.vectors[space]), dict(shelf.words.words[space])

    shelf.known.librarian.delete("acme", "d", kept.id)

    assert not shelf.documents.chunks
    assert not shelf.vectors.vectors[space]
    assert not shelf.words.words[space]
    shelf.vectors.put(space, vectors)
    shelf.words.put(space, words)
    assert shelf.known.finder.find("acme", "owls", None, 10).findings == ()
    assert shelf.add("A text about owls.").conflicts == ()
    assert len(shelf.known.finder.find("acme", "owls", None, 10).findings) == 1


def test_a_domain_that_is_slow_does_not_hold_up_the_others() -> None:
    """It is named with the time that it had."""
    from threading import Event

    release = Event()

    class Slow(FakeVectors):
        def search(self, space: Space, vector: Vector, limit: int) -> Sequence[Match]:
            if space.domain == "slow":
                release.wait(5)
            return super().search(space, vector, limit)

    shelf = Shelf()
    shelf.indexes = Indexes(Slow(), shelf.words, shelf.embedder)
    shelf.known = shelf.process("one")
    shelf.add("Owls here.", "fast")
    shelf.add("Owls there.", "slow")
    finder = Finder(shelf.documents, shelf.indexes, patience=0.05)

    found = finder.find("acme", "owls", None, 10)
    release.set()

    assert {one.place.domain for one in found.findings} == {"fast", "slow"}
    assert found.missing == {"slow": "vectors: did not answer within 0.05 s"}


def test_a_domain_that_fails_does_not_fail_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is named by its domain, and logged with what happened; only when nothing answers there is no answer."""

    class Damaged(FakeVectors):
        def search(self, space: Space, vector: Vector, limit: int) -> Sequence[Match]:
            if space.domain == "damaged":
                raise ValueError("buffer is smaller than requested size")
            return super().search(space, vector, limit)

    shelf = Shelf()
    shelf.indexes = Indexes(Damaged(), shelf.words, shelf.embedder)
    shelf.known = shelf.process("one")
    shelf.add("Owls here.", "whole")
    shelf.add("Owls there.", "damaged")

    found = shelf.known.finder.find("acme", "owls", None, 10)

    assert {one.place.domain for one in found.findings} == {"whole", "damaged"}
    assert found.missing == {"damaged": "vectors: failed unexpectedly (ValueError)"}
    [record] = [record for record in caplog.records if record.name == "agentfleet.services.find"]
    assert "vectors of damaged of tenant acme" in record.message
    assert "buffer is smaller" in (record.exc_text or "")
    shelf.words.down.add("damaged")
    with pytest.raises(KnowledgeUnavailable, match=r"failed unexpectedly \(ValueError\); words: it is down"):
        shelf.known.finder.find("acme", "owls", ["damaged"], 10)


def test_a_model_words_the_answer_from_what_was_found() -> None:
    """It is given passages with their places, and what it cites is shown."""
    shelf = Shelf()
    shelf.add("Owls hunt by night.", title="owls.txt")
    model = Model("At night [1].")

    answer = shelf.ask("When do owls hunt?", model)

    assert (answer.answer, answer.method) == ("At night [1].", "model")
    assert (answer.model, answer.input_tokens, answer.output_tokens, answer.dollars) == ("tiny", 100, 10, 0.25)
    assert model.passages == [Passage("Owls hunt by night.", "owls.txt, line 1")]
    assert [(one.number, one.text) for one in answer.citations] == [(1, "Owls hunt by night.")]


def test_a_model_may_say_that_there_is_no_answer() -> None:
    """Then there is none."""
    shelf = Shelf()
    shelf.add("Owls hunt by night.")

    answer = shelf.ask("When do owls hunt?", Model(None))

    assert (answer.answer, answer.method, answer.citations) == (None, "model", ())


@pytest.mark.parametrize(
    ("says", "why", "dollars"),
    [
        ("At night.", "it cited nothing of 1 passages", 0.25),
        ("At night [7].", "it cited [7] of 1 passages", 0.25),
        ("[1].", "it cited passages and said nothing", 0.25),
        (KnowledgeUnavailable("no model"), "no model", 0.0),
    ],
)
def test_without_a_usable_model_the_documents_speak(says: str | KnowledgeUnavailable, why: str, dollars: float) -> None:
    """A model that does not answer, cites nothing, or what it was not given, is not believed; what it cost is told."""
    shelf = Shelf()
    shelf.add("Owls hunt by night.")

    answer = shelf.ask("When do owls hunt?", Model(says))

    assert (answer.answer, answer.method) == ("Owls hunt by night. [1]", "extractive")
    assert (answer.why, answer.dollars) == (why, dollars)


def test_where_nothing_is_found_no_model_is_asked() -> None:
    """It would have to make something up."""
    answer = Shelf().ask("When do owls hunt?", Model("At night [1]."))

    assert (answer.answer, answer.method, answer.model) == (None, "extractive", None)

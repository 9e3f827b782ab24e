"""The question set over Python's own reference: whole and true of this Python's, and with a floor on what is found and said."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from agentfleet.adapters.embedders import MiniLm
from agentfleet.domain.chunking import chunk_text
from agentfleet.services.knowledge_views import AnswerView
from bench.knowledge_quality import SPACE, Library, in_its_documents, judge, judge_answers, library
from bench.knowledge_questions import Piece, Question, Unanswerable, plain, questions, unanswerable

SHORT = 2600
"""Characters: the topics that are embedded here take seconds, all of them take a minute or more."""
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def docs() -> Library:
    """The short topics, with the model that the functions use."""
    return library(sorted(name for name, text in topics.items() if len(text) < SHORT), MiniLm())


@pytest.fixture(scope="module")
def answerable(docs: Library) -> list[Question]:
    """The questions that these topics answer."""
    here = {document.title for document in docs.knowledge.librarian.list(SPACE.tenant, None).documents}
    return [one for one in questions() if one.topics & here]


def test_the_questions_are_many_and_each_has_its_documents() -> None:
    """At least fifty, none twice; every document is one that Python ships."""
    asked = questions()

    assert len(asked) == len({one.ask for one in asked}) >= 50
    assert all(one.topics and one.topics <= set(topics) for one in asked)


@pytest.mark.parametrize("question", questions(), ids=lambda one: one.ask)
def test_every_document_of_a_question_has_a_passage_that_answers_it(question: Question) -> None:
    """In this Python's reference: a document that has stopped saying it is no right answer any more."""
    silent = [
        name
        for name in question.topics
        if not any(question.is_answered_by(Piece(name, chunk.text)) for chunk in chunk_text(topics[name], "text/plain"))
    ]

    assert silent == []


def test_nothing_answers_the_unanswerable() -> None:
    """At least ten, and no document has the words that an answer would need."""
    everything = plain("\n".join(topics.values()))

    assert len(unanswerable()) >= 10
    assert [(one.ask, word) for one in unanswerable() for word in one.lacks if word in everything] == []
    assert not {one.ask for one in unanswerable()} & {one.ask for one in questions()}


def test_what_is_shown_off_can_be_answered() -> None:
    """The questions of the playbook, and the one of `make demo LLM=1`, are among those whose answers are known."""
    with (ROOT / "playbooks" / "ask-the-docs.toml").open("rb") as file:
        shown = tomllib.load(file)["parameters"]["questions"]["default"]
    [demo] = re.findall(r'^GOAL \?= "Answer from the Python docs: (.+)"$', (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)

    known = {one.ask.casefold() for one in questions()}

    assert {ask.casefold() for ask in (*shown, demo)} <= known


def test_most_questions_find_their_document_among_the_first_five(docs: Library, answerable: Sequence[Question]) -> None:
    """By both rankings together; the whole set is in bench/results/knowledge_quality.json."""
    result = judge(answerable, docs.by_both, in_its_documents)

    assert len(answerable) >= 20
    assert result["hit_at_5"] >= 0.85, result
    assert result["mrr"] >= 0.65, result


def test_most_questions_find_a_passage_that_answers_them(docs: Library, answerable: Sequence[Question]) -> None:
    """Which is more than the right document."""
    result = judge(answerable, docs.by_both, Question.is_answered_by)

    assert result["hit_at_5"] >= 0.75, result


def test_answers_cite_what_answers_and_it_is_admitted_that_nothing_does(docs: Library, answerable: Sequence[Question]) -> None:
    """In the documents' own sentences; of the questions that nothing answers most are told so."""
    result = judge_answers(
        docs, answerable, unanswerable(), lambda ask: docs.knowledge.answerer.ask(SPACE.tenant, ask, [SPACE.domain])
    )

    assert result["citing_a_passage_that_answers"] >= 0.65 * len(answerable), result
    assert result["saying_that_there_is_no_answer"] >= 0.6 * result["unanswerable"], result
    assert result["worded_by_the_model"] == 0


def test_answers_are_counted_as_said(docs: Library) -> None:
    """One that says it and one that is admitted to be none, of two each."""
    said = docs.knowledge.answerer.ask(SPACE.tenant, "What is the pass statement for?", [SPACE.domain])
    assert said.answer and said.citations
    told = {
        "knows": said,
        "beside": said,
        "none": AnswerView(question="none", answer=None, method="model"),
        "made up": said.model_copy(update={"method": "model"}),
    }
    asked = [Question("knows", frozenset({"pass"}), ("null operation",)), Question("beside", frozenset({"pass"}), ("cheese",))]

    result = judge_answers(docs, asked, [Unanswerable("none", ()), Unanswerable("made up", ())], told.__getitem__)

    assert result["citing_a_right_document"] == 2
    assert result["citing_a_passage_that_answers"] == result["saying_it_in_the_references_words"] == 1
    assert result["missed"] == ["beside"]
    assert result["saying_that_there_is_no_answer"] == 1
    assert result["answered_all_the_same"] == ["made up"]
    assert result["worded_by_the_model"] == 2


def test_ranks_are_counted_as_said() -> None:
    """First, third, not at all."""
    asked = [Question(ask, frozenset({title}), ()) for ask, title in (("a", "x"), ("b", "z"), ("c", "w"))]

    result = judge(asked, lambda _: [Piece(title, "") for title in "xyz"], in_its_documents)

    assert result == {"hit_at_1": 0.333, "hit_at_5": 0.667, "mrr": 0.444, "missed": ["c"]}


def test_a_passage_answers_by_its_document_and_its_words() -> None:
    """Whatever the breaks of its lines and its capitals."""
    question = Question("a", frozenset({"x"}), ("is run once",))

    assert question.is_answered_by(Piece("x", "It Is\n   run once."))
    assert not question.is_answered_by(Piece("y", "It is run once."))
    assert not question.is_answered_by(Piece("x", "It is run twice."))

"""The question set over Python's own reference: whole, and with a floor on what a search finds of it."""

from pydoc_data.topics import topics

import pytest

from agentfleet.adapters.embedders import MiniLm
from bench.knowledge_quality import Library, Question, judge, library, questions

SHORT = 2600
"""Characters: the topics that are embedded here take seconds, all of them take a minute or more."""


@pytest.fixture(scope="module")
def docs() -> Library:
    """The short topics, with the model that the functions use."""
    return library(sorted(name for name, text in topics.items() if len(text) < SHORT), MiniLm())


def test_the_questions_are_many_and_each_has_its_documents() -> None:
    """At least fifty, none twice; every document is one that Python ships."""
    asked = questions()

    assert len(asked) == len({one.ask for one in asked}) >= 50
    assert all(one.topics and one.topics <= set(topics) for one in asked)


def test_most_questions_find_their_document_among_the_first_five(docs: Library) -> None:
    """By both rankings together; the whole set is in bench/results/knowledge_quality.json."""
    here = {document.title for document in docs.knowledge.librarian.list("bench", None).documents}
    asked = [one for one in questions() if one.topics & here]

    result = judge(asked, docs.by_both)

    assert len(asked) >= 20
    assert result["hit_at_5"] >= 0.85, result
    assert result["mrr"] >= 0.65, result


def test_ranks_are_counted_as_said() -> None:
    """First, third, not at all."""
    asked = [Question("a", frozenset({"x"})), Question("b", frozenset({"z"})), Question("c", frozenset({"w"}))]

    result = judge(asked, lambda _: ["x", "y", "z"])

    assert result == {"hit_at_1": 0.333, "hit_at_5": 0.667, "mrr": 0.444, "missed": ["c"]}

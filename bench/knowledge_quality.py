"""How well questions find their answers in Python's own language reference: by words, by meaning, and by both.

python -m bench.knowledge_quality
"""

import json
import platform
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Final

from agentfleet.adapters.embedders import MiniLm
from agentfleet.domain.knowledge import Space
from agentfleet.domain.ranking import fuse, words
from agentfleet.ports_knowledge import Embedder
from agentfleet.services.knowledge import Knowledge
from agentfleet.services.learn import Draft, Indexes
from tests.fakes.knowledge import FakeDocuments, FakePages, FakeVectors, FakeWords

QUESTIONS: Final = Path(__file__).with_name("knowledge_questions.toml")
RESULT: Final = Path(__file__).with_name("results") / "knowledge_quality.json"
DEPTH: Final = 10
SPACE: Final = Space("bench", "python-docs")


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the documents that answer it."""

    ask: str
    topics: frozenset[str]


def questions() -> list[Question]:
    """All of them."""
    with QUESTIONS.open("rb") as file:
        return [Question(one["ask"], frozenset(one["topics"])) for one in tomllib.load(file)["questions"]]


@dataclass(frozen=True, slots=True)
class Library:
    """Documents in indexes that compare with everything, so that what is measured is the ranking and nothing else."""

    knowledge: Knowledge
    vectors: FakeVectors
    words: FakeWords
    embedder: Embedder

    def by_both(self, question: str) -> list[str]:
        """Titles of the documents of the best chunks, as the API finds them."""
        found = self.knowledge.finder.find(SPACE.tenant, question, [SPACE.domain], DEPTH)
        return [one.place.title for one in found.findings]

    def ranked(self, question: str) -> dict[str, list[str]]:
        """The same by each way of ranking."""
        [vector] = self.embedder.embed([question])
        by_meaning = [match.key for match in self.vectors.search(SPACE, vector, 50)]
        by_words = [match.key for match in self.words.search(SPACE, words(question), 50)]
        rankings = {"words": by_words, "vectors": by_meaning, "fused": [key for key, _ in fuse(by_meaning, by_words)]}
        documents = self.knowledge.librarian.list(SPACE.tenant, SPACE.domain).documents
        titles = {document.id: document.title for document in documents}
        return {way: [titles[key.split("/")[0]] for key in keys[:DEPTH]] for way, keys in rankings.items()}


def library(names: Sequence[str], embedder: Embedder) -> Library:
    """These topics as documents."""
    vectors, inverted = FakeVectors(), FakeWords()
    indexes = Indexes(vectors, inverted, embedder)
    knowledge = Knowledge(FakeDocuments(), indexes, FakePages(), lambda: datetime.now(UTC), node="bench")
    drafts = [Draft(name, f"pydoc_data/topics/{name}", "text/plain", topics[name].encode()) for name in names]
    knowledge.librarian.add(SPACE.tenant, SPACE.domain, drafts)
    return Library(knowledge, vectors, inverted, embedder)


def judge(asked: Sequence[Question], ranking: Callable[[str], Sequence[str]]) -> dict[str, Any]:
    """hit@1, hit@5, mean reciprocal rank (0 below ten), and what was not among the first five."""
    ranks = {one.ask: _rank(ranking(one.ask), one.topics) for one in asked}
    return {
        "hit_at_1": round(sum(rank == 1 for rank in ranks.values()) / len(ranks), 3),
        "hit_at_5": round(sum(0 < rank <= 5 for rank in ranks.values()) / len(ranks), 3),
        "mrr": round(sum(1 / rank for rank in ranks.values() if rank) / len(ranks), 3),
        "missed": [ask for ask, rank in ranks.items() if not 0 < rank <= 5],
    }


def _rank(found: Sequence[str], wanted: frozenset[str]) -> int:
    return next((rank for rank, title in enumerate(found, 1) if title in wanted), 0)


def main() -> None:
    """Measure, print, and keep the result."""
    asked = questions()
    unknown = {name for one in asked for name in one.topics} - set(topics)
    start = time.perf_counter()
    docs = library(sorted(topics), MiniLm())
    took = time.perf_counter() - start
    ranked: Mapping[str, dict[str, list[str]]] = {one.ask: docs.ranked(one.ask) for one in asked}
    answered = [docs.knowledge.answerer.ask(SPACE.tenant, one.ask, [SPACE.domain]) for one in asked]
    right = [any(place.title in one.topics for place in answer.citations) for one, answer in zip(asked, answered, strict=True)]
    result = {
        "documents": f"pydoc_data.topics of Python {platform.python_version()}",
        "topics": len(topics),
        "topics_this_python_lacks": sorted(unknown),
        "chunks": sum(one.chunks for one in docs.knowledge.librarian.list(SPACE.tenant, SPACE.domain).documents),
        "questions": len(asked),
        "embedding_seconds": round(took, 1),
        "ways": {way: judge(asked, lambda ask, way=way: ranked[ask][way]) for way in ("words", "vectors", "fused")},  # type: ignore[misc]
        "answers": {
            "method": "extractive",
            "given": sum(answer.answer is not None for answer in answered),
            "citing_a_right_document": sum(right),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

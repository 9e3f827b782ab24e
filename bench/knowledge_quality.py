"""How well questions are answered from Python's own language reference: what is found by words, by meaning and by both,
what the answers say, and whether it is admitted that there is none.

    python -m bench.knowledge_quality [--model http://127.0.0.1:4567]

`--model` has the answers worded by a model besides: the address of a gateway as `fleet up --model coder` starts one. Without it
the worded answers of the last run stay in the results.
"""

import argparse
import asyncio
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pydoc_data.topics import topics
from typing import Any, Final

import boto3
from botocore.config import Config

from agentfleet.adapters.bedrock import BedrockModels
from agentfleet.adapters.embedders import MiniLm
from agentfleet.domain.knowledge import Space
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.domain.ranking import fuse, words
from agentfleet.ports_knowledge import Embedder
from agentfleet.services.capability import TaskContext, TaskFiles
from agentfleet.services.find import CANDIDATES
from agentfleet.services.knowledge import Knowledge
from agentfleet.services.knowledge_views import AnswerView, Cited
from agentfleet.services.learn import Draft, Indexes
from agentfleet.services.model import Circumstances, Models
from agentfleet.services.write_answer import ModelWriter
from bench.knowledge_questions import Piece, Question, Unanswerable, questions, unanswerable
from bench.programs import run_bench
from bench.report import load, save
from tests.fakes.blobs import FakeBlobs
from tests.fakes.knowledge import FakeDocuments, FakePages, FakeVectors, FakeWords

DEPTH: Final = 10
SPACE: Final = Space("bench", "python-docs")
NAMED: Final = "amazon.nova-micro-v1:0"
"""A model id that the gateway takes: it answers with the model that it has, whatever it is asked for."""
PATIENCE: Final = timedelta(minutes=5)
"""For one answer of a model on this machine."""

Ask = Callable[[str], AnswerView]


@dataclass(frozen=True, slots=True)
class Library:
    """Documents in indexes that compare with everything, so that what is measured is the ranking and nothing else."""

    knowledge: Knowledge
    documents: FakeDocuments
    vectors: FakeVectors
    words: FakeWords
    embedder: Embedder

    def by_both(self, question: str) -> list[Piece]:
        """The best chunks, as the API finds them."""
        found = self.knowledge.finder.find(SPACE.tenant, question, [SPACE.domain], DEPTH)
        return [Piece(one.place.title, one.text) for one in found.findings]

    def ranked(self, question: str) -> dict[str, list[Piece]]:
        """The same by each way of ranking."""
        [vector] = self.embedder.embed([question])
        by_meaning = [match.key for match in self.vectors.search(SPACE, vector, CANDIDATES)]
        by_words = [match.key for match in self.words.search(SPACE, words(question), CANDIDATES)]
        rankings = {"words": by_words, "vectors": by_meaning, "fused": [key for key, _ in fuse(by_meaning, by_words)]}
        chunks = self.documents.get_chunks(SPACE, {key for keys in rankings.values() for key in keys[:DEPTH]})
        listed = self.knowledge.librarian.list(SPACE.tenant, SPACE.domain).documents
        titles = {document.id: document.title for document in listed}
        return {
            way: [Piece(titles[key.split("/")[0]], chunks[key].text) for key in keys[:DEPTH]] for way, keys in rankings.items()
        }

    def passage(self, cited: Cited) -> Piece:
        """The whole chunk that a citation names."""
        [chunk] = {
            chunk.text
            for (space, key), chunk in self.documents.chunks.items()
            if space == SPACE and key.startswith(cited.document + "/") and chunk.first == cited.first_line
        }
        return Piece(cited.title, chunk)


def library(names: Sequence[str], embedder: Embedder) -> Library:
    """These topics as documents."""
    documents, vectors, inverted = FakeDocuments(), FakeVectors(), FakeWords()
    indexes = Indexes(vectors, inverted, embedder)
    knowledge = Knowledge(documents, indexes, FakePages(), lambda: datetime.now(UTC), node="bench")
    drafts = [Draft(name, f"pydoc_data/topics/{name}", "text/plain", topics[name].encode()) for name in names]
    knowledge.librarian.add(SPACE.tenant, SPACE.domain, drafts)
    return Library(knowledge, documents, vectors, inverted, embedder)


def judge(
    asked: Sequence[Question], ranking: Callable[[str], Sequence[Piece]], is_right: Callable[[Question, Piece], bool]
) -> dict[str, Any]:
    """hit@1, hit@5, mean reciprocal rank (0 below ten), and what was not among the first five."""
    ranks = {
        one.ask: next((rank for rank, piece in enumerate(ranking(one.ask), 1) if is_right(one, piece)), 0) for one in asked
    }
    return {
        "hit_at_1": round(sum(rank == 1 for rank in ranks.values()) / len(ranks), 3),
        "hit_at_5": round(sum(0 < rank <= 5 for rank in ranks.values()) / len(ranks), 3),
        "mrr": round(sum(1 / rank for rank in ranks.values() if rank) / len(ranks), 3),
        "missed": [ask for ask, rank in ranks.items() if not 0 < rank <= 5],
    }


def in_its_documents(question: Question, piece: Piece) -> bool:
    """Is this from a document that answers?"""
    return piece.title in question.topics


def judge_answers(docs: Library, asked: Sequence[Question], without: Sequence[Unanswerable], ask: Ask) -> dict[str, Any]:
    """What became of the questions: of those that have an answer here, and of those that have none."""
    answers = [ask(one.ask) for one in asked]
    cited = [[docs.passage(one) for one in answer.citations] for answer in answers]
    pairs = list(zip(asked, cited, strict=True))
    refused = [ask(one.ask) for one in without]
    worded = [answer for answer in (*answers, *refused) if answer.method == "model"]
    missed = [one.ask for one, pieces in pairs if not any(map(one.is_answered_by, pieces))]
    return {
        "answerable": len(asked),
        "given": sum(answer.answer is not None for answer in answers),
        "citing_a_right_document": sum(any(in_its_documents(one, piece) for piece in pieces) for one, pieces in pairs),
        "citing_a_passage_that_answers": len(asked) - len(missed),
        "saying_it_in_the_references_words": sum(
            one.is_said_in(answer.answer or "") for one, answer in zip(asked, answers, strict=True)
        ),
        "missed": missed,
        "unanswerable": len(without),
        "saying_that_there_is_no_answer": sum(answer.answer is None for answer in refused),
        "answered_all_the_same": [one.ask for one, answer in zip(without, refused, strict=True) if answer.answer is not None],
        "worded_by_the_model": len(worded),
    }


def with_model(docs: Library, url: str) -> Ask:
    """Answers that the model behind a gateway words, as the capability `knowledge.ask` has them worded."""
    waits = Config(read_timeout=PATIENCE.total_seconds(), retries={"total_max_attempts": 1})
    session = boto3.Session("local", "local", region_name="us-east-1")
    bedrock = session.client("bedrock-runtime", endpoint_url=url, config=waits)
    choice = ModelChoice(chain=(NAMED,), timeout=PATIENCE.total_seconds())
    models = Models(BedrockModels(lambda _: bedrock), Circumstances("knowledge", choice, fraction=lambda: 0.5))

    def ask(question: str) -> AnswerView:
        now = datetime.now(UTC)
        files = TaskFiles(FakeBlobs(), SPACE.tenant, "bench", "ask")
        context = TaskContext("bench", "ask", SPACE.tenant, 1, files, lambda: datetime.now(UTC), now + PATIENCE, models=models)
        answering = docs.knowledge.answerer.ask_model(SPACE.tenant, question, [SPACE.domain], ModelWriter(context))
        return asyncio.run(answering)

    return ask


def measure(model: str = "") -> dict[str, Any]:
    """Everything; answers of a model where one is given."""
    asked, without = questions(), unanswerable()
    began = time.process_time()
    docs = library(sorted(topics), MiniLm())
    took = time.process_time() - began
    ranked = {one.ask: docs.ranked(one.ask) for one in asked}

    def ways(is_right: Callable[[Question, Piece], bool]) -> dict[str, Any]:
        return {
            way: judge(asked, lambda ask, way=way: ranked[ask][way], is_right)  # type: ignore[misc]
            for way in ("words", "vectors", "fused")
        }

    def extractive(question: str) -> AnswerView:
        return docs.knowledge.answerer.ask(SPACE.tenant, question, [SPACE.domain])

    answers = {"extractive": judge_answers(docs, asked, without, extractive)}
    if model:
        ask = with_model(docs, model)
        named = str(ask("What is an object?").model)
        answers["model"] = {"name": named, **judge_answers(docs, asked, without, ask)}
    elif (known := load("knowledge_quality")) and "model" in known["answers"]:
        answers["model"] = known["answers"]["model"]
    return {
        "documents": f"pydoc_data.topics of Python {platform.python_version()}",
        "topics": len(topics),
        "chunks": sum(one.chunks for one in docs.knowledge.librarian.list(SPACE.tenant, SPACE.domain).documents),
        "questions": len(asked),
        "learning_cpu_seconds": round(took, 1),
        "passages": ways(Question.is_answered_by),
        "of_documents": ways(in_its_documents),
        "answers": answers,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", metavar="URL", help="the gateway of a model that words answers besides")
    save("knowledge_quality", measure(parser.parse_args(arguments).model))
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

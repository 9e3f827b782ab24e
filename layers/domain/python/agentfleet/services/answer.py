"""Answer questions from documents, with citations: in the documents' own sentences, or in a model's words."""

from collections.abc import Sequence
from typing import Final

from agentfleet.domain.answers import best_sentences, cited, sentences
from agentfleet.domain.errors import KnowledgeUnavailable
from agentfleet.ports_knowledge import Embedder, Passage, Writer
from agentfleet.services.find import Finder
from agentfleet.services.knowledge_views import AnswerView, Cited, Finding

PASSAGES: Final = 5
"""That an answer may be made of."""


class Answerer:
    """`Answerer(finder, embedder)`; with a `writer`, a model words the answers."""

    def __init__(self, finder: Finder, embedder: Embedder, writer: Writer | None = None) -> None:
        self._finder = finder
        self._embedder = embedder
        self._writer = writer

    def ask(self, tenant: str, question: str, domains: Sequence[str] | None) -> AnswerView:
        """An answer that says where each part of it stands, how it was made, and which domains could not be asked.

        A model that does not answer, or cites what it was not given, is not used: the documents' own sentences are.
        Raises InvalidRequest and KnowledgeUnavailable as a search does.
        """
        found = self._finder.find(tenant, question, domains, PASSAGES)
        written = self._written(question, found.findings)
        if written is not None:
            return written.model_copy(update={"missing": found.missing})
        return self._extracted(question, found.findings).model_copy(update={"missing": found.missing})

    def _written(self, question: str, findings: Sequence[Finding]) -> AnswerView | None:
        if self._writer is None or not findings:
            return None
        passages = [Passage(finding.text, finding.place.place) for finding in findings]
        try:
            text = self._writer.write(question, passages)
        except KnowledgeUnavailable:
            return None
        numbers = [] if text is None else cited(text)
        if text is not None and not (numbers and set(numbers) <= set(range(1, len(findings) + 1))):
            return None
        places = tuple(_cited(findings[number - 1], number, findings[number - 1].text) for number in sorted(numbers))
        return AnswerView(question=question, answer=text, method="model", citations=places)

    def _extracted(self, question: str, findings: Sequence[Finding]) -> AnswerView:
        given = sentences([finding.text for finding in findings])
        if not given:
            return AnswerView(question=question, answer=None, method="extractive")
        asked, *vectors = self._embedder.embed([question, *(sentence.text for sentence in given)])
        likeness = [sum(a * b for a, b in zip(asked, vector, strict=True)) for vector in vectors]
        chosen = best_sentences(question, given, likeness.__getitem__)
        numbers = {passage: number for number, passage in enumerate(dict.fromkeys(one.passage for one in chosen), 1)}
        said = {passage: [one.text for one in chosen if one.passage == passage] for passage in numbers}
        return AnswerView(
            question=question,
            answer=" ".join(f"{' '.join(texts)} [{numbers[passage]}]" for passage, texts in said.items()) or None,
            method="extractive",
            citations=tuple(_cited(findings[passage], number, " ".join(said[passage])) for passage, number in numbers.items()),
        )


def _cited(finding: Finding, number: int, text: str) -> Cited:
    return Cited(**finding.place.model_dump(), number=number, text=text)

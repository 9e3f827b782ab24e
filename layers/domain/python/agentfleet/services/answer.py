"""Answer questions from documents, with citations: in the documents' own sentences, or in a model's words."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from agentfleet.domain.answers import best_sentences, cited, sentences
from agentfleet.domain.errors import KnowledgeUnavailable
from agentfleet.ports_knowledge import Embedder, Passage, Writer
from agentfleet.services.find import Finder
from agentfleet.services.knowledge_views import AnswerView, Cited, Finding

PASSAGES: Final = 5
"""That an answer may be made of."""


class Answerer:
    """`Answerer(finder, embedder)`: in the documents' own sentences, or in a model's words where one is given."""

    def __init__(self, finder: Finder, embedder: Embedder) -> None:
        self._finder = finder
        self._embedder = embedder

    def ask(self, tenant: str, question: str, domains: Sequence[str] | None) -> AnswerView:
        """An answer in the documents' own sentences, with where each stands and which domains could not be asked.

        Raises InvalidRequest and KnowledgeUnavailable as a search does.
        """
        found = self._finder.find(tenant, question, domains, PASSAGES)
        return self._extracted(question, found.findings).model_copy(update={"missing": found.missing})

    async def ask_model(self, tenant: str, question: str, domains: Sequence[str] | None, writer: Writer) -> AnswerView:
        """An answer that a model words from what is found.

        A model that does not answer, or cites nothing or what it was not given, is not used: the documents' own sentences are,
        and the answer says why; what it has cost stands there all the same. Raises as `ask` does.
        """
        found = await asyncio.to_thread(self._finder.find, tenant, question, domains, PASSAGES)
        answer = await self._written(question, found.findings, writer)
        return answer.model_copy(update={"missing": found.missing})

    async def _written(self, question: str, findings: Sequence[Finding], writer: Writer) -> AnswerView:
        if not findings:
            return AnswerView(question=question, answer=None, method="extractive", why="nothing was found to answer from")
        try:
            written = await writer.write(question, [Passage(finding.text, finding.place.place) for finding in findings])
        except KnowledgeUnavailable as error:
            return await self._instead(question, findings, why=str(error)[:500])
        took: dict[str, Any] = {
            "model": written.model or None,
            "input_tokens": written.input_tokens,
            "output_tokens": written.output_tokens,
            "dollars": written.dollars,
            "seconds": written.seconds,
        }
        if written.text is None:
            return AnswerView(question=question, answer=None, method="model", **took)
        numbers = cited(written.text)
        if not any(map(str.isalpha, written.text)):
            return await self._instead(question, findings, why="it cited passages and said nothing", **took)
        if not numbers or not set(numbers) <= set(range(1, len(findings) + 1)):
            said = ", ".join(f"[{number}]" for number in numbers) or "nothing"
            return await self._instead(question, findings, why=f"it cited {said} of {len(findings)} passages", **took)
        places = tuple(_cited(findings[number - 1], number, findings[number - 1].text) for number in sorted(numbers))
        return AnswerView(question=question, answer=written.text, method="model", citations=places, **took)

    async def _instead(self, question: str, findings: Sequence[Finding], **more: Any) -> AnswerView:
        answer = await asyncio.to_thread(self._extracted, question, findings)
        return answer.model_copy(update=more)

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

"""Find pieces of documents by meaning and by words, in several domains at once."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from msgspec import Struct

from agentfleet.domain.errors import InvalidRequest, KnowledgeUnavailable
from agentfleet.domain.knowledge import Chunk, Document, Match, Space, split_key
from agentfleet.domain.ranking import fuse, words
from agentfleet.ports_knowledge import DocumentStore
from agentfleet.services.knowledge_views import Citation, Finding, FindingList
from agentfleet.services.learn import Indexes

_log: Final = logging.getLogger(__name__)

CANDIDATES: Final = 50
"""From each ranking of each domain."""
MOST_DOMAINS: Final = 64
PATIENCE: Final = 10.0
"""Seconds that a domain may take; the others' findings don't wait longer."""


class _Asked(Struct, frozen=True):
    """What one ranking of one domain gave."""

    space: Space
    kind: str
    matches: Sequence[Match] = ()
    error: str = ""


class Finder:
    """Searches of tenants over their own documents."""

    def __init__(self, documents: DocumentStore, indexes: Indexes, *, patience: float = PATIENCE) -> None:
        self._documents = documents
        self._indexes = indexes
        self._patience = patience
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="find")

    def find(self, tenant: str, query: str, domains: Sequence[str] | None, limit: int) -> FindingList:
        """The pieces that match best, from these domains or from all that the tenant has.

        Those nearest in meaning and those that share rare words are ranked each by itself over all domains; the two rankings
        are joined by reciprocal rank. A domain that does not answer, or fails, is named in `missing` with the reason.
        Raises InvalidRequest if the query has no word, KnowledgeUnavailable if no domain answers at all.
        """
        asked_words = words(query)
        if not any(character.isalnum() for character in query):
            raise InvalidRequest.of("query", "must contain at least one word")
        chosen = list(dict.fromkeys(domains or self._documents.domains(tenant)))
        spaces = [Space(tenant, domain) for domain in chosen[:MOST_DOMAINS]]
        if not spaces:
            return FindingList(findings=())
        [vector] = self._indexes.embedder.embed([query])
        by_meaning = self._indexes.vectors.search
        by_words = self._indexes.words.search
        calls: dict[tuple[Space, str], Callable[[], Sequence[Match]]] = {}
        for space in spaces:
            calls[space, "vectors"] = lambda space=space: by_meaning(space, vector, CANDIDATES)  # type: ignore[misc]
            if asked_words:
                calls[space, "words"] = lambda space=space: by_words(space, asked_words, CANDIDATES)  # type: ignore[misc]
        answers = self._ask_all(calls)
        missing = _missing(answers) | dict.fromkeys(chosen[MOST_DOMAINS:], f"only {MOST_DOMAINS} domains are asked at once")
        if all(answer.error for answer in answers):
            raise KnowledgeUnavailable("; ".join(f"{domain}: {reason}" for domain, reason in missing.items()))
        place = {match.key: answer.space for answer in answers for match in answer.matches}
        ranked = fuse(*(_merged(answers, kind) for kind in ("vectors", "words")))
        return FindingList(findings=tuple(self._shown(ranked, place, limit)), missing=missing)

    def _ask_all(self, calls: Mapping[tuple[Space, str], Callable[[], Sequence[Match]]]) -> list[_Asked]:
        running = {self._threads.submit(_ask, space, kind, call): (space, kind) for (space, kind), call in calls.items()}
        done, late = wait(running, timeout=self._patience)
        for future in late:
            future.cancel()
        slow = f"did not answer within {self._patience:g} s"
        return [future.result() for future in running if future in done] + [
            _Asked(*running[future], error=slow) for future in running if future in late
        ]

    def _shown(self, ranked: Sequence[tuple[str, float]], place: Mapping[str, Space], limit: int) -> Iterable[Finding]:
        """The best that are still there: an index may name what has been deleted or replaced."""
        shown = 0
        for start in range(0, len(ranked), CANDIDATES):
            part = ranked[start : start + CANDIDATES]
            chunks, documents = self._read({key: place[key] for key, _ in part})
            for key, score in part:
                document = documents.get((place[key], split_key(key)[0]))
                if shown < limit and key in chunks and document and _is_current(document, key):
                    yield Finding(place=Citation.of(document, chunks[key]), score=round(score, 4), text=chunks[key].text)
                    shown += 1
            if shown >= limit:
                return

    def _read(self, keys: Mapping[str, Space]) -> tuple[dict[str, Chunk], dict[tuple[Space, str], Document]]:
        chunks: dict[str, Chunk] = {}
        documents: dict[tuple[Space, str], Document] = {}
        for space in sorted(set(keys.values())):
            own = [key for key, place in keys.items() if place == space]
            chunks |= self._documents.get_chunks(space, own)
            found = self._documents.get(space, sorted({split_key(key)[0] for key in own}))
            documents |= {(space, name): document for name, document in found.items()}
        return chunks, documents


def _ask(space: Space, kind: str, call: Callable[[], Sequence[Match]]) -> _Asked:
    try:
        return _Asked(space, kind, call())
    except KnowledgeUnavailable as error:
        return _Asked(space, kind, error=str(error))
    except Exception as error:
        # A damaged file of one domain, or a mistake of ours: the others' findings are an answer all the same.
        _log.exception("the %s of %s of tenant %s failed", kind, space.domain, space.tenant)
        return _Asked(space, kind, error=f"failed unexpectedly ({type(error).__name__})")


def _merged(answers: Sequence[_Asked], kind: str) -> list[str]:
    """One ranking over all domains: cosines compare across them, and so, nearly, do BM25 scores."""
    matches = [match for answer in answers if answer.kind == kind for match in answer.matches]
    return [match.key for match in sorted(matches, key=lambda match: (-match.score, match.key))]


def _missing(answers: Sequence[_Asked]) -> dict[str, str]:
    reasons: dict[str, list[str]] = {}
    for answer in answers:
        if answer.error:
            reasons.setdefault(answer.space.domain, []).append(f"{answer.kind}: {answer.error}")
    return {domain: "; ".join(sorted(errors)) for domain, errors in sorted(reasons.items())}


def _is_current(document: Document, key: str) -> bool:
    current = document.record.current
    return current is not None and current.digest == split_key(key)[1]

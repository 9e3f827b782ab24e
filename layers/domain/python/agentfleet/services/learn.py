"""What the fleet knows: documents by domain, found by the words they share with a question."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from agentfleet.domain.errors import InvalidRequest, NotFound
from agentfleet.ports import Clock, Document, KnowledgeStore
from agentfleet.services.views import DocumentList, DocumentView, Finding, FindingList

MAX_TEXT_BYTES: Final = 350_000
"""A DynamoDB item may be 400 KB (AWS, 'Service quotas': item size)."""
TITLE_WEIGHT: Final = 3
EXCERPT: Final = 240

_WORD: Final = re.compile(r"\w+")


class Librarian:
    """A tenant's documents."""

    def __init__(self, documents: KnowledgeStore, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    def add(self, tenant: str, domain: str, title: str, text: str) -> DocumentView:
        """Keep a document. The same text under the same title and domain is one document, however often it is added.

        Raises InvalidRequest for a text over 350,000 bytes.
        """
        size = len(text.encode())
        if size > MAX_TEXT_BYTES:
            raise InvalidRequest.of("text", f"is {size:,} bytes; at most {MAX_TEXT_BYTES:,}: split it into several documents")
        digest = hashlib.sha256("\x00".join((domain, title, text)).encode()).hexdigest()
        document = Document(id=f"d{digest[:24]}", domain=domain, title=title, text=text, created=self._clock())
        self._documents.put(tenant, document)
        return DocumentView.of(document)

    def list(self, tenant: str, domain: str | None) -> DocumentList:
        """Documents of one domain, or of all, newest first; at most 1,000."""
        found = sorted(self._documents.list(tenant, domain), key=lambda document: document.created, reverse=True)
        return DocumentList(documents=tuple(map(DocumentView.of, found)))

    def search(self, tenant: str, query: str, domain: str | None, limit: int) -> FindingList:
        """The documents that share words with the query, best first.

        Ranked by term frequency, 1 + log tf per word (Manning, Raghavan and Schütze, 'Introduction to Information
        Retrieval', 6.4.1), words of the title counting three times. Raises InvalidRequest if the query has no word.
        """
        terms = frozenset(_words(query))
        if not terms:
            raise InvalidRequest.of("query", "must contain at least one word")
        findings: list[Finding] = []
        for document in self._documents.list(tenant, domain):
            if score := _score(terms, document):
                excerpt = _excerpt(terms, document.text)
                findings.append(Finding(document=DocumentView.of(document), score=round(score, 4), excerpt=excerpt))
        findings.sort(key=lambda finding: (-finding.score, finding.document.title))
        return FindingList(findings=tuple(findings[:limit]))

    def delete(self, tenant: str, domain: str, document_id: str) -> None:
        """Forget a document. Raises NotFound."""
        if not self._documents.delete(tenant, domain, document_id):
            raise NotFound(f"there is no document {document_id[:64]!r} in domain {domain[:64]!r}")


def _words(text: str) -> Sequence[str]:
    return _WORD.findall(text.casefold())


def _score(terms: frozenset[str], document: Document) -> float:
    frequency = Counter(word for word in _words(document.text) if word in terms)
    for word in _words(document.title):
        if word in terms:
            frequency[word] += TITLE_WEIGHT
    return sum(1 + math.log(count) for count in frequency.values())


def _excerpt(terms: frozenset[str], text: str) -> str:
    first = next((found.start() for found in _WORD.finditer(text) if found[0].casefold() in terms), 0)
    start = max(0, first - EXCERPT // 4)
    part = " ".join(text[start : start + EXCERPT].split())
    return f"{'…' if start else ''}{part}{'…' if start + EXCERPT < len(text) else ''}"

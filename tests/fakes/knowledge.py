"""Documents, their indexes and an embedder in memory."""

import hashlib
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence

from agentfleet.domain.errors import InvalidRequest, KnowledgeUnavailable
from agentfleet.domain.knowledge import Chunk, Document, Match, Space, Vector
from agentfleet.domain.ranking import bm25, words


class FakeDocuments:
    """A DocumentStore."""

    def __init__(self) -> None:
        self.documents: dict[tuple[Space, str], Document] = {}
        self.chunks: dict[tuple[Space, str], Chunk] = {}

    def get(self, space: Space, document_ids: Sequence[str]) -> dict[str, Document]:
        return {name: self.documents[space, name] for name in document_ids if (space, name) in self.documents}

    def save(self, space: Space, document: Document) -> bool:
        known = self.documents.get((space, document.id))
        if (known.changes if known else 0) != document.changes:
            return False
        stored = Document(document.id, document.domain, document.record, document.created, document.changes + 1)
        self.documents[space, document.id] = stored
        return True

    def list(self, tenant: str, domain: str | None) -> Sequence[Document]:
        return [
            document
            for (space, _), document in sorted(self.documents.items())
            if space.tenant == tenant and domain in {None, space.domain} and document.record.current is not None
        ][:1000]

    def domains(self, tenant: str) -> Sequence[str]:
        return sorted({space.domain for space, _ in self.documents if space.tenant == tenant})

    def put_chunks(self, space: Space, chunks: Mapping[str, Chunk]) -> None:
        self.chunks.update({(space, key): chunk for key, chunk in chunks.items()})

    def get_chunks(self, space: Space, keys: Iterable[str]) -> dict[str, Chunk]:
        return {key: self.chunks[space, key] for key in keys if (space, key) in self.chunks}

    def delete_chunks(self, space: Space, keys: Iterable[str]) -> None:
        for key in keys:
            self.chunks.pop((space, key), None)


class _Index:
    """What both indexes have in common; domains in `down` don't answer."""

    def __init__(self) -> None:
        self.down: set[str] = set()

    def check(self, space: Space) -> None:
        if space.domain in self.down:
            raise KnowledgeUnavailable("it is down")


class FakeVectors(_Index):
    """A VectorIndex that compares with every vector."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors: dict[Space, dict[str, Vector]] = {}

    def put(self, space: Space, vectors: Mapping[str, Vector]) -> None:
        self.check(space)
        self.vectors.setdefault(space, {}).update(vectors)

    def remove(self, space: Space, keys: Iterable[str]) -> None:
        self.check(space)
        for key in keys:
            self.vectors.get(space, {}).pop(key, None)

    def compact(self, space: Space) -> None:
        self.check(space)

    def search(self, space: Space, vector: Vector, limit: int) -> Sequence[Match]:
        self.check(space)
        found = (Match(key, _dot(vector, other)) for key, other in self.vectors.get(space, {}).items())
        return sorted(found, key=lambda match: (-match.score, match.key))[:limit]


class FakeWords(_Index):
    """A WordIndex without an index."""

    def __init__(self) -> None:
        super().__init__()
        self.words: dict[Space, dict[str, Sequence[str]]] = {}

    def put(self, space: Space, words: Mapping[str, Sequence[str]]) -> None:
        self.check(space)
        self.words.setdefault(space, {}).update(words)

    def remove(self, space: Space, keys: Iterable[str]) -> None:
        self.check(space)
        for key in keys:
            self.words.get(space, {}).pop(key, None)

    def compact(self, space: Space) -> None:
        self.check(space)

    def search(self, space: Space, words: Sequence[str], limit: int) -> Sequence[Match]:
        self.check(space)
        scores = bm25(words, self.words.get(space, {}))
        return [Match(key, score) for key, score in sorted(scores.items(), key=lambda scored: (-scored[1], scored[0]))[:limit]]


class FakeEmbedder:
    """An Embedder by words: texts that share words point the same way."""

    name = "fake-512"
    dimensions = 512

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        self.embedded += texts
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> Vector:
        vector = [1e-6] * self.dimensions
        for word in words(text):
            vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % self.dimensions] += 1.0
        length = math.sqrt(sum(value * value for value in vector))
        return array("f", (value / length for value in vector))


class FakePages:
    """A PageReader of texts with form feeds between their pages."""

    def pages(self, body: bytes) -> Sequence[str]:
        if not body.startswith(b"%PDF"):
            raise InvalidRequest.of("content", "can't be read as a PDF")
        return body.decode().removeprefix("%PDF").split("\f")


def _dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))

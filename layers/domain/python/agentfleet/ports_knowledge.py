"""What knowing needs from the outside, as Protocols. Adapters and fakes satisfy them, held by one contract suite."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from agentfleet.domain.knowledge import Chunk, Document, Match, Space, Vector


class DocumentStore(Protocol):
    """Documents with their chunks, by tenant and domain."""

    def get(self, space: Space, document_ids: Sequence[str]) -> dict[str, Document]:
        """The documents that there are among these, deleted ones too while they are remembered; read consistently."""

    def save(self, space: Space, document: Document) -> bool:
        """Store it if it was changed `document.changes` times so far (0: there is none). False if not: nothing was changed."""

    def list(self, tenant: str, domain: str | None) -> Sequence[Document]:
        """A tenant's documents, at most 1,000, by domain and id, without deleted ones."""

    def domains(self, tenant: str) -> Sequence[str]:
        """The domains that a tenant has ever had documents in, by name."""

    def put_chunks(self, space: Space, chunks: Mapping[str, Chunk]) -> None:
        """Store or replace, by key."""

    def get_chunks(self, space: Space, keys: Iterable[str]) -> dict[str, Chunk]:
        """The chunks that there are among these, read consistently."""

    def delete_chunks(self, space: Space, keys: Iterable[str]) -> None:
        """Forget; an absent one is none the worse for it."""


class VectorIndex(Protocol):
    """Chunks by meaning."""

    def put(self, space: Space, vectors: Mapping[str, Vector]) -> None:
        """Store or replace, by chunk key. Raises KnowledgeUnavailable."""

    def remove(self, space: Space, keys: Iterable[str]) -> None:
        """Forget; an absent key is none the worse for it. Raises KnowledgeUnavailable."""

    def compact(self, space: Space) -> None:
        """Put in order, however long it takes, what additions and deletions have left. Raises KnowledgeUnavailable."""

    def search(self, space: Space, vector: Vector, limit: int) -> Sequence[Match]:
        """The nearest chunks of the space, at most `limit` (≤ 100), with their cosine (-1 to 1), best first.

        Nearly all of the nearest, not surely all; what was put a moment ago may be missing. Raises KnowledgeUnavailable.
        """


class WordIndex(Protocol):
    """Chunks by their words."""

    def put(self, space: Space, words: Mapping[str, Sequence[str]]) -> None:
        """Store, by chunk key; a key always stands for the same words. Raises KnowledgeUnavailable."""

    def remove(self, space: Space, keys: Iterable[str]) -> None:
        """Forget; an absent key is none the worse for it. Raises KnowledgeUnavailable."""

    def compact(self, space: Space) -> None:
        """Put in order, however long it takes, what additions and deletions have left. Raises KnowledgeUnavailable."""

    def search(self, space: Space, words: Sequence[str], limit: int) -> Sequence[Match]:
        """The chunks of the space that share a word with these, by BM25, best first. Raises KnowledgeUnavailable."""


class Embedder(Protocol):
    """Texts as vectors."""

    @property
    def name(self) -> str:
        """Of the model and its dimensions: vectors of different names can't be compared."""

    @property
    def dimensions(self) -> int:
        """Of every vector."""

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector per text, in order, of length 1. Raises KnowledgeUnavailable."""


class PageReader(Protocol):
    """Documents in pages."""

    def pages(self, body: bytes) -> Sequence[str]:
        """The text of each page of a PDF. Raises InvalidRequest if it can't be read."""


class Passage(Struct, frozen=True):
    """What an answer may be made of: a text and where it stands, in words."""

    text: str
    place: str


class Written(Struct, frozen=True):
    """What a model wrote from passages, and what it took."""

    text: str | None
    """With `[1]` for the first passage; None if they don't hold an answer."""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    seconds: float = 0.0


class Writer(Protocol):
    """A model that puts passages into an answer."""

    async def write(self, question: str, passages: Sequence[Passage]) -> Written:
        """An answer that cites passages as `[1]`, `[2]` …, by their order.

        Raises KnowledgeUnavailable if there is no model, or none that will.
        """

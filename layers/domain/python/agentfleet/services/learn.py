"""Keep documents: in pieces, with their meaning and their words in the indexes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain.chunking import chunk_pages, chunk_text
from agentfleet.domain.errors import InvalidRequest, KnowledgeUnavailable, NotFound
from agentfleet.domain.hlc import HybridClock, Stamp
from agentfleet.domain.knowledge import (
    Chunk,
    Document,
    Media,
    Space,
    Vector,
    chunk_key,
    digest_of,
    document_id,
    embedded_text,
)
from agentfleet.domain.ranking import words
from agentfleet.domain.record import Record, Version, new_record
from agentfleet.ports import Clock
from agentfleet.ports_knowledge import DocumentStore, Embedder, PageReader, VectorIndex, WordIndex
from agentfleet.services.knowledge_views import DocumentList, DocumentView

TRIES: Final = 10
"""Writers that one document may have at once."""
AT_ONCE: Final = 8
"""Chunks that are embedded between two looks at the clock."""


class Draft(Struct, frozen=True):
    """A document as its writer gives it."""

    title: str
    source: str
    media: Media
    body: bytes
    based_on: tuple[Stamp, ...] | None = None
    """Versions that the writer has seen; None: all that there are."""


class Indexes(Struct, frozen=True):
    """Where chunks are found: by meaning, as one embedder sees it, and by words."""

    vectors: VectorIndex
    words: WordIndex
    embedder: Embedder


class _Divided(Struct, frozen=True):
    """A draft in pieces."""

    draft: Draft
    id: str
    digest: str
    chunks: Mapping[str, Chunk]
    """By key."""

    @property
    def size(self) -> int:
        """Characters."""
        return sum(len(chunk.text) for chunk in self.chunks.values())


class Librarian:
    """Tenants' documents."""

    def __init__(self, documents: DocumentStore, indexes: Indexes, pages: PageReader, clock: Clock, node: str) -> None:
        """`node` names this process among all that write."""
        self._documents = documents
        self._indexes = indexes
        self._pages = pages
        self._clock = clock
        self._hybrid = HybridClock(clock, node)

    def add(self, tenant: str, domain: str, drafts: Sequence[Draft], until: datetime | None = None) -> Sequence[DocumentView]:
        """Keep documents; one that is here with the same text stays as it is.

        Embedding stops at `until`: what is done by then counts, and adding the same again goes on from there (`indexed` of
        each tells how far it is). Raises InvalidRequest, naming the document by its title, and KnowledgeUnavailable.
        """
        space = Space(tenant, domain)
        divided = {one.id: one for one in (self._divide(domain, draft) for draft in drafts)}
        known = self._documents.get(space, list(divided))
        new = [one for one in divided.values() if not _is_current(known.get(one.id), one)]
        done = self._index(space, new, until)
        views: list[DocumentView] = []
        for one in divided.values():
            document = known.get(one.id)
            if one not in new and document is not None:
                views.append(DocumentView.of(document))
            elif (count := len(done & one.chunks.keys())) == len(one.chunks):
                views.append(DocumentView.of(self._commit(space, one, document)))
            else:
                views.append(_unfinished(one, domain, count, self._clock()))
        return views

    def list(self, tenant: str, domain: str | None) -> DocumentList:
        """Documents of one domain, or of all, newest first; at most 1,000."""
        found = sorted(self._documents.list(tenant, domain), key=lambda document: document.created, reverse=True)
        return DocumentList(documents=tuple(map(DocumentView.of, found)))

    def delete(self, tenant: str, domain: str, document_id: str) -> None:
        """Forget a document, its text and what the indexes hold of it. Raises NotFound and KnowledgeUnavailable."""
        space = Space(tenant, domain)
        for _ in range(TRIES):
            document = self._documents.get(space, [document_id]).get(document_id)
            if document is None or document.record.current is None:
                raise NotFound(f"there is no document {document_id[:64]!r} in domain {domain[:64]!r}")
            after = replace(document, record=document.record.deleted().pruned(self._clock()))
            if self._documents.save(space, after):
                self._forget(space, document_id, document.record, after.record)
                return
        raise KnowledgeUnavailable(f"document {document_id} was changed by others {TRIES} times")

    def tidy(self, tenant: str, domain: str) -> None:
        """Put a domain's indexes in order, however long it takes. Raises KnowledgeUnavailable."""
        self._indexes.words.compact(Space(tenant, domain))
        self._indexes.vectors.compact(Space(tenant, domain))

    def _divide(self, domain: str, draft: Draft) -> _Divided:
        if draft.media == "application/pdf":
            chunks = chunk_pages(self._pages.pages(draft.body))
        else:
            chunks = chunk_text(draft.body.decode("utf-8", "replace"), draft.media)
        if not chunks:
            raise InvalidRequest.of("text", f"of {draft.title[:80]!r} has no words in it")
        identity = document_id(domain, draft.source or draft.title)
        digest = digest_of(draft.title, draft.media, draft.body)
        return _Divided(draft, identity, digest, {chunk_key(identity, digest, chunk.number): chunk for chunk in chunks})

    def _index(self, space: Space, new: Sequence[_Divided], until: datetime | None) -> set[str]:
        """Put chunks into the indexes until the time is over. Gives the keys of all that are in them."""
        texts = {key: embedded_text(one.draft.title, chunk) for one in new for key, chunk in one.chunks.items()}
        done = set(self._documents.get_chunks(space, texts))
        missing = [key for key in texts if key not in done]
        vectors: dict[str, Vector] = {}
        for start in range(0, len(missing), AT_ONCE):
            if start and until is not None and self._clock() >= until:
                break
            part = missing[start : start + AT_ONCE]
            vectors.update(zip(part, self._indexes.embedder.embed([texts[key] for key in part]), strict=True))
        if vectors:
            self._indexes.vectors.put(space, vectors)
            self._indexes.words.put(space, {key: words(texts[key]) for key in vectors})
            # Last: a chunk that is in the table is in both indexes, and one that is not is never shown.
            chunks = {key: chunk for one in new for key, chunk in one.chunks.items() if key in vectors}
            self._documents.put_chunks(space, chunks)
        return done | vectors.keys()

    def _commit(self, space: Space, one: _Divided, known: Document | None) -> Document:
        """Make it the document's text, beside what others have written meanwhile."""
        draft = one.draft
        seen = draft.based_on
        if seen is None and known is not None:
            seen = tuple(version.stamp for version in known.record.versions)
        version: Version | None = None
        for _ in range(TRIES):
            if version is None:
                for stamp in (one.stamp for one in known.record.versions) if known else ():
                    self._hybrid.observe(stamp)
                version = Version(self._hybrid.tick(), one.digest, draft.media, one.size, len(one.chunks))
            record = (
                known.record.edited(draft.title, draft.source, version, seen)
                if known
                else new_record(draft.title, draft.source, version)
            ).pruned(self._clock())
            alive = known is not None and known.record.current is not None
            created = known.created if known and alive else self._clock()
            document = Document(one.id, space.domain, record, created, known.changes if known else 0)
            if self._documents.save(space, document):
                if known:
                    self._forget(space, one.id, known.record, record)
                return document
            known = self._documents.get(space, [one.id]).get(one.id)
        raise KnowledgeUnavailable(f"document {one.id} was changed by others {TRIES} times")

    def _forget(self, space: Space, document: str, before: Record, after: Record) -> None:
        """Take out of table and indexes what no version needs any more."""
        needed = {version.digest for version in after.versions}
        gone = {version.digest: version for version in before.versions if version.digest not in needed}
        keys = [chunk_key(document, one.digest, number) for one in gone.values() for number in range(one.chunks)]
        if keys:
            self._documents.delete_chunks(space, keys)
            self._indexes.words.remove(space, keys)
            self._indexes.vectors.remove(space, keys)


def _is_current(document: Document | None, one: _Divided) -> bool:
    """Is this the text, and the only one, that the document has?"""
    current = document.record.current if document else None
    return current is not None and current.digest == one.digest and not (document and document.record.conflicts)


def _unfinished(one: _Divided, domain: str, indexed: int, now: datetime) -> DocumentView:
    return DocumentView(
        id=one.id,
        domain=domain,
        title=one.draft.title,
        source=one.draft.source,
        media=one.draft.media,
        size=one.size,
        chunks=len(one.chunks),
        indexed=indexed,
        version="",
        created=now,
    )

"""What the API takes and shows of knowledge."""

import binascii
from base64 import b64decode
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from agentfleet.domain.hlc import Stamp
from agentfleet.domain.knowledge import Chunk, Document, Media, media_of
from agentfleet.services.views import Order, View

Domain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
"""A field of knowledge: lower-case letters, digits and hyphens."""

MAX_TEXT = 1_500_000
MAX_CONTENT = 5_000_000


class DocumentOrder(Order):
    """A document to be kept. The same source again in the same domain is a new version of the same document."""

    domain: Domain = "general"
    title: Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
    source: Annotated[str, StringConstraints(max_length=500)] = ""
    """Where it comes from, such as a path or URL; the title if it is not given."""
    media: Media | None = None
    """Its kind; by the source's or title's ending if it is not given, else plain text."""
    text: Annotated[str, StringConstraints(max_length=MAX_TEXT)] | None = None
    content: Annotated[str, StringConstraints(max_length=MAX_CONTENT)] | None = None
    """The file in Base64, for a PDF, in place of `text`."""
    based_on: list[str] | None = Field(default=None, max_length=100)
    """The versions that its writer has seen; others that are there meanwhile stay beside it as conflicts."""

    @model_validator(mode="after")
    def _has_one_body(self) -> Self:
        if (self.text is None) == (self.content is None):
            raise ValueError("text or content: give exactly one of them")
        if (self.kind == "application/pdf") != (self.content is not None):
            raise ValueError(f"media {self.kind} goes with {'content' if self.kind == 'application/pdf' else 'text'}")
        for stamp in self.based_on or ():
            Stamp.parse(stamp)
        return self

    @property
    def kind(self) -> Media:
        """`media`, or what the names say."""
        return self.media or media_of(self.source) or media_of(self.title) or "text/plain"

    def body(self) -> bytes:
        """What it is made of. Raises ValueError for content that is not Base64."""
        if self.text is not None:
            return self.text.encode("utf-8", "replace")
        try:
            return b64decode(self.content or "", validate=True)
        except binascii.Error as error:
            raise ValueError(f"is not Base64: {error}") from error


class ConflictView(View):
    """A text that was written at the same time as the one that is shown."""

    version: str
    size: int


class DocumentView(View):
    """A document without its text."""

    id: str
    domain: str
    title: str
    source: str
    media: str
    size: int
    """Characters of its text."""
    chunks: int
    indexed: int
    """How many of them can be found; if not all, send the document again to go on."""
    version: str
    """What a writer that has seen this text names in `based_on`."""
    conflicts: tuple[ConflictView, ...] = ()
    """Texts of other writers, kept until somebody writes one that is based on them all."""
    created: datetime

    @classmethod
    def of(cls, document: Document) -> Self:
        """The view of a document that is not deleted."""
        record = document.record
        current = record.current
        if current is None:
            raise ValueError(f"document {document.id} is deleted")
        return cls(
            id=document.id,
            domain=document.domain,
            title=record.title.value,
            source=record.source.value,
            media=current.media,
            size=current.size,
            chunks=current.chunks,
            indexed=current.chunks,
            version=str(current.stamp),
            conflicts=tuple(ConflictView(version=str(one.stamp), size=one.size) for one in record.conflicts),
            created=document.created,
        )


class DocumentList(View):
    """Documents, newest first."""

    documents: tuple[DocumentView, ...]


class Citation(View):
    """Where something stands."""

    document: str
    domain: str
    title: str
    source: str
    headings: tuple[str, ...]
    """Outermost first; in code the class and function."""
    first_line: int
    last_line: int
    page: int | None = None
    """In documents with pages, where lines count from 1 on each."""

    @classmethod
    def of(cls, document: Document, chunk: Chunk) -> Self:
        """The place of a chunk."""
        record = document.record
        return cls(
            document=document.id,
            domain=document.domain,
            title=record.title.value,
            source=record.source.value,
            headings=chunk.headings,
            first_line=chunk.first,
            last_line=chunk.last,
            page=chunk.page,
        )

    @property
    def place(self) -> str:
        """In words: `zipfile.md, Reading > Passwords, lines 10–24`."""
        lines = f"line {self.first_line}" if self.first_line == self.last_line else f"lines {self.first_line}–{self.last_line}"
        page = "" if self.page is None else f"page {self.page}, "
        headings = [heading for heading in self.headings if heading != self.title]
        return ", ".join([self.source or self.title, *([" > ".join(headings)] if headings else []), f"{page}{lines}"])


class Finding(View):
    """A piece of a document that matches a search."""

    place: Citation
    score: float
    """1: first in every ranking; comparable within one search only."""
    text: str


class FindingList(View):
    """What a search found, best first."""

    findings: tuple[Finding, ...]
    missing: dict[str, str] = Field(default_factory=dict)
    """Domains that could not be asked, or only in part → why."""


class Cited(Citation):
    """A place that an answer rests on."""

    number: int
    """As in the answer: `[1]`."""
    text: str
    """What it says there."""


class AnswerView(View):
    """An answer with its sources."""

    question: str
    answer: str | None
    """With `[1]` for the first citation; None if the documents don't hold one."""
    method: Literal["extractive", "model"]
    """Made of the documents' own sentences, or written by a model from them."""
    why: str = ""
    """Why a model that was to be asked did not write it."""
    model: str | None = None
    """That was asked, also if its answer was not used."""
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    seconds: float = 0.0
    """That the model took."""
    citations: tuple[Cited, ...] = ()
    missing: dict[str, str] = Field(default_factory=dict)
    """Domains that could not be asked, or only in part → why."""

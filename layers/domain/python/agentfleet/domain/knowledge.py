"""Documents in pieces: what is kept of knowledge, by tenant and domain."""

import hashlib
import re
from array import array
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, TypeAlias

from msgspec import Struct, field

from agentfleet.domain.record import Record

Vector: TypeAlias = "array[float]"
"""The meaning of a text: 32-bit floats (`array("f")`), of length 1."""

Media = Literal["text/markdown", "text/html", "text/plain", "text/x-python", "text/x-code", "application/pdf"]

DOMAIN_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

_BY_SUFFIX: Final[dict[str, Media]] = {
    **dict.fromkeys((".md", ".markdown", ".mdx"), "text/markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "text/html"),
    **dict.fromkeys((".py", ".pyi"), "text/x-python"),
    ".pdf": "application/pdf",
    **dict.fromkeys((".txt", ".rst", ".text", ".log", ".csv", ".toml", ".yaml", ".yml", ".json", ".ini", ".cfg"), "text/plain"),
    **dict.fromkeys(
        (".js", ".mjs", ".ts", ".tsx", ".jsx", ".java", ".go", ".rs", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".rb", ".php"),
        "text/x-code",
    ),
    **dict.fromkeys((".kt", ".swift", ".scala", ".sh", ".sql", ".lua", ".pl", ".r"), "text/x-code"),
}


def media_of(name: str) -> Media | None:
    """The kind of a file by its name's ending; None for one that is not known."""
    return _BY_SUFFIX.get(name[name.rfind(".") :].lower()) if "." in name else None


class Space(Struct, frozen=True, order=True):
    """One tenant's documents of one domain: the wall that nothing stored or searched crosses."""

    tenant: str
    domain: str

    def __str__(self) -> str:
        return f"{self.tenant}#{self.domain}"


class Chunk(Struct, frozen=True):
    """A piece of a document, and where in it it stands."""

    number: int
    """From 0, in the order of the document."""
    text: str
    headings: tuple[str, ...]
    """The headings, or the classes and functions, that it stands under, outermost first."""
    first: int
    """First line, from 1; within the page where there are pages."""
    last: int
    page: int | None = None
    """From 1, in documents that have pages."""


class Document(Struct, frozen=True):
    """Something worth knowing, without its text."""

    id: str
    domain: str
    record: Record
    created: datetime
    changes: int = 0
    """How often it was stored: what a write must find unchanged."""


class Match(Struct, frozen=True):
    """A chunk that a search found: `key` as `chunk_key` makes it, and how well it matches (more is better)."""

    key: str
    score: float


class Found(Struct, frozen=True):
    """What one domain, or several, gave for a query."""

    matches: Sequence[Match]
    missing: dict[str, str] = field(default_factory=dict)
    """What could not be asked → why."""


def document_id(domain: str, source: str) -> str:
    """The same source in the same domain is the same document, whatever its text."""
    return "d" + hashlib.sha256("\x00".join((domain, source)).encode()).hexdigest()[:24]


def digest_of(title: str, media: str, body: bytes) -> str:
    """Names what a document was made of: 24 hexadecimal digits."""
    return hashlib.sha256(f"{media}\x00{title}\x00".encode() + body).hexdigest()[:24]


def chunk_key(document: str, digest: str, number: int) -> str:
    """The name of a chunk: of another text of the document it is another."""
    return f"{document}/{digest}/{number:05d}"


def split_key(key: str) -> tuple[str, str, int]:
    """(document, digest, number) of a chunk's name."""
    document, digest, number = key.split("/")
    return document, digest, int(number)


def embedded_text(title: str, chunk: Chunk) -> str:
    """What stands for a chunk in the indexes: its place in the document, then its text."""
    headings = chunk.headings if chunk.headings[:1] == (title,) else (title, *chunk.headings)
    return f"{' > '.join(headings)}\n{chunk.text}"

"""What is known of a document, kept so that concurrent edits can be joined in any order and none is lost unseen.

Title and source are last-writer-wins registers. The text is a multi-value register: an edit replaces the texts that its
writer had seen; texts written without knowledge of each other both stay, the later one serves searches, and the conflict is
shown until somebody writes a text that replaces both. (Shapiro, Preguiça, Baquero and Zawirski, 'A comprehensive study of
Convergent and Commutative Replicated Data Types', 2011: 3.2.1 and 3.2.2.)
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain.hlc import Stamp

REMEMBERED: Final = timedelta(days=30)
"""How long a replaced or deleted text is remembered, so that a writer that comes back late can't bring it back."""


class Register(Struct, frozen=True):
    """A text of which the last write counts."""

    value: str
    stamp: Stamp

    def join(self, other: "Register") -> "Register":
        """The later one; between equal stamps the greater text, so that the order of joining can't matter."""
        return max(self, other, key=lambda register: (register.stamp, register.value))


class Version(Struct, frozen=True, order=True):
    """A text of a document, by the digest of what was written."""

    stamp: Stamp
    digest: str
    media: str
    size: int
    """Characters of its text."""
    chunks: int
    """Into how many it was divided."""


class Record(Struct, frozen=True):
    """The joined state of a document; without versions it is deleted."""

    title: Register
    source: Register
    versions: frozenset[Version]
    replaced: frozenset[Stamp]
    """Stamps of texts that newer ones, or a deletion, took the place of."""

    @property
    def current(self) -> Version | None:
        """The text that searches see: the last one written. None if the document is deleted."""
        return max(self.versions, default=None)

    @property
    def conflicts(self) -> list[Version]:
        """Other texts that were written at the same time, newest first."""
        return sorted(self.versions, reverse=True)[1:]

    def edited(self, title: str, source: str, version: Version, based_on: Iterable[Stamp] | None) -> "Record":
        """With a new text, which replaces the versions `based_on` (None: all that are here)."""
        seen = {one.stamp for one in self.versions} if based_on is None else set(based_on)
        stamp = version.stamp
        new = Record(Register(title, stamp), Register(source, stamp), frozenset({version}), frozenset(seen - {stamp}))
        return join(self, new)

    def deleted(self) -> "Record":
        """Without the versions that are here; one that is being written meanwhile survives the deletion."""
        return replace(self, versions=frozenset(), replaced=self.replaced | {one.stamp for one in self.versions})

    def pruned(self, now: datetime) -> "Record":
        """Without what was replaced more than 30 days ago."""
        oldest = int((now - REMEMBERED).timestamp() * 1000)
        return replace(self, replaced=frozenset(stamp for stamp in self.replaced if stamp.millis >= oldest))


def new_record(title: str, source: str, version: Version) -> Record:
    """A document's first state."""
    stamp = version.stamp
    return Record(Register(title, stamp), Register(source, stamp), frozenset({version}), frozenset())


def join(one: Record, other: Record) -> Record:
    """Both states in one: commutative, associative and idempotent."""
    replaced = one.replaced | other.replaced
    versions = frozenset(version for version in one.versions | other.versions if version.stamp not in replaced)
    return Record(one.title.join(other.title), one.source.join(other.source), versions, replaced)

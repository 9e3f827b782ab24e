"""What the readers of documents give: blocks of text under their headings, with the lines where they stand."""

from msgspec import Struct


class Block(Struct, frozen=True):
    """A paragraph, list, table, code example, function or class."""

    text: str
    headings: tuple[str, ...]
    """Outermost first."""
    first: int
    """First line, from 1."""
    last: int
    whole: bool = False
    """To be kept in one piece as long as possible: code."""


class Outline:
    """The headings that what is read now stands under."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        """A heading begins its section, and ends those of its level and below."""
        self._open = [(depth, name) for depth, name in self._open if depth < level]
        self._open.append((level, " ".join(title.split())))

    @property
    def headings(self) -> tuple[str, ...]:
        """Outermost first."""
        return tuple(name for _, name in self._open)

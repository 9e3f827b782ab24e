"""What is asked of Python's own language reference, and what an answer must say: the questions of knowledge_questions.toml."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

QUESTIONS: Final = Path(__file__).with_name("knowledge_questions.toml")


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk as it was found: the title of its document, and its text."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the documents that answer it, and phrases of which one stands in each passage that does."""

    ask: str
    topics: frozenset[str]
    says: tuple[str, ...]

    def is_said_in(self, text: str) -> bool:
        """Does a text say what an answer must? Upper case and line breaks don't count."""
        flat = plain(text)
        return any(plain(phrase) in flat for phrase in self.says)

    def is_answered_by(self, piece: Piece) -> bool:
        """Does this passage answer it?"""
        return piece.title in self.topics and self.is_said_in(piece.text)


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """A question that nothing in the reference answers, and words that an answer would need."""

    ask: str
    lacks: tuple[str, ...]


def questions() -> list[Question]:
    """All that can be answered."""
    return [Question(one["ask"], frozenset(one["topics"]), tuple(one["says"])) for one in _read()["questions"]]


def unanswerable() -> list[Unanswerable]:
    """All that can't."""
    return [Unanswerable(one["ask"], tuple(one["lacks"])) for one in _read()["unanswerable"]]


def plain(text: str) -> str:
    """A text without the shape of its lines, and in lower case."""
    return " ".join(text.split()).casefold()


@cache
def _read() -> dict[str, Any]:
    with QUESTIONS.open("rb") as file:
        return tomllib.load(file)

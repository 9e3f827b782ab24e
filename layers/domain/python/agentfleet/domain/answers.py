"""Answers made of the sentences of documents: what can be said without a model, and how any answer cites."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from agentfleet.domain.ranking import words

SENTENCES: Final = 3
"""At most, in an answer."""
CANDIDATES: Final = 48
"""Sentences that are compared with a question."""
LEAST: Final = 0.4
"""A sentence that is less like the question (cosine, -1 to 1) does not answer it. By MiniLM, at 0.3 twelve of the sixteen
questions of bench/knowledge_questions.toml that nothing answers were answered all the same, at 0.4 four."""
NEAR: Final = 0.7
"""What is said beside the best sentence scores at least this share of it."""
LONGEST: Final = 600
PROSE: Final = 0.9
"""Share of letters, spaces and plain marks in an indented paragraph from which it is a quotation and not code."""

_END: Final = re.compile(r"(?<=[.!?])[\"')\]”]*\s+(?=[\"'(\[“]*[A-Z0-9`])")
_SHARED: Final = 0.15
"""Weight of the share of the question's words that a sentence holds, beside its cosine."""
_RANK: Final = 0.03
"""What a sentence loses per rank of its passage."""


class Sentence(Struct, frozen=True):
    """A sentence of a passage."""

    passage: int
    """From 0: the best passage."""
    text: str


def sentences(passages: Sequence[str]) -> list[Sentence]:
    """The sentences of passages, the best passages' first, at most 48; pieces of code only where there is nothing else."""
    prose: list[Sentence] = []
    code: list[Sentence] = []
    for number, passage in enumerate(passages):
        for paragraph in re.split(r"\n\s*\n", passage):
            if _is_code(paragraph):
                code.append(Sentence(number, paragraph.strip("\n")[:LONGEST]))
            else:
                parts = _END.split(" ".join(paragraph.split()))
                prose += (Sentence(number, part[:LONGEST]) for part in parts if len(words(part)) > 1)
    return (prose or code)[:CANDIDATES]


def _is_code(paragraph: str) -> bool:
    lines = paragraph.split("\n")
    if lines[0].lstrip().startswith(("```", "~~~", ">>>")):
        return True
    plain = sum(character.isalpha() or character in " ,.'’" for character in paragraph)
    return all(line.startswith(("   ", "\t")) for line in lines) and plain < PROSE * len(paragraph)


def best_sentences(question: str, given: Sequence[Sentence], likeness: Callable[[int], float]) -> list[Sentence]:
    """Those that answer best, in the order of their passages; none if nothing is near the question.

    `likeness(i)` is the cosine of sentence i and the question.
    """
    wanted = set(words(question))
    scored: list[tuple[float, int]] = []
    for number, sentence in enumerate(given):
        shared = len(wanted & set(words(sentence.text))) / len(wanted) if wanted else 0.0
        if (cosine := likeness(number)) >= LEAST:
            scored.append((cosine + _SHARED * shared - _RANK * sentence.passage, number))
    chosen: list[int] = []
    for score, number in sorted(scored, reverse=True):
        if score >= NEAR * max(scored)[0] and all(
            not _says_the_same(given[number].text, given[other].text) for other in chosen
        ):
            chosen.append(number)
        if len(chosen) == SENTENCES:
            break
    return [given[number] for number in sorted(chosen)]


def _says_the_same(one: str, other: str) -> bool:
    left, right = set(words(one)), set(words(other))
    return len(left & right) > 0.7 * min(len(left), len(right))


def cited(text: str) -> list[int]:
    """Numbers that a text cites as `[n]`, in order, each once."""
    return [int(found) for found in dict.fromkeys(re.findall(r"\[(\d{1,3})\]", text))]

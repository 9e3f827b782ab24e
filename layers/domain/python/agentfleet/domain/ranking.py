"""Words of texts and queries, BM25, and the joining of rankings."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

K1: Final = 1.2
B: Final = 0.75
"""Robertson and Zaragoza, 'The Probabilistic Relevance Framework: BM25 and Beyond' (2009), 3.4: usual values."""
FUSION: Final = 60
"""Cormack, Clarke and Büttcher, 'Reciprocal Rank Fusion outperforms Condorcet' (2009): k."""

_WORD: Final = re.compile(r"[^\W_]+(?:_+[^\W_]+)*|__\w+__")
_PARTS: Final = re.compile(r"[^\W_]+")
_HUMPS: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
STOP_WORDS: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "do",
        "does",
        "for",
        "from",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "of",
        "on",
        "or",
        "s",
        "so",
        "t",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "you",
        "your",
    ]
)


def words(text: str) -> list[str]:
    """The words that a text is found by: folded, without the commonest, plurals cut; names of code whole and in parts."""
    found: list[str] = []
    for match in _WORD.finditer(text):
        whole = match[0]
        parts = [part for piece in _PARTS.findall(whole) for part in (_HUMPS.findall(piece) if piece.isascii() else [piece])]
        found.append(_stem(whole.casefold()))
        if parts != [whole]:
            found += (_stem(part.casefold()) for part in parts)
    return [word for word in found if word not in STOP_WORDS]


def _stem(word: str) -> str:
    """The S-stemmer (Harman, 'How effective is suffixing?', 1991): cuts plurals and nothing else."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word if word.endswith(("eies", "aies")) else word[:-3] + "y"
    return word[:-1]


def inverse_frequency(chunks: int, holding: int) -> float:
    """How much a word tells that `holding` of `chunks` chunks hold; never negative."""
    return math.log1p((chunks - holding + 0.5) / (holding + 0.5))


def bm25(query: Sequence[str], texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The score of every text (name → its words) that shares a word with the query: the reference, without any index."""
    if not texts:
        return {}
    mean = sum(map(len, texts.values())) / len(texts)
    counts = {name: Counter(text) for name, text in texts.items()}
    scores: dict[str, float] = {}
    for word in dict.fromkeys(query):
        holding = {name: count[word] for name, count in counts.items() if count[word]}
        weight = inverse_frequency(len(texts), len(holding))
        for name, frequency in holding.items():
            length = len(texts[name]) / mean if mean else 1.0
            scores[name] = scores.get(name, 0.0) + weight * frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * length))
    return scores


def fuse(*rankings: Iterable[str]) -> list[tuple[str, float]]:
    """One ranking out of several by reciprocal rank: best first, with scores between 0 and 1 (first in every one)."""
    scores: dict[str, float] = {}
    given = [list(ranking) for ranking in rankings]
    for ranking in given:
        for rank, name in enumerate(ranking):
            scores[name] = scores.get(name, 0.0) + (FUSION + 1) / (FUSION + 1 + rank) / len(given)
    return sorted(scores.items(), key=lambda scored: (-scored[1], scored[0]))

"""Find the sentences of texts that answer a question, without a model: by the words that they share, weighed by BM25.

S. Robertson and H. Zaragoza, 'The Probabilistic Relevance Framework: BM25 and Beyond', 2009.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

K1: Final = 1.5
B: Final = 0.75

_WORD: Final = re.compile(r"\w+")
_SENTENCE: Final = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9À-Þ`*_])|\n\s*\n|\n(?=\s*[-*#|])")
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "edly", "ies", "ed", "es", "s", "ly")
_COMMON: Final = (
    "a an and are as at be by can could did do does for from had has have how i if in into is it its may of on or shall "
    "should that the their them then there these they this to was we were what when where which who whose why will with "
    "would you your"
)
_STOP_WORDS: Final = frozenset(_COMMON.split())


def sentences_of(text: str) -> list[str]:
    """The sentences, list items, headings and table rows of a text, in order, each on one line."""
    return [line for part in _SENTENCE.split(text) if (line := " ".join(part.split()))]


def terms_of(text: str) -> list[str]:
    """The words that carry meaning, without case and English endings."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def scores(question: str, texts: Sequence[str]) -> list[float]:
    """How well each text answers a question, 0 for not at all; in the texts' order."""
    counts = [Counter(terms_of(text)) for text in texts]
    lengths = [count.total() for count in counts]
    mean = sum(lengths) / len(lengths) if sum(lengths) else 1.0
    found = [0.0] * len(texts)
    for term in set(terms_of(question)):
        holding = sum(term in count for count in counts)
        weight = math.log(1.0 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for number, count in enumerate(counts):
            if often := count[term]:
                norm = K1 * (1.0 - B + B * lengths[number] / mean)
                found[number] += weight * often * (K1 + 1.0) / (often + norm)
    return found


def best(question: str, texts: Sequence[str], limit: int) -> list[int]:
    """Numbers of the texts that answer a question best, the best first; none that share no word with it."""
    ranked = sorted(((score, -number) for number, score in enumerate(scores(question, texts)) if score > 0), reverse=True)
    return [-number for _, number in ranked[:limit]]


def central(texts: Sequence[str], limit: int) -> list[int]:
    """Numbers of the texts that share most with all of them, in their order: a summary made of quotations."""
    whole = Counter(term for text in texts for term in set(terms_of(text)))
    weighed = [
        (sum(math.log(whole[term]) for term in terms if whole[term] > 1) / math.sqrt(len(terms)), -number)
        for number, text in enumerate(texts)
        if len(terms := set(terms_of(text))) >= 4
    ]
    return sorted(-number for _, number in sorted(weighed, reverse=True)[:limit])


def agreement(texts: Sequence[str]) -> list[float]:
    """How much each text agrees with the others, 0 to 1: the mean share of their words that it has in common with each.

    The share is that of Jaccard (words of both over words of either); a text alone agrees with itself.
    """
    sets = [set(terms_of(text)) for text in texts]
    found = []
    for number, own in enumerate(sets):
        shares = [
            len(own & other) / len(own | other) if own | other else 0.0 for place, other in enumerate(sets) if place != number
        ]
        found.append(sum(shares) / len(shares) if shares else 1.0)
    return found


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    # So that "caches", "caching" and "cache" meet.
    return word[:-1] if word.endswith("e") and len(word) > 3 else word

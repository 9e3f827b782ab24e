"""Words of chunks as inverted lists in files: BM25 over several of them at once, as if they were one."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentfleet.adapters.segments import Loaded, Segments
from agentfleet.domain.knowledge import Match, Space
from agentfleet.domain.ranking import K1, B, inverse_frequency

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY: Final = "S64"
"""A chunk key has 56 bytes."""


class WordFiles:
    """A WordIndex: `WordFiles(segments)`, where `segments` joins with `join_words`.

    A file's arrays: `keys` of chunks, their `lengths` in words; hashes of `words`, sorted, and from where to where (`starts`)
    the `chunks` that hold each are listed with their `frequencies`.
    """

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def put(self, space: Space, words: Mapping[str, Sequence[str]]) -> None:
        """Store, by chunk key. Raises KnowledgeUnavailable."""
        if words:
            self._segments.add(space, _arrays(words), words)

    def remove(self, space: Space, keys: Iterable[str]) -> None:
        """Forget. Raises KnowledgeUnavailable."""
        self._segments.remove(space, keys)

    def compact(self, space: Space) -> None:
        """Join all files into one. Raises KnowledgeUnavailable."""
        self._segments.compact(space)

    def search(self, space: Space, words: Sequence[str], limit: int) -> Sequence[Match]:
        """The chunks that share a word with these, by BM25, best first. Raises KnowledgeUnavailable."""
        import numpy as np  # noqa: PLC0415

        manifest, files = self._segments.read(space)
        alive = [alive_in(file, manifest.dead) for file in files]
        chunks = sum(int(counts.sum()) for counts in alive)
        if not chunks:
            return []
        length = sum(float(file["lengths"][counts].sum()) for file, counts in zip(files, alive, strict=True))
        mean = max(length / chunks, 1.0)
        scores = [np.zeros(len(file["keys"]), np.float32) for file in files]
        for word in {_hash(word) for word in words}:
            lists = [_listed(file, word) for file in files]
            holding = sum(int(counts[found].sum()) for counts, (found, _) in zip(alive, lists, strict=True))
            weight = inverse_frequency(chunks, holding)
            for file, score, (found, frequencies) in zip(files, scores, lists, strict=True):
                dampened = K1 * (1 - B + B * file["lengths"][found] / mean)
                score[found] += weight * frequencies * (K1 + 1) / (frequencies + dampened)
        best: dict[str, float] = {}
        for file, score, counts in zip(files, scores, alive, strict=True):
            score[~counts] = 0
            for row in np.argsort(-score, kind="stable")[:limit] if len(score) <= limit else _top(score, limit):
                if score[row] > 0:
                    best[file["keys"][row].decode()] = float(score[row])
        return [Match(key, score) for key, score in sorted(best.items(), key=lambda scored: (-scored[1], scored[0]))[:limit]]


def alive_in(file: Loaded, dead: frozenset[str]) -> "NDArray[Any]":
    """Which of a file's chunks count, kept beside them: to look all up again took most of a search of 100,000 chunks."""
    kept = file.get("alive")
    if kept is None or kept[0] != dead:
        kept = file["alive"] = dead, living(file["keys"], dead)
    counts: NDArray[Any] = kept[1]
    return counts


def living(keys: "NDArray[Any]", dead: frozenset[str]) -> "NDArray[Any]":
    """Which of a file's chunks count."""
    import numpy as np  # noqa: PLC0415

    if not dead:
        return np.ones(len(keys), np.bool_)
    return ~np.isin(keys, np.array(sorted(dead), KEY))


def _top(score: "NDArray[Any]", limit: int) -> "NDArray[Any]":
    import numpy as np  # noqa: PLC0415

    rows = np.argpartition(-score, limit)[:limit]
    return rows[np.argsort(-score[rows], kind="stable")]


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _listed(file: Loaded, word: int) -> "tuple[NDArray[Any], NDArray[Any]]":
    """(rows of chunks that hold a word, how often)."""
    import numpy as np  # noqa: PLC0415

    place = int(np.searchsorted(file["words"], np.uint64(word)))
    if place == len(file["words"]) or int(file["words"][place]) != word:
        return file["chunks"][:0], file["frequencies"][:0]
    part = slice(int(file["starts"][place]), int(file["starts"][place + 1]))
    return file["chunks"][part], file["frequencies"][part].astype(np.float32)


def _arrays(words: Mapping[str, Sequence[str]]) -> Loaded:
    import numpy as np  # noqa: PLC0415

    hashes: dict[str, int] = {}
    triples = [
        (hashes.setdefault(word, _hash(word)), row, count)
        for row, found in enumerate(words.values())
        for word, count in Counter(found).items()
    ]
    lengths = np.array([len(found) for found in words.values()], np.uint32)
    columns = zip(*triples, strict=True) if triples else ((), (), ())
    word, row, count = (np.array(column, kind) for column, kind in zip(columns, (np.uint64, np.uint32, np.uint16), strict=True))
    return _inverted(np.array(list(words), KEY), lengths, word, row, count)


def _inverted(
    keys: "NDArray[Any]", lengths: "NDArray[Any]", word: "NDArray[Any]", row: "NDArray[Any]", count: "NDArray[Any]"
) -> Loaded:
    import numpy as np  # noqa: PLC0415

    order = np.lexsort((row, word))
    hashes, firsts = np.unique(word[order], return_index=True)
    starts = np.append(firsts, len(word)).astype(np.uint64)
    return {
        "keys": keys,
        "lengths": lengths,
        "words": hashes,
        "starts": starts,
        "chunks": row[order],
        "frequencies": count[order],
    }


def join_words(files: Sequence[Loaded], dead: frozenset[str]) -> Loaded:
    """One file of several, without the dead and without what stands in two."""
    import numpy as np  # noqa: PLC0415

    kept, lengths, word, row, count = [], [], [], [], []
    base = 0
    seen: set[bytes] = set()
    for file in files:
        counts = living(file["keys"], dead)
        counts &= np.array([key not in seen for key in file["keys"].tolist()], np.bool_)
        seen.update(file["keys"].tolist())
        numbers = np.cumsum(counts) - 1 + base
        listed = counts[file["chunks"]]
        word.append(np.repeat(file["words"], np.diff(file["starts"]).astype(np.int64))[listed])
        row.append(numbers[file["chunks"]][listed].astype(np.uint32))
        count.append(file["frequencies"][listed])
        kept.append(file["keys"][counts])
        lengths.append(file["lengths"][counts])
        base += int(counts.sum())
    return _inverted(*(np.concatenate(part) for part in (kept, lengths, word, row, count)))

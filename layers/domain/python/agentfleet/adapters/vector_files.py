"""Vectors of chunks in files: compared one by one in small files, found through a graph (HNSW, by usearch) in large ones."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentfleet.adapters.segments import Loaded, Segments
from agentfleet.adapters.word_files import KEY, alive_in, living
from agentfleet.domain.knowledge import Match, Space, Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAPH_FROM: Final = 20_000
"""Vectors in a file from which a graph pays; below, comparing all of them takes a few milliseconds and misses nothing."""
CONNECTIVITY: Final = 16
EXPANSION_ADD: Final = 128
EXPANSION_SEARCH: Final = 256
"""HNSW's M, efConstruction and ef (Malkov and Yashunin, 2018)."""


class VectorFiles:
    """A VectorIndex: `VectorFiles(segments)`, where `segments` joins with `join_vectors`.

    A file's arrays: `keys` of chunks, and their `vectors`, or a `graph` over them in which they have 16 bits per number.
    """

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def put(self, space: Space, vectors: Mapping[str, Vector]) -> None:
        """Store, by chunk key. Raises KnowledgeUnavailable."""
        import numpy as np  # noqa: PLC0415

        if vectors:
            rows = np.array([np.frombuffer(vector, np.float32) for vector in vectors.values()])
            self._segments.add(space, _file(np.array(list(vectors), KEY), rows), vectors)

    def remove(self, space: Space, keys: Iterable[str]) -> None:
        """Forget. Raises KnowledgeUnavailable."""
        self._segments.remove(space, keys)

    def compact(self, space: Space) -> None:
        """Join all files into one. Raises KnowledgeUnavailable."""
        self._segments.compact(space)

    def search(self, space: Space, vector: Vector, limit: int) -> Sequence[Match]:
        """The nearest chunks, with their cosine, best first. Raises KnowledgeUnavailable."""
        import numpy as np  # noqa: PLC0415

        manifest, files = self._segments.read(space)
        query = np.frombuffer(vector, np.float32)
        best: dict[str, float] = {}
        for file in files:
            find = self._near if "graph" in file else _exact
            best.update(find(file, query, manifest.dead, limit))
        return [Match(key, score) for key, score in sorted(best.items(), key=lambda scored: (-scored[1], scored[0]))[:limit]]

    @staticmethod
    def _near(file: Loaded, query: "NDArray[Any]", dead: frozenset[str], limit: int) -> dict[str, float]:
        graph = file.get("opened")
        if graph is None:
            graph = file["opened"] = open_graph(file)
        wanted = limit
        while True:
            found = graph.search(query, wanted)
            keys = [key.decode() for key in file["keys"][found.keys.astype("int64")].tolist()]
            alive = {key: 1 - float(away) for key, away in zip(keys, found.distances, strict=True) if key not in dead}
            if len(alive) >= limit or wanted >= len(file["keys"]):
                return alive
            wanted = min(2 * wanted, len(file["keys"]))


def _exact(file: Loaded, query: "NDArray[Any]", dead: frozenset[str], limit: int) -> dict[str, float]:
    """Every vector compared: the reference."""
    import numpy as np  # noqa: PLC0415

    scores = file["vectors"] @ query
    if dead:
        scores[~alive_in(file, dead)] = -np.inf
    count = min(limit, len(scores))
    rows = np.argpartition(-scores, count - 1)[:count]
    return {file["keys"][row].decode(): float(scores[row]) for row in rows if np.isfinite(scores[row])}


def _file(keys: "NDArray[Any]", rows: "NDArray[Any]") -> Loaded:
    import numpy as np  # noqa: PLC0415

    if len(rows) < GRAPH_FROM:
        return {"keys": keys, "vectors": np.asarray(rows, np.float32)}
    return {"keys": keys, "graph": np.frombuffer(build_graph(rows), np.uint8)}


def build_graph(rows: "NDArray[Any]", threads: int = 0) -> bytes:
    """The graph over vectors (rows), whose names are the rows' numbers. `threads`: 0 is one per core."""
    import numpy as np  # noqa: PLC0415

    graph = _graph(rows.shape[1])
    graph.add(np.arange(len(rows), dtype=np.uint64), np.asarray(rows, np.float32), threads=threads)
    return bytes(graph.save())


def open_graph(file: Loaded) -> Any:
    """The graph of a file, used where it is mapped."""
    from usearch.index import Index  # noqa: PLC0415

    graph: Any = Index.restore(memoryview(file["graph"]), view=True)
    graph.expansion_search = EXPANSION_SEARCH  # not kept in the file
    graph.mapped = file["graph"]  # usearch keeps only the address: without this the memory may be gone under it
    return graph


def _graph(dimensions: int) -> Any:
    from usearch.index import Index  # noqa: PLC0415

    return Index(
        ndim=dimensions,
        metric="cos",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )


def join_vectors(files: Sequence[Loaded], dead: frozenset[str]) -> Loaded:
    """One file of several, without the dead and without what stands in two."""
    import numpy as np  # noqa: PLC0415

    kept, rows = [], []
    seen: set[bytes] = set()
    for file in files:
        counts = living(file["keys"], dead)
        counts &= np.array([key not in seen for key in file["keys"].tolist()], np.bool_)
        seen.update(file["keys"].tolist())
        kept.append(file["keys"][counts])
        numbers = np.flatnonzero(counts)
        rows.append(open_graph(file).get(numbers.astype(np.uint64), np.float32) if "graph" in file else file["vectors"][counts])
    return _file(np.concatenate(kept), np.concatenate(rows))

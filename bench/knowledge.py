"""How well and how fast vectors are searched at 100,000 chunks: every vector compared, and through a graph (usearch).

The chunks are real texts, the paragraphs of docstrings and of the language reference that come with Python, embedded with the
model that the functions use. There are fewer of them than 100,000, so each stands for several: itself moved by a random step,
as long as the distance between neighbours is in the real ones. Queries are other real texts that were not indexed.

    python -m bench.knowledge [--chunks 100000] [--texts 3000] [--queries 200]
"""

import argparse
import ast
import json
import platform
import resource
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentfleet.adapters.arrays import dump_arrays, map_arrays
from agentfleet.adapters.embedders import MiniLm
from agentfleet.adapters.vector_files import CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH, build_graph, open_graph
from agentfleet.domain.chunking import chunk_text

RESULT: Final = Path(__file__).with_name("results") / "knowledge.json"
NEAREST: Final = 10
SEED: Final = 20_261_122

Rows = NDArray[np.float32]


def texts(count: int) -> list[str]:
    """Distinct paragraphs of Python's own documentation, in an order that mixes its parts; short ones left out."""
    found = dict.fromkeys(_reference())
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py")):
        if "test" in path.parts or "site-packages" in path.parts or len(found) > 5 * count:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node) or ""
                found.update(dict.fromkeys(part.strip() for part in docstring.split("\n\n") if 60 < len(part) < 400))
    order = np.random.default_rng(SEED).permutation(len(found))[:count]
    every = list(found)
    return [every[number] for number in order]


def _reference() -> Iterator[str]:
    for topic in topics.values():
        for chunk in chunk_text(topic, "text/plain"):
            yield from (part.strip() for part in chunk.text.split("\n\n") if 60 < len(part) < 400)


def spread(real: Rows, count: int) -> tuple[Rows, float]:
    """`count` vectors around the real ones, and the length of the random step that was made from each."""
    dice = np.random.default_rng(SEED)
    cosines = real @ real.T
    np.fill_diagonal(cosines, -1)
    step = float(np.median(np.sqrt(2 - 2 * cosines.max(axis=1))))
    rows = real[dice.integers(0, len(real), count)]
    noise = dice.standard_normal(rows.shape, dtype=np.float32)
    noise *= step / np.linalg.norm(noise, axis=1, keepdims=True)
    rows = rows + noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), step


def timed(search: Callable[[Rows], Sequence[int]], queries: Rows) -> tuple[list[Sequence[int]], dict[str, float]]:
    """What each query gave, and milliseconds per query once warm."""
    for query in queries[:20]:
        search(query)
    found, took = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        took.append((time.perf_counter() - start) * 1000)
    quantiles = statistics.quantiles(took, n=100)
    return found, {"p50_ms": round(quantiles[49], 2), "p95_ms": round(quantiles[94], 2), "max_ms": round(max(took), 2)}


def resident() -> float:
    """MB of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def held(load: Callable[[], Any]) -> tuple[Any, float]:
    """What was loaded, and by how many MB the process grew."""
    before = resident()
    loaded = load()
    return loaded, round(resident() - before, 1)


def nearest(rows: Rows, query: Rows) -> list[int]:
    """By comparing with all of them."""
    scores = rows @ query
    best = np.argpartition(-scores, NEAREST)[:NEAREST]
    return [int(row) for row in best[np.argsort(-scores[best])]]


def measure_vectors(rows: Rows, queries: Rows, folder: Path) -> dict[str, Any]:
    """Both ways of searching, each from its file."""
    exact_file, graph_file = folder / "exact.bin", folder / "graph.bin"
    exact_file.write_bytes(dump_arrays({"vectors": rows}))
    start = time.perf_counter()
    graph_file.write_bytes(dump_arrays({"graph": np.frombuffer(build_graph(rows), np.uint8)}))
    built = time.perf_counter() - start
    exact, _ = held(lambda: map_arrays(exact_file)["vectors"])
    (truth, speed), memory = held(lambda: timed(lambda query: nearest(exact, query), queries))
    result: dict[str, Any] = {
        "exact": {**speed, "recall_at_10": 1.0, "file_mb": round(exact_file.stat().st_size / 2**20, 1), "memory_mb": memory}
    }
    graph, _ = held(lambda: open_graph(map_arrays(graph_file)))
    (found, speed), memory = held(lambda: timed(lambda query: graph.search(query, NEAREST).keys.tolist(), queries))
    hits = sum(len(set(one) & set(true)) for one, true in zip(found, truth, strict=True))
    result["usearch"] = {
        **speed,
        "recall_at_10": round(hits / (NEAREST * len(truth)), 4),
        "file_mb": round(graph_file.stat().st_size / 2**20, 1),
        "memory_mb": memory,
        "build_seconds": round(built, 1),
        "parameters": {"M": CONNECTIVITY, "efConstruction": EXPANSION_ADD, "ef": EXPANSION_SEARCH, "numbers": "f16"},
    }
    return result


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--texts", type=int, default=3000)
    parser.add_argument("--queries", type=int, default=200)
    given = parser.parse_args()
    model = MiniLm()
    model.embed(["warm"])
    chosen = texts(given.texts + given.queries)
    start = time.perf_counter()
    real = np.array([np.frombuffer(vector, np.float32) for vector in model.embed(chosen)])
    took = time.perf_counter() - start
    rows, step = spread(real[given.queries :], given.chunks)
    queries = real[: given.queries]
    embed_one = [_milliseconds(lambda text=text: model.embed([text])) for text in chosen[:50]]  # type: ignore[misc]
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        searched = measure_vectors(rows, queries, Path(folder))
    result = {
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "cores": model._threads},
        "chunks": given.chunks,
        "dimensions": MiniLm.dimensions,
        "data": {
            "real_texts": len(real) - given.queries,
            "queries": given.queries,
            "derived": "each chunk is a real text's vector moved by a random step of this length",
            "step": round(step, 4),
        },
        "embedding": {
            "texts_per_second": round(len(chosen) / took, 1),
            "mean_characters": round(statistics.mean(map(len, chosen))),
            "one_text_p50_ms": round(statistics.median(embed_one), 1),
        },
        "vectors": searched,
        "targets": {"recall_at_10": 0.95, "p95_ms": 50},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    json.dump(result, sys.stdout, indent=1)
    print()


def _milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()

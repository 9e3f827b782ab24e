"""How well and how fast 100,000 chunks are searched: vectors alone, all compared or through a graph, and whole questions.

The chunks are real texts, the paragraphs of docstrings and of the language reference that come with Python, embedded with the
model that the functions use. There are fewer of them than 100,000, so each stands for several: itself moved by a random step,
as long as the distance between neighbours is in the real ones. Vectors are searched for other
real texts that were not indexed; whole questions are those of knowledge_questions.toml (bench/knowledge_query.py).

    python -m bench.knowledge [--chunks 100000] [--texts 800] [--queries 100] [--rounds 3]
"""

import argparse
import ast
import os
import platform
import statistics
import sys
import sysconfig
import tempfile
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
from bench.knowledge_query import held, measure_queries, shelf
from bench.knowledge_questions import questions, unanswerable
from bench.programs import run_bench
from bench.report import save

NEAREST: Final = 10
SEED: Final = 20_261_122
FILLING: Final = 20_000
"""Real texts, or as many as there are, that chunks are filled up with."""

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


def spread(real: Rows, count: int) -> tuple[Rows, list[int], float]:
    """`count` vectors around the real ones, which one each was made from, and the length of the random step from it."""
    dice = np.random.default_rng(SEED)
    cosines = real @ real.T
    np.fill_diagonal(cosines, -1)
    step = float(np.median(np.sqrt(2 - 2 * cosines.max(axis=1))))
    picked = dice.integers(0, len(real), count)
    rows = real[picked]
    noise = dice.standard_normal(rows.shape, dtype=np.float32)
    noise *= step / np.linalg.norm(noise, axis=1, keepdims=True)
    rows = rows + noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), picked.tolist(), step


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


def measure(chunks: int, count: int, held_out: int, rounds: int) -> dict[str, Any]:
    """Vectors alone, then whole questions over the same chunks."""
    model = MiniLm()
    model.embed(["warm"])
    chosen = texts(count + held_out)
    began = time.process_time()
    real = np.array([np.frombuffer(vector, np.float32) for vector in model.embed(chosen)])
    took = time.process_time() - began
    rows, picked, step = spread(real[held_out:], chunks)
    own = [chosen[held_out + number] for number in picked]
    with tempfile.TemporaryDirectory() as folder:
        searched = measure_vectors(rows, real[:held_out], Path(folder))
        graph = map_arrays(Path(folder) / "graph.bin")["graph"]
        made = shelf(Path(folder), model, graph, own, texts(FILLING))
        query = measure_queries(made, MiniLm(), [one.ask for one in questions()] + [one.ask for one in unanswerable()], rounds)
    return {
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "chunks": chunks,
        "dimensions": MiniLm.dimensions,
        "data": {
            "real_texts": len(real) - held_out,
            "queries": held_out,
            "derived": "each chunk's vector is a real text's moved by a random step of this length; its words are that text's "
            "and those of other real texts, 900 characters in all",
            "step": round(step, 4),
        },
        "embedding": {
            "mean_characters": round(statistics.mean(map(len, chosen))),
            "cpu_ms_per_text": round(took * 1000 / len(chosen), 1),
        },
        "vectors": searched,
        "query": query,
        "targets": {"recall_at_10": 0.95, "p95_ms": 50},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the results; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--texts", type=int, default=800)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="how often each question is asked")
    given = parser.parse_args(arguments)
    result = save("knowledge", measure(given.chunks, given.texts, given.queries, given.rounds))
    whole, targets = result["query"]["whole"], result["targets"]
    missed = whole["p95_ms"] >= targets["p95_ms"] or result["vectors"]["usearch"]["recall_at_10"] < targets["recall_at_10"]
    print(f"p95 of a question to {given.chunks:,} chunks {whole['p95_ms']} ms, {whole['cpu_ms']} ms of CPU each")
    return int(missed)


if __name__ == "__main__":
    sys.exit(run_bench(main))

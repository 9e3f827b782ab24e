"""How long a question to 100,000 chunks takes from end to end, and which part of it: `python -m bench.knowledge` measures it.

It is `Finder.find` as deployed with `vectors = "files"`: the embedding model, vectors and words in mapped files, both rankings
joined, documents and chunks read, and a hundredth of the documents deleted since the files were written. Files and documents
lie on this machine: on AWS two conditional requests to S3, side by side, and then two to DynamoDB come on top.
"""

import hashlib
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from botocore.exceptions import ClientError

from agentfleet.adapters.embedders import MiniLm
from agentfleet.adapters.segments import Segments
from agentfleet.adapters.vector_files import VectorFiles, join_vectors
from agentfleet.adapters.word_files import KEY, WordFiles, join_words
from agentfleet.domain.hlc import Stamp
from agentfleet.domain.knowledge import Chunk, Document, Match, Space, Vector, chunk_key, split_key
from agentfleet.domain.ranking import words
from agentfleet.domain.record import Version, new_record
from agentfleet.services.find import Finder
from agentfleet.services.learn import Indexes
from tests.fakes.knowledge import FakeDocuments

T = TypeVar("T")

SPACE: Final = Space("bench", "docs")
PER_DOCUMENT: Final = 100
"""Chunks."""
CHUNK: Final = 900
"""Characters, about."""
DELETED: Final = 0.01
"""Of the documents."""
LIMIT: Final = 10
WARM: Final = 20
"""Questions that are not counted."""
WRITTEN: Final = 10_000
"""Chunks whose words go into one file before all are joined."""


def resident() -> float:
    """MB of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def held(load: Callable[[], T]) -> tuple[T, float]:
    """What was loaded, and by how many MB the process grew."""
    before = resident()
    loaded = load()
    return loaded, round(resident() - before, 1)


class FolderBucket:
    """What `Segments` needs of S3, in a folder, with its conditions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_object(self, *, Bucket: str, Key: str, IfNoneMatch: str = "") -> dict[str, Any]:  # noqa: N803 - S3's names
        """The object, unless it is the one that is known already."""
        path = self._path(Bucket, Key)
        if not path.exists():
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        body = path.read_bytes()
        tag = hashlib.sha256(body).hexdigest()
        if tag == IfNoneMatch:
            raise ClientError({"Error": {"Code": "304"}}, "GetObject")
        return {"Body": _Body(body), "ETag": tag}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_conditions: str) -> None:  # noqa: N803
        """Keep it; only one writes here, so conditions hold."""
        path = self._path(Bucket, Key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Body)

    def _path(self, bucket: str, key: str) -> Path:
        return self._folder / bucket / key


@dataclass(frozen=True, slots=True)
class _Body:
    body: bytes

    def read(self) -> bytes:
        return self.body

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        yield from (self.body[start : start + size] for start in range(0, len(self.body), size))


@dataclass(slots=True)
class Stage:
    """Milliseconds of each call of a part of the way."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Of all that were counted."""
        cuts = statistics.quantiles(self.wall, n=100)
        return {
            "p50_ms": round(cuts[49], 2),
            "p95_ms": round(cuts[94], 2),
            "max_ms": round(max(self.wall), 2),
            "cpu_ms": round(statistics.mean(self.cpu), 2),
        }


class Watched:
    """Ports that write down what their calls take. The CPU is the calling thread's, or with `everywhere` the process's."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}

    def forget(self) -> None:
        """What was written down so far."""
        self.stages.clear()

    def timed(self, name: str, call: Callable[[], Any], *, everywhere: bool = False) -> Any:
        """What a call gives."""
        cpu = time.process_time if everywhere else time.thread_time
        began, used = time.perf_counter(), cpu()
        given = call()
        stage = self.stages.setdefault(name, Stage())
        stage.wall.append((time.perf_counter() - began) * 1000)
        stage.cpu.append((cpu() - used) * 1000)
        return given


class _Embedder:
    name, dimensions = MiniLm.name, MiniLm.dimensions

    def __init__(self, model: MiniLm, watched: Watched) -> None:
        self._model, self._watched = model, watched

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        found: list[Vector] = self._watched.timed("embedding", lambda: self._model.embed(texts), everywhere=True)
        return found


class _Vectors(VectorFiles):
    def __init__(self, segments: Segments, watched: Watched) -> None:
        super().__init__(segments)
        self._watched = watched

    def search(self, space: Space, vector: Vector, limit: int) -> Sequence[Match]:
        ask = super().search
        found: Sequence[Match] = self._watched.timed("vectors", lambda: ask(space, vector, limit))
        return found


class _Words(WordFiles):
    def __init__(self, segments: Segments, watched: Watched) -> None:
        super().__init__(segments)
        self._watched = watched

    def search(self, space: Space, words: Sequence[str], limit: int) -> Sequence[Match]:
        ask = super().search
        found: Sequence[Match] = self._watched.timed("words", lambda: ask(space, words, limit))
        return found


class _Documents(FakeDocuments):
    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self._watched = watched

    def get(self, space: Space, document_ids: Sequence[str]) -> dict[str, Document]:
        ask = super().get
        found: dict[str, Document] = self._watched.timed("documents", lambda: ask(space, document_ids))
        return found

    def get_chunks(self, space: Space, keys: Iterable[str]) -> dict[str, Chunk]:
        ask = super().get_chunks
        found: dict[str, Chunk] = self._watched.timed("chunks", lambda: ask(space, keys))
        return found


@dataclass(frozen=True, slots=True)
class Shelf:
    """A domain of many chunks, and what each takes of this process's memory."""

    finder: Finder
    watched: Watched
    vectors: VectorFiles
    words: WordFiles
    documents: FakeDocuments


def shelf(folder: Path, model: MiniLm, graph: np.ndarray[Any, Any], own: Sequence[str], filling: Sequence[str]) -> Shelf:
    """Chunk i begins with the text `own[i]`, whose vector is number i of the graph, filled up with others."""
    watched, bucket = Watched(), FolderBucket(folder / "bucket")

    def segments(family: str, join: Any) -> Segments:
        made: Any = bucket
        return Segments(made, "bench", family, lambda: datetime.now(UTC), join, folder=folder / "disk")

    vector_segments = segments("vectors", join_vectors)
    vectors, inverted = _Vectors(vector_segments, watched), _Words(segments("words", join_words), watched)
    documents = _Documents(watched)
    keys = [chunk_key(f"d{number // PER_DOCUMENT:024x}", "0" * 24, number % PER_DOCUMENT) for number in range(len(own))]
    vector_segments.add(SPACE, {"keys": np.array(keys, KEY), "graph": graph}, keys)
    _write(documents, inverted, keys, own, filling)
    gone = set(sorted({split_key(key)[0] for key in keys})[:: round(1 / DELETED)])
    lost = [key for key in keys if split_key(key)[0] in gone]
    for index in (vectors, inverted):
        index.remove(SPACE, lost)
    documents.delete_chunks(SPACE, lost)
    for name in gone:
        del documents.documents[SPACE, name]
    return Shelf(
        Finder(documents, Indexes(vectors, inverted, _Embedder(model, watched))), watched, vectors, inverted, documents
    )


def _write(
    documents: FakeDocuments, inverted: WordFiles, keys: Sequence[str], own: Sequence[str], filling: Sequence[str]
) -> None:
    known = {text: words(text) for text in {*own, *filling}}
    dice = np.random.default_rng(len(keys))
    waiting: dict[str, Sequence[str]] = {}
    for number, (key, first) in enumerate(zip(keys, own, strict=True)):
        parts = [first]
        while sum(map(len, parts)) < CHUNK:
            parts.append(filling[int(dice.integers(len(filling)))])
        waiting[key] = [word for part in parts for word in known[part]]
        documents.put_chunks(SPACE, {key: Chunk(number % PER_DOCUMENT, "\n\n".join(parts), (), 1, len(parts))})
        if number % PER_DOCUMENT == 0:
            name, stamp = split_key(key)[0], Stamp(number, 0, "bench")
            version = Version(stamp, split_key(key)[1], "text/plain", CHUNK * PER_DOCUMENT, PER_DOCUMENT)
            record = new_record(name, name, version)
            documents.save(SPACE, Document(name, SPACE.domain, record, datetime.now(UTC)))
        if len(waiting) == WRITTEN or number == len(keys) - 1:
            inverted.put(SPACE, waiting)
            waiting = {}
    inverted.compact(SPACE)


def measure_queries(made: Shelf, model: MiniLm, asked: Sequence[str], rounds: int) -> dict[str, Any]:
    """Every question several times over: the whole way, its parts, and the memory of what stays."""
    memory: dict[str, float] = {}
    [vector], memory["model_mb"] = held(lambda: model.embed(asked[:1]))
    with ThreadPoolExecutor(1) as one:
        _, memory["vectors_mb"] = held(lambda: one.submit(_all_of, made.vectors, vector).result())
        _, memory["words_mb"] = held(lambda: [made.words.search(SPACE, words(ask), LIMIT) for ask in asked])
    for ask in asked[:WARM]:
        made.finder.find(SPACE.tenant, ask, [SPACE.domain], LIMIT)
    made.watched.forget()
    whole = Stage()
    requests: list[int] = []
    for ask in [*asked] * rounds:
        before = _calls(made.watched.stages)
        began, used = time.perf_counter(), time.process_time()
        found = made.finder.find(SPACE.tenant, ask, [SPACE.domain], LIMIT)
        whole.wall.append((time.perf_counter() - began) * 1000)
        whole.cpu.append((time.process_time() - used) * 1000)
        requests.append(_calls(made.watched.stages) - before)
        if found.missing or len(found.findings) != LIMIT:
            raise RuntimeError(f"{ask!r} found {len(found.findings)} chunks, missing {dict(found.missing)}")
    return {
        "questions": len(whole.wall),
        "whole": whole.summary(),
        "parts": {name: stage.summary() for name, stage in made.watched.stages.items()},
        "reads": round(statistics.mean(requests), 2),
        "deleted_chunks": round(DELETED * len(made.documents.chunks) / (1 - DELETED)),
        "memory": memory,
    }


def _all_of(vectors: VectorFiles, vector: Vector) -> None:
    for _ in range(WARM):
        vectors.search(SPACE, vector, 50)


def _calls(stages: Mapping[str, Stage]) -> int:
    return sum(len(stages[name].wall) for name in ("documents", "chunks") if name in stages)

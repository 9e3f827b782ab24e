"""Indexes in files: what a search sees while others write, how files are joined, and when old ones go."""

import random
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentfleet.adapters import segments as module
from agentfleet.adapters import vector_files, word_files
from agentfleet.adapters.arrays import dump_arrays, map_arrays
from agentfleet.adapters.segments import Segments
from agentfleet.adapters.vector_files import VectorFiles, join_vectors
from agentfleet.adapters.word_files import WordFiles, join_words, living
from agentfleet.domain.errors import KnowledgeUnavailable
from agentfleet.domain.knowledge import Space
from tests.contract.test_vector_index import key, nearest, vector
from tests.contract.world import BACKOFF, AwsWorld, World


@pytest.fixture
def aws(world: World) -> AwsWorld:
    """A world with an S3."""
    if not isinstance(world, AwsWorld):
        pytest.skip("fakes have no files")
    return world


@pytest.fixture
def space(aws: AwsWorld) -> Space:
    """Of a tenant of its own."""
    return Space(aws.fresh("tenant"), "law")


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """Disks of functions."""
    return (tmp_path / str(number) for number in range(100))


def files_of(aws: AwsWorld, space: Space) -> set[str]:
    """Names of the objects below a space."""
    listed = aws.clients.s3.list_objects_v2(Bucket=aws.bucket, Prefix=f"knowledge/{space.tenant}/{space.domain}/")
    return {one["Key"].rpartition("/")[2] for one in listed.get("Contents", ())}


def words_at(aws: AwsWorld, folder: Path, clock: Any = None) -> WordFiles:
    """Words, as another process sees them."""
    made = Segments(aws.clients.s3, aws.bucket, "w", clock or aws.clock, join_words, folder=folder, backoff=BACKOFF)
    return WordFiles(made)


def test_another_process_sees_every_change(aws: AwsWorld, space: Space, folders: Iterator[Path]) -> None:
    """At once: the manifest is looked at before every search, and costs nothing where it is the same."""
    writer, reader = words_at(aws, next(folders)), words_at(aws, next(folders))
    assert list(reader.search(space, ["a"], 5)) == []

    writer.put(space, {key(1): ["a"]})
    first = [match.key for match in reader.search(space, ["a"], 5)]
    writer.put(space, {key(2): ["a", "a"]})
    writer.remove(space, [key(1)])

    assert first == [key(1)]
    assert [match.key for match in reader.search(space, ["a"], 5)] == [key(2)]
    assert [match.key for match in reader.search(space, ["a"], 5)] == [key(2)]


def test_what_was_deleted_is_looked_up_once(
    aws: AwsWorld, space: Space, folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at every search, which among very many chunks takes longer than all else; a further deletion counts at once."""
    words = words_at(aws, next(folders))
    looked_up: list[frozenset[str]] = []

    def look_up(keys: Any, dead: frozenset[str]) -> Any:
        looked_up.append(dead)
        return living(keys, dead)

    words.put(space, {key(number): ["a"] for number in range(5)})
    words.remove(space, [key(1)])
    monkeypatch.setattr(word_files, "living", look_up)

    first = [{match.key for match in words.search(space, ["a"], 5)} for _ in range(3)]
    words.remove(space, [key(2)])
    second = [{match.key for match in words.search(space, ["a"], 5)} for _ in range(3)]

    assert first == [{key(0), key(2), key(3), key(4)}] * 3
    assert second == [{key(0), key(3), key(4)}] * 3
    assert looked_up == [{key(1)}, {key(1), key(2)}]


def test_small_files_are_joined_and_old_ones_go_later(aws: AwsWorld, space: Space, folders: Iterator[Path]) -> None:
    """Never more than a search should open; who still reads the old ones has an hour."""
    words = words_at(aws, next(folders))
    for number in range(40):
        words.put(space, {key(number): ["a", f"b{number}"]})

    manifest, loaded = words._segments.read(space)
    assert len(loaded) <= module.MANY
    assert manifest.count == 40
    before = files_of(aws, space)
    assert set(manifest.retired) < {name.removesuffix(".bin") for name in before}

    aws.clock.advance(timedelta(hours=2).total_seconds())
    words.put(space, {key(99): ["a"]})

    after = files_of(aws, space)
    assert not {f"{name}.bin" for name in manifest.retired} & after
    assert len(words.search(space, ["a"], 100)) == 41


def test_what_is_mostly_deleted_is_rewritten(aws: AwsWorld, space: Space, folders: Iterator[Path]) -> None:
    """The list of the deleted does not grow for ever."""
    words = words_at(aws, next(folders))
    words.put(space, {key(number): ["a"] for number in range(300)})

    words.remove(space, [key(number) for number in range(50)])
    kept = words._segments.read(space)[0]
    words.remove(space, [key(number) for number in range(50, 150)])
    rewritten = words._segments.read(space)[0]

    assert (kept.count, len(kept.dead)) == (300, 50)
    assert (rewritten.count, len(rewritten.dead)) == (150, 0)
    assert len(words.search(space, ["a"], 500)) == 150


def test_who_always_comes_second_gives_up(
    aws: AwsWorld, space: Space, folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an error that may be tried again, and without having changed anything."""
    words = words_at(aws, next(folders))
    words.put(space, {key(1): ["a"]})
    stale = words._segments._manifest(space)
    words.put(space, {key(2): ["a"]})
    monkeypatch.setattr(words._segments, "_manifest", lambda _: (stale[0], '"another"'))

    with pytest.raises(KnowledgeUnavailable, match="changed by others 4 times"):
        words.put(space, {key(3): ["a"]})
    assert len(words_at(aws, next(folders)).search(space, ["a"], 9)) == 2


def test_a_full_disk_makes_room(aws: AwsWorld, space: Space, folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was used longest ago goes, and comes again when it is needed."""
    monkeypatch.setattr(module, "DISK", 2000)
    folder = next(folders)
    words = words_at(aws, folder)
    spaces = [Space(space.tenant, f"d{number}") for number in range(6)]
    for number, one in enumerate(spaces):
        words.put(one, {key(number): ["a"]})

    for _ in range(2):
        assert [words.search(one, ["a"], 5)[0].key for one in spaces] == [key(number) for number in range(6)]
    assert len(list(folder.iterdir())) < 6


def test_large_files_are_searched_through_a_graph(
    aws: AwsWorld, space: Space, folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers, with deleted ones left out, over several files, and after they were joined."""
    monkeypatch.setattr(vector_files, "GRAPH_FROM", 50)
    # Several threads may link so small a graph badly, one time in a hundred; one thread makes it the same every time.
    monkeypatch.setattr(vector_files, "build_graph", partial(vector_files.build_graph, threads=1))
    made = Segments(aws.clients.s3, aws.bucket, "v", aws.clock, join_vectors, folder=next(folders), backoff=BACKOFF)
    vectors = VectorFiles(made)
    dice = random.Random(5)
    given = {key(number): vector(dice) for number in range(150)}
    names = list(given)
    for start, end in ((0, 60), (60, 130), (130, 150)):
        vectors.put(space, {name: given[name] for name in names[start:end]})
    query = vector(dice)
    kinds = [sorted(file) for file in made.read(space)[1]]
    gone = nearest(given, query, 30)
    vectors.remove(space, gone)
    left = {name: one for name, one in given.items() if name not in gone}

    apart = [match.key for match in vectors.search(space, query, 10)]
    vectors.compact(space)
    [joined] = made.read(space)[1]

    assert kinds == [["graph", "keys"], ["graph", "keys"], ["keys", "vectors"]]
    # 16 bits per number may swap two that are nearly as far.
    assert len(set(apart) & set(nearest(left, query))) >= 9
    assert not set(apart) & set(gone)
    assert (len(joined["keys"]), "graph" in joined) == (120, True)
    matches = vectors.search(space, query, 10)
    assert len({match.key for match in matches} & set(nearest(left, query))) >= 9
    assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)
    assert matches[0].score == pytest.approx(sum(a * b for a, b in zip(query, left[matches[0].key], strict=True)), abs=2e-3)


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    """Of any type and shape; another file is refused."""
    arrays: dict[str, Any] = {
        "a": np.arange(6, dtype=np.uint16).reshape(2, 3),
        "b": np.array([], np.float32),
        "c": np.array([b"x"], "S64"),
    }
    path = tmp_path / "file"
    path.write_bytes(dump_arrays(arrays))

    mapped = map_arrays(path)
    path.unlink()

    assert {name: values.tolist() for name, values in mapped.items()} == {n: values.tolist() for n, values in arrays.items()}
    assert all(mapped[name].dtype == values.dtype for name, values in arrays.items())
    (tmp_path / "other").write_bytes(b"PK\3\4 something else")
    with pytest.raises(ValueError, match="not a file of arrays"):
        map_arrays(tmp_path / "other")

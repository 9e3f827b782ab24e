"""The contract of WordIndex: BM25, whatever it is made of."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agentfleet.domain.knowledge import Space, chunk_key
from agentfleet.domain.ranking import bm25
from tests.contract.world import World

WORDS = [f"word{number}" for number in range(60)]


def key(number: int) -> str:
    """The key of a chunk."""
    return chunk_key(f"d{number:024x}", f"{number:024x}", number)


def texts(seed: int, count: int, start: int = 0) -> dict[str, list[str]]:
    """Chunks of words, some frequent and some rare."""
    dice = random.Random(seed)
    return {
        key(number): [WORDS[min(int(dice.expovariate(0.08)), 59)] for _ in range(dice.randint(3, 40))]
        for number in range(start, start + count)
    }


@pytest.fixture
def space(world: World) -> Space:
    """Of a tenant of its own."""
    return Space(world.fresh("tenant"), "law")


def found(world: World, space: Space, *words: str, limit: int = 10) -> list[tuple[str, Any]]:
    """Keys and scores."""
    return [(match.key, pytest.approx(match.score, rel=1e-4)) for match in world.words.search(space, words, limit)]


def expected(given: dict[str, list[str]], *words: str, limit: int = 10) -> list[tuple[str, float]]:
    """What BM25 without an index gives."""
    scores = sorted(bm25(words, given).items(), key=lambda scored: (-scored[1], scored[0]))
    return scores[:limit]


def test_ranking_is_bm25_over_all_additions(world: World, space: Space) -> None:
    """However many times something was added, the scores are those of one index."""
    given: dict[str, list[str]] = {}
    for part in range(12):
        more = texts(part, 30, part * 30)
        world.words.put(space, more)
        given |= more

    for words in (("word0",), ("word3", "word20", "word59"), ("nowhere",), ("word5", "word5")):
        assert expected(given, *words) == found(world, space, *words)


def test_what_was_removed_counts_nowhere(world: World, space: Space) -> None:
    """Neither found nor in the frequencies; added again it is back; the order of things does not matter."""
    given = texts(1, 150)
    world.words.put(space, given)
    gone = list(given)[::2]

    world.words.remove(space, [*gone, key(9999)])
    left = {name: words for name, words in given.items() if name not in gone}
    assert expected(left, "word1", "word7") == found(world, space, "word1", "word7")

    world.words.put(space, {gone[0]: given[gone[0]]})
    world.words.compact(space)
    left[gone[0]] = given[gone[0]]
    assert expected(left, "word1", "word7") == found(world, space, "word1", "word7")
    world.words.remove(space, list(given))
    assert found(world, space, "word1") == []
    world.words.compact(space)
    assert found(world, space, "word1") == []


def test_spaces_do_not_see_each_other(world: World, space: Space) -> None:
    """Neither another tenant's nor another domain's chunks, nor their frequencies."""
    given = texts(3, 20)
    world.words.put(space, given)
    world.words.put(Space(world.fresh("tenant"), "law"), texts(4, 20, 100))
    world.words.put(Space(space.tenant, "art"), texts(5, 20, 200))

    assert expected(given, "word2", limit=50) == found(world, space, "word2", limit=50)
    assert found(world, Space(space.tenant, "cooking"), "word2") == []


def test_writers_at_the_same_time_lose_nothing(world: World, space: Space) -> None:
    """Eight at once, each with its own chunks."""
    parts = [texts(part, 5, part * 5) for part in range(8)]

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda part: world.words.put(space, part), parts))

    given = {name: words for part in parts for name, words in part.items()}
    assert len(found(world, space, *WORDS, limit=100)) == len(given)

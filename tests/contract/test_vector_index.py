"""The contract of VectorIndex: the same for DynamoDB's own index, for files, and for the fake."""

import math
import random
from array import array

import pytest

from agentfleet.domain.knowledge import Space, Vector, chunk_key
from agentfleet.ports_knowledge import VectorIndex
from tests.contract.world import DIMENSIONS, World


@pytest.fixture(params=["fake", "files", "dynamodb"])
def index(request: pytest.FixtureRequest, world: World) -> VectorIndex:
    """Each that this world has: moto knows no vector index."""
    if request.param not in world.vectors:
        pytest.skip(f"this world has no vector index of kind {request.param}")
    return world.vectors[request.param]


@pytest.fixture
def space(world: World) -> Space:
    """Of a tenant of its own."""
    return Space(world.fresh("tenant"), "law")


def key(number: int) -> str:
    """The key of a chunk."""
    return chunk_key(f"d{number:024x}", f"{number:024x}", number)


def vector(dice: random.Random) -> Vector:
    """Somewhere on the sphere."""
    values = [dice.gauss(0, 1) for _ in range(DIMENSIONS)]
    length = math.sqrt(sum(value * value for value in values))
    return array("f", (value / length for value in values))


def cosine(one: Vector, other: Vector) -> float:
    """Of vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def nearest(given: dict[str, Vector], query: Vector, limit: int = 10) -> list[str]:
    """By comparing with all."""
    return sorted(given, key=lambda name: -cosine(query, given[name]))[:limit]


def test_the_nearest_come_first_with_their_cosine(index: VectorIndex, space: Space) -> None:
    """From however many additions; the score is the cosine, down to -1."""
    dice = random.Random(1)
    given: dict[str, Vector] = {}
    for part in range(10):
        more = {key(number): vector(dice) for number in range(part * 9, part * 9 + 9)}
        index.put(space, more)
        given |= more

    for query in (vector(dice) for _ in range(5)):
        matches = index.search(space, query, 10)
        assert [match.key for match in matches] == nearest(given, query)
        assert [match.score for match in matches] == pytest.approx([cosine(query, given[one.key]) for one in matches], abs=1e-4)
    every = index.search(space, next(iter(given.values())), 100)
    assert len(every) == 90
    assert every[0].score == pytest.approx(1, abs=1e-4)
    assert every[-1].score < 0


def test_what_was_removed_is_not_found(index: VectorIndex, space: Space) -> None:
    """Not even among more than are left; added again it is back; putting in order changes nothing."""
    dice = random.Random(2)
    given = {key(number): vector(dice) for number in range(40)}
    query = vector(dice)
    index.put(space, given)
    gone = nearest(given, query, 20)

    index.remove(space, [*gone, key(999)])
    left = {name: one for name, one in given.items() if name not in gone}
    assert [match.key for match in index.search(space, query, 30)] == nearest(left, query, 30)
    index.put(space, {gone[3]: given[gone[3]]})
    index.compact(space)
    left[gone[3]] = given[gone[3]]
    assert [match.key for match in index.search(space, query, 30)] == nearest(left, query, 30)
    index.remove(space, list(given))
    index.compact(space)
    assert list(index.search(space, query, 30)) == []


def test_no_search_leaves_its_space(index: VectorIndex, space: Space, world: World) -> None:
    """Whatever other tenants and domains hold, were it the query itself."""
    dice = random.Random(3)
    query = vector(dice)
    index.put(space, {key(1): vector(dice)})
    for other in (Space(space.tenant, "art"), Space(world.fresh("tenant"), "law"), Space(space.tenant + "x", "law")):
        index.put(other, {key(2): query})

    assert [match.key for match in index.search(space, query, 10)] == [key(1)]
    assert list(index.search(Space(world.fresh("tenant"), "law"), query, 10)) == []

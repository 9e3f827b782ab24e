"""Breakers in a store that several processes share."""

from datetime import timedelta
from functools import partial

import pytest

from agentfleet.domain.breaker import Breaker, BreakerState
from tests.contract.making import at_once
from tests.contract.world import World


def test_what_is_not_stored_is_closed(world: World) -> None:
    """A dependency that nobody knows has a new breaker of version 0."""
    assert world.breakers.read(world.fresh("crm")) == (Breaker(), 0)


@pytest.mark.parametrize("state", list(BreakerState))
def test_what_is_written_is_read(world: World, state: BreakerState) -> None:
    """State, failures and times come back exactly, and the version has grown."""
    name, now = world.fresh("http example.test:8080 "), world.clock()
    breaker = Breaker(state, (now, now + timedelta(microseconds=1)), None if state is BreakerState.CLOSED else now)

    assert world.breakers.write(name, breaker, 0, now)

    assert world.breakers.read(name) == (breaker, 1)


def test_only_the_newest_version_is_replaced(world: World) -> None:
    """Who has read an older version changes nothing."""
    name, now = world.fresh("crm"), world.clock()
    newer = Breaker(failures=(now,))
    world.breakers.write(name, Breaker(), 0, now)
    world.breakers.write(name, newer, 1, now)

    assert not world.breakers.write(name, Breaker(BreakerState.OPEN, until=now), 1, now)
    assert not world.breakers.write(name, Breaker(BreakerState.OPEN, until=now), 0, now)
    assert world.breakers.read(name) == (newer, 2)


def test_one_of_many_writers_wins(world: World) -> None:
    """Of ten that replace the same version at once, exactly one does."""
    name, now = world.fresh("crm"), world.clock()

    wrote = at_once([partial(world.breakers.write, name, Breaker(failures=(now,)), 0, now) for _ in range(10)])

    assert sum(wrote) == 1

"""The contract of PoolControl."""

from datetime import timedelta

import pytest

from agentfleet.domain import names
from agentfleet.domain.errors import NotFound
from agentfleet.domain.messages import TaskMessage
from tests.contract.test_bus import wait_for
from tests.contract.world import World


def test_a_pool_tells_its_queues_and_its_limits(world: World) -> None:
    """Waiting and received messages over all priorities; concurrency as deployed."""
    pool = world.make_pool()
    world.queues.send_tasks([TaskMessage("g", n, "acme", pool, priority) for priority in names.PRIORITIES for n in range(2)])
    world.take(names.task_queue("contract", pool, "high"), 1)
    world.make_trigger(pool, takes=False)

    (seen,) = world.pools(pool).read([pool])

    assert (seen.name, seen.capabilities, seen.concurrency) == (pool, (f"{pool}.do",), 5)
    assert (seen.min_concurrency, seen.max_concurrency, seen.dead) == (2, 100, 0)
    assert (seen.waiting, seen.in_flight) == (5, 1)


@pytest.mark.parametrize("concurrency", [2, 9, 1000])
def test_concurrency_can_be_changed(world: World, concurrency: int) -> None:
    """Asked for, then settled."""
    pool = world.make_pool()
    world.make_trigger(pool)
    control = world.pools(pool)

    control.set_concurrency(pool, concurrency)

    wait_for(lambda: control.read([pool])[0].settled)
    assert control.read([pool])[0].concurrency == concurrency


def test_a_pool_can_be_held_at_a_single_agent(world: World) -> None:
    """Less than a trigger's limit allows, and back again."""
    pool = world.make_pool()
    world.make_trigger(pool)
    control = world.pools(pool)

    control.set_concurrency(pool, 1)
    assert control.read([pool])[0].concurrency == 1

    control.set_concurrency(pool, 3)
    assert control.read([pool])[0].concurrency == 3


@pytest.mark.parametrize("concurrency", [0, -1, 1001])
def test_impossible_concurrency_is_refused(world: World, concurrency: int) -> None:
    """The error says what is allowed."""
    pool = world.make_pool()
    world.make_trigger(pool)

    with pytest.raises(ValueError, match="1 to 1,000"):
        world.pools(pool).set_concurrency(pool, concurrency)


def test_a_pool_that_is_not_there_is_not_found(world: World) -> None:
    """The error names it, whatever was asked."""
    pool = world.make_pool()
    world.make_trigger(pool)
    control = world.pools(pool)

    with pytest.raises(NotFound, match="nopool"):
        control.read([pool, "nopool"])
    with pytest.raises(NotFound, match="nopool"):
        control.set_concurrency("nopool", 3)
    with pytest.raises(NotFound, match="nopool"):
        control.logs("nopool", world.clock(), 5)


def test_the_newest_log_lines_are_given_oldest_first(world: World) -> None:
    """At most as many as asked for, none older than asked for, none if there are none."""
    pool, silent = world.make_pool(), world.make_pool()
    world.make_trigger(pool)
    world.make_trigger(silent)
    now = world.log_clock()
    lines = [(now + timedelta(seconds=n), f"line {n} é") for n in range(6)]
    world.log(pool, lines)
    control = world.pools(pool, silent)

    assert list(control.logs(pool, now + timedelta(seconds=1), 3)) == lines[3:]
    assert list(control.logs(pool, now + timedelta(seconds=4), 30)) == lines[4:]
    assert list(world.pools(silent).logs(silent, now, 3)) == []

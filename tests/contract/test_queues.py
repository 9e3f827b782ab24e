"""The contract of TaskQueues."""

import json
from datetime import timedelta

import pytest

from agentfleet.domain import names
from agentfleet.domain.errors import DeliveryFailed
from agentfleet.domain.messages import ReleaseMessage, TaskMessage, TaskPointer, read_release, read_task
from agentfleet.domain.names import PRIORITIES, Priority
from tests.contract.world import FLEET, Received, World


def task(pool: str, unit: int, priority: Priority = "normal", tenant: str = "acme") -> TaskMessage:
    """A message for one unit."""
    return TaskMessage("gsome", unit, tenant, pool, priority)


def drain(world: World, queue: str) -> list[Received]:
    """Everything that can be received from a queue now."""
    found: list[Received] = []
    while batch := world.take(queue):
        found.extend(batch)
    return found


def test_a_task_message_reaches_its_pools_queue(world: World) -> None:
    """The receiver reads what was sent; the tenant is the message's group, which keeps the queue fair."""
    pool = world.make_pool()

    world.queues.send_tasks([task(pool, 7, tenant="acme-2")])

    (received,) = drain(world, names.task_queue(FLEET, pool, "normal"))
    assert read_task(received.body).unit == 7
    assert received.attributes["ApproximateReceiveCount"] == "1"
    assert received.attributes["MessageGroupId"] == read_task(received.body).tenant


def test_messages_are_sorted_into_queues(world: World) -> None:
    """By pool and priority, in one call."""
    first, second = world.make_pool(), world.make_pool()
    sent = [task(pool, n, priority) for n, pool in enumerate((first, second)) for priority in PRIORITIES]

    world.queues.send_tasks(sent)

    for n, pool in enumerate((first, second)):
        for priority in PRIORITIES:
            bodies = [one.body for one in drain(world, names.task_queue(FLEET, pool, priority))]
            assert [read_task(body).unit for body in bodies] == [n]


@pytest.mark.parametrize("count", [10, 11, 30, 65])
def test_batches_of_any_size_arrive_whole(world: World, count: int) -> None:
    """Full requests, a request more, and enough to be sent in parallel."""
    pool = world.make_pool()

    world.queues.send_tasks([task(pool, n) for n in range(count)])

    received = drain(world, names.task_queue(FLEET, pool, "normal"))
    assert sorted(read_task(one.body).unit for one in received) == list(range(count))


def test_sending_nothing_is_fine(world: World) -> None:
    """No messages, no request, no error."""
    world.queues.send_tasks([])
    world.queues.send_releases([])
    world.queues.hide("any", {})


def test_releases_go_to_the_release_queue(world: World) -> None:
    """Ranges survive the trip."""
    parts = [ReleaseMessage(world.fresh("g"), ((n * 500, n * 500 + 499), (n, n))) for n in range(12)]

    world.queues.send_releases(parts)

    received = drain(world, names.release_queue(FLEET))
    assert {read_release(one.body) for one in received} >= set(parts)


def test_what_can_be_sent_is_sent_when_a_queue_fails(world: World) -> None:
    """The error counts what was not taken, after everything else was handed over."""
    working, broken = world.make_pool(), world.fresh("absent")
    world.break_queue(names.task_queue(FLEET, broken, "normal"))
    mixed = [task(broken if n % 3 == 0 else working, n) for n in range(60)]

    with pytest.raises(DeliveryFailed, match="20 of 60 messages were not taken"):
        world.queues.send_tasks(mixed)

    received = drain(world, names.task_queue(FLEET, working, "normal"))
    assert sorted(read_task(one.body).unit for one in received) == [n for n in range(60) if n % 3]


def test_a_hidden_message_stays_away(world: World) -> None:
    """Until its time is over; hidden for no time, it is there again at once, received once more."""
    pool = world.make_pool()
    queue = names.task_queue(FLEET, pool, "normal")
    world.queues.send_tasks([task(pool, n) for n in range(2)])
    receipts = {read_task(one.body).unit: one.receipt for one in drain(world, queue)}

    world.queues.hide(queue, {receipts[0]: timedelta(), receipts[1]: timedelta(seconds=30.2)})

    (back,) = drain(world, queue)
    assert read_task(back.body) == TaskPointer("gsome", 0, "acme")
    assert back.attributes["ApproximateReceiveCount"] == "2"


def test_many_messages_are_hidden_at_once(world: World) -> None:
    """More than one request takes; times beyond what a queue allows are cut to that."""
    pool = world.make_pool()
    queue = names.task_queue(FLEET, pool, "normal")
    world.queues.send_tasks([task(pool, n) for n in range(25)])
    receipts = [one.receipt for one in drain(world, queue)]

    world.queues.hide(queue, {receipt: timedelta(days=n) if n else timedelta() for n, receipt in enumerate(receipts)})

    assert len(drain(world, queue)) == 1


def test_hiding_a_message_that_is_gone_is_fine(world: World) -> None:
    """It was deleted by another delivery of the same message, or its time was over: there is nothing to hide."""
    pool = world.make_pool()
    queue = names.task_queue(FLEET, pool, "normal")
    world.queues.send_tasks([task(pool, n) for n in range(2)])
    gone, still = (one.receipt for one in drain(world, queue))
    world.delete(queue, gone)

    world.queues.hide(queue, {gone: timedelta(seconds=30), still: timedelta()})

    assert len(drain(world, queue)) == 1


def test_a_body_is_compact_json(world: World) -> None:
    """What travels is a pointer in one short line."""
    pool = world.make_pool()
    world.queues.send_tasks([task(pool, 99_999)])

    (received,) = drain(world, names.task_queue(FLEET, pool, "normal"))

    assert json.loads(received.body) == {"goal": "gsome", "unit": 99_999, "tenant": "acme"}
    assert " " not in received.body

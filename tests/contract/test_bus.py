"""The contract of MessageBus."""

import time
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

import pytest

from agentfleet.domain.errors import DeliveryFailed
from tests.contract.world import World

SECONDS = 15.0


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when a condition holds; fail after a while."""
    deadline = time.monotonic() + SECONDS
    pause = Event()
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {SECONDS:g} s"
        pause.wait(0.01)


def test_a_subscriber_gets_what_is_published_under_its_topic(world: World) -> None:
    """The whole message, unicode and all, and nothing of other topics."""
    topic = world.fresh("Topic")
    got: list[Mapping[str, Any]] = []
    message = {"goal": "g1", "text": "Grüße 🚀", "counts": {"SUCCEEDED": 3}, "nothing": None}
    subscription = world.bus.subscribe(topic, got.append)

    world.bus.publish(world.fresh("Other"), {"goal": "g0"})
    world.bus.publish(topic, message)
    wait_for(lambda: bool(got))
    subscription.close()

    assert got == [message]


def test_every_subscriber_gets_every_message(world: World) -> None:
    """Two subscribers of one topic don't share its messages."""
    topic = world.fresh("Topic")
    first: list[Any] = []
    second: list[Any] = []
    subscriptions = [world.bus.subscribe(topic, got.append) for got in (first, second)]

    for n in range(3):
        world.bus.publish(topic, {"n": n})
    wait_for(lambda: len(first) == len(second) == 3)
    for subscription in subscriptions:
        subscription.close()

    assert sorted(one["n"] for one in first) == sorted(one["n"] for one in second) == [0, 1, 2]


def test_a_closed_subscription_gets_nothing_more(world: World) -> None:
    """Closing twice is fine; publishing to nobody is too."""
    topic = world.fresh("Topic")
    got: list[Any] = []
    subscription = world.bus.subscribe(topic, got.append)
    world.bus.publish(topic, {"n": 1})
    wait_for(lambda: bool(got))

    subscription.close()
    subscription.close()
    world.bus.publish(topic, {"n": 2})

    assert got == [{"n": 1}]


def test_a_failing_subscriber_harms_neither_publisher_nor_later_messages(world: World) -> None:
    """What it raises is its own affair."""
    topic = world.fresh("Topic")
    got: list[Any] = []

    def fail_once(message: Mapping[str, Any]) -> None:
        got.append(message["n"])
        if message["n"] == 1:
            raise RuntimeError("on purpose")

    subscription = world.bus.subscribe(topic, fail_once)
    world.bus.publish(topic, {"n": 1})
    world.bus.publish(topic, {"n": 2})
    wait_for(lambda: {1, 2} <= set(got))
    subscription.close()


def test_a_bus_that_takes_nothing_is_an_error(world: World) -> None:
    """The publisher must know."""
    world.break_bus()

    with pytest.raises(DeliveryFailed, match="GoalSucceeded"):
        world.bus.publish("GoalSucceeded", {"goal": "g1"})

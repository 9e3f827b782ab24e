"""The event bus in memory: subscribers are called at once, in the publisher's thread."""

from collections.abc import Callable, Mapping
from typing import Any

from agentfleet.domain.errors import DeliveryFailed
from tests.fakes.work import through_json

Handler = Callable[[Mapping[str, Any]], None]


class _FakeSubscription:
    def __init__(self, bus: "FakeBus", topic: str, handler: Handler) -> None:
        self.bus = bus
        self.topic = topic
        self.handler = handler
        self.failed: list[Mapping[str, Any]] = []

    def close(self) -> None:
        if self in self.bus.subscriptions:
            self.bus.subscriptions.remove(self)


class FakeBus:
    """A MessageBus. A message whose handler raised waits for `redeliver`, as it would in a queue."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Mapping[str, Any]]] = []
        self.subscriptions: list[_FakeSubscription] = []
        self.is_down = False
        """Set it and nothing is taken any more."""

    def publish(self, topic: str, message: Mapping[str, Any]) -> None:
        if self.is_down:
            raise DeliveryFailed(f"the bus did not take {topic}: switched off by the test")
        self.published.append((topic, through_json(dict(message))))
        for subscription in list(self.subscriptions):
            if subscription.topic == topic:
                self._deliver(subscription, through_json(dict(message)))

    def subscribe(self, topic: str, handler: Handler) -> _FakeSubscription:
        subscription = _FakeSubscription(self, topic, handler)
        self.subscriptions.append(subscription)
        return subscription

    def redeliver(self) -> None:
        """Deliver again what handlers failed on."""
        for subscription in list(self.subscriptions):
            messages, subscription.failed = subscription.failed, []
            for message in messages:
                self._deliver(subscription, message)

    def topics(self) -> list[str]:
        """The topics published so far, in order."""
        return [topic for topic, _ in self.published]

    @staticmethod
    def _deliver(subscription: _FakeSubscription, message: Mapping[str, Any]) -> None:
        try:
            subscription.handler(message)
        except Exception:
            subscription.failed.append(message)

"""The fleet's queues in memory: at-least-once, visibility by the clock, receive counts, dead-letter queues.

`take` gives records as Lambda would; then `delete`, `hide`, or let the visibility run out.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import RLock
from typing import Any

from agentfleet.domain import names
from agentfleet.domain.errors import DeliveryFailed
from agentfleet.domain.messages import ReleaseMessage, TaskMessage
from agentfleet.ports import Clock

ARN = "arn:aws:sqs:us-east-1:000000000000:"


@dataclass
class _Message:
    id: str
    body: str
    group: str | None
    sent: datetime
    visible: datetime
    receives: int = 0
    receipt: str | None = None
    """Of the newest receive; an older one has no effect any more."""
    copies: int = 0
    """How often it will be delivered once more although nobody asked."""


_Queue = dict[str, _Message]
"""By message id, oldest first."""


class FakeQueues:
    """A TaskQueues, with the receiving side that Lambda's poller has."""

    def __init__(
        self,
        clock: Clock,
        fleet: str = "fleet",
        *,
        visibility: timedelta = timedelta(minutes=6),
        max_receives: int = 8,
    ) -> None:
        self.fleet = fleet
        self.clock = clock
        self.visibility = visibility
        self.max_receives = max_receives
        self.sent = 0
        """Messages handed over so far."""
        self.lose: set[int] = set()
        """Numbers (from 0, as `sent` counts) of messages that are taken and never seen again."""
        self._queues: dict[str, _Queue] = {}
        self._failures: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._lock = RLock()

    # What agents do.

    def send_tasks(self, messages: Sequence[TaskMessage]) -> None:
        self._send(
            [(names.task_queue(self.fleet, one.pool, one.priority), one.body(), one.tenant, one.delay) for one in messages]
        )

    def send_releases(self, messages: Sequence[ReleaseMessage]) -> None:
        self._send([(names.release_queue(self.fleet), message.body(), None, timedelta()) for message in messages])

    def hide(self, queue: str, receipts: Mapping[str, timedelta]) -> None:
        with self._lock:
            for receipt, time in receipts.items():
                message = self._by_receipt(queue, receipt)
                if message is not None:
                    message.visible = self.clock() + time

    # What the poller does.

    def take(self, queue: str, n: int = 10) -> list[dict[str, Any]]:
        """Receive at most `n` visible messages, oldest first, as the records of a Lambda event."""
        records: list[dict[str, Any]] = []
        with self._lock:
            now = self.clock()
            for message in list(self._queue(queue).values()):
                if len(records) == n:
                    break
                if message.visible > now:
                    if not message.copies:
                        continue
                    message.copies -= 1
                elif message.receives >= self.max_receives and not queue.endswith("-dead"):
                    self._bury(queue, message)
                    continue
                records.append(self._receive(queue, message, now))
        return records

    def delete(self, queue: str, *receipts: str) -> None:
        """Delete received messages by receipt handle; outdated handles have no effect, as on SQS."""
        with self._lock:
            for receipt in receipts:
                message = self._by_receipt(queue, receipt)
                if message is not None:
                    del self._queue(queue)[message.id]

    # What tests do.

    def put(self, queue: str, body: str, group: str | None = None) -> None:
        """Send any body to any queue."""
        self._send([(queue, body, group, timedelta())])

    def fail_sends(self, queue: str, count: int) -> None:
        """Refuse the next `count` messages that are sent to a queue."""
        self._failures[queue] = count

    def duplicate(self, queue: str, times: int = 1) -> None:
        """Deliver every message now in a queue so many times more, although it is hidden: SQS may do that."""
        with self._lock:
            for message in self._queue(queue).values():
                message.copies += times

    def expire_visibility(self, queue: str | None = None) -> None:
        """Make all received or hidden messages (of one queue, or of all) visible now."""
        with self._lock:
            for name in [queue] if queue else list(self._queues):
                for message in self._queue(name).values():
                    message.visible = min(message.visible, self.clock())

    def depth(self, queue: str) -> tuple[int, int]:
        """Messages (waiting, in flight or hidden)."""
        with self._lock:
            now = self.clock()
            messages = list(self._queue(queue).values())
        waiting = sum(message.visible <= now for message in messages)
        return waiting, len(messages) - waiting

    def oldest_sent(self, queue: str, most: int | None = None) -> datetime | None:
        """When the oldest message of a queue, hidden or not, was sent; of those received at most so often, if that is said."""
        with self._lock:
            counted = (one for one in self._queue(queue).values() if most is None or one.receives <= most)
            return min((message.sent for message in counted), default=None)

    def purge(self) -> None:
        """Lose everything that is in any queue."""
        with self._lock:
            self._queues.clear()

    def bodies(self, queue: str) -> list[str]:
        """Every message of a queue, hidden or not, oldest first."""
        return [message.body for message in list(self._queue(queue).values())]

    def busy(self) -> list[str]:
        """Names of the queues (dead-letter queues not counted) that have something to deliver now, sorted."""
        now = self.clock()
        with self._lock:
            return sorted(
                name
                for name, queue in self._queues.items()
                if not name.endswith("-dead") and any(message.visible <= now or message.copies for message in queue.values())
            )

    def next_visible(self) -> datetime | None:
        """When the next hidden message comes back; None if none is hidden."""
        now = self.clock()
        with self._lock:
            times = [one.visible for queue in self._queues.values() for one in queue.values() if one.visible > now]
        return min(times, default=None)

    def dead_letters(self, queue: str) -> str:
        """The dead-letter queue of a queue."""
        for priority in names.PRIORITIES:
            if queue.endswith(f"-{priority}") and queue.startswith(f"{self.fleet}-"):
                pool = queue.removeprefix(f"{self.fleet}-").removesuffix(f"-{priority}")
                return names.pool_dead_letters(self.fleet, pool)
        return names.dead_letters(queue)

    def _queue(self, name: str) -> _Queue:
        return self._queues.setdefault(name, {})

    def _send(self, messages: Sequence[tuple[str, str, str | None, timedelta]]) -> None:
        refused: list[int] = []
        with self._lock:
            now = self.clock()
            for number, (queue, body, group, delay) in enumerate(messages):
                if delay < timedelta():
                    raise ValueError(f"a delay must be 0 to 900 seconds, not {delay}")
                if self._failures.get(queue, 0) > 0:
                    self._failures[queue] -= 1
                    refused.append(number)
                    continue
                if self.sent in self.lose:
                    self.sent += 1
                    continue
                identity = f"m{next(self._numbers):08d}"
                self._queue(queue)[identity] = _Message(identity, body, group, now, now + min(delay, timedelta(minutes=15)))
                self.sent += 1
        if refused:
            raise DeliveryFailed(f"{len(refused)} of {len(messages)} messages were not taken: refused by the test", refused)

    def _receive(self, queue: str, message: _Message, now: datetime) -> dict[str, Any]:
        message.receives += 1
        message.visible = now + self.visibility
        message.receipt = f"{message.id}/{message.receives}"
        attributes = {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(int(message.sent.timestamp() * 1000)),
            "ApproximateFirstReceiveTimestamp": str(int(now.timestamp() * 1000)),
            "SenderId": "fake",
        }
        if message.group is not None:
            attributes["MessageGroupId"] = message.group
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": attributes,
            "messageAttributes": {},
            "md5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": ARN + queue,
            "awsRegion": "us-east-1",
        }

    def _bury(self, queue: str, message: _Message) -> None:
        del self._queue(queue)[message.id]
        self._queue(self.dead_letters(queue))[message.id] = message

    def _by_receipt(self, queue: str, receipt: str) -> _Message | None:
        message = self._queue(queue).get(receipt.partition("/")[0])
        return message if message is not None and message.receipt == receipt else None

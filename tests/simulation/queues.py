"""The queues of a run: what agents see of them, what the pollers do, and what a healer can see from outside."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from agentfleet.domain import names
from agentfleet.domain.dead_letters import MAX_RECEIVES, DeadLetter
from agentfleet.domain.errors import DeliveryFailed
from agentfleet.domain.healing import COUNTS_LAG, QueueLook
from agentfleet.domain.messages import BadMessage, ReleaseMessage, TaskMessage, read_task
from tests.fakes.clock import START
from tests.simulation.scenario import SKEW
from tests.simulation.world import INVOCATION, VISIBILITY, World

FLEET: Final = "fleet"
RELEASE: Final = names.release_queue(FLEET)
SUBMISSIONS: Final = names.submissions_queue(FLEET)
DEAD: Final = "-dead"
LOST: Final = 0.02
"""Probability that a message is lost on its way, in weather in which messages are."""
COUNTED: Final = 2
"""Messages that were received more often have no part in their queue's age."""
LATE: Final = VISIBILITY + INVOCATION - SKEW
"""Seconds after which the healer no longer waits for what follows from something: whoever first took it up died, and the next
too or came late, or it stood still."""
HIDDEN: Final = 60.0
"""Seconds that a dead letter which was received stays hidden."""


@dataclass(slots=True)
class Message:
    """A message in a queue."""

    id: str
    body: Any
    visible: float
    sent: float
    receives: int = 0
    received: float = 0.0
    """When it first was."""
    receipt: str = ""
    copies: int = 0
    is_late: bool = False
    """Was it sent too late for the healer to wait for it?"""


class Queues:
    """A TaskQueues, and the side of it that the pollers see. What was received too often is a dead letter."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fleet = FLEET
        self.queues: dict[str, dict[str, Message]] = {}
        self.buried: dict[tuple[str, int], list[float]] = {}
        """(goal, unit) → when each of its messages that were given up had first been received."""
        self.sending: Callable[[Sequence[TaskMessage]], None] = lambda messages: None
        """Told of what is about to be sent."""
        self._sent = 0

    def send_tasks(self, messages: Sequence[TaskMessage]) -> None:
        self.sending(messages)
        self._send([(names.task_queue(FLEET, one.pool, one.priority), one.body(), one.delay) for one in messages])

    def send_releases(self, messages: Sequence[ReleaseMessage]) -> None:
        self._send([(RELEASE, one.body(), timedelta()) for one in messages])

    def hide(self, queue: str, receipts: Mapping[str, timedelta]) -> None:
        for receipt, time in receipts.items():
            message = self._held(queue, receipt)
            if message is not None:
                message.visible = self.world.now + time.total_seconds()

    def _send(self, messages: Sequence[tuple[str, Any, timedelta]]) -> None:
        cut = self.world.torn(len(messages))
        twins = self.world.weather.twins
        for queue, body, delay in messages[:cut]:
            self.put(queue, body, delay.total_seconds())
            # What goes round has no twins: one in each round would double it again and again.
            if twins and not delay and self.world.luck.random() < twins:
                self.put(queue, body)
        if cut is not None:
            self.world.tear(
                DeliveryFailed(f"{len(messages) - cut} of {len(messages)} messages were not taken", range(cut, len(messages)))
            )

    def put(self, queue: str, body: Any, delay: float = 0.0) -> None:
        """One message into a queue; in the worst weather it may be lost."""
        weather = self.world.weather
        if weather.lost_sends and queue != SUBMISSIONS and self.world.luck.random() < LOST:
            self.world.note(f"*** lost on its way to {queue}: {body}")
            return
        self._sent += 1
        identity = f"m{self._sent}"
        sender, now = self.world.current, self.world.now
        is_late = now - sender.since > LATE
        self.queues.setdefault(queue, {})[identity] = Message(identity, body, now + delay, now, is_late=is_late)

    def take(self, queue: str, most: int) -> list[Message]:
        """Receive some of what can be seen, in any order; what was received too often before is given up instead."""
        now = self.world.now
        seen = [one for one in self.queues[queue].values() if one.visible <= now or one.copies]
        if len(seen) > 1:
            self.world.order.shuffle(seen)
        taken = []
        for message in seen:
            if message.visible > now:
                message.copies -= 1
            elif message.receives >= MAX_RECEIVES and queue != SUBMISSIONS:
                self._bury(queue, message)
                continue
            taken.append(self._receive(message))
            if len(taken) == most:
                break
        return taken

    def _receive(self, message: Message) -> Message:
        now = self.world.now
        message.receives += 1
        message.received = message.received or now
        message.visible = now + VISIBILITY
        message.receipt = f"{message.id}/{message.receives}"
        return message

    def _bury(self, queue: str, message: Message) -> None:
        del self.queues[queue][message.id]
        dead = names.dead_letters(queue) if queue == RELEASE else f"{queue.rpartition('-')[0]}{DEAD}"
        self.queues.setdefault(dead, {})[message.id] = message
        with suppress(BadMessage):  # a saga's, which asks again by itself
            pointer = read_task(message.body)
            self.buried.setdefault((pointer.goal_id, pointer.unit), []).append(message.received)
        self.world.note(f"{queue} gives up {message.id} {message.body}")

    def delete(self, queue: str, receipt: str) -> None:
        """Delete by receipt; an outdated one has no effect."""
        message = self._held(queue, receipt)
        if message is not None:
            del self.queues[queue][message.id]

    def ready(self) -> list[str]:
        """The queues that have something to deliver now."""
        now = self.world.now
        found = []
        for name, queue in self.queues.items():
            for one in queue.values():
                if one.visible <= now or one.copies:
                    if not name.endswith(DEAD):
                        found.append(name)
                    break
        return found

    def next_visible(self) -> float | None:
        """When the next hidden message comes back."""
        now = self.world.now
        living = [queue for name, queue in self.queues.items() if not name.endswith(DEAD)]
        return min((one.visible for queue in living for one in queue.values() if one.visible > now), default=None)

    def depth(self, queue: str) -> tuple[int, int]:
        """Messages waiting, and in flight, as counts that lag behind tell it: what came lately may not be counted yet."""
        now = self.world.now
        counted = [
            one
            for one in self.queues.get(queue, {}).values()
            if one.sent + COUNTS_LAG.total_seconds() <= now or self.world.luck.random() < 0.5
        ]
        waiting = sum(one.visible <= now for one in counted)
        return waiting, len(counted) - waiting

    def oldest_sent(self, queue: str) -> datetime | None:
        """When a queue's oldest message was sent, hidden or not; as SQS does, without those that were received thrice."""
        known = self.queues.get(queue, {}).values()
        oldest = min((one.sent for one in known if one.receives <= COUNTED), default=None)
        return None if oldest is None else START + timedelta(seconds=oldest)

    def duplicate(self) -> None:
        """Deliver some message once more: the same one, or another that says the same."""
        living = [(name, queue) for name, queue in self.queues.items() if not name.endswith(DEAD)]
        found = [(name, one) for name, queue in living for one in queue.values()]
        if found:
            name, message = found[self.world.luck.randrange(len(found))]
            if self.world.luck.random() < 0.5:
                message.copies += 1
            else:
                self.put(name, message.body, self.world.luck.choice([0.0, 30.0]))

    def wake_hidden(self) -> None:
        """The visibility of all that is held ends early."""
        for queue in self.queues.values():
            for message in queue.values():
                message.visible = min(message.visible, self.world.now)

    def _held(self, queue: str, receipt: str) -> Message | None:
        message = self.queues.get(queue, {}).get(receipt.partition("/")[0])
        return message if message is not None and message.receipt == receipt else None


class Watch:
    """A QueueWatch. Without `tells_age` nobody measures ages."""

    def __init__(self, queues: Queues, *, tells_age: bool) -> None:
        self._queues = queues
        self._tells_age = tells_age
        self._in_vain: dict[str, list[datetime]] = defaultdict(list)
        """By function: when invocations of it came to nothing."""
        self._refused: dict[str, datetime] = {}

    def note_refused(self, pool: str) -> None:
        """An invocation was throttled."""
        self._refused[names.function(FLEET, pool)] = self._now()
        self.note_in_vain(pool)

    def note_in_vain(self, pool: str) -> None:
        """An invocation came to nothing."""
        self._in_vain[names.function(FLEET, pool)].append(self._now())

    def look(self, queues: Mapping[str, str]) -> dict[str, QueueLook]:
        return {name: self._look(name, function) for name, function in queues.items()}

    def last_throttled(self, function: str) -> datetime | None:
        return self._refused.get(function)

    def _look(self, queue: str, function: str) -> QueueLook:
        depth = self._queues.depth(queue)
        if not self._tells_age:
            return QueueLook(*depth)
        oldest, in_vain = self._queues.oldest_sent(queue), self._in_vain[function]
        return QueueLook(*depth, oldest, in_vain[-COUNTED]) if len(in_vain) >= COUNTED else QueueLook(*depth, oldest)

    def _now(self) -> datetime:
        return START + timedelta(seconds=self._queues.world.now)


class Letters:
    """A DeadLetters."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def take(self, pools: Sequence[str], limit: int) -> dict[str, Sequence[DeadLetter]]:
        return {pool: self._take(pool, limit) for pool in pools}

    def _take(self, pool: str, limit: int) -> Sequence[DeadLetter]:
        world = self._queues.world
        seen = [one for one in self._queues.queues.get(self._queue(pool), {}).values() if one.visible <= world.now]
        taken = []
        for message in seen[: min(limit, 10)]:
            message.receives += 1
            message.visible = world.now + HIDDEN
            message.receipt = f"{message.id}/{message.receives}"
            sent, received = (START + timedelta(seconds=moment) for moment in (message.sent, message.received))
            taken.append(DeadLetter(message.id, message.receipt, message.body, message.receives, sent, received))
        return taken

    def give_back(self, pool: str, letters: Sequence[DeadLetter]) -> None:
        self._queues.hide(self._queue(pool), {letter.receipt: timedelta() for letter in letters})

    def delete(self, pool: str, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self._queues.delete(self._queue(pool), letter.receipt)

    @staticmethod
    def _queue(pool: str) -> str:
        return names.pool_dead_letters(FLEET, pool)

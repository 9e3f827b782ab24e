"""The healer's view of queues, its dead letters and its memory, without AWS."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from agentfleet.domain import names
from agentfleet.domain.dead_letters import DeadLetter, LetterRecord
from agentfleet.domain.healing import Incident, QueueLook, Rounds
from tests.fakes.queues import FakeQueues


class FakeQueueWatch:
    """A QueueWatch over FakeQueues. Without `tells_age` it knows as little as where nobody measures ages.

    `troubled`: function → until when so much came to nothing that messages may have been received three times; of those that
    were, it then tells no age. `throttled`: function → when an invocation was last refused.
    """

    def __init__(self, queues: FakeQueues, *, tells_age: bool = True) -> None:
        self.queues = queues
        self.tells_age = tells_age
        self.troubled: dict[str, datetime] = {}
        self.throttled: dict[str, datetime] = {}

    def look(self, queues: Mapping[str, str]) -> dict[str, QueueLook]:
        return {name: self._look(name, function) for name, function in queues.items()}

    def last_throttled(self, function: str) -> datetime | None:
        return self.throttled.get(function)

    def _look(self, queue: str, function: str) -> QueueLook:
        depth = self.queues.depth(queue)
        if not self.tells_age:
            return QueueLook(*depth)
        if function in self.troubled:
            return QueueLook(*depth, self.queues.oldest_sent(queue, most=2), self.troubled[function])
        return QueueLook(*depth, self.queues.oldest_sent(queue))


class FakeDeadLetters:
    """A DeadLetters over FakeQueues."""

    def __init__(self, queues: FakeQueues) -> None:
        self.queues = queues

    def take(self, pools: Sequence[str], limit: int) -> dict[str, Sequence[DeadLetter]]:
        return {pool: self._receive(pool, limit) for pool in pools}

    def _receive(self, pool: str, limit: int) -> list[DeadLetter]:
        return [
            DeadLetter(
                id=record["messageId"],
                receipt=record["receiptHandle"],
                body=record["body"],
                receives=int(record["attributes"]["ApproximateReceiveCount"]),
                first_sent=_moment(record["attributes"]["SentTimestamp"]),
                first_received=_moment(record["attributes"]["ApproximateFirstReceiveTimestamp"]),
            )
            for record in self.queues.take(self._queue(pool), limit)
        ]

    def give_back(self, pool: str, letters: Sequence[DeadLetter]) -> None:
        self.queues.hide(self._queue(pool), {letter.receipt: timedelta() for letter in letters})

    def delete(self, pool: str, letters: Sequence[DeadLetter]) -> None:
        self.queues.delete(self._queue(pool), *(letter.receipt for letter in letters))

    def _queue(self, pool: str) -> str:
        return names.pool_dead_letters(self.queues.fleet, pool)


class FakeHealth:
    """A HealthStore."""

    def __init__(self) -> None:
        self._rounds = Rounds()
        self._open: dict[str, Incident] = {}
        self._healed: list[Incident] = []
        self._letters: dict[tuple[str, str], LetterRecord] = {}

    def rounds(self) -> Rounds:
        return self._rounds

    def keep_rounds(self, rounds: Rounds) -> None:
        self._rounds = rounds

    def open_incidents(self) -> dict[str, Incident]:
        return dict(self._open)

    def record(self, incident: Incident) -> None:
        if incident.healed is None:
            self._open[incident.goal_id] = incident
        else:
            self._open.pop(incident.goal_id, None)
            self._healed.append(incident)

    def healed(self, limit: int) -> Sequence[Incident]:
        return sorted(self._healed, key=lambda one: (one.healed, one.goal_id), reverse=True)[:limit]

    def file_letter(self, record: LetterRecord) -> None:
        self._letters[record.pool, record.key] = record

    def letter(self, pool: str, key: str) -> LetterRecord | None:
        return self._letters.get((pool, key))

    def letters(self, pool: str, limit: int) -> Sequence[LetterRecord]:
        found = [record for (name, _), record in self._letters.items() if name == pool]
        return sorted(found, key=lambda record: (record.last_seen, record.key), reverse=True)[:limit]


def _moment(milliseconds: str) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(milliseconds))

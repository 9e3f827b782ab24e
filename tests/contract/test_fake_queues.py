"""The receiving side of FakeQueues, which stands for SQS and Lambda's poller when the platform runs in one process."""

from datetime import timedelta

import pytest

from agentfleet.domain.errors import DeliveryFailed
from agentfleet.domain.messages import ReleaseMessage, TaskMessage, read_task
from tests.fakes import FakeQueues, FixedClock

QUEUE, DEAD = "fleet-data-normal", "fleet-data-dead"


@pytest.fixture
def clock() -> FixedClock:
    """The queues' clock."""
    return FixedClock()


@pytest.fixture
def queues(clock: FixedClock) -> FakeQueues:
    """Queues with three messages, which may be received twice."""
    made = FakeQueues(clock, visibility=timedelta(seconds=60), max_receives=2)
    made.send_tasks([TaskMessage("g", n, "acme", "data", "normal") for n in range(3)])
    return made


def units(records: list[dict[str, str]]) -> list[int]:
    """Whose messages these are."""
    return [read_task(record["body"]).unit for record in records]


def test_records_look_like_lambdas(queues: FakeQueues) -> None:
    """What a handler reads is there."""
    (record,) = queues.take(QUEUE, 1)

    assert record["eventSourceARN"] == f"arn:aws:sqs:us-east-1:000000000000:{QUEUE}"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["attributes"]["MessageGroupId"] == "acme"
    assert {"messageId", "receiptHandle", "body", "md5OfBody", "messageAttributes", "eventSource", "awsRegion"} <= set(record)


def test_a_received_message_is_hidden_until_its_time_is_over(queues: FakeQueues, clock: FixedClock) -> None:
    """Then it is received again, and counted."""
    assert units(queues.take(QUEUE, 2)) == [0, 1]
    assert queues.depth(QUEUE) == (1, 2)
    assert units(queues.take(QUEUE)) == [2]
    assert queues.take(QUEUE) == []
    assert queues.next_visible() == clock() + timedelta(seconds=60)

    clock.advance(60)

    again = queues.take(QUEUE)
    assert [one["attributes"]["ApproximateReceiveCount"] for one in again] == ["2", "2", "2"]


def test_a_deleted_message_does_not_come_back(queues: FakeQueues) -> None:
    """Unless its receipt is outdated: then nothing is deleted."""
    first = queues.take(QUEUE)
    queues.delete(QUEUE, first[0]["receiptHandle"])
    queues.expire_visibility(QUEUE)
    second = queues.take(QUEUE)

    queues.delete(QUEUE, first[1]["receiptHandle"], second[1]["receiptHandle"])

    assert units(second) == [1, 2]
    assert [read_task(body).unit for body in queues.bodies(QUEUE)] == [1]


def test_a_message_received_too_often_is_a_dead_letter(queues: FakeQueues) -> None:
    """It goes to the pool's dead-letter queue with its body, and stays there."""
    for _ in range(2):
        queues.take(QUEUE)
        queues.expire_visibility()

    assert queues.take(QUEUE) == []
    assert units(queues.take(DEAD)) == [0, 1, 2]
    assert queues.busy() == []


def test_the_release_queue_has_a_dead_letter_queue_of_its_own(queues: FakeQueues) -> None:
    """Named after it."""
    queues.send_releases([ReleaseMessage("g", ((0, 1),))])
    for _ in range(3):
        queues.take("fleet-release")
        queues.expire_visibility()

    assert len(queues.bodies("fleet-release-dead")) == 1


def test_a_message_may_be_delivered_twice_at_once(queues: FakeQueues) -> None:
    """The second delivery has the same message id and another receipt."""
    queues.duplicate(QUEUE)

    first, second = queues.take(QUEUE), queues.take(QUEUE)

    assert units(first) == units(second) == [0, 1, 2]
    assert [one["messageId"] for one in first] == [one["messageId"] for one in second]
    assert queues.take(QUEUE) == []


def test_a_hidden_message_comes_back_when_it_was_told_to(queues: FakeQueues, clock: FixedClock) -> None:
    """Earlier or later than the queue's own visibility timeout."""
    receipts = [record["receiptHandle"] for record in queues.take(QUEUE)]
    queues.hide(QUEUE, {receipts[0]: timedelta(seconds=5), receipts[1]: timedelta(seconds=500)})

    clock.advance(5)
    assert units(queues.take(QUEUE)) == [0]
    clock.advance(55)
    assert units(queues.take(QUEUE)) == [2]
    clock.advance(440)
    assert 1 in units(queues.take(QUEUE))


def test_a_failing_queue_takes_the_rest(queues: FakeQueues) -> None:
    """As many as were told to fail do; later ones are taken."""
    queues.fail_sends(QUEUE, 2)

    with pytest.raises(DeliveryFailed, match="2 of 3 messages were not taken"):
        queues.send_tasks([TaskMessage("g", n, "acme", "data", "normal") for n in range(3, 6)])
    queues.put(QUEUE, TaskMessage("g", 6, "acme", "data", "normal").body())

    assert units(queues.take(QUEUE)) == [0, 1, 2, 5, 6]

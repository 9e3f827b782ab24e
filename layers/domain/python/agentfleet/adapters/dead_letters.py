"""The pools' dead-letter queues on SQS."""

from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.queue_watch import QUEUE_ABSENT
from agentfleet.domain import names
from agentfleet.domain.dead_letters import DeadLetter
from agentfleet.domain.errors import NotFound

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN: Final = 60
"""Seconds for which a letter that somebody looks at is hidden from others."""
BATCH: Final = 10


class SqsDeadLetters:
    """A DeadLetters: `SqsDeadLetters(sqs, fleet, url_prefix, threads)`."""

    def __init__(self, sqs: "SQSClient", fleet: str, url_prefix: str, threads: Executor) -> None:
        self._sqs = sqs
        self._fleet = fleet
        self._url_prefix = url_prefix
        self._threads = threads

    def take(self, pools: Sequence[str], limit: int) -> dict[str, Sequence[DeadLetter]]:
        """Receive at most `limit` of each pool's, hidden from others for a minute; none of one that is empty.

        All queues are asked at once, a queue once for every ten letters. Raises NotFound.
        """
        asked = [(pool, min(BATCH, limit - start)) for start in range(0, limit, BATCH) for pool in pools]
        found: dict[str, list[DeadLetter]] = {pool: [] for pool in pools}
        answers = self._threads.map(lambda one: self._receive(*one), asked)
        for (pool, _), letters in zip(asked, answers, strict=True):
            found[pool].extend(letters)
        return dict(found)

    def _receive(self, pool: str, limit: int) -> list[DeadLetter]:
        try:
            answer = self._sqs.receive_message(
                QueueUrl=self._url(pool),
                MaxNumberOfMessages=limit,
                VisibilityTimeout=HIDDEN,
                WaitTimeSeconds=1,  # a long poll asks every server of the queue: a short one may miss what is there
                MessageSystemAttributeNames=["All"],
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in QUEUE_ABSENT:
                raise NotFound(f"pool {pool!r} has no dead-letter queue: it is not deployed") from error
            raise
        return [_to_letter(message) for message in answer.get("Messages", ())]

    def give_back(self, pool: str, letters: Sequence[DeadLetter]) -> None:
        """Make received ones visible again at once; one whose minute is over is so already."""

        def show(part: Sequence[DeadLetter]) -> None:
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._url(pool),
                Entries=[
                    {"Id": str(number), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0}
                    for number, letter in enumerate(part)
                ],
            )

        list(self._threads.map(show, [letters[start : start + BATCH] for start in range(0, len(letters), BATCH)]))

    def delete(self, pool: str, letters: Sequence[DeadLetter]) -> None:
        """Delete received ones. Raises ClientError if SQS refuses."""
        for letter in letters:
            self._sqs.delete_message(QueueUrl=self._url(pool), ReceiptHandle=letter.receipt)

    def _url(self, pool: str) -> str:
        return self._url_prefix + names.pool_dead_letters(self._fleet, pool)


def _to_letter(message: "MessageTypeDef") -> DeadLetter:
    attributes = {str(name): value for name, value in message.get("Attributes", {}).items()}
    received = attributes.get("ApproximateFirstReceiveTimestamp")
    source = attributes.get("DeadLetterQueueSourceArn")
    return DeadLetter(
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        receives=int(attributes["ApproximateReceiveCount"]),
        first_sent=_moment(attributes["SentTimestamp"]),
        first_received=_moment(received) if received else None,
        source=source.rpartition(":")[2] if source else None,
    )


def _moment(milliseconds: str) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(milliseconds))

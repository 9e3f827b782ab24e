"""The pools' dead-letter queues on SQS."""

from collections.abc import Sequence
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
    """A DeadLetters: `SqsDeadLetters(sqs, fleet, url_prefix)`."""

    def __init__(self, sqs: "SQSClient", fleet: str, url_prefix: str) -> None:
        self._sqs = sqs
        self._fleet = fleet
        self._url_prefix = url_prefix

    def take(self, pool: str, limit: int) -> Sequence[DeadLetter]:
        """Receive at most `limit` (up to ten), hidden from others for a minute; none if it is empty. Raises NotFound."""
        try:
            answer = self._sqs.receive_message(
                QueueUrl=self._url(pool),
                MaxNumberOfMessages=min(limit, BATCH),
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
        for start in range(0, len(letters), BATCH):
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._url(pool),
                Entries=[
                    {"Id": str(number), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0}
                    for number, letter in enumerate(letters[start : start + BATCH])
                ],
            )

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

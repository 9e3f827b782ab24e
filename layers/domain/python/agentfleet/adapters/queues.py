"""The queues between agents, on SQS: full batches, several at once when they are many, and nothing lost silently."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from agentfleet.adapters.backoff import Backoff
from agentfleet.domain import names
from agentfleet.domain.errors import DeliveryFailed
from agentfleet.domain.messages import ReleaseMessage, TaskMessage

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

BATCH: Final = 10
BATCH_BYTES: Final = 1_048_576
"""Of all bodies together (Amazon SQS Developer Guide, 'Message quotas')."""
SERIAL_BATCHES: Final = 3
LONGEST_DELAY: Final = timedelta(minutes=15)
"""Amazon SQS Developer Guide, 'Amazon SQS delay queues'."""
LONGEST_HIDING: Final = timedelta(hours=11)
"""Twelve hours from the receive are allowed (Amazon SQS Developer Guide, 'Message quotas'); the first hour is for the work."""

_GONE: Final = frozenset({"InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid"})
"""What hiding a message answers that is visible again, or deleted: there is nothing to hide any more."""

_Batch = tuple[str, "list[SendMessageBatchRequestEntryTypeDef]"]
"""Queue name, entries."""


class SqsQueues:
    """A TaskQueues: `SqsQueues(sqs, fleet, url_prefix, threads, backoff=Backoff())`.

    A queue's URL is `url_prefix` (which ends in `/`) and its name. Messages carry their tenant as message group, which on
    standard queues keeps one tenant's backlog from delaying the others' (SQS Developer Guide, 'Fair queues').
    """

    def __init__(
        self,
        sqs: "SQSClient",
        fleet: str,
        url_prefix: str,
        threads: Executor,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        self._sqs = sqs
        self._fleet = fleet
        self._url_prefix = url_prefix
        self._threads = threads
        self._backoff = backoff

    def send_tasks(self, messages: Sequence[TaskMessage]) -> None:
        """Hand over every message to its pool's queue. Raises DeliveryFailed if some were not taken."""
        entries: dict[str, list[SendMessageBatchRequestEntryTypeDef]] = defaultdict(list)
        for number, message in enumerate(messages):
            queue = names.task_queue(self._fleet, message.pool, message.priority)
            entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(number), "MessageBody": message.body()}
            entry["MessageGroupId"] = message.tenant
            if message.delay:
                entry["DelaySeconds"] = ceil(max(timedelta(), min(message.delay, LONGEST_DELAY)).total_seconds())
            entries[queue].append(entry)
        self._send(entries)

    def send_releases(self, messages: Sequence[ReleaseMessage]) -> None:
        """Hand over to the release queue. Raises DeliveryFailed if some were not taken."""
        self._send(
            {
                names.release_queue(self._fleet): [
                    {"Id": str(number), "MessageBody": message.body()} for number, message in enumerate(messages)
                ]
            }
        )

    def hide(self, queue: str, receipts: Mapping[str, timedelta]) -> None:
        """Keep received messages hidden for these times from now (receipt handle → time, at most 11 hours).

        One that is visible again or deleted stays as it is. Raises DeliveryFailed if SQS refused others.
        """
        entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
            {
                "Id": str(number),
                "ReceiptHandle": receipt,
                "VisibilityTimeout": ceil(max(timedelta(), min(time, LONGEST_HIDING)).total_seconds()),
            }
            for number, (receipt, time) in enumerate(receipts.items())
        ]
        refused = list(
            chain.from_iterable(
                self._hide_batch(queue, entries[start : start + BATCH]) for start in range(0, len(entries), BATCH)
            )
        )
        if refused:
            raise DeliveryFailed(f"{len(refused)} of {len(entries)} messages of {queue} could not be hidden: {refused[0]}")

    def _send(self, entries: Mapping[str, "list[SendMessageBatchRequestEntryTypeDef]"]) -> None:
        batches = [(queue, batch) for queue, waiting in entries.items() for batch in _batches(waiting)]
        parallel = len(batches) > SERIAL_BATCHES
        refused = list(chain.from_iterable((self._threads.map if parallel else map)(self._send_batch, batches)))
        if refused:
            total = sum(len(batch) for _, batch in batches)
            places, reasons = zip(*refused, strict=True)
            raise DeliveryFailed(f"{len(refused)} of {total} messages were not taken: {reasons[0]}", map(int, places))

    def _send_batch(self, batch: _Batch) -> list[tuple[str, str]]:
        """Which messages were refused for good, by id, and why."""
        queue, waiting = batch
        refused: list[tuple[str, str]] = []
        for _ in self._backoff.rounds():
            try:
                answer = self._sqs.send_message_batch(QueueUrl=self._url_prefix + queue, Entries=waiting)
            except (BotoCoreError, ClientError) as error:
                return refused + [(one["Id"], f"{queue}: {error}") for one in waiting]
            failed = {one["Id"]: one for one in answer.get("Failed", ())}
            faults = [one for one in failed.values() if one["SenderFault"]]
            refused.extend((one["Id"], f"{queue}: {one['Code']} {one.get('Message', '')}") for one in faults)
            waiting = [entry for entry in waiting if entry["Id"] in failed and not failed[entry["Id"]]["SenderFault"]]
            if not waiting:
                return refused
        return refused + [(one["Id"], f"{queue}: refused {self._backoff.tries} times") for one in waiting]

    def _hide_batch(self, queue: str, waiting: "list[ChangeMessageVisibilityBatchRequestEntryTypeDef]") -> list[str]:
        refused: list[str] = []
        for _ in self._backoff.rounds():
            try:
                answer = self._sqs.change_message_visibility_batch(QueueUrl=self._url_prefix + queue, Entries=waiting)
            except (BotoCoreError, ClientError) as error:
                return refused + [str(error)] * len(waiting)
            failed = {one["Id"]: one for one in answer.get("Failed", ()) if one["Code"].split(".")[-1] not in _GONE}
            refused.extend(f"{one['Code']} {one.get('Message', '')}" for one in failed.values() if one["SenderFault"])
            waiting = [entry for entry in waiting if entry["Id"] in failed and not failed[entry["Id"]]["SenderFault"]]
            if not waiting:
                return refused
        return refused + [f"refused {self._backoff.tries} times"] * len(waiting)


def _batches(entries: "list[SendMessageBatchRequestEntryTypeDef]") -> Iterator["list[SendMessageBatchRequestEntryTypeDef]"]:
    """At most ten entries each, and no more bytes than a request may have."""
    batch: list[SendMessageBatchRequestEntryTypeDef] = []
    room = BATCH_BYTES
    for entry in entries:
        size = len(entry["MessageBody"].encode())
        if batch and (len(batch) == BATCH or size > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(entry)
        room -= size
    if batch:
        yield batch

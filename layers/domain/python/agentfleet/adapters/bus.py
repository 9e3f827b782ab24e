"""The fleet's event bus on EventBridge, and subscriptions that poll a queue."""

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from threading import Event, Thread, current_thread
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from agentfleet.adapters.backoff import Backoff
from agentfleet.domain import names
from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import DeliveryFailed

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

WAIT: Final = 2
"""Seconds of a long poll: how long closing a subscription may take."""
RECEIVE: Final = 10
_PAUSE: Final = 1.0
_TARGET: Final = "subscriber"

logger = logging.getLogger(__name__)


class QueueSubscriber:
    """A Subscription to an existing queue: `QueueSubscriber(sqs, queue_url, handler, on_close=None)`.

    Calls `handler` with each message's body, in one thread; a message is deleted after its handler returned. If the
    handler raises, that is logged and the message comes again after the queue's visibility timeout.
    """

    def __init__(
        self,
        sqs: "SQSClient",
        queue_url: str,
        handler: Callable[[str], None],
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._handler = handler
        self._on_close = on_close
        self._stop = Event()
        self._thread = Thread(target=self._poll, name=f"subscriber {queue_url.rpartition('/')[2]}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and wait until its handler is not running any more. Closing twice is fine."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not current_thread():
            self._thread.join()
        if self._on_close:
            self._on_close()

    def _poll(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=RECEIVE, WaitTimeSeconds=WAIT)
                for message in answer.get("Messages", ()):
                    if self._stop.is_set():
                        break
                    self._handle(message["Body"], message["ReceiptHandle"])
            except (BotoCoreError, ClientError):
                if not self._stop.is_set():
                    logger.exception("can't receive from %s; trying again", self._queue_url)
                    self._stop.wait(_PAUSE)

    def _handle(self, body: str, receipt: str) -> None:
        try:
            self._handler(body)
        except Exception:
            logger.exception("the subscriber of %s failed; the message will come again", self._queue_url)
        else:
            self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=receipt)


class EventBridgeBus:
    """A MessageBus: `EventBridgeBus(events, sqs, bus, backoff=Backoff())`; `bus` is the bus's name.

    A subscription is a rule and a queue of its own, both removed when it is closed. On AWS a new rule takes effect within
    about a minute (EventBridge User Guide, 'Troubleshooting': a rule that was just created).
    """

    def __init__(
        self,
        events: "EventBridgeClient",
        sqs: "SQSClient",
        bus: str,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        self._events = events
        self._sqs = sqs
        self._bus = bus
        self._backoff = backoff

    def publish(self, topic: str, message: Mapping[str, Any]) -> None:
        """Raises DeliveryFailed if the bus did not take it."""
        why = ""
        detail = dumps(dict(message))
        for _ in self._backoff.rounds():
            try:
                answer = self._events.put_events(
                    Entries=[{"EventBusName": self._bus, "Source": names.EVENT_SOURCE, "DetailType": topic, "Detail": detail}]
                )
            except (BotoCoreError, ClientError) as error:
                raise DeliveryFailed(f"the bus {self._bus} did not take {topic}: {error}") from error
            if not answer["FailedEntryCount"]:
                return
            failed = answer["Entries"][0]
            why = f"{failed.get('ErrorCode', 'no reason given')} {failed.get('ErrorMessage', '')}".strip()
        raise DeliveryFailed(f"the bus {self._bus} did not take {topic}: {why}")

    def subscribe(self, topic: str, handler: Callable[[Mapping[str, Any]], None]) -> QueueSubscriber:
        """Call `handler` for every message published under `topic` from now on, at least once each."""
        name = f"{self._bus}-{secrets.token_hex(6)}"
        queue_url = self._sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "3600"})["QueueUrl"]
        try:
            self._connect(name, queue_url, topic)
        except BaseException:
            self._remove(name, queue_url)
            raise
        return QueueSubscriber(
            self._sqs, queue_url, lambda body: handler(json.loads(body)["detail"]), lambda: self._remove(name, queue_url)
        )

    def _connect(self, name: str, queue_url: str, topic: str) -> None:
        """Let a rule put the topic's events into the queue."""
        found = self._sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        queue_arn = found["Attributes"]["QueueArn"]
        pattern = dumps({"detail-type": [topic]})
        rule_arn = self._events.put_rule(Name=name, EventBusName=self._bus, EventPattern=pattern)["RuleArn"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": queue_arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}},
                }
            ],
        }
        self._sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": dumps(policy)})
        answer = self._events.put_targets(Rule=name, EventBusName=self._bus, Targets=[{"Id": _TARGET, "Arn": queue_arn}])
        if answer["FailedEntryCount"]:
            raise DeliveryFailed(f"can't subscribe to {topic}: {answer['FailedEntries'][0].get('ErrorMessage', '')}")

    def _remove(self, name: str, queue_url: str) -> None:
        try:
            self._events.remove_targets(Rule=name, EventBusName=self._bus, Ids=[_TARGET])
            self._events.delete_rule(Name=name, EventBusName=self._bus)
        except self._events.exceptions.ResourceNotFoundException:
            logger.debug("the rule %s was not made yet, or is gone", name)
        self._sqs.delete_queue(QueueUrl=queue_url)

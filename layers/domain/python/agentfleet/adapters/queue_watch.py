"""Queues seen from outside: their counts from SQS, the age of their oldest message from CloudWatch."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from agentfleet.domain.errors import NotFound
from agentfleet.domain.healing import QueueLook
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef, MetricTypeDef
    from mypy_boto3_sqs import SQSClient

AGE: Final = "ApproximateAgeOfOldestMessage"
LOOK_BACK: Final = timedelta(minutes=15)
"""SQS tells CloudWatch once a minute; what it said longer ago is taken for nothing."""
QUERIES: Final = 500
"""In one GetMetricData request (CloudWatch API Reference)."""
QUEUE_ABSENT: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})


class SqsQueueWatch:
    """A QueueWatch: `SqsQueueWatch(sqs, metrics, url_prefix, threads, clock)`.

    CloudWatch is asked only about queues that aren't empty. An age that was measured a while ago still bounds what is in
    the queue now: messages only leave it, and come back with the time at which they were first sent.
    """

    def __init__(self, sqs: "SQSClient", metrics: "CloudWatchClient", url_prefix: str, threads: Executor, clock: Clock) -> None:
        self._sqs = sqs
        self._metrics = metrics
        self._url_prefix = url_prefix
        self._threads = threads
        self._clock = clock

    def look(self, queues: Iterable[str]) -> dict[str, QueueLook]:
        """These queues (by name) now. Raises NotFound naming one that isn't there."""
        wanted = list(dict.fromkeys(queues))
        counts = dict(zip(wanted, self._threads.map(self._counts, wanted), strict=True))
        oldest = self._oldest_sent([name for name in wanted if sum(counts[name])])
        return {name: QueueLook(*counts[name], oldest.get(name)) for name in wanted}

    def _counts(self, queue: str) -> tuple[int, int]:
        """Messages (waiting, received or delayed)."""
        try:
            found = self._sqs.get_queue_attributes(
                QueueUrl=self._url_prefix + queue,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            )["Attributes"]
        except ClientError as error:
            if error.response["Error"]["Code"] in QUEUE_ABSENT:
                raise NotFound(f"there is no queue {queue}") from error
            raise
        hidden = int(found["ApproximateNumberOfMessagesNotVisible"]) + int(found.get("ApproximateNumberOfMessagesDelayed", 0))
        return int(found["ApproximateNumberOfMessages"]), hidden

    def _oldest_sent(self, queues: Sequence[str]) -> dict[str, datetime]:
        now = self._clock()
        found: dict[str, datetime] = {}
        for start in range(0, len(queues), QUERIES):
            part = queues[start : start + QUERIES]
            answer = self._metrics.get_metric_data(
                MetricDataQueries=[_query(number, queue) for number, queue in enumerate(part)],
                StartTime=now - LOOK_BACK,
                EndTime=now,
                ScanBy="TimestampDescending",
            )
            for result in answer["MetricDataResults"]:
                if result["Values"]:
                    measured = result["Timestamps"][0]
                    found[part[int(result["Id"].removeprefix("q"))]] = measured - timedelta(seconds=result["Values"][0])
        return found


def _query(number: int, queue: str) -> "MetricDataQueryTypeDef":
    metric: MetricTypeDef = {
        "Namespace": "AWS/SQS",
        "MetricName": AGE,
        "Dimensions": [{"Name": "QueueName", "Value": queue}],
    }
    return {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}

"""Queues seen from outside: their counts from SQS, the age of their oldest message from CloudWatch, and how far it holds."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from agentfleet.domain.errors import NotFound
from agentfleet.domain.healing import QueueLook
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef
    from mypy_boto3_sqs import SQSClient

AGE: Final = "ApproximateAgeOfOldestMessage"
MINUTE: Final = timedelta(minutes=1)
LOOK_BACK: Final = timedelta(minutes=15)
"""SQS tells CloudWatch once a minute; what it said longer ago is taken for nothing."""
COUNTED_BY: Final = timedelta(minutes=5)
"""Refused and failed invocations are counted in periods of this length."""
TROUBLE_BACK: Final = timedelta(days=1)
"""So far back they are looked for; ages say nothing of messages that are older and may have met some."""
LIFE: Final = timedelta(days=4)
"""After so long a queue forgets a message (the queues are deployed so)."""
IN_VAIN: Final = 2
"""From so many invocations that came to nothing a message may be at its third receive."""
QUERIES: Final = 500
"""In one GetMetricData request (CloudWatch API Reference)."""
QUEUE_ABSENT: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})

Points = Sequence[tuple[datetime, float]]
"""(beginning of a period, value), newest first."""


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

    def look(self, queues: Mapping[str, str]) -> dict[str, QueueLook]:
        """These queues (name → name of its consumer's function) now. Raises NotFound naming one that isn't there."""
        counts = dict(zip(queues, self._threads.map(self._counts, queues), strict=True))
        oldest = self._oldest_sent([name for name in queues if sum(counts[name])])
        sure = self._sure_from(sorted({queues[name] for name in oldest}))
        looks = {name: QueueLook(*found) for name, found in counts.items()}
        return looks | {name: QueueLook(*counts[name], sent, sure[queues[name]]) for name, sent in oldest.items()}

    def last_throttled(self, function: str) -> datetime | None:
        """No invocation of this function was refused after this, to five minutes; None if none was in the last four days."""
        found = self._ask([_lambda_query("t", "Throttles", function)], LIFE)
        return next((begun + COUNTED_BY for begun, count in found["t"] if count), None)

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
        """When the oldest message was sent that SQS counts in the age."""
        queries = [_query(f"q{n}", "AWS/SQS", AGE, ("QueueName", queue), MINUTE, "Maximum") for n, queue in enumerate(queues)]
        found = self._ask(queries, LOOK_BACK)
        newest = {queue: points[0] for n, queue in enumerate(queues) if (points := found[f"q{n}"])}
        return {queue: measured - timedelta(seconds=age) for queue, (measured, age) in newest.items()}

    def _sure_from(self, functions: Sequence[str]) -> dict[str, datetime]:
        """Since when so few invocations came to nothing that no message which was sent since has been received three times."""
        queries = [
            _lambda_query(f"{kind[0].lower()}{n}", kind, function)
            for n, function in enumerate(functions)
            for kind in ("Throttles", "Errors")
        ]
        found = self._ask(queries, TROUBLE_BACK)
        earliest = self._clock() - TROUBLE_BACK
        return {
            function: max(earliest, _since_few([*found[f"t{n}"], *found[f"e{n}"]]) or earliest)
            for n, function in enumerate(functions)
        }

    def _ask(self, queries: "Sequence[MetricDataQueryTypeDef]", back: timedelta) -> Mapping[str, Points]:
        """Points by query id; none for one that has none."""
        now = self._clock()
        found: defaultdict[str, list[tuple[datetime, float]]] = defaultdict(list)
        pages = self._metrics.get_paginator("get_metric_data")
        for start in range(0, len(queries), QUERIES):
            part = queries[start : start + QUERIES]
            for page in pages.paginate(MetricDataQueries=part, StartTime=now - back, EndTime=now, ScanBy="TimestampDescending"):
                for result in page["MetricDataResults"]:
                    found[result["Id"]].extend(zip(result["Timestamps"], result["Values"], strict=True))
        return found


def _since_few(in_vain: Iterable[tuple[datetime, float]]) -> datetime | None:
    """The end of the latest period from which on two invocations or more came to nothing; None if no two did."""
    total = 0.0
    for begun, count in sorted(in_vain, reverse=True):
        total += count
        if total >= IN_VAIN:
            return begun + COUNTED_BY
    return None


def _lambda_query(key: str, metric: str, function: str) -> "MetricDataQueryTypeDef":
    return _query(key, "AWS/Lambda", metric, ("FunctionName", function), COUNTED_BY, "Sum")


def _query(
    key: str, namespace: str, metric: str, dimension: tuple[str, str], period: timedelta, statistic: str
) -> "MetricDataQueryTypeDef":
    name, value = dimension
    return {
        "Id": key,
        "MetricStat": {
            "Metric": {"Namespace": namespace, "MetricName": metric, "Dimensions": [{"Name": name, "Value": value}]},
            "Period": int(period.total_seconds()),
            "Stat": statistic,
        },
    }

"""What CloudWatch measures of pools: how old their messages are, what was refused, what failed, what it cost."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from agentfleet.adapters.model_metric import DIMENSIONS, LOST, NAMESPACE, THROTTLES
from agentfleet.domain import names
from agentfleet.domain.catalog import Catalog
from agentfleet.ports import Signals

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

RECENT: Final = timedelta(minutes=3)
MINUTE: Final = 60
DAY: Final = 86_400
GB_SECOND: Final = 1.33334e-5
REQUEST: Final = 2e-7
"""Dollars for Lambda on arm64 in us-east-1, first tier (AWS Lambda pricing)."""


class CloudWatchSignals:
    """A PoolSignals: `CloudWatchSignals(cloudwatch, catalog)`.

    Seven metrics per pool that is read, one more for one with models, two more for one with a daily budget; GetMetricData costs
    $0.01 per thousand.
    """

    def __init__(self, cloudwatch: "CloudWatchClient", catalog: Catalog) -> None:
        self._cloudwatch = cloudwatch
        self._catalog = catalog

    def read(self, pool: str, now: datetime) -> Signals:
        """The newest age that is known of each queue, the last three minutes of the function, today's cost."""
        function = {"FunctionName": names.function(self._catalog.fleet, pool)}
        queues = {
            f"age_{priority}": {"QueueName": names.task_queue(self._catalog.fleet, pool, priority)}
            for priority in names.PRIORITIES
        }
        recent = [
            *(_query(key, "AWS/SQS", "ApproximateAgeOfOldestMessage", queue, "Maximum") for key, queue in queues.items()),
            *(_query(name.lower(), "AWS/Lambda", name, function, "Sum") for name in ("Throttles", "Errors", "Invocations")),
        ]
        fleet_and_pool = dict(zip(DIMENSIONS, (self._catalog.fleet, pool), strict=True))
        recent.append(_query("lost", NAMESPACE, LOST, fleet_and_pool, "Sum"))
        if self._catalog.pools[pool].models:
            recent.append(_query("refused", NAMESPACE, THROTTLES, fleet_and_pool, "Sum"))
        found = self._ask(recent, now - RECENT, now)
        ages = [values[0] for key in queues if (values := found.get(key))]
        return Signals(
            oldest_age=max(ages) if ages else None,
            throttles=int(sum(found.get("throttles", ()))),
            errors=int(sum(found.get("errors", ()))),
            lost=sum(found.get("lost", ())),
            invocations=int(sum(found.get("invocations", ()))),
            model_throttles=int(sum(found.get("refused", ()))),
            spent=self._spent(pool, function, now) if self._catalog.pools[pool].daily_budget is not None else 0.0,
        )

    def _spent(self, pool: str, function: Mapping[str, str], now: datetime) -> float:
        """Dollars of Lambda since midnight UTC."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        today = [_query(name.lower(), "AWS/Lambda", name, function, "Sum", DAY) for name in ("Duration", "Invocations")]
        found = self._ask(today, midnight, midnight + timedelta(days=1))
        seconds = sum(found.get("duration", ())) / 1000
        gigabytes = self._catalog.pools[pool].memory / 1024
        return seconds * gigabytes * GB_SECOND + sum(found.get("invocations", ())) * REQUEST

    def _ask(self, queries: "Iterable[MetricDataQueryTypeDef]", start: datetime, end: datetime) -> dict[str, list[float]]:
        """Values by query id, newest first."""
        answer = self._cloudwatch.get_metric_data(
            MetricDataQueries=list(queries), StartTime=start, EndTime=end, ScanBy="TimestampDescending"
        )
        return {result["Id"]: list(result["Values"]) for result in answer["MetricDataResults"]}


def _query(
    key: str, namespace: str, metric: str, dimensions: Mapping[str, str], statistic: str, period: int = MINUTE
) -> "MetricDataQueryTypeDef":
    return {
        "Id": key,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            },
            "Period": period,
            "Stat": statistic,
        },
    }

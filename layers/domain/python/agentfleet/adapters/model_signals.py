"""What the fleet manager is told of models: every call that one refused, as a metric of the pool.

Written as a log line in CloudWatch's embedded metric format, which costs no call and needs no permission.
"""

from aws_lambda_powertools import Logger

from agentfleet.adapters.model_metric import DIMENSIONS, NAMESPACE, THROTTLES
from agentfleet.ports import Clock


class ThrottleMetric:
    """`ThrottleMetric(fleet, pool, clock)`; calling it with a model's id counts one refused call."""

    def __init__(self, fleet: str, pool: str, clock: Clock) -> None:
        self._fleet = fleet
        self._pool = pool
        self._clock = clock

    def __call__(self, model: str) -> None:
        metric = {"Namespace": NAMESPACE, "Dimensions": [list(DIMENSIONS)], "Metrics": [{"Name": THROTTLES, "Unit": "Count"}]}
        line = {
            "tenant": "*",
            "model": model,
            "_aws": {"Timestamp": int(self._clock().timestamp() * 1000), "CloudWatchMetrics": [metric]},
            THROTTLES: 1,
            "Fleet": self._fleet,
            "Pool": self._pool,
        }
        Logger(service=self._pool).warning("model throttled", extra=line)

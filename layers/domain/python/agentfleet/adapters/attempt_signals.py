"""What the fleet manager is told of failing tasks: which part of an invocation they made worthless, as a metric of the pool.

An agent turns every error of a task into a result or a redelivery, so that Lambda counts no failed invocation. Written as a log
line in CloudWatch's embedded metric format, by invocations in which something failed only: while all goes well nothing is
written, and a lost invocation is set against Lambda's own count of all of them.
"""

from aws_lambda_powertools import Logger

from agentfleet.adapters.model_metric import DIMENSIONS, LOST, NAMESPACE
from agentfleet.ports import Clock


class LossMetric:
    """`LossMetric(fleet, pool, clock)`; calling it with a share (0 to 1) counts so much of one invocation as lost."""

    def __init__(self, fleet: str, pool: str, clock: Clock) -> None:
        self._fleet = fleet
        self._pool = pool
        self._clock = clock

    def __call__(self, share: float) -> None:
        metric = {"Namespace": NAMESPACE, "Dimensions": [list(DIMENSIONS)], "Metrics": [{"Name": LOST, "Unit": "Count"}]}
        line = {
            "tenant": "*",
            "_aws": {"Timestamp": int(self._clock().timestamp() * 1000), "CloudWatchMetrics": [metric]},
            LOST: round(share, 3),
            "Fleet": self._fleet,
            "Pool": self._pool,
        }
        Logger(service=self._pool).warning("tasks failed", extra=line)

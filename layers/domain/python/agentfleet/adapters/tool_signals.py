"""What people are told of tools: every call that was not let through, as a log line and a metric of the pool.

Written in CloudWatch's embedded metric format, which costs no call and needs no permission. What was in the call is not said.
"""

from typing import Final

from aws_lambda_powertools import Logger

from agentfleet.adapters.model_metric import DIMENSIONS, NAMESPACE
from agentfleet.ports import Clock
from agentfleet.services.capability import TaskContext

REFUSALS: Final = "ToolRefusals"


class RefusalMetric:
    """`RefusalMetric(fleet, pool, clock)`; calling it with task, tool and error counts one refused call."""

    def __init__(self, fleet: str, pool: str, clock: Clock) -> None:
        self._fleet = fleet
        self._pool = pool
        self._clock = clock

    def __call__(self, context: TaskContext, tool: str, error: Exception) -> None:
        metric = {"Namespace": NAMESPACE, "Dimensions": [list(DIMENSIONS)], "Metrics": [{"Name": REFUSALS, "Unit": "Count"}]}
        line = {
            "tenant": context.tenant,
            "goal": context.goal_id,
            "task": context.task_id,
            "tool": tool[:64],
            "error": type(error).__name__,
            "_aws": {"Timestamp": int(self._clock().timestamp() * 1000), "CloudWatchMetrics": [metric]},
            REFUSALS: 1,
            "Fleet": self._fleet,
            "Pool": self._pool,
        }
        Logger(service=self._pool).warning("tool refused", extra=line)

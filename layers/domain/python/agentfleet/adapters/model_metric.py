"""The names of the metrics by which pools tell the fleet manager of calls that a model refuses, and of tasks that fail."""

from typing import Final

NAMESPACE: Final = "AgentFleet"
THROTTLES: Final = "ModelThrottles"
LOST: Final = "LostInvocations"
DIMENSIONS: Final = ("Fleet", "Pool")

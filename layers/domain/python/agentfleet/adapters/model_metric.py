"""The name of the metric by which pools tell the fleet manager that a model refuses calls."""

from typing import Final

NAMESPACE: Final = "AgentFleet"
THROTTLES: Final = "ModelThrottles"
DIMENSIONS: Final = ("Fleet", "Pool")

"""Release units: send the messages that make agents work."""

from collections.abc import Sequence
from typing import Final

from agentfleet.domain.goal import Goal
from agentfleet.domain.messages import ReleaseMessage, TaskMessage
from agentfleet.domain.plan import PlanReader, Range, count, expand, split
from agentfleet.ports import TaskQueues
from agentfleet.services.routing import Router

FAN_OUT: Final = 500
"""Units that one worker sends itself, 50 requests' worth; a wider release is spread over several by the release queue."""


class Releaser:
    """Sends a goal's units to the queues of their pools. Releasing twice costs messages, never a wrong answer."""

    def __init__(self, router: Router, queues: TaskQueues) -> None:
        self._router = router
        self._queues = queues

    def release(self, goal: Goal, plan: PlanReader, units: Sequence[Range]) -> int:
        """Send these units' messages; gives their number. Raises DeliveryFailed if some queue did not take its own."""
        total = count(units)
        if total > FAN_OUT:
            self._queues.send_releases([ReleaseMessage(goal.id, part) for part in split(units, FAN_OUT)])
        elif total:
            self._queues.send_tasks([self._message(goal, plan, number) for number in expand(units)])
        return total

    def _message(self, goal: Goal, plan: PlanReader, number: int) -> TaskMessage:
        unit = plan.unit(number)
        return TaskMessage(goal.id, number, goal.tenant, self._router.pool_for(goal.id, unit), unit.priority)

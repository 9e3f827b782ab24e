"""Release units: send the messages that make agents work."""

from collections.abc import Sequence
from typing import Final

from agentfleet.domain.errors import NotFound
from agentfleet.domain.goal import Goal
from agentfleet.domain.messages import ReleaseMessage, TaskMessage, read_release
from agentfleet.domain.plan import PlanReader, Range, count, expand, split
from agentfleet.ports import GoalStore, PlanStore, TaskQueues
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
            wanted = [plan.unit(number) for number in expand(units)]
            pools = self._router.pools_for(goal.id, wanted)
            self._queues.send_tasks(
                [
                    TaskMessage(goal.id, unit.number, goal.tenant, pool, unit.priority)
                    for unit, pool in zip(wanted, pools, strict=True)
                ]
            )
        return total

    def wake(self, goal: Goal, plan: PlanReader, number: int) -> None:
        """Have a unit that waits look at once, beside the message by which it would look later. Raises DeliveryFailed."""
        unit = plan.unit(number)
        (pool,) = self._router.pools_for(goal.id, [unit])
        self._queues.send_tasks([TaskMessage(goal.id, number, goal.tenant, pool, unit.priority, postponed=1, wake=1)])


class ReleasePart:
    """Does one worker's part of a wide release."""

    def __init__(self, goals: GoalStore, plans: PlanStore, releaser: Releaser) -> None:
        self._goals = goals
        self._plans = plans
        self._releaser = releaser

    def __call__(self, body: str) -> int:
        """Send the units that a release message names; gives their number, 0 for a goal that has ended.

        Raises BadMessage, NotFound, DeliveryFailed: the message must come again, or be looked at.
        """
        message = read_release(body)
        goal = self._goals.get([message.goal_id]).get(message.goal_id)
        if goal is None:
            raise NotFound(f"there is no goal {message.goal_id}")
        if not goal.state.is_alive:
            return 0
        return self._releaser.release(goal, self._plans.read(goal.id), message.units)

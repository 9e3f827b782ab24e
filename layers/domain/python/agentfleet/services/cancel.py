"""Stop goals."""

from agentfleet.domain.errors import NotFound
from agentfleet.domain.goal import Goal
from agentfleet.ports import GoalStore
from agentfleet.services.finish import Finisher


class Canceller:
    """Cancels a tenant's goal: agents drop its messages from then on."""

    def __init__(self, goals: GoalStore, finisher: Finisher) -> None:
        self._goals = goals
        self._finisher = finisher

    def __call__(self, goal_id: str, tenant: str) -> Goal:
        """The cancelled goal; cancelling it again is fine. Raises NotFound, IllegalTransition if it ended otherwise."""
        goal = self._goals.get([goal_id]).get(goal_id)
        if goal is None or goal.tenant != tenant:
            raise NotFound(f"there is no goal {goal_id}")
        return self._finisher.cancel(goal)

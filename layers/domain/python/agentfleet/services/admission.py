"""How much of the fleet a tenant may take up at once."""

from typing import Final

from agentfleet.domain.goal import GoalState
from agentfleet.ports import GoalStore

HALVINGS: Final = 5
"""A goal gets half of what the tenant's others leave, but never less than the window halved so often."""
SUB_PLAN_HALVINGS: Final = 3
LOOKED_AT: Final = 100


class Admission:
    """Gives every goal its part of its tenant's window.

    Among n wide goals that run at the same time the i-th to be accepted has at most the i-th half of the window, so that all
    together stay below it until the halves are used up. The part is settled when the goal is accepted and compiled into its
    plan: nothing is counted while it runs, and so nothing can be miscounted.
    """

    def __init__(self, goals: GoalStore, window: int) -> None:
        self._goals = goals
        self._window = window
        self._least = max(1, window >> HALVINGS)

    def window_for(self, tenant: str, tasks: int) -> int | None:
        """How many of a new goal's units of one pool and priority may be under way at once.

        None for a goal so narrow that it needs no limit; only a wide one costs a look at the tenant's other goals.
        """
        if tasks <= self._least:
            return None
        running = self._goals.list(tenant, GoalState.RUNNING, LOOKED_AT, None).items
        wide = sum(goal.tasks > self._least for goal in running)
        return max(self._least, self._window >> (1 + min(wide, HALVINGS)))

    def window_within(self, tasks: int) -> int | None:
        """The same for a sub-plan: an eighth of the window, whatever else runs; it is part of a goal that has its own."""
        return None if tasks <= self._least else max(self._least, self._window >> SUB_PLAN_HALVINGS)

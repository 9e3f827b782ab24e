"""How much of the fleet a tenant may take up at once."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct, field

from agentfleet.ports import Clock, GoalStore

LEAST_SHARE: Final = 32
"""A goal gets half of what the tenant's others leave, but never less than this part of the window…"""
CROWD: Final = 4
"""… or than the window divided by so many times the number of the tenant's goals, if those are many."""
SUB_PLAN_HALVINGS: Final = 3
LOOKED_AT: Final = 250
"""A tenant with so many goals under way gets one place for each further one."""
FRESH: Final = timedelta(seconds=2)
"""How long what was seen of a tenant with much under way serves for its narrow goals."""
INDEX_DELAY: Final = timedelta(seconds=1)
"""How long a goal that was just accepted may be missing in what is seen."""
KNOWN_TENANTS: Final = 1000


class _Standing(Struct):
    """What is known here of a tenant's goals."""

    left: int
    """What they leave of the window."""
    goals: int = 0
    seen: datetime | None = None
    """When somebody looked; None: never."""
    unchecked: int = 0
    """Tasks of narrow goals accepted since then."""
    accepted: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    """Goals accepted here of late: when, and how many tasks each has."""


class Admission:
    """Gives every goal its part of its tenant's window: `Admission(goals, window, clock)`.

    In the order in which they were accepted, each goal under way may use up to half of what those before it leave. So wide
    ones that run at the same time have a half, a quarter, an eighth, and all together stay below the window until the halves
    are used up; narrow ones count with the tasks that they have. The part is settled when the goal is accepted and compiled
    into its plan: nothing is counted while it runs, and so nothing can be miscounted.

    A wide goal costs a look at the keys of the tenant's other goals under way. Narrow ones cost none until as many tasks as
    the least part of a window holds have been accepted here; while half of the window is in use, one every two seconds.
    """

    def __init__(self, goals: GoalStore, window: int, clock: Clock) -> None:
        self._goals = goals
        self._window = window
        self._clock = clock
        self._least = max(1, window // LEAST_SHARE)
        self._standings: dict[str, _Standing] = {}

    def window_for(self, tenant: str, goal_id: str, tasks: int) -> int | None:
        """How many of a new goal's units of one pool and priority may be under way at once; None: all that it has."""
        now = self._clock()
        standing = self._standings.get(tenant) or _Standing(self._window)
        if not self._is_known_well(standing, tasks, now):
            standing = self._look(tenant, standing.accepted, now)
        if len(self._standings) >= KNOWN_TENANTS:
            self._standings.clear()
        self._standings[tenant] = standing
        part = self._take(standing, tasks)
        standing.accepted[goal_id] = (now, tasks)
        standing.unchecked += tasks
        return None if tasks <= part else part

    def window_within(self, tasks: int) -> int | None:
        """The same for a sub-plan: an eighth of the window, whatever else runs; it is part of a goal that has its own."""
        return None if tasks <= self._least else max(self._least, self._window >> SUB_PLAN_HALVINGS)

    def _is_known_well(self, standing: _Standing, tasks: int, now: datetime) -> bool:
        """Is a narrow goal's part clear without a look at the others?"""
        if tasks > self._least:
            return False
        if standing.seen is not None and now - standing.seen < FRESH:
            return True
        return standing.left * 2 >= self._window and standing.unchecked + tasks <= self._least

    def _look(self, tenant: str, accepted: dict[str, tuple[datetime, int]], now: datetime) -> _Standing:
        """What the tenant has under way: as the index shows it, and what was accepted here too late for that."""
        found = self._goals.alive(tenant, LOOKED_AT)
        shown = {one.goal_id for one in found}
        late = {name: one for name, one in accepted.items() if now - one[0] < INDEX_DELAY}
        standing = _Standing(self._window, seen=now, accepted=late)
        self._replay(standing, (one.tasks for one in reversed(found)))
        self._replay(standing, (tasks for name, (_, tasks) in late.items() if name not in shown))
        return standing

    def _replay(self, standing: _Standing, widths: Iterable[int]) -> None:
        for tasks in widths:
            self._take(standing, tasks)

    def _take(self, standing: _Standing, tasks: int) -> int:
        """The part of one more goal, which leaves less to the next."""
        crowded = 1 if standing.goals >= LOOKED_AT else max(1, self._window // max(LEAST_SHARE, CROWD * standing.goals))
        part = max(crowded, standing.left // 2)
        standing.left = max(0, standing.left - min(tasks, part))
        standing.goals += 1
        return part

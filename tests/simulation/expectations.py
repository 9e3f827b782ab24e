"""What is expected of every goal of a run, given what has befallen its tasks that no plan could tell of."""

from typing import TYPE_CHECKING, Final

from agentfleet.domain import ids
from agentfleet.domain.dead_letters import AGENT_DIED, MAX_RECEIVES, POOL_THROTTLED
from agentfleet.domain.goal import DEADLINE_EXCEEDED
from agentfleet.domain.result import Result
from tests.simulation.reference import Expected, Path, expect
from tests.simulation.scenario import GoalCase
from tests.simulation.world import VISIBILITY

if TYPE_CHECKING:
    from tests.simulation.simulate import Simulation

NO_ROOM: Final = "BudgetExceeded"


class Expectations:
    """By goal; those of sub-plans are found through the goals above them."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self.cases: dict[str, GoalCase] = {}
        """By goal id, of the goals that were submitted."""
        self._fallen: dict[str, set[Path]] = {}
        self._known: dict[str, Expected] = {}

    def add(self, goal_id: str, case: GoalCase) -> None:
        """A goal is going to be submitted."""
        self.cases[goal_id] = case

    def of(self, goal_id: str) -> Expected:
        """What is expected of a goal."""
        found = self._known.get(goal_id)
        if found is None:
            found = self._known[goal_id] = self._work_out(goal_id)
        return found

    def _work_out(self, goal_id: str) -> Expected:
        case = self.cases.get(goal_id)
        if case is not None:
            subplans = self._simulation.scenario.subplans
            return expect(case.plan, case.on_failure, subplans, self._fallen.get(goal_id, frozenset()))
        parent = self._simulation.goals.goals[goal_id].parent
        assert parent is not None
        return self.of(parent.goal_id).children[self._task(parent.goal_id, parent.unit, parent.slot)]

    def carry_over(self, source: str, fork: str, tasks: set[str]) -> None:
        """A fork keeps these tasks' results, with all that has befallen the sub-plans that they came of."""
        if fallen := {path for path in self._fallen.get(source, ()) if path[0] in tasks}:
            self._fallen.setdefault(fork, set()).update(fallen)
            self._known.clear()

    def stored(self, result: Result) -> None:
        """A result stands from now on."""
        self._simulation.forks.stored(result)
        for slot, outcome in enumerate(result.outcomes):
            failure = outcome.failure
            if failure is None or ids.undone_goal(result.goal_id):
                continue
            # A sub-plan's failure follows from what befell its tasks, except that it was out of time.
            if (
                failure.error == DEADLINE_EXCEEDED
                if result.agent.startswith("goal:")
                else failure.error in {AGENT_DIED, POOL_THROTTLED, NO_ROOM}
            ):
                self._fall(result, slot, failure.error)

    def _fall(self, result: Result, slot: int, error: str) -> None:
        if error in {AGENT_DIED, POOL_THROTTLED}:
            self._check_death(result)
        root, path = self._path(result.goal_id)
        self._fallen.setdefault(root, set()).add((*path, self._task(result.goal_id, result.unit, slot)))
        self._known.clear()

    def is_beside_the_point(self, goal_id: str) -> bool:
        """Has one of the tasks that a sub-plan stands for fallen otherwise? A second try at it may have, with a duplicate."""
        root, path = self._path(goal_id)
        return any(path[:length] in self._fallen.get(root, ()) for length in range(1, len(path) + 1))

    def _path(self, goal_id: str) -> tuple[str, Path]:
        """The goal that was submitted, and the tasks that lead from it to this one."""
        path: list[str] = []
        goal = self._simulation.goals.goals[goal_id]
        while goal.parent is not None:
            path.append(self._task(goal.parent.goal_id, goal.parent.unit, goal.parent.slot))
            goal = self._simulation.goals.goals[goal.parent.goal_id]
        return goal.id, tuple(reversed(path))

    def _check_death(self, result: Result) -> None:
        """A task is given up only when its queue has given up its message: for good if that took the agents' whole time."""
        world = self._simulation.world
        buried = self._simulation.queues.buried.get((result.goal_id, result.unit), [])
        took_long = any(world.now - received >= MAX_RECEIVES * VISIBILITY / 2 for received in buried)
        if not took_long and len(buried) < 2:
            world.violate(f"unit {result.unit} of {result.goal_id} is given up after {len(buried)} dead letters")

    def _task(self, goal_id: str, unit: int, slot: int) -> str:
        return str(self._simulation.plans.plans[goal_id].unit(unit).tasks[slot].id)

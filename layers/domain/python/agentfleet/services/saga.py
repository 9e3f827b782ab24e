"""Undo goals: what is left to undo, in which order, and when a goal is through with it.

Nothing is counted or remembered on the way: what is left follows from the plan, the results, the claims and the results of
compensations, each time anew. A saga that dies at any point is started again and goes on from there.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain import ids, names
from agentfleet.domain.errors import FleetError, IllegalTransition, NotFound
from agentfleet.domain.goal import Failure, Goal, GoalState
from agentfleet.domain.plan import CompiledPlan, frontier
from agentfleet.domain.result import Result, TaskState
from agentfleet.domain.saga import SEALER, Outcome, SagaStatus, unblocked, undo_message
from agentfleet.ports import ClaimStore, Clock, GoalStore, PlanStore, ResultStore, Sagas
from agentfleet.services.finish import Finisher
from agentfleet.services.routing import Router

WAVE: Final = 100
"""Compensations at once: about 30 KB of the 256 KB that may pass between states."""
EVENTS_PER_LOOK: Final = 20
EVENTS_PER_UNDO: Final = 12
EVENTS: Final = 8_000
"""After about so many an execution hands on. The rest of its 25,000 is for retries."""
SEAL: Final = timedelta(days=30)
"""Longer than any message lives."""
LONGEST_WAIT: Final = timedelta(seconds=30)
_PAGE: Final = 100
_MESSAGE: Final = 1000


class Undo(Struct, frozen=True):
    """One compensation that may run now."""

    goal_id: str
    unit: int
    task: str
    queue: str
    message: dict[str, Any]


class Step(Struct, frozen=True):
    """What a saga does next."""

    outcome: Outcome
    spent: int
    """About how many events its execution has written."""
    undos: tuple[Undo, ...] = ()
    seconds: int = 0
    """To wait before the next look."""


class _Outlook(Struct):
    """What is left of a goal, its sub-plans' goals included."""

    goal: Goal
    plan: CompiledPlan
    own: set[int] = field(default_factory=set)
    """Units that are to be undone."""
    busy: dict[int, datetime] = field(default_factory=dict)
    """Units that an agent may be at work on, and until when at most."""
    below: dict[int, "_Outlook"] = field(default_factory=dict)
    """By unit: the sub-plan that it was delegated to."""

    @property
    def pending(self) -> set[int]:
        return self.own | self.busy.keys() | {unit for unit, child in self.below.items() if child.pending}

    def ready(self) -> list[tuple["_Outlook", int]]:
        """What may be undone now: what nothing that is left depends on; of a delegated task its sub-plan first."""
        found: list[tuple[_Outlook, int]] = []
        for unit in unblocked(self.plan, self.pending):
            child = self.below.get(unit)
            if child and child.pending:
                found.extend(child.ready())
            elif unit in self.own:
                found.append((self, unit))
        return found

    def waits(self) -> list[datetime]:
        return [*self.busy.values(), *(moment for child in self.below.values() for moment in child.waits())]

    def goals(self) -> list[Goal]:
        return [self.goal, *(goal for child in self.below.values() for goal in child.goals())]


class Saga:
    """Finds out what is left of goals that are being undone, and brings them to their end."""

    def __init__(
        self,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        claims: ClaimStore,
        sagas: Sagas,
        router: Router,
        finisher: Finisher,
        clock: Clock,
        fleet: str,
    ) -> None:
        self._goals = goals
        self._plans = plans
        self._results = results
        self._claims = claims
        self._sagas = sagas
        self._router = router
        self._finisher = finisher
        self._clock = clock
        self._fleet = fleet

    def look(self, goal_id: str, attempt: int, spent: int = 0) -> Step:
        """What to do next about a goal, as this attempt to undo it. Raises NotFound, DeliveryFailed: look again."""
        goal = self._goal(goal_id)
        undoing = goal.undoing
        if undoing is None or undoing.attempt != attempt:
            return Step(Outcome.OVER, spent)
        if goal.state.is_final:
            self._finisher.announce(goal)  # who ended it may have died before telling
            return Step(Outcome.COMPENSATED, spent)
        if goal.state is not GoalState.COMPENSATING:
            return Step(Outcome.OVER, spent)
        if spent >= EVENTS:
            self._restart(goal)
            return Step(Outcome.HANDED_ON, spent)
        outlook = self._survey(goal)
        ready = outlook.ready()[:WAVE]
        if ready:
            events = EVENTS_PER_LOOK + EVENTS_PER_UNDO * len(ready)
            return Step(Outcome.UNDO, spent + events, tuple(self._undo(one.goal, one.plan, unit, goal) for one, unit in ready))
        if waits := outlook.waits():
            wait = min(LONGEST_WAIT, max(timedelta(seconds=1), min(waits) - self._clock() + timedelta(seconds=1)))
            return Step(Outcome.WAIT, spent + EVENTS_PER_LOOK, seconds=int(wait.total_seconds()))
        self._close(outlook)
        return Step(Outcome.COMPENSATED, spent)

    def park(self, goal_id: str, attempt: int, failures: Sequence[Mapping[str, str]]) -> None:
        """Leave a goal to a person: compensations (`task`, `error`, `cause` each) kept failing. Raises DeliveryFailed."""
        goal = self._goal(goal_id)
        if goal.undoing is None or goal.undoing.attempt != attempt:
            return
        if goal.state is GoalState.COMPENSATING:
            first = failures[0] if failures else {}
            more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
            failure = Failure(
                first.get("error") or "SagaFailed",
                f"{first.get('cause', '')}{more}"[:_MESSAGE],
                first.get("task") or None,
            )
            parked = goal.move(GoalState.COMPENSATION_FAILED, undoing=replace(goal.undoing, failure=failure))
            goal = parked if self._goals.replace(goal, parked) else self._goal(goal_id)
        if goal.state is GoalState.COMPENSATION_FAILED:
            self._finisher.announce(goal)

    def resume(self, goal_id: str, tenant: str) -> Goal:
        """Go on undoing a parked goal with what is left. Resuming one that is being undone is fine.

        Raises NotFound, IllegalTransition, DeliveryFailed (resume again).
        """
        goal = self._goals.get([goal_id]).get(goal_id)
        if goal is None or goal.tenant != tenant:
            raise NotFound(f"there is no goal {goal_id}")
        if goal.state is GoalState.COMPENSATING:
            self.mend(goal)
            return self._goal(goal_id)
        if goal.state is not GoalState.COMPENSATION_FAILED:
            raise IllegalTransition(f"goal {goal_id} is {goal.state}; only one whose compensation failed can be resumed so")
        self._restart(goal)
        return self._goal(goal_id)

    def mend(self, goal: Goal) -> bool:
        """See to it that somebody undoes a compensating goal. False if somebody does. Raises DeliveryFailed."""
        attempt = goal.undoing.attempt if goal.undoing else 1
        match self._sagas.status(goal.id, attempt):
            case SagaStatus.RUNNING:
                return False
            case SagaStatus.ENDED:
                return self._restart(goal)
            case None:
                self._sagas.start(goal.id, attempt)
                return True

    def _restart(self, goal: Goal) -> bool:
        if goal.undoing is None:
            raise FleetError(f"goal {goal.id} is {goal.state} without saying what it becomes")
        undoing = replace(goal.undoing, attempt=goal.undoing.attempt + 1, failure=None)
        if not self._goals.replace(goal, replace(goal, state=GoalState.COMPENSATING, undoing=undoing)):
            return False
        self._sagas.start(goal.id, undoing.attempt)
        return True

    def _goal(self, goal_id: str) -> Goal:
        found = self._goals.get([goal_id]).get(goal_id)
        if found is None:
            raise NotFound(f"there is no goal {goal_id}")
        return found

    def _survey(self, goal: Goal) -> _Outlook:
        """What is left of a goal. Afterwards nothing of it can begin that was not found here."""
        plan = self._plans.read(goal.id).whole()
        outlook = _Outlook(goal, plan)
        done = self._results.get(goal.id, goal.shards, range(len(plan.units)), outputs=False)
        undoable = [unit.number for unit in plan.units if unit.tasks[0].compensation]
        undone = self._results.get(ids.undo_id(goal.id), goal.shards, undoable, outputs=False)
        self._seal(outlook, [unit for unit in undoable if unit not in done])
        outlook.own.update(self._done_here(goal, [unit for unit in undoable if unit in done and _took_effect(done[unit])]))
        outlook.own.difference_update(undone)
        # A duplicate of a task that had been delegated may have failed for itself: what its sub-plan did was done all the same.
        delegated = [unit for unit, result in done.items() if result.agent.startswith("goal:") or result.first_failure]
        for unit, child in self._children(goal, [*delegated, *frontier(plan, done.keys())]).items():
            self._look_below(outlook, unit, child)
        return outlook

    def _done_here(self, goal: Goal, units: Sequence[int]) -> Sequence[int]:
        """Leave out what a fork took over: the goal that it came from did it, and undoes it or not. Here nobody claimed it."""
        if goal.origin is None or not units:
            return units
        claimed = self._claims.held(goal.id, goal.shards, units)
        return [unit for unit in units if unit in claimed]

    def _look_below(self, outlook: _Outlook, unit: int, child: Goal) -> None:
        if not child.state.is_over:
            child = self._finisher.end(child, GoalState.CANCELLED, undo=False)
        if child.state is GoalState.COMPENSATING:
            outlook.busy[unit] = self._clock() + timedelta(seconds=5)  # it undoes itself first
            return
        below = self._survey(child)
        if below.pending or child.state is GoalState.COMPENSATION_FAILED:
            outlook.below[unit] = below

    def _seal(self, outlook: _Outlook, units: Sequence[int]) -> None:
        """Take the claims of units that have no result: what nobody tried can't begin any more, the rest must be undone."""
        goal, now = outlook.goal, self._clock()
        held = self._claims.held(goal.id, goal.shards, units) if units else {}
        sealed = {unit: claim for unit, claim in held.items() if claim.owner == SEALER}
        busy = {unit: claim.until for unit, claim in held.items() if claim.owner != SEALER and claim.until > now}
        if free := [unit for unit in units if unit not in sealed and unit not in busy]:
            sealed |= self._claims.claim_each(goal.id, goal.shards, free, SEALER, now, SEAL)
            busy |= {unit: now for unit in free if unit not in sealed}  # taken by somebody just now
        outlook.busy.update(busy)
        outlook.own.update(unit for unit, claim in sealed.items() if claim.fence > 1)

    def _children(self, goal: Goal, units: Sequence[int]) -> dict[int, Goal]:
        wanted = {ids.child_goal_id(goal.id, unit, 0): unit for unit in units}
        found: dict[int, Goal] = {}
        ordered = list(wanted)
        for start in range(0, len(ordered), _PAGE):
            for name, child in self._goals.get(ordered[start : start + _PAGE]).items():
                found[wanted[name]] = child
        return found

    def _undo(self, goal: Goal, plan: CompiledPlan, number: int, saga: Goal) -> Undo:
        unit = plan.unit(number)
        task = unit.tasks[0]
        compensation = task.compensation
        assert compensation is not None  # noqa: S101 - the survey chose it for having one
        pool = self._router.pool_for(goal.id, replace(unit, capability=compensation.capability))
        queue = names.task_queue(self._fleet, pool, "high")
        return Undo(goal.id, number, task.id, queue, undo_message(goal.id, number, goal.tenant, saga.id))

    def _close(self, outlook: _Outlook) -> None:
        """Nothing is left: end the goal, and those below it that had been parked."""
        for child in outlook.goals()[1:]:
            if child.state is GoalState.COMPENSATION_FAILED:
                self._finisher.compensated(child)
        self._finisher.compensated(outlook.goal)


def _took_effect(result: Result) -> bool:
    """Did its task run at all? One that failed may have done what it was to do, or part of it."""
    return result.outcomes[0].state is not TaskState.SKIPPED

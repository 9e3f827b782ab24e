"""Find goals that stand still for good and set them going again: whatever was lost, `frontier(plan, results)` knows."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain import ids, names
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.dead_letters import Action
from agentfleet.domain.errors import NotFound
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.healing import (
    COUNTS_LAG,
    Finished,
    Incident,
    IncidentKind,
    QueueLook,
    Rounds,
    horizon,
    is_lost,
    next_wait,
    open_joins,
    patience,
)
from agentfleet.domain.plan import CompiledPlan, Unit, frontier, is_complete, to_ranges
from agentfleet.domain.result import POSTPONE_LIMIT
from agentfleet.ports import ClaimStore, Clock, GoalStore, HealthStore, PlanStore, QueueWatch, ResultStore
from agentfleet.services.approval import ApprovalBook
from agentfleet.services.dead_letters import DeadLetterOffice, Visit
from agentfleet.services.finish import Finisher
from agentfleet.services.incidents import IncidentLog
from agentfleet.services.kill import KillSwitch
from agentfleet.services.release import Releaser
from agentfleet.services.routing import Router
from agentfleet.services.saga import Saga

PAGE: Final = 100


class HealReport(Struct, frozen=True):
    """What one run did."""

    looked: int
    """Living goals that it looked at."""
    repaired: tuple[Incident, ...]
    """Incidents of the goals that it repaired."""
    healed: tuple[Incident, ...]
    """Earlier incidents whose goals have moved since."""
    still_open: int
    """Incidents whose goals have not."""
    sent: int
    """Units whose messages were sent again."""
    letters: Mapping[Action, int]
    """Dead letters, by what was done about them."""
    errors: tuple[str, ...]
    """What could not be repaired, and why."""
    complete: bool
    """Were all living goals looked at? If not, the next run goes on from here."""


class Standstills(Struct, frozen=True):
    """What may keep a goal standing still on purpose."""

    approvals: ApprovalBook
    switch: KillSwitch
    claims: ClaimStore
    catalog: Catalog

    def resent(self, goal: Goal, plan: CompiledPlan) -> datetime | None:
        """When the last message may have been sent that no progress tells of; None if there is none."""
        place = len(plan.units)
        noted = self.claims.held(goal.id, goal.shards, [place]).get(place)
        return noted.until if noted else None

    def resting(self, goal: Goal, units: Sequence[Unit], now: datetime) -> set[int]:
        """Numbers of the units that wait for tools, and will look again by themselves."""
        calling = {name for name, pool in self.catalog.pools.items() if pool.tools or pool.servers}
        asked = [unit.number for unit in units if calling.intersection(self.catalog.pools_for([unit.capability]))]
        held = self.claims.held(goal.id, goal.shards, asked) if asked else {}
        return {number for number, claim in held.items() if claim.until > now}


class _View(Struct):
    """What a run sees of the fleet."""

    now: datetime
    looks: Mapping[str, QueueLook]
    emptied: Mapping[str, datetime]
    lag: timedelta
    wait: timedelta | None
    visit: Visit
    open: Mapping[str, Incident]
    by_person: bool

    def horizon(self, queue: str, born: datetime) -> datetime:
        """No message in this queue that a goal of that age has sent was sent before this."""
        emptied = self.emptied.get(queue)
        since = max(born, emptied) if emptied else born  # less the lag, which clocks that differ may take as well
        return horizon(self.looks[queue].of_sent_since(since - self.lag), emptied, self.now, self.lag)


class _Repair(Struct, frozen=True):
    kind: IncidentKind
    sent: int = 0


class _Tally(Struct):
    looked: int = 0
    repaired: list[Incident] = field(default_factory=list)
    sent: int = 0
    errors: list[str] = field(default_factory=list)
    is_complete: bool = False


class Healer:
    """Compares what should be running with what may still be in a queue, and sends again only what can't be there."""

    def __init__(
        self,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        watch: QueueWatch,
        health: HealthStore,
        incidents: IncidentLog,
        office: DeadLetterOffice,
        catalog: Catalog,
        releaser: Releaser,
        finisher: Finisher,
        saga: Saga,
        clock: Clock,
        standstills: Standstills,
    ) -> None:
        self._standstills = standstills
        self._goals = goals
        self._plans = plans
        self._results = results
        self._saga = saga
        self._watch = watch
        self._health = health
        self._incidents = incidents
        self._office = office
        self._catalog = catalog
        self._router = Router(catalog)
        self._releaser = releaser
        self._finisher = finisher
        self._clock = clock

    def run(self, until: datetime, *, by_person: bool = False, wait: timedelta | None = None) -> HealReport:
        """Deal with dead letters, then look at living goals until all were looked at or the time is over.

        `wait` takes the place of what the rules find long enough for a goal to be quiet: for a fleet that is known to be
        idle. A goal that can't be repaired is reported, and the others are looked at all the same.
        """
        now = self._clock()
        visit = self._office.visit(now + (until - now) / 2)  # however many letters there are, goals are looked at too
        rounds = self._health.rounds()
        still_open, healed = self._incidents.close_healed()
        # Read after the incidents: what a letter's redrive has set going is in them.
        view, rounds = self._look(rounds, visit, still_open, wait, by_person=by_person)
        tally, cursor = self._heal_all(view, rounds.cursor, until)
        self._health.keep_rounds(replace(rounds, cursor=cursor))
        return HealReport(
            looked=tally.looked,
            repaired=tuple(tally.repaired),
            healed=tuple(healed),
            still_open=len({*still_open, *(one.goal_id for one in tally.repaired)}),
            sent=tally.sent,
            letters=dict(visit.done),
            errors=(*visit.errors, *tally.errors),
            complete=tally.is_complete,
        )

    def _look(
        self,
        rounds: Rounds,
        visit: Visit,
        known: Mapping[str, Incident],
        wait: timedelta | None,
        *,
        by_person: bool,
    ) -> tuple[_View, Rounds]:
        fleet = self._catalog.fleet
        queues = {
            names.task_queue(fleet, pool, priority): names.function(fleet, pool)
            for pool in self._catalog.pools
            for priority in names.PRIORITIES
        }
        looks = self._watch.look({**queues, names.release_queue(fleet): names.function(fleet, "release_tasks")})
        now = self._clock()
        lag = COUNTS_LAG if wait is None else min(COUNTS_LAG, wait)
        emptied = {**rounds.emptied, **{name: now for name, look in looks.items() if look.is_empty}}
        return _View(now, looks, emptied, lag, wait, visit, known, by_person), replace(rounds, emptied=emptied)

    def _heal_all(self, view: _View, start: str | None, until: datetime) -> tuple[_Tally, str | None]:
        tally, cursor = _Tally(), start
        while True:
            page = self._goals.living(PAGE, cursor)
            for goal in self._goals.get(page.items).values() if page.items else ():
                if self._clock() >= until:
                    return tally, cursor  # the page again next time: looking twice does no harm
                if goal.state.is_alive or goal.state is GoalState.COMPENSATING:
                    tally.looked += 1
                    self._heal(goal, view, tally)
            cursor = page.cursor
            if cursor is None:
                tally.is_complete = True
                return tally, None

    def _heal(self, goal: Goal, view: _View, tally: _Tally) -> None:
        try:
            began, repair = self._repair(goal, view)
        except Exception as error:
            tally.errors.append(f"goal {goal.id}: {type(error).__name__}: {error}")
            return
        if repair is None:
            return
        incident = self._incidents.note(goal, repair.kind, began, known=view.open, sent=repair.sent, by_person=view.by_person)
        tally.repaired.append(incident)
        tally.sent += repair.sent

    def _repair(self, goal: Goal, view: _View) -> tuple[datetime, _Repair | None]:
        """The goal's last progress, and what was repaired."""
        if goal.state is GoalState.COMPENSATING:
            return view.now, _Repair(IncidentKind.UNCOMPENSATED) if self._saga.mend(goal) else None
        above = self._above(goal)
        if not all(one and one.state.is_alive for one in above):
            self._finisher.end(goal, GoalState.CANCELLED, undo=False)
            return view.now, _Repair(IncidentKind.ORPHANED)
        if late := goal.lateness(view.now):
            self._finisher.end(goal, GoalState.FAILED, failure=late)  # nothing of it need be in a queue to notice
            return view.now, None
        lives = [goal, *(one for one in above if one)]
        if any(one.paused for one in lives):
            return view.now, None  # whoever resumes it sends what may run
        before = view.open.get(goal.id)
        known = [goal.created, *(one.resumed for one in lives if one.resumed), *([before.repaired] if before else [])]
        quiet = max(known)
        if quiet + view.lag >= view.now:
            return quiet, None
        plan = self._plans.read(goal.id).whole()
        pools, queues = self._reach(goal, plan)
        quiet = max(quiet, self._standstills.switch.quiet_until(goal.tenant, pools) or quiet)
        wait = self._wait(view, pools, queues, before)
        horizons = [view.horizon(name, goal.created) for name in queues]
        if not is_lost(quiet, horizons, wait):
            return quiet, None  # results can only have come later
        done = self._results.finished(goal.id, goal.shards)
        progress = max([goal.created, *(one.at for one in done.values())])
        if not is_lost(max(quiet, progress), horizons, wait):
            return progress, None
        if resent := self._standstills.resent(goal, plan):
            if not all(view.looks[name].is_empty for name in queues):
                resent += timedelta(seconds=POSTPONE_LIMIT)  # it may be kept back: whether ages tell of such is not documented
            if not is_lost(resent, horizons, wait):
                return progress, None
        return progress, self._set_going(goal, plan, done, view, lambda moment: is_lost(moment, horizons, wait))

    def _above(self, goal: Goal) -> list[Goal | None]:
        """The goals that it is part of; None for one that is there no more."""
        above = list(goal.parent.ancestors) if goal.parent else []
        found = self._goals.get(above) if above else {}
        return [found.get(name) for name in above]

    def _reach(self, goal: Goal, plan: CompiledPlan) -> tuple[AbstractSet[str], AbstractSet[str]]:
        """Every pool that the goal's units go to, and every queue that may hold something of it."""
        fleet = self._catalog.fleet
        pools: set[str] = set()
        queues = {names.release_queue(fleet)}
        for unit in plan.units:
            try:
                homes = self._router.homes(goal.id, unit)
            except NotFound:
                continue  # of no pool any more: its messages, if there are any, are somebody else's dead letters
            pools.update(homes)
            queues.update(names.task_queue(fleet, pool, unit.priority) for pool in homes)
        return pools, queues

    def _wait(self, view: _View, pools: AbstractSet[str], queues: AbstractSet[str], before: Incident | None) -> timedelta:
        wait = view.wait
        if wait is None:
            timeouts = [self._catalog.pools[pool].timeout for pool in pools]
            wait = patience((view.looks[name] for name in queues), timeouts, view.lag)
        return next_wait(wait, before.repairs) if before else wait

    def _set_going(
        self, goal: Goal, plan: CompiledPlan, done: Mapping[int, Finished], view: _View, lost: Callable[[datetime], bool]
    ) -> _Repair | None:
        failed = [unit for unit, one in done.items() if one.has_failed and plan.unit(unit).on_failure != "skip"]
        if failed:
            results = self._results.get(goal.id, goal.shards, failed[:1])
            self._finisher.advance(goal, plan, list(results.values()), repeated=True)
            return _Repair(IncidentKind.UNFINISHED)
        if is_complete(plan, done.keys()):
            if goal.state is GoalState.PLANNING:
                self._finisher.tell_accepted(goal)  # a fork that keeps everything
            self._finisher.end(goal, GoalState.SUCCEEDED, repeated=True)
            return _Repair(IncidentKind.UNFINISHED)
        waiting = frontier(plan, done.keys())
        children = self._children(goal, waiting)
        told = [child for child in children.values() if child.state.is_final and lost(child.finished or child.created)]
        for child in told:
            self._finisher.end(child, child.state, repeated=True)
        asked = self._standstills.approvals.of(goal.id, (plan.unit(number) for number in waiting))
        held = {unit for unit, one in asked.items() if one.decided is None or not lost(one.decided)}
        held |= self._standstills.resting(goal, [plan.unit(number) for number in waiting], view.now)
        missing = [
            unit
            for unit in waiting
            if unit not in children and unit not in held and self._may_send(goal, plan, unit, view.visit)
        ]
        is_planning = goal.state is GoalState.PLANNING and bool(missing or not waiting or children or held)
        if is_planning:
            self._finisher.tell_accepted(goal)  # first, as whoever accepts does: from here on it may end at any moment
        if missing:
            self._finisher.rejoin(goal, plan, open_joins(plan, done.keys()))
            self._releaser.release(goal, plan, to_ranges(missing))
        kind = IncidentKind.UNSENT
        if is_planning:
            kind = IncidentKind.STUCK_PLANNING
            self._goals.replace(goal, goal.move(GoalState.RUNNING))
        elif told and not missing:
            kind = IncidentKind.UNTOLD
        return _Repair(kind, len(missing)) if missing or told else None

    def _children(self, goal: Goal, units: Sequence[int]) -> dict[int, Goal]:
        """The sub-goals that do the work of some of these units."""
        units_by_child = {ids.child_goal_id(goal.id, unit, 0): unit for unit in units}
        wanted = list(units_by_child)
        found: dict[int, Goal] = {}
        for start in range(0, len(wanted), PAGE):
            for name, child in self._goals.get(wanted[start : start + PAGE]).items():
                found[units_by_child[name]] = child
        return found

    def _may_send(self, goal: Goal, plan: CompiledPlan, unit: int, visit: Visit) -> bool:
        """Not what lies, or may lie, among the dead letters."""
        if (goal.id, unit) in visit.held:
            return False
        return not visit.unseen or visit.unseen.isdisjoint(self._router.homes(goal.id, plan.unit(unit)))

"""Accept goals: check, compile, store, release the first tasks. The same goal submitted twice is one goal."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from msgspec.structs import replace

from agentfleet.domain import ids
from agentfleet.domain.bounds import Bounds
from agentfleet.domain.budget import Budget, Limits, goal_account, narrowed
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.codec import encode
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.errors import InvalidRequest, PermanentError, closest
from agentfleet.domain.goal import MAX_DEPTH, Goal, GoalState, Parent
from agentfleet.domain.names import PLANNER, TENANT
from agentfleet.domain.plan import CompiledPlan, PlanReader
from agentfleet.domain.playbook import Playbook
from agentfleet.domain.task import BudgetSpec, GoalRequest, PlanSpec, TaskSpec, digest_of, parse_budget, parse_plan
from agentfleet.domain.tool_policy import ToolNotAllowed
from agentfleet.ports import Clock, GoalStore, MessageBus, PlanStore
from agentfleet.services.admission import Admission
from agentfleet.services.finish import tell_accepted
from agentfleet.services.kill import KillSwitch
from agentfleet.services.release import Releaser

MAKE_PLAN: Final = "plan.make"
"""The capability that turns words into a plan."""
PLAN_TASK: Final = "plan"
"""Id of the one task of a goal in words."""
NAME_CHARS: Final = 80


class Accepter:
    """Turns requests into running goals.

    The plan is stored first, then the goal as PLANNING; then GoalAccepted is told and the roots are released, then the goal is
    RUNNING: whoever repeats the submission of a goal that is still PLANNING carries on where a crash left it, and tells again.
    """

    def __init__(
        self,
        catalog: Catalog,
        playbooks: Mapping[str, Playbook],
        goals: GoalStore,
        plans: PlanStore,
        releaser: Releaser,
        bus: MessageBus,
        clock: Clock,
        random_bits: Callable[[int], int],
        switch: KillSwitch,
    ) -> None:
        self._catalog = catalog
        self._playbooks = playbooks
        self._goals = goals
        self._plans = plans
        self._releaser = releaser
        self._bus = bus
        self._clock = clock
        self._random_bits = random_bits
        self._switch = switch
        self._admission = Admission(goals, catalog.tenant_window, clock)

    def accept(self, request: GoalRequest, tenant: str, key: str | None) -> tuple[Goal, bool]:
        """The goal, and whether this call made it. `key` (an idempotency key or event id) makes the same goal once.

        Raises InvalidRequest, also for a key that came with another request before, or, while the tenant is stopped,
        Forbidden, with nothing stored;
        DeliveryFailed if a queue did not take the first tasks (submit again with the same key).
        """
        if not TENANT.fullmatch(tenant):
            raise InvalidRequest.of("tenant", f"may hold letters, digits and ._-, up to 64, not {tenant!r:.80}")
        now = self._clock()
        goal_id = ids.derived_goal_id(tenant, key) if key else ids.new_goal_id(now, self._random_bits)
        asked = digest_of(request) if key else None
        if asked and (known := self._goals.get([goal_id]).get(goal_id)):
            known.refuse_other(asked)
            return self.resume(known), False
        self._switch.refuse(tenant)
        plan = self._plan(request)
        compiled = compile_plan(
            plan,
            self._catalog,
            priority=request.priority,
            on_failure=request.on_failure,
            window=self._admission.window_for(tenant, goal_id, len(plan.tasks)),
        )
        stored = self._store_plan(goal_id, compiled)
        goal = Goal(
            id=goal_id,
            tenant=tenant,
            name=request.name or request.playbook or _title(request.goal) or plan.tasks[0].id,
            state=GoalState.SUBMITTED,
            created=now,
            tasks=stored.header.tasks,
            shards=stored.header.shards,
            priority=request.priority,
            on_failure=request.on_failure,
            labels=request.labels,
            words=request.goal or "",
            asked=asked,
            deadline=now + timedelta(seconds=request.deadline) if request.deadline else None,
            budget=self._budget(request.budget),
        ).move(GoalState.PLANNING)
        if not self._goals.create(goal):
            known = self._goals.get([goal_id])[goal_id]
            if asked:
                known.refuse_other(asked)
            return self.resume(known), False
        return self.resume(goal, stored), True

    def delegate(
        self,
        goal: Goal,
        unit: int,
        slot: int,
        plan: Mapping[str, Any],
        budget: Mapping[str, Any] | None = None,
        bounds: Bounds | None = None,
    ) -> Goal:
        """Start the sub-plan that a task returned, within `budget` and `bounds` if it gave any, and all that hold for the goal.

        Raises PermanentError if it can't be accepted.
        """
        child_id = ids.child_goal_id(goal.id, unit, slot)
        link = Parent(goal.id, unit, slot, ())
        return self._start_within(goal, child_id, f"{goal.name}/{unit}", link, plan, budget or {}, bounds)

    def call(self, goal: Goal, unit: int, key: str, name: str, task: Mapping[str, Any], bounds: Bounds) -> Goal:
        """Start a goal of one task, at high priority, that a task of `goal` calls for and waits for itself.

        The same `key` gives the same goal, as it stands by now. Its output is the task's. Raises PermanentError if it can't
        be accepted, DeliveryFailed if a queue did not take the task (call again).
        """
        child_id = ids.derived_goal_id(goal.id, f"call:{key}")
        if known := self._goals.get([child_id]).get(child_id):
            return self.resume(known)
        link = Parent(goal.id, unit, 0, (), reports=False)
        plan = {"tasks": [dict(task)], "output": {"$from": task["id"]}}
        called = replace(goal, priority="high", on_failure="fail")
        return self._start_within(called, child_id, name, link, plan, {}, bounds)

    def _start_within(
        self,
        goal: Goal,
        child_id: str,
        name: str,
        link: Parent,
        plan: Mapping[str, Any],
        budget: Mapping[str, Any],
        bounds: Bounds | None,
    ) -> Goal:
        """Start a goal that belongs to a task of another one, within all that this one may. Raises PermanentError."""
        ancestors = (*(goal.parent.ancestors if goal.parent else ()), goal.id)
        if len(ancestors) > MAX_DEPTH:
            raise PermanentError(f"the sub-plan would be {len(ancestors)} goals deep; at most {MAX_DEPTH}")
        if goal.budget and goal.budget.depth == 0:
            raise PermanentError(f"the budget of goal {goal.id} allows no sub-plan (depth 0)")
        try:
            own = parse_budget(budget)
            spec = parse_plan(plan)
            within = (bounds or Bounds()).within(goal.bounds)
            _check_bounds(spec, within)
            window = self._admission.window_within(len(spec.tasks))
            compiled = compile_plan(spec, self._catalog, priority=goal.priority, on_failure=goal.on_failure, window=window)
        except InvalidRequest as error:
            said = "the returned sub-plan" if link.reports else f"the call of {plan['tasks'][0]['capability']}"
            raise PermanentError(f"{said} is not valid: {error}") from error
        stored = self._store_plan(child_id, compiled)
        child = Goal(
            id=child_id,
            tenant=goal.tenant,
            name=name,
            state=GoalState.PLANNING,
            created=self._clock(),
            tasks=stored.header.tasks,
            shards=stored.header.shards,
            priority=goal.priority,
            on_failure=goal.on_failure,
            parent=replace(link, ancestors=ancestors),
            deadline=goal.deadline,
            budget=_within(goal, own),
            bounds=within or None,
        )
        if not self._goals.create(child):
            child = self._goals.get([child_id])[child_id]
        return self.resume(child, stored)

    def resume(self, goal: Goal, stored: PlanReader | None = None) -> Goal:
        """Tell of a goal that is still PLANNING and release its roots; any other is given back as it is.

        `stored` is its plan, if the caller has it at hand.
        """
        if goal.state is not GoalState.PLANNING:
            return goal
        tell_accepted(self._bus, goal)
        plan = stored or self._plans.read(goal.id)
        self._releaser.release(goal, plan, plan.header.roots)
        running = goal.move(GoalState.RUNNING)
        if self._goals.replace(goal, running):
            return running
        return self._goals.get([goal.id])[goal.id]  # it ended meanwhile, or another submission was quicker

    def _budget(self, asked: BudgetSpec | None) -> Budget | None:
        """What was asked for, and the fleet's default where nothing was said about dollars."""
        limits, depth = (asked.limits, asked.depth) if asked else (Limits(), None)
        if limits.nanodollars is None:
            limits = replace(limits, nanodollars=self._catalog.budget.goal.nanodollars)
        return Budget(limits, depth) or None

    def _planning(self, words: str, budget: BudgetSpec | None) -> PlanSpec:
        """A plan of one task, which makes the plan: what it returns runs as its sub-plan."""
        if MAKE_PLAN not in self._catalog.capabilities:
            raise InvalidRequest.of("goal", f"needs a planner, and no pool offers {MAKE_PLAN}; give a plan or a playbook")
        if budget and budget.depth == 0:
            raise InvalidRequest.of("budget.depth", "a goal in words runs as a sub-plan of its planner: allow at least 1")
        task = TaskSpec(id=PLAN_TASK, capability=MAKE_PLAN, input={"goal": words})
        return PlanSpec(tasks=(task,), output={"$from": PLAN_TASK})

    def _store_plan(self, goal_id: str, compiled: CompiledPlan) -> PlanReader:
        """The plan that stands: a key used twice keeps the plan it came with first."""
        return compiled if self._plans.put(goal_id, encode(compiled)) else self._plans.read(goal_id)

    def _plan(self, request: GoalRequest) -> PlanSpec:
        if request.plan:
            return request.plan
        if request.goal:
            return self._planning(request.goal, request.budget)
        name = request.playbook or ""
        if name not in self._playbooks:
            message = f"there is no playbook {name!r}; {closest(name, list(self._playbooks))}"
            raise InvalidRequest.of("playbook", message)
        return self._playbooks[name].instantiate(dict(request.parameters))


def _title(words: str | None) -> str:
    """What a goal in words is called: how it begins, in one line."""
    line = " ".join((words or "").split())
    return line if len(line) <= NAME_CHARS else line[: NAME_CHARS - 1] + "…"


def _check_bounds(plan: PlanSpec, bounds: Bounds) -> None:
    """Raises ToolNotAllowed for the first capability of a plan, in whatever role, that is out of bounds."""
    for task in plan.tasks:
        undoing = (task.compensation.capability,) if task.compensation else ()
        for name in (task.capability, *undoing, *(one.capability for one in task.alternatives)):
            if name != PLANNER and not bounds.allows(name):
                raise ToolNotAllowed(f"task {task.id}: {name} is not among what the agent that set this going may call")


def _within(goal: Goal, own: BudgetSpec) -> Budget | None:
    account = goal_account(goal.id, goal.budget.limits) if goal.budget and goal.budget.limits else None
    return narrowed(goal.budget, account, own.limits, own.depth)

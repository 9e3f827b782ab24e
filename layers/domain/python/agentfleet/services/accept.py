"""Accept goals: check, compile, store, release the first tasks. The same goal submitted twice is one goal."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from agentfleet.domain import ids
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.codec import encode
from agentfleet.domain.compile import closest, compile_plan
from agentfleet.domain.errors import InvalidRequest, PermanentError
from agentfleet.domain.goal import Goal, GoalState, Parent
from agentfleet.domain.names import TENANT
from agentfleet.domain.plan import CompiledPlan, PlanReader
from agentfleet.domain.playbook import Playbook
from agentfleet.domain.task import GoalRequest, PlanSpec, parse_plan
from agentfleet.ports import Clock, GoalStore, MessageBus, PlanStore
from agentfleet.services.admission import Admission
from agentfleet.services.finish import tell_accepted
from agentfleet.services.release import Releaser

MAX_DEPTH = 5
"""How many goals deep delegation may go."""


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
    ) -> None:
        self._catalog = catalog
        self._playbooks = playbooks
        self._goals = goals
        self._plans = plans
        self._releaser = releaser
        self._bus = bus
        self._clock = clock
        self._random_bits = random_bits
        self._admission = Admission(goals, catalog.tenant_window)

    def accept(self, request: GoalRequest, tenant: str, key: str | None) -> tuple[Goal, bool]:
        """The goal, and whether this call made it. `key` (an idempotency key or event id) makes the same goal once.

        Raises InvalidRequest, with nothing stored; DeliveryFailed if a queue did not take the first tasks (submit
        again with the same key).
        """
        if not TENANT.fullmatch(tenant):
            raise InvalidRequest.of("tenant", f"may hold letters, digits and ._-, up to 64, not {tenant!r:.80}")
        now = self._clock()
        goal_id = ids.derived_goal_id(tenant, key) if key else ids.new_goal_id(now, self._random_bits)
        if key and (known := self._goals.get([goal_id]).get(goal_id)):
            return self.resume(known), False
        plan = self._plan(request)
        compiled = compile_plan(
            plan,
            self._catalog,
            priority=request.priority,
            on_failure=request.on_failure,
            window=self._admission.window_for(tenant, len(plan.tasks)),
        )
        stored = self._store_plan(goal_id, compiled)
        goal = Goal(
            id=goal_id,
            tenant=tenant,
            name=request.name or request.playbook or plan.tasks[0].id,
            state=GoalState.SUBMITTED,
            created=now,
            tasks=stored.header.tasks,
            shards=stored.header.shards,
            priority=request.priority,
            on_failure=request.on_failure,
            labels=request.labels,
            deadline=now + timedelta(seconds=request.deadline) if request.deadline else None,
        ).move(GoalState.PLANNING)
        if not self._goals.create(goal):
            return self.resume(self._goals.get([goal_id])[goal_id]), False
        return self.resume(goal, stored), True

    def delegate(self, goal: Goal, unit: int, slot: int, plan: Mapping[str, Any]) -> Goal:
        """Start the sub-plan that a task returned. Raises PermanentError if it can't be accepted."""
        ancestors = (*(goal.parent.ancestors if goal.parent else ()), goal.id)
        if len(ancestors) > MAX_DEPTH:
            raise PermanentError(f"the sub-plan would be {len(ancestors)} goals deep; at most {MAX_DEPTH}")
        try:
            spec = parse_plan(plan)
            window = self._admission.window_within(len(spec.tasks))
            compiled = compile_plan(spec, self._catalog, priority=goal.priority, on_failure=goal.on_failure, window=window)
        except InvalidRequest as error:
            raise PermanentError(f"the returned sub-plan is not valid: {error}") from error
        child_id = ids.child_goal_id(goal.id, unit, slot)
        stored = self._store_plan(child_id, compiled)
        child = Goal(
            id=child_id,
            tenant=goal.tenant,
            name=f"{goal.name}/{unit}",
            state=GoalState.PLANNING,
            created=self._clock(),
            tasks=stored.header.tasks,
            shards=stored.header.shards,
            priority=goal.priority,
            on_failure=goal.on_failure,
            parent=Parent(goal.id, unit, slot, ancestors),
            deadline=goal.deadline,
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

    def _store_plan(self, goal_id: str, compiled: CompiledPlan) -> PlanReader:
        """The plan that stands: a key used twice keeps the plan it came with first."""
        return compiled if self._plans.put(goal_id, encode(compiled)) else self._plans.read(goal_id)

    def _plan(self, request: GoalRequest) -> PlanSpec:
        if request.plan:
            return request.plan
        name = request.playbook or ""
        if name not in self._playbooks:
            message = f"there is no playbook {name!r}; {closest(name, list(self._playbooks))}"
            raise InvalidRequest.of("playbook", message)
        return self._playbooks[name].instantiate(dict(request.parameters))

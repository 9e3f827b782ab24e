"""Tasks that wait for a person: nothing of them is in any queue meanwhile, and nothing runs.

The agent that first receives such a task stores a request and drops the message. Deciding stores the decision, once, and
sends the message again; whoever dies in between leaves it to the healer.
"""

import json
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from agentfleet.domain.approval import SHOWN_INPUT, Approval, Decision
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import IllegalTransition, InvalidRequest, NotFound
from agentfleet.domain.plan import Unit
from agentfleet.domain.result import TaskOutcome
from agentfleet.ports import Clock, GoalStore, MessageBus, Page, PlanStore, ResultStore
from agentfleet.ports_governance import ApprovalStore
from agentfleet.services.release import Releaser
from agentfleet.services.work import Batch, Work

if TYPE_CHECKING:
    from agentfleet.services.capability import Capability

EVENT: Final = "ApprovalRequested"


class LocalApprovals:
    """An ApprovalStore in this process's memory, for agents that share no registry."""

    def __init__(self) -> None:
        self._approvals: dict[tuple[str, int], Approval] = {}
        self._mutex = Lock()

    def ask(self, approval: Approval) -> bool:
        """Store a request unless the unit has one."""
        with self._mutex:
            return self._approvals.setdefault((approval.goal_id, approval.unit), approval) is approval

    def get(self, goal_id: str, unit: int) -> Approval | None:
        """A unit's request."""
        return self._approvals.get((goal_id, unit))

    def of_goal(self, goal_id: str) -> dict[int, Approval]:
        """All requests of a goal by unit."""
        with self._mutex:
            return {unit: one for (goal, unit), one in self._approvals.items() if goal == goal_id}

    def decide(self, approval: Approval) -> bool:
        """Store a decision if the request waits for one."""
        place = (approval.goal_id, approval.unit)
        with self._mutex:
            current = self._approvals.get(place)
            if current is None or current.decision is not Decision.PENDING:
                return False
            self._approvals[place] = approval
            return True

    def waiting(self, tenant: str, limit: int, cursor: str | None) -> Page[Approval]:
        """A tenant's requests that wait for a decision, oldest first."""
        if cursor is not None and not cursor.isdecimal():
            raise InvalidRequest.of("cursor", "is not one that a listing gave; leave it out to start from the oldest")
        with self._mutex:
            found = [one for one in self._approvals.values() if one.tenant == tenant and one.decision is Decision.PENDING]
        ordered = sorted(found, key=lambda one: (one.asked, one.goal_id, one.unit))
        start = int(cursor or 0)
        page = tuple(ordered[start : start + limit])
        return Page(page, str(start + limit) if start + limit < len(ordered) else None)


class ApprovalPolicy:
    """Which tasks need approval: by their capability's declaration, or by a rule of the fleet."""

    def __init__(self, catalog: Catalog) -> None:
        self._always = {
            name: f"{name} is declared so"
            for name, specs in catalog.capabilities.items()
            if any(spec.approval == "required" for spec in specs)
        }
        self._rules = {
            name: rules for name in catalog.capabilities if (rules := [one for one in catalog.approvals if one.covers(name)])
        }

    def may_concern(self, capability: str) -> bool:
        """May tasks of this capability need approval? Everything else costs nothing."""
        return capability in self._always or capability in self._rules

    def reason(self, capability: str, value: Any) -> str | None:
        """Why a task with this input (plain JSON) needs approval; None if it doesn't."""
        if why := self._always.get(capability):
            return why
        for rule in self._rules.get(capability, ()):
            if rule.holds(value):
                return f"rule {rule.capability}{f' when {rule.when}' if rule.when else ''}"
        return None


class ApprovalBook:
    """What was asked and decided, for those who must know what stands still on purpose."""

    def __init__(self, policy: ApprovalPolicy, store: ApprovalStore) -> None:
        self._policy = policy
        self._store = store

    def of(self, goal_id: str, units: Iterable[Unit]) -> dict[int, Approval]:
        """A goal's requests by unit; not read where no capability of these units needs approval."""
        concerned = any(self._policy.may_concern(name) for name in {unit.capability for unit in units})
        return self._store.of_goal(goal_id) if concerned else {}


class ApprovalGate:
    """The stage of an agent's pipeline that holds back what nobody has approved yet: after the inputs, before any claim."""

    def __init__(
        self,
        policy: ApprovalPolicy,
        store: ApprovalStore,
        bus: MessageBus,
        capabilities: "Mapping[str, Capability]",
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._store = store
        self._bus = bus
        self._capabilities = capabilities
        self._clock = clock

    def __call__(self, batch: Batch) -> None:
        """Let through what is approved, fail what is rejected, drop the messages of everything else."""
        for work in list(batch.works):
            if not work.awaits_doing or not self._policy.may_concern(work.unit.capability):
                continue
            try:
                self._check(work, batch)
            except Exception as error:
                batch.give_back(work, error)

    def _check(self, work: Work, batch: Batch) -> None:
        request = self._request(work)
        if request is None:
            return
        standing = self._store.get(request.goal_id, request.unit)
        if standing is None:
            is_new = self._store.ask(request)
            standing = request if is_new else self._store.get(request.goal_id, request.unit) or request
        else:
            is_new = False
        match standing.decision:
            case Decision.APPROVED:
                return
            case Decision.REJECTED:
                work.inputs = [standing.rejection for _ in work.inputs]
            case Decision.PENDING:
                # Again where the message comes again: who asked may have died before telling.
                if is_new or work.delivery.is_repeated:
                    self._tell(standing)
                batch.drop(work)

    def _request(self, work: Work) -> Approval | None:
        """What to ask for, or None if none of the unit's tasks needs it."""
        for value in work.inputs:
            if isinstance(value, TaskOutcome | Exception):
                continue  # won't run
            text = self._capabilities[work.unit.capability].canonical_input(value)
            if why := self._policy.reason(work.unit.capability, json.loads(text)):
                return Approval(
                    goal_id=work.goal.id,
                    unit=work.unit.number,
                    tenant=work.goal.tenant,
                    tasks=tuple(task.id for task in work.unit.tasks),
                    capability=work.unit.capability,
                    input=text[:SHOWN_INPUT],
                    why=why,
                    asked=self._clock(),
                )
        return None

    def _tell(self, approval: Approval) -> None:
        self._bus.publish(
            EVENT,
            {
                "goal": approval.goal_id,
                "task": approval.tasks[0],
                "tenant": approval.tenant,
                "capability": approval.capability,
                "why": approval.why,
                "asked": approval.asked.isoformat(),
            },
        )


class ApprovalDesk:
    """Where people see what waits for them, and decide."""

    def __init__(
        self,
        store: ApprovalStore,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        releaser: Releaser,
        clock: Clock,
    ) -> None:
        self._store = store
        self._goals = goals
        self._plans = plans
        self._results = results
        self._releaser = releaser
        self._clock = clock

    def waiting(self, tenant: str, limit: int, cursor: str | None) -> Page[Approval]:
        """A tenant's requests of goals that live, oldest first. A page may be short and still have a cursor."""
        page = self._store.waiting(tenant, min(limit, 100), cursor)
        goals = self._goals.get(sorted({one.goal_id for one in page.items})) if page.items else {}
        alive = (one for one in page.items if one.goal_id in goals and goals[one.goal_id].state.is_alive)
        return Page(tuple(alive), page.cursor)

    def decide(self, tenant: str, ref: str, decision: Decision, note: str | None) -> Approval:
        """Approve or reject a task (`goal.task`) and send it on its way. The first decision stands.

        The same decision again sends it again: an answer may have been lost. Raises NotFound for a task that nobody asked
        about, IllegalTransition if it was decided otherwise or its goal has ended, InvalidRequest for a rejection without a
        reason, DeliveryFailed if the queue did not take the message (decide again).
        """
        if decision is Decision.REJECTED and not note:
            raise InvalidRequest.of("reason", "say why it is rejected: the task fails with it")
        goal_id, _, task_id = ref.partition(".")
        goal = self._goals.get([goal_id]).get(goal_id)
        found = self._store.of_goal(goal_id) if goal and goal.tenant == tenant else {}
        standing = next((one for one in found.values() if task_id in one.tasks), None)
        if goal is None or standing is None:
            raise NotFound(f"nothing waits for approval under {ref[:200]!r}")
        if not goal.state.is_alive:
            if standing.decision is decision:
                return standing  # told again: the answer of the first time was lost
            raise IllegalTransition(f"goal {goal.id} is {goal.state}: nothing of it waits for approval any more")
        decided = replace(standing, decision=decision, decided=self._clock(), by=tenant, note=note)
        if standing.decision is Decision.PENDING and not self._store.decide(decided):
            standing = self._store.get(goal.id, standing.unit) or standing
        elif standing.decision is Decision.PENDING:
            standing = decided
        if standing.decision is not decision:
            raise IllegalTransition(f"{ref} was {standing.decision.lower()} already, by {standing.by}")
        if not self._results.get(goal.id, goal.shards, [standing.unit], outputs=False):
            self._releaser.release(goal, self._plans.read(goal.id), [(standing.unit, standing.unit)])
        return standing

"""Show goals and tasks: states that are stored nowhere, worked out from the plan, the results and the registry."""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain.approval import Decision
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.codec import dumps
from agentfleet.domain.errors import IllegalTransition, InvalidRequest, NotFound
from agentfleet.domain.fleet import LIFETIME, Agent, AgentState
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.ids import child_goal_id
from agentfleet.domain.plan import CompiledPlan, PlanReader, Unit, expand, frontier
from agentfleet.domain.result import Result, TaskState
from agentfleet.ports import AgentStore, BlobStore, Clock, GoalStore, PlanStore, ResultStore
from agentfleet.services.approval import ApprovalBook
from agentfleet.services.capability import blob_prefix
from agentfleet.services.fleet_views import AgentList, AgentView
from agentfleet.services.goal_views import FileView, GoalPage, GoalResult, GoalView, TaskDetail, TaskPage, TaskView
from agentfleet.services.views import FailureView

EXACT_TASKS: Final = 2_000
"""Up to here every task's state is worked out for a goal's progress."""
TASKS_PER_SECOND: Final = 5_000
"""How long a larger goal's count is good for: counting it reads every result."""
MAX_PAGE: Final = 200
SCANNED_UNITS: Final = 2_000
"""How many units one page may look at when most of them don't have the wanted state."""
MAX_SOURCES: Final = 1_000
LINK_LIFETIME: Final = timedelta(hours=1)
INLINE_OUTPUT_BYTES: Final = 4_000_000
"""A Lambda function's answer may be 6 MB (AWS, 'Lambda quotas': invocation payload); larger outputs become a file."""

_KEPT_GOALS: Final = 16
_CURSOR: Final = re.compile(r"(\d{1,6})\.(\d{1,3})")
_DELEGATED: Final = "goal:"


class _Known(Struct):
    """A goal's plan and its results so far: neither ever changes, so they are kept between requests."""

    plan: CompiledPlan
    results: dict[int, Result] = field(default_factory=dict)


class _Tally(Struct, frozen=True):
    """How many tasks of a goal had ended how."""

    counts: dict[TaskState, int]
    until: datetime
    """When to count again."""


class _Window(Struct, frozen=True):
    """Some units of a goal and all that their tasks' states follow from."""

    goal: Goal
    units: tuple[Unit, ...]
    results: dict[int, Result]
    ready: frozenset[int]
    running: dict[str, Agent]
    """By task id."""
    delegated: frozenset[int]
    """Unfinished units whose sub-goal is at work."""
    asked: frozenset[int] = frozenset()
    """Units that wait for somebody's approval."""

    def state(self, unit: Unit, slot: int) -> TaskState:
        if result := self.results.get(unit.number):
            return result.outcomes[slot].state
        if unit.number in self.asked and not self.goal.state.is_final:
            return TaskState.WAITING_FOR_APPROVAL
        if unit.tasks[slot].id in self.running or unit.number in self.delegated:
            return TaskState.RUNNING
        return TaskState.READY if unit.number in self.ready and not self.goal.state.is_final else TaskState.WAITING


class Inspector:
    """Read-only views of one tenant's goals. Every method raises NotFound for a goal that isn't the tenant's."""

    def __init__(
        self,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        agents: AgentStore,
        blobs: BlobStore,
        catalog: Catalog,
        clock: Clock,
        approvals: ApprovalBook,
    ) -> None:
        self._goals = goals
        self._plans = plans
        self._results = results
        self._agents = agents
        self._blobs = blobs
        self._catalog = catalog
        self._clock = clock
        self._approvals = approvals
        self._kept: OrderedDict[str, _Known] = OrderedDict()
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()

    def goal(self, tenant: str, goal_id: str) -> GoalView:
        """A goal with its tasks counted by state."""
        goal = self._own(tenant, goal_id)
        return GoalView.of(goal, self._counts(goal))

    def goals(self, tenant: str, state: GoalState | None, limit: int, cursor: str | None) -> GoalPage:
        """Goals, newest first; counts of those that have ended. Raises InvalidRequest for a bad cursor."""
        page = self._goals.list(tenant, state, limit, cursor)
        views = (GoalView.of(goal, _final_counts(goal) if goal.state.is_final else None) for goal in page.items)
        return GoalPage(goals=tuple(views), cursor=page.cursor)

    def tasks(self, tenant: str, goal_id: str, state: TaskState | None, limit: int, cursor: str | None) -> TaskPage:
        """At most `limit` (1 to 200) tasks in plan order, of one state if given; looks at 2,000 units at most.

        A page may thus be short, even empty, and still have a cursor. Raises InvalidRequest for a bad cursor.
        """
        goal = self._own(tenant, goal_id)
        first, first_slot = _read_cursor(cursor)
        shown: list[TaskView] = []
        plan = self._plan(goal)
        last = min(plan.header.units, first + SCANNED_UNITS)
        for window in self._windows(goal, plan, first, last):
            for unit in window.units:
                for slot in range(first_slot if unit.number == first else 0, len(unit.tasks)):
                    if state is not None and window.state(unit, slot) is not state:
                        continue
                    if len(shown) == min(limit, MAX_PAGE):
                        return TaskPage(tasks=tuple(shown), cursor=f"{unit.number}.{slot}")
                    shown.append(self._view(window, unit, slot))
        return TaskPage(tasks=tuple(shown), cursor=f"{last}.0" if last < plan.header.units else None)

    def task(self, tenant: str, ref: str) -> TaskDetail:
        """One task (`goal.task`) with its output. Raises NotFound."""
        goal_id, _, task_id = ref.partition(".")
        goal = self._own(tenant, goal_id)
        plan = self._plan(goal)
        unit, slot = _find(plan, task_id, goal.id)
        window = next(self._windows(goal, plan, unit.number, unit.number + 1))
        result = self._results.get(goal.id, goal.shards, [unit.number]).get(unit.number)
        output, url = self._output(goal, task_id, result.outcomes[slot].output if result else None)
        return TaskDetail(
            **self._view(window, unit, slot).model_dump(),
            input=unit.tasks[slot].input,
            output=output,
            output_url=url,
            priority=unit.priority,
            retries=unit.retries,
            timeout=unit.timeout,
        )

    def result(self, tenant: str, goal_id: str) -> GoalResult:
        """What came of a goal, with links to its files. Raises IllegalTransition while it has not ended."""
        goal = self._own(tenant, goal_id)
        if not goal.state.is_at_rest:
            raise IllegalTransition(f"goal {goal.id} is {goal.state}; it has a result once it has ended")
        prefix = blob_prefix(goal.tenant, goal.id)
        output, url = self._output(goal, "", goal.output)
        files = tuple(
            FileView(name=uri.partition(f"/{prefix}")[2], uri=uri, size=size, url=self._blobs.link(uri, LINK_LIFETIME))
            for uri, size in self._blobs.list(prefix)
        )
        return GoalResult(goal=GoalView.of(goal, _final_counts(goal)), output=output, output_url=url, files=files)

    def agents(self, tenant: str, agents: Sequence[Agent]) -> AgentList:
        """Agents as this tenant may see them: without what they do for others.

        An agent doesn't always say that it is done (that would cost a write per message), and can't when it dies: what it
        says of goals that have ended, or said longer ago than its invocations may last, is out of date.
        """
        now = self._clock()
        told = {task for agent in agents for task in (*agent.tasks, agent.last) if task}
        goals = {goal.id: goal for goal in self._get_all(sorted({task.partition("/")[0] for task in told}))}
        alive = {goal.id: goal.tenant for goal in goals.values() if not goal.state.is_final}
        own = {task for task in told if (goal := goals.get(task.partition("/")[0])) and goal.tenant == tenant}
        views: list[AgentView] = []
        for agent in agents:
            current = [task for task in agent.tasks if task.partition("/")[0] in alive and self._may_be_at_work(agent, now)]
            if agent.state is AgentState.EXECUTING and not current:
                agent = replace(agent, state=AgentState.IDLE)  # noqa: PLW2901 - the same agent, as it must be by now
            last = agent.last if agent.last in own else None
            views.append(AgentView.of(agent, tuple(task for task in current if task in own), last))
        return AgentList(agents=tuple(views))

    def _may_be_at_work(self, agent: Agent, now: datetime) -> bool:
        spec = self._catalog.pools.get(agent.pool)
        return agent.may_be_at_work(now, timedelta(seconds=spec.timeout) if spec else LIFETIME)

    def _own(self, tenant: str, goal_id: str) -> Goal:
        goal = self._goals.get([goal_id]).get(goal_id)
        if goal is None or goal.tenant != tenant:
            raise NotFound(f"there is no goal {goal_id[:64]!r}")
        return goal

    def _get_all(self, goal_ids: Sequence[str]) -> Iterator[Goal]:
        for start in range(0, len(goal_ids), 100):
            yield from self._goals.get(goal_ids[start : start + 100]).values()

    def _counts(self, goal: Goal) -> dict[TaskState, int]:
        if goal.state.is_final:
            return _final_counts(goal)
        if goal.tasks > EXACT_TASKS:
            return _with_rest(goal, {**self._tally(goal), TaskState.RUNNING: len(self._running(goal))})
        counts: dict[TaskState, int] = {}
        plan = self._plan(goal)
        for window in self._windows(goal, plan, 0, plan.header.units):
            for unit in window.units:
                for slot in range(len(unit.tasks)):
                    state = window.state(unit, slot)
                    counts[state] = counts.get(state, 0) + 1
        return counts

    def _tally(self, goal: Goal) -> dict[TaskState, int]:
        """A large goal's results by state, up to some seconds old: 20 for 100,000 tasks."""
        now, known = self._clock(), self._tallies.get(goal.id)
        if known is None or now >= known.until:
            counts = self._results.tally(goal.id, goal.shards)
            known = _Tally(counts, now + timedelta(seconds=goal.tasks / TASKS_PER_SECOND))
            self._tallies[goal.id] = known
            if len(self._tallies) > _KEPT_GOALS:
                self._tallies.popitem(last=False)
        return known.counts

    def _plan(self, goal: Goal) -> PlanReader:
        if known := self._kept.get(goal.id):
            self._kept.move_to_end(goal.id)
            return known.plan
        stored = self._plans.read(goal.id)
        if goal.tasks > EXACT_TASKS:
            return stored
        known = self._kept[goal.id] = _Known(stored.whole())
        if len(self._kept) > _KEPT_GOALS:
            self._kept.popitem(last=False)
        return known.plan

    def _windows(self, goal: Goal, plan: PlanReader, first: int, last: int) -> Iterator[_Window]:
        """The units from `first` to before `last` with what is needed to tell their tasks' states."""
        running = {} if goal.state.is_final else self._running(goal)
        if known := self._kept.get(goal.id):
            missing = [number for number in range(len(known.plan.units)) if number not in known.results]
            known.results.update(self._results.get(goal.id, goal.shards, missing, outputs=False))
            ready = frozenset(frontier(known.plan, known.results.keys()))
            yield self._window(goal, known.plan.units[first:last], known.results, ready, running)
            return
        for start in range(first, last, MAX_PAGE):
            units = tuple(plan.unit(number) for number in range(start, min(start + MAX_PAGE, last)))
            results = self._results.get(goal.id, goal.shards, [unit.number for unit in units], outputs=False)
            open_units = [unit for unit in units if unit.number not in results]
            yield self._window(goal, units, results, self._ready(goal, plan, open_units), running)

    def _ready(self, goal: Goal, plan: PlanReader, units: Sequence[Unit]) -> frozenset[int]:
        """Those of a large plan's units that can be seen to be ready: roots, and those whose every reference has a result.

        What waits by `depends_on` alone shows as WAITING until an agent has it: units don't know what they wait for.
        """
        roots = set(expand(plan.header.roots))
        sources = {unit.number: _sources(unit) for unit in units}
        wanted = set().union(*sources.values()) if sources else set()
        done: Iterable[int] = ()
        if 0 < len(wanted) <= MAX_SOURCES:
            done = self._results.get(goal.id, goal.shards, sorted(wanted), outputs=False)
        there = set(done)
        return frozenset(n for n, needed in sources.items() if n in roots or (needed and needed <= there))

    def _window(
        self, goal: Goal, units: Sequence[Unit], results: dict[int, Result], ready: frozenset[int], running: dict[str, Agent]
    ) -> _Window:
        children = {
            child_goal_id(goal.id, unit.number, 0): unit.number
            for unit in units
            if unit.number in ready and unit.number not in results and len(unit.tasks) == 1
        }
        # More than a page of ready units are a wide fan-out in its queues; asking for each whether it delegated is dear.
        asked = list(children)[:MAX_PAGE] if not goal.state.is_final else []
        delegated = frozenset(children[child.id] for child in self._get_all(asked))
        waiting = [unit for unit in units if unit.number in ready and not goal.state.is_final]
        requests = self._approvals.of(goal.id, waiting)
        pending = frozenset(unit for unit, one in requests.items() if one.decision is Decision.PENDING)
        return _Window(goal, tuple(units), results, ready, running, delegated, pending)

    def _running(self, goal: Goal) -> dict[str, Agent]:
        """The goal's tasks that agents say they work on."""
        now = self._clock()
        return {
            task.partition("/")[2]: agent
            for agent in self._agents.list(sorted(self._catalog.pools))
            if self._may_be_at_work(agent, now)
            for task in agent.tasks
            if task.startswith(f"{goal.id}/")
        }

    def _view(self, window: _Window, unit: Unit, slot: int) -> TaskView:
        task, goal = unit.tasks[slot], window.goal
        result, agent = window.results.get(unit.number), window.running.get(unit.tasks[slot].id)
        state = window.state(unit, slot)
        pools = self._catalog.pools_for([unit.capability])
        sub_goal = child_goal_id(goal.id, unit.number, 0) if unit.number in window.delegated else None
        if result and result.agent.startswith(_DELEGATED):
            sub_goal = result.agent.removeprefix(_DELEGATED)
        return TaskView(
            id=task.id,
            ref=f"{goal.id}.{task.id}",
            capability=unit.capability,
            pool=agent.pool if agent and not result else pools[0] if len(pools) == 1 else None,
            state=state,
            agent=result.agent if result and not sub_goal else agent.id if agent and not result else None,
            attempt=result.attempt if result else None,
            started=result.started if result else None,
            duration=result.duration if result else None,
            failure=FailureView.of(result.outcomes[slot].failure) if result else None,
            sub_goal=sub_goal,
        )

    def _output(self, goal: Goal, task_id: str, output: Any) -> tuple[Any, str | None]:
        """The output itself, or None and a link if it is too large to travel in an answer."""
        if output is None or len(body := dumps(output).encode()) <= INLINE_OUTPUT_BYTES:
            return output, None
        uri = self._blobs.put(f"outputs/{goal.id}/shown/{task_id or 'goal'}.json", body, "application/json")
        return None, self._blobs.link(uri, LINK_LIFETIME)


def _sources(unit: Unit) -> set[int]:
    return {place[0] for task in unit.tasks for places in task.sources.values() for place in places}


def _final_counts(goal: Goal) -> dict[TaskState, int]:
    return _with_rest(goal, {TaskState(state): number for state, number in goal.counts.items()})


def _with_rest(goal: Goal, counts: dict[TaskState, int]) -> dict[TaskState, int]:
    """The counts that aren't zero, and what is left of the goal's tasks as WAITING."""
    rest = max(0, goal.tasks - sum(counts.values()))
    return {state: number for state, number in {**counts, TaskState.WAITING: rest}.items() if number}


def _find(plan: PlanReader, task_id: str, goal_id: str) -> tuple[Unit, int]:
    for number in range(plan.header.units):
        unit = plan.unit(number)
        for slot, task in enumerate(unit.tasks):
            if task.id == task_id:
                return unit, slot
    raise NotFound(f"goal {goal_id} has no task {task_id[:128]!r}")


def _read_cursor(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    if not (found := _CURSOR.fullmatch(cursor)):
        raise InvalidRequest.of("cursor", f"must be one that a page of tasks gave, not {cursor[:40]!r}")
    return int(found[1]), int(found[2])

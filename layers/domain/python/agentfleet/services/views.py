"""What the API shows and takes: the shapes that the server, the SDK and the OpenAPI document share."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from agentfleet.domain.errors import Problem
from agentfleet.domain.fleet import Agent, AgentState, Fleet, Pool
from agentfleet.domain.goal import Failure, Goal, GoalState, OnFailure
from agentfleet.domain.names import Priority
from agentfleet.domain.playbook import ParameterType, Playbook
from agentfleet.domain.pool_health import HealthState
from agentfleet.domain.result import TaskState
from agentfleet.domain.scaling import Action, Decision, ScalingMode, ScalingRecord
from agentfleet.domain.task import BudgetSpec

FINISHED: Final = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED)
"""The states in which nothing happens to a task any more."""


class View(BaseModel):
    """What is shown. A client of an older version ignores fields that it doesn't know."""

    # Built when first used: reading the docstrings of all of them takes a cold start 100 ms, and only the API shows anything.
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, defer_build=True)


class Order(BaseModel):
    """What is taken: a field that doesn't exist is an error, not a surprise."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)


class ProblemView(View):
    """One thing wrong with a request."""

    field: str
    """Where: `tasks[load].input.rows.$from`, `playbook`, `size`."""
    message: str
    """What is wrong with it and what is allowed."""


class ErrorView(View):
    """The body of every error response."""

    error: str
    """A stable word for programs: invalid_request, not_found, conflict, unauthorized, unavailable, internal_error."""
    message: str
    """A sentence for people."""
    problems: tuple[ProblemView, ...] = ()

    @classmethod
    def of(cls, error: str, message: str, problems: tuple[Problem, ...] = ()) -> Self:
        """An error body from the domain's problems."""
        shown = tuple(ProblemView(field=problem.field, message=problem.message) for problem in problems)
        return cls(error=error, message=message, problems=shown)


class FailureView(View):
    """Why a task or a goal failed."""

    error: str
    message: str
    task: str | None = None
    """The id of the task whose failure it was."""

    @classmethod
    def of(cls, failure: Failure | None) -> Self | None:
        """None for none."""
        return cls(error=failure.error, message=failure.message, task=failure.task) if failure else None


class UndoingView(View):
    """How far it is to undo a goal."""

    ends_as: GoalState
    """FAILED or CANCELLED: what the goal becomes when all is undone."""
    attempt: int
    """How many sagas were started for it."""
    done: bool
    failure: FailureView | None = None
    """Why the last saga gave up."""


class GoalView(View):
    """A goal as its owner sees it."""

    id: str
    name: str
    state: GoalState
    priority: Priority
    on_failure: OnFailure
    tasks: int
    """How many tasks its plan has."""
    counts: dict[TaskState, int] | None = None
    """Tasks by state. Exact up to 2,000 tasks; above, RUNNING is what agents said last, and what is ready counts as WAITING.
    Null in listings of goals that have not ended."""
    created: datetime
    deadline: datetime | None = None
    """When it fails if it has not ended by then."""
    paused: datetime | None = None
    """Since when it has been held back."""
    origin: str | None = None
    """The goal that it was forked from."""
    words: str = ""
    """What was asked for, if it was asked for in words."""
    budget: BudgetSpec | None = None
    """The limits of its own, if it has any."""
    finished: datetime | None = None
    duration: float | None = None
    """Seconds from acceptance to the end."""
    failure: FailureView | None = None
    undoing: UndoingView | None = None
    """Of a goal that ends by compensation."""
    labels: dict[str, str] = Field(default_factory=dict)
    parent: str | None = None
    """The goal whose task this one carries out."""

    @classmethod
    def of(cls, goal: Goal, counts: dict[TaskState, int] | None = None) -> Self:
        """The view of a stored goal; `counts` if they are known."""
        return cls(
            id=goal.id,
            name=goal.name,
            state=goal.state,
            priority=goal.priority,
            on_failure=goal.on_failure,
            tasks=goal.tasks,
            counts=counts,
            created=goal.created,
            deadline=goal.deadline,
            paused=goal.paused,
            origin=goal.origin,
            words=goal.words,
            budget=BudgetSpec.of(goal.budget) if goal.budget else None,
            finished=goal.finished,
            duration=goal.duration,
            failure=FailureView.of(goal.failure),
            undoing=UndoingView(
                ends_as=goal.undoing.ends_as,
                attempt=goal.undoing.attempt,
                done=goal.undoing.done,
                failure=FailureView.of(goal.undoing.failure),
            )
            if goal.undoing
            else None,
            labels=goal.labels,
            parent=goal.parent.goal_id if goal.parent else None,
        )

    @property
    def done(self) -> int:
        """How many of its tasks have ended, as far as `counts` tells."""
        return sum((self.counts or {}).get(state, 0) for state in FINISHED)


class ForkOrder(Order):
    """What to keep of a goal, and what to change."""

    keep: Annotated[tuple[str, ...], Field(max_length=100)] = ("*",)
    """Patterns of task ids whose successful results are taken over."""
    set: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Task id → dotted path inside its input → new value. These tasks and all that depend on them run again."""


class GoalPage(View):
    """Goals, newest first. Give `cursor` back for more; null: there are none."""

    goals: tuple[GoalView, ...]
    cursor: str | None = None


class TaskView(View):
    """A task of a goal."""

    id: str
    """Its id inside the plan."""
    ref: str
    """`goal.task`: what GET /tasks/{ref} takes."""
    capability: str
    pool: str | None = None
    """The pool that works on it; null if several offer the capability and none has started."""
    state: TaskState
    """WAITING for others, WAITING_FOR_APPROVAL by a person, READY (in a queue), RUNNING, or ended. A task of an ended goal that
    never ran stays WAITING."""
    agent: str | None = None
    attempt: int | None = None
    started: datetime | None = None
    duration: float | None = None
    """Seconds. Tasks that shared a message share it."""
    failure: FailureView | None = None
    sub_goal: str | None = None
    """The goal that carries the task out, if it was delegated."""


class TaskPage(View):
    """Tasks in the order of the plan. Give `cursor` back for more; null: there are none."""

    tasks: tuple[TaskView, ...]
    cursor: str | None = None


class TaskDetail(TaskView):
    """A task with what goes in and what came out."""

    input: dict[str, Any]
    """As planned: references are not resolved."""
    output: Any = None
    output_url: str | None = None
    """Where to get an output that is too large for this answer; valid for one hour."""
    priority: Priority
    retries: int
    timeout: float
    """Seconds that one attempt may take."""


class FileView(View):
    """A file that a goal left behind."""

    name: str
    """`task/file`."""
    uri: str
    size: int
    """Bytes."""
    url: str
    """Gives the file to whoever holds this address, for one hour."""


class GoalResult(View):
    """What came of a goal."""

    goal: GoalView
    output: Any = None
    output_url: str | None = None
    """Where to get an output that is too large for this answer; valid for one hour."""
    files: tuple[FileView, ...] = ()


class AgentView(View):
    """One worker: an execution environment of a pool, a container, or a remote agent."""

    id: str
    pool: str
    capabilities: tuple[str, ...]
    state: AgentState
    started: datetime
    seen: datetime
    """When it was last heard of."""
    tasks: tuple[str, ...] = ()
    """`goal/task` of what it works on now, as far as these are your goals."""
    last: str | None = None
    """`goal/task` of what it took up last, if that goal is yours."""
    completed: int = 0
    endpoint: str | None = None
    cache: dict[str, int] = {}
    """What happened in its cache since it started: `<tier>.hits`, `loads` …; empty for one without."""

    @classmethod
    def of(cls, agent: Agent, tasks: tuple[str, ...], last: str | None) -> Self:
        """The view of an agent whose visible tasks are `tasks`; `last` is what it did before, if that is visible."""
        return cls(
            id=agent.id,
            pool=agent.pool,
            capabilities=agent.capabilities,
            state=agent.state,
            started=agent.started,
            seen=agent.seen,
            tasks=tasks,
            last=last,
            completed=agent.completed,
            endpoint=agent.endpoint,
            cache=dict(agent.cache),
        )


class AgentList(View):
    """Living agents by pool."""

    agents: tuple[AgentView, ...]


class CapabilityView(View):
    """One thing that a pool's agents can do."""

    name: str
    description: str
    idempotent: bool
    timeout: float
    """Seconds."""
    chunk: int
    """How many tasks may share one message."""


class DecisionView(View):
    """What the fleet manager decided about a pool."""

    at: datetime
    since: datetime | None = None
    """Of holds in a row only the latest is kept; the first was then."""
    action: Action
    before: int
    """Concurrency that it found."""
    concurrency: int
    """Concurrency that it wants."""
    reason: str
    applied: bool
    """False for a hold, in a dry run, and when the change was refused."""

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """The view of a decision."""
        return cls(
            at=decision.at,
            since=decision.since,
            action=decision.action,
            before=decision.before,
            concurrency=decision.concurrency,
            reason=decision.reason,
            applied=decision.applied,
        )


class PoolView(View):
    """A pool as it is now."""

    name: str
    description: str
    capabilities: tuple[CapabilityView, ...]
    concurrency: int
    """How many agents each priority's queue may keep busy at once."""
    min_concurrency: int
    max_concurrency: int
    waiting: int
    """Messages ready in its queues."""
    in_flight: int
    dead: int
    """Messages in its dead-letter queue."""
    settled: bool
    """False while a change of concurrency is still taking hold."""
    scaling: ScalingMode = "off"
    """Does the fleet manager move its concurrency?"""
    decisions: tuple[DecisionView, ...] = ()
    """What it decided last, newest first: one in a list of pools, at most 20 for a single pool."""
    health: HealthState = HealthState.HEALTHY
    health_reason: str = ""
    """Why it isn't healthy."""

    @classmethod
    def of(
        cls,
        pool: Pool,
        description: str,
        capabilities: tuple[CapabilityView, ...],
        scaling: ScalingMode,
        record: ScalingRecord | None,
        health: tuple[HealthState, str],
    ) -> Self:
        """The view of a pool as it is now, with what its declaration says."""
        return cls(
            name=pool.name,
            description=description,
            capabilities=capabilities,
            concurrency=pool.concurrency,
            min_concurrency=pool.min_concurrency,
            max_concurrency=pool.max_concurrency,
            waiting=pool.waiting,
            in_flight=pool.in_flight,
            dead=pool.dead,
            settled=pool.settled,
            scaling=scaling,
            decisions=tuple(map(DecisionView.of, record.decisions)) if record else (),
            health=health[0],
            health_reason=health[1],
        )


class PoolList(View):
    """Every pool, by name."""

    pools: tuple[PoolView, ...]


class PoolChange(Order):
    """Another size for a pool."""

    concurrency: Annotated[int, Field(ge=1, le=1000)]


class LogLine(View):
    """A line that an agent logged."""

    at: datetime
    message: str


class LogPage(View):
    """The newest lines of a pool, oldest first."""

    lines: tuple[LogLine, ...]


class FleetOrder(Order):
    """Pools to be sized for a purpose."""

    size: Annotated[int, Field(ge=1, le=1000)]
    """How many agents each of the pools may run at once."""
    capabilities: Annotated[tuple[str, ...], Field(max_length=100)] | None = None
    """What the fleet must be able to do; null: everything there is."""


class FleetChange(Order):
    """Another size for a fleet."""

    size: Annotated[int, Field(ge=1, le=1000)]


class FleetView(View):
    """Pools that you have sized for a purpose."""

    id: str
    size: int
    pools: tuple[str, ...]
    before: dict[str, int]
    """Pool → concurrency before this fleet, restored by its release."""
    created: datetime
    released: datetime | None = None
    ready: bool
    """Does every pool have its size, with nothing left to take hold?"""

    @classmethod
    def of(cls, fleet: Fleet, *, ready: bool) -> Self:
        """The view of a fleet."""
        return cls(
            id=fleet.id,
            size=fleet.size,
            pools=fleet.pools,
            before=fleet.before,
            created=fleet.created,
            released=fleet.released,
            ready=ready,
        )


class FleetList(View):
    """Your fleets that have not been released, newest first."""

    fleets: tuple[FleetView, ...]


class ParameterView(View):
    """What a playbook asks for."""

    type: ParameterType
    description: str
    default: Any = None
    required: bool


class PlaybookView(View):
    """A named plan with parameters."""

    name: str
    description: str
    parameters: dict[str, ParameterView]
    tasks: int
    """Tasks as written: one with `foreach` counts once."""

    @classmethod
    def of(cls, playbook: Playbook) -> Self:
        """The view of a playbook."""
        return cls(**_playbook(playbook))


class PlaybookDetail(PlaybookView):
    """A playbook with its plan."""

    plan: dict[str, Any]

    @classmethod
    def of(cls, playbook: Playbook) -> Self:
        """The view of a playbook with its plan."""
        return cls(**_playbook(playbook), plan=playbook.plan.model_dump(mode="json"))


def _playbook(playbook: Playbook) -> dict[str, Any]:
    parameters = {
        name: ParameterView(**parameter.model_dump(), required=parameter.default is None)
        for name, parameter in playbook.parameters.items()
    }
    return {
        "name": playbook.name,
        "description": playbook.description,
        "parameters": parameters,
        "tasks": len(playbook.plan.tasks),
    }


class PlaybookList(View):
    """Every playbook, by name."""

    playbooks: tuple[PlaybookView, ...]


class HealthView(View):
    """The API answers."""

    status: str = "ok"
    version: str
    """Of the API."""

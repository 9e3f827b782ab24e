"""What the API shows and takes of goals, their tasks and results, and of playbooks."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import Field

from agentfleet.domain.goal import Goal, GoalState, OnFailure
from agentfleet.domain.names import Priority
from agentfleet.domain.playbook import ParameterType, Playbook
from agentfleet.domain.result import TaskState
from agentfleet.domain.task import BudgetSpec
from agentfleet.services.views import FailureView, Order, View

FINISHED: Final = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED)
"""The states in which nothing happens to a task any more."""


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

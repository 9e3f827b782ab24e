"""A goal: what somebody wants done, and the states it goes through."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain.bounds import Bounds
from agentfleet.domain.budget import Budget
from agentfleet.domain.errors import IllegalTransition, InvalidRequest
from agentfleet.domain.names import Priority

DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
"""The error of a goal that had not ended in time."""
LONGEST_LIFE: Final = timedelta(days=30)
"""The longest deadline that a goal may have, and what one that names none has: results are kept for longer than that."""

OnFailure = Literal["fail", "skip", "compensate", "replan"]
MAX_DEPTH: Final = 5
"""How many goals deep delegation may go."""


class GoalState(StrEnum):
    """Where a goal stands."""

    SUBMITTED = "SUBMITTED"
    PLANNING = "PLANNING"
    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    COMPENSATION_FAILED = "COMPENSATION_FAILED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Nothing happens to the goal any more."""
        return not MOVES[self]

    @property
    def is_alive(self) -> bool:
        """May its tasks still run?"""
        return self in {GoalState.PLANNING, GoalState.RUNNING}

    @property
    def is_at_rest(self) -> bool:
        """Does nothing happen to the goal unless a person asks for it?"""
        return self.is_final or self is GoalState.COMPENSATION_FAILED

    @property
    def is_over(self) -> bool:
        """Do its tasks never run again? What they did may still have to be undone."""
        return self is not GoalState.SUBMITTED and not self.is_alive


MOVES: Final[dict[GoalState, frozenset[GoalState]]] = {
    GoalState.SUBMITTED: frozenset({GoalState.PLANNING, GoalState.FAILED, GoalState.CANCELLED}),
    GoalState.PLANNING: frozenset({GoalState.RUNNING, GoalState.COMPENSATING, GoalState.FAILED, GoalState.CANCELLED}),
    GoalState.RUNNING: frozenset({GoalState.COMPENSATING, GoalState.SUCCEEDED, GoalState.FAILED, GoalState.CANCELLED}),
    GoalState.COMPENSATING: frozenset({GoalState.COMPENSATION_FAILED, GoalState.FAILED, GoalState.CANCELLED}),
    GoalState.COMPENSATION_FAILED: frozenset({GoalState.COMPENSATING, GoalState.FAILED, GoalState.CANCELLED}),
    GoalState.SUCCEEDED: frozenset(),
    GoalState.FAILED: frozenset(),
    GoalState.CANCELLED: frozenset(),
}


def sources(target: GoalState) -> frozenset[GoalState]:
    """The states from which a goal may move to `target`."""
    return frozenset(state for state, targets in MOVES.items() if target in targets)


class Parent(Struct, frozen=True):
    """The task whose sub-plan a goal carries out."""

    goal_id: str
    unit: int
    slot: int
    ancestors: tuple[str, ...]
    """Goal ids from the outermost goal down to `goal_id`."""
    reports: bool = True
    """Is the goal's end the end of that task? Not where the task called for it and waits for its output itself."""


class Failure(Struct, frozen=True):
    """Why a task or a goal failed."""

    error: str
    """The error's type, such as `PermanentError` or `TaskTimeout`."""
    message: str
    task: str | None = None


class Undoing(Struct, frozen=True):
    """How far it is to undo what a goal's tasks did."""

    ends_as: GoalState
    """FAILED or CANCELLED: what the goal becomes when all is undone."""
    attempt: int = 1
    """Counts the sagas that were started for it."""
    done: bool = False
    """Is all undone?"""
    failure: Failure | None = None
    """Why the last saga gave up, and on which task; nothing while one runs."""


class Width(Struct, frozen=True):
    """How much of its tenant's window a goal may ask for."""

    goal_id: str
    tasks: int


class Goal(Struct, frozen=True):
    """A goal as it is stored. Its plan and its results live beside it."""

    id: str
    tenant: str
    name: str
    state: GoalState
    created: datetime
    tasks: int
    shards: int
    priority: Priority = "normal"
    on_failure: OnFailure = "fail"
    labels: dict[str, str] = field(default_factory=dict)
    parent: Parent | None = None
    deadline: datetime | None = None
    """When it fails if it has not ended by then; None: `LONGEST_LIFE` after its creation."""
    paused: datetime | None = None
    """Since when its tasks are held back; results of tasks that were running still count."""
    resumed: datetime | None = None
    """When its tasks, held back before, were last sent again."""
    origin: str | None = None
    """The goal that it was forked from."""
    words: str = ""
    """What was asked for, if it was asked for in words."""
    asked: str | None = None
    """Digest of the request that made it, if that had an idempotency key."""
    budget: Budget | None = None
    """What it may use up, and what the goals above it may; None where nothing limits it."""
    bounds: Bounds | None = None
    """What it and its sub-plans may do, where an agent's model set it going."""
    finished: datetime | None = None
    output: Any = None
    counts: dict[str, int] = field(default_factory=dict)
    """Tasks by final state, known when the goal has ended."""
    failure: Failure | None = None
    undoing: Undoing | None = None
    """Of a goal that ends by compensation."""

    @property
    def duration(self) -> float | None:
        """Seconds from acceptance to the end, once it has ended."""
        return (self.finished - self.created).total_seconds() if self.finished else None

    @property
    def due(self) -> datetime:
        """When it fails if it has not ended by then, waiting for a person or paused as it may be."""
        return self.deadline or self.created + LONGEST_LIFE

    @property
    def was_late(self) -> bool:
        """Did it fail because its deadline was past?"""
        return self.failure is not None and self.failure.error == DEADLINE_EXCEEDED and self.failure.task is None

    def lateness(self, now: datetime) -> Failure | None:
        """Why it has to fail now because its deadline is past; None while it isn't."""
        if now < self.due:
            return None
        return Failure(DEADLINE_EXCEEDED, f"it had not ended by {self.due:%Y-%m-%d %H:%M:%S} UTC")

    def refuse_other(self, asked: str) -> None:
        """Raises InvalidRequest if its key comes again with another request than the one with this digest."""
        if self.asked not in {None, asked}:
            said = f"was used for another request, which made goal {self.id}: send the same again, or take another key"
            raise InvalidRequest.of("idempotency-key", said)

    def move(self, to: GoalState, **changes: Any) -> "Goal":
        """The goal in its next state. Raises IllegalTransition."""
        if to not in MOVES[self.state]:
            allowed = ", ".join(sorted(MOVES[self.state])) or "nothing: it has ended"
            raise IllegalTransition(f"goal {self.id} is {self.state} and can't become {to}; allowed: {allowed}")
        return replace(self, state=to, **changes)

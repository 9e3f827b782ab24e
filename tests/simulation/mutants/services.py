"""Bugs in the services."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from agentfleet.domain.approval import Approval
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.history import Event, Head, Segment, extend
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from agentfleet.services import history, perform
from agentfleet.services.accept import Accepter
from agentfleet.services.approval import ApprovalGate, LocalApprovals
from agentfleet.services.capability import TaskContext
from agentfleet.services.finish import EVENTS, Finisher
from agentfleet.services.perform import Performer
from agentfleet.services.release import ReleasePart
from agentfleet.services.run import TaskRunner
from agentfleet.services.work import Batch
from tests.fakes.history import FakeHistory
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.work import STAGE

_load = TaskRunner._load
_store = TaskRunner._store
_goals_now = TaskRunner._goals_now
_advance = Finisher.advance
_prepare = Performer._prepare
_outcome = perform._outcome


def _delete_then_release(self: TaskRunner, batch: Batch) -> None:
    _store(self, batch)
    for work in batch.works:
        STAGE.delete(work.delivery.queue, work.delivery.receipt)


def _all_alive(self: TaskRunner, wanted: set[str]) -> dict[str, Goal]:
    return {name: replace(goal, state=GoalState.RUNNING) for name, goal in _goals_now(self, wanted).items()}


def _no_ancestors(self: TaskRunner, wanted: set[str]) -> dict[str, Goal]:
    return self._refresh(wanted, self._clock())


def _run_unclaimed(self: TaskRunner, batch: Batch) -> None:
    """Takes no lease."""


def _recall_nothing(self: TaskRunner, batch: Batch) -> None:
    """Looks for no result left behind."""


def _settle_whatever_happens(self: TaskRunner, batch: Batch) -> None:
    for works in batch.by_goal():
        results = [work.result for work in works if work.result]
        try:
            self._finisher.advance(works[0].goal, works[0].plan, results)
        except Exception as error:
            STAGE.world.note(f"swallowed: {error!r}")
        batch.settle(works)


def _errors_succeed(value: Any, task: str) -> TaskOutcome:
    return TaskOutcome(TaskState.SUCCEEDED) if isinstance(value, Exception) else _outcome(value, task)


def _ignore_when(self: Performer, work: Any, task: Any, outcome_at: Any) -> Any:
    return _prepare(self, work, replace(task, when=None), outcome_at)


def _announce_first(
    self: Finisher, goal: Goal, state: GoalState, *, failure: Any = None, repeated: bool = False, undo: Any = None
) -> Goal:
    if goal.parent is None:
        self._bus.publish(EVENTS[state], {"goal": goal.id})
    wanted = state is not GoalState.SUCCEEDED and (goal.on_failure == "compensate" if undo is None else undo)
    ended, ours = self._settle(goal, state, failure, undo=wanted)
    if ours and (goal.parent or wanted):
        self.announce(ended)
    return ended


def _confirm_nothing(self: Finisher, goal: Goal, unit: int) -> None:
    """A message of an ended goal tells nothing."""


def _release_first_time_only(self: Finisher, goal: Goal, plan: Any, done: Sequence[Result], *, repeated: bool = False) -> None:
    if not repeated:
        _advance(self, goal, plan, done)


class _WithPolicy:
    """A plan all of whose units have one policy."""

    def __init__(self, plan: Any, policy: str) -> None:
        self._plan = plan
        self._policy = policy
        self.header = plan.header

    def unit(self, number: int) -> Any:
        return replace(self._plan.unit(number), on_failure=self._policy)

    def join(self, number: int) -> Any:
        return self._plan.join(number)

    def whole(self) -> Any:
        return self._plan.whole()


def _with_policy(policy: str) -> Any:
    def advance(self: Finisher, goal: Goal, plan: Any, done: Sequence[Result], *, repeated: bool = False) -> None:
        _advance(self, goal, _WithPolicy(plan, policy), done, repeated=repeated)

    return advance


def _report_nothing(self: Finisher, child: Goal, link: Any) -> None:
    """A sub-plan's end stays its own affair."""


def _resume_whatever_state(self: Accepter, goal: Goal, stored: Any = None) -> Goal:
    plan = stored or self._plans.read(goal.id)
    self._releaser.release(goal, plan, plan.header.roots)
    running = replace(goal, state=GoalState.RUNNING)
    self._goals.replace(goal, running)
    return running


def _leave_part_of_it(self: ReleasePart, body: str) -> int:
    """Says that the units were sent."""
    return 0


def _wait_for_nobody(self: ApprovalGate, batch: Batch) -> None:
    """Lets everything through."""


def _count_receives(self: TaskRunner, batch: Batch) -> None:
    """Also one that Lambda refused, or that took its agent down."""
    _load(self, batch)
    for work in batch.works:
        work.delivery = replace(work.delivery, failed=work.delivery.attempt - 1)


def _extend_without_marks(head: Head, changes: Any) -> tuple[list[Event], Head]:
    return extend(replace(head, marks={}), changes)


def _append_over(self: FakeHistory, segment: Segment) -> bool:
    self.stored.setdefault(segment.head.goal_id, {})[segment.first] = segment
    return True


SERVICES: Final = (
    Mutant("message deleted before the release", TaskRunner, "_store", _delete_then_release, first=128),
    Mutant("ended goals count as alive", TaskRunner, "_goals_now", _all_alive),
    Mutant("sub-plans outlive their goal", TaskRunner, "_goals_now", _no_ancestors),
    Mutant("nobody waits for approval", ApprovalGate, "__call__", _wait_for_nobody),
    Mutant("what was rejected runs", Approval, "rejection", property(lambda approval: {"c": 0})),
    Mutant("every request is a new one", LocalApprovals, "get", lambda self, goal_id, unit: None),
    Mutant("claims are skipped", TaskRunner, "_claim", _run_unclaimed),
    Mutant("recall looks for nothing", TaskRunner, "_recall", _recall_nothing),
    Mutant("a failed release is swallowed", TaskRunner, "_advance", _settle_whatever_happens, first=392),
    Mutant("errors count as success", perform, "_outcome", _errors_succeed),
    Mutant("a receive is a failed attempt", TaskRunner, "_load", _count_receives),
    Mutant("nothing is retried", perform, "is_retryable", lambda error: False),
    Mutant("conditions are ignored", Performer, "_prepare", _ignore_when),
    Mutant("the end is told before it is so", Finisher, "end", _announce_first),
    Mutant("a redelivery does not confirm the end", Finisher, "confirm_end", _confirm_nothing, first=128),
    Mutant("only a first completion releases", Finisher, "advance", _release_first_time_only),
    Mutant("skip is treated as fail", Finisher, "advance", _with_policy("fail")),
    Mutant("fail is treated as skip", Finisher, "advance", _with_policy("skip")),
    Mutant("sub-plans do not report", Finisher, "_report_to_parent", _report_nothing),
    Mutant("a repeated submission sets the state back", Accepter, "resume", _resume_whatever_state),
    Mutant("the history repeats what comes again", history, "extend", _extend_without_marks),
    Mutant("the history forks", FakeHistory, "append", _append_over),
    Mutant("wide releases are not sent", ReleasePart, "__call__", _leave_part_of_it),
    Mutant(
        "every attempt has its own idempotency key",
        TaskContext,
        "idempotency_key",
        property(lambda context: f"{context.goal_id}/{context.task_id}/{context.attempt}"),
    ),
)

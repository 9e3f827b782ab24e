"""Bugs in undoing goals."""

from collections.abc import Set
from typing import Any, Final

from agentfleet.domain.goal import Goal
from agentfleet.domain.plan import CompiledPlan
from agentfleet.domain.result import TaskState
from agentfleet.services import saga
from agentfleet.services.saga import Saga
from agentfleet.services.undo import Undoer
from tests.simulation.mutants.mutant import Mutant


def _seal_nothing(self: Saga, outlook: Any, units: Any) -> None:
    """Waits for nobody, and asks nobody what may have happened."""


def _in_the_order_of_doing(plan: CompiledPlan, pending: Set[int]) -> list[int]:
    return sorted(pending)[:1]


def _leave_sub_plans(self: Saga, outlook: Any, unit: int, child: Goal) -> None:
    """Undoes the outermost goal's own tasks only."""


SAGAS: Final = (
    Mutant("a saga waits for no claims", Saga, "_seal", _seal_nothing, first=178),
    Mutant("compensations run in the order of doing", saga, "unblocked", _in_the_order_of_doing, first=35),
    Mutant("sub-plans are not undone", Saga, "_look_below", _leave_sub_plans),
    Mutant(
        "what failed counts as not done",
        saga,
        "_took_effect",
        lambda one: one.outcomes[0].state is TaskState.SUCCEEDED,
        first=39,
    ),
    Mutant("a compensation forgets that it was done", Undoer, "_is_undone", lambda self, goal, unit: False, first=1411),
)

"""Undoing a goal: in which order, and what travels to the agents that do it."""

import json
from collections.abc import Set
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.messages import BadMessage
from agentfleet.domain.plan import CompiledPlan, leading_to

SEALER: Final = "saga"
"""Who owns the claims of tasks that may not begin any more. Other owners are ids of messages."""


class SagaStatus(StrEnum):
    """What has become of a saga that was started."""

    RUNNING = "RUNNING"
    ENDED = "ENDED"


class Outcome(StrEnum):
    """What a look at a goal that is being undone found."""

    UNDO = "UNDO"
    """These compensations may run now."""
    WAIT = "WAIT"
    """Tasks may still be at work; what they do has to be undone too."""
    COMPENSATED = "COMPENSATED"
    """All is undone, and the goal has ended."""
    HANDED_ON = "HANDED_ON"
    """Another execution goes on: one has room for 25,000 events (AWS Step Functions Developer Guide, 'Service quotas')."""
    OVER = "OVER"
    """The goal isn't compensating, or a later attempt is."""


class UndoPointer(Struct, frozen=True):
    """A request to undo one unit, as its receiver reads it."""

    goal_id: str
    unit: int
    tenant: str
    saga: str
    """The goal that is being undone: `goal_id` or one that it is part of."""
    token: str
    """Whom to answer."""


def undo_message(goal_id: str, unit: int, tenant: str, saga: str) -> dict[str, Any]:
    """The message's JSON, to which the state machine adds its token."""
    return {"undo": goal_id, "unit": unit, "tenant": tenant, "saga": saga}


def read_undo(body: str) -> UndoPointer | None:
    """None for a message that isn't a request to undo something. Raises BadMessage for one that is, but can't be read."""
    if '"undo"' not in body:
        return None
    try:
        read = json.loads(body)
    except ValueError as error:
        raise BadMessage(f"not JSON: {body[:200]}") from error
    match read:
        case {
            "undo": str(goal), "unit": int(unit), "tenant": str(tenant), "saga": str(saga), "token": str(token),
        } if unit >= 0:  # fmt: skip
            return UndoPointer(goal, unit, tenant, saga, token)
        case {"undo": _}:
            raise BadMessage(f"not a request to undo (undo, unit, tenant, saga, token): {body[:200]}")
    return None


def unblocked(plan: CompiledPlan, pending: Set[int]) -> list[int]:
    """Those of the pending units that nothing pending depends on, directly or not: what may be undone now. Ascending."""
    return sorted(pending - leading_to(plan, pending))

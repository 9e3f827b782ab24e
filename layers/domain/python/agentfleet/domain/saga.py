"""Undoing a goal: in which order, and what travels to the agents that do it."""

import json
from collections.abc import Set
from enum import StrEnum
from functools import cache
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.messages import BadMessage
from agentfleet.domain.plan import CompiledPlan, expand

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
    """Those of the pending units that nothing pending depends on, directly or not: what may be undone now. Ascending.

    Units are numbered level by level, so whoever depends on a unit has a higher number.
    """
    blocked = bytearray(len(plan.units))

    def holds(number: int) -> bool:
        return bool(blocked[number]) or number in pending

    @cache
    def join_holds(number: int) -> bool:
        join = plan.joins[number]
        return any(map(holds, expand(join.releases))) or (join.above is not None and join_holds(join.above[0]))

    for unit in reversed(plan.units):
        after = any(map(holds, expand(unit.releases))) or any(join_holds(join) for join, _ in unit.joins)
        blocked[unit.number] = after
    return [number for number in sorted(pending) if not blocked[number]]

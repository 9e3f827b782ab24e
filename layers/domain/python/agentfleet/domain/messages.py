"""What travels through the queues: pointers, never payloads. What to do stands in the plan, which every agent can read."""

import json
from datetime import timedelta
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.codec import dumps
from agentfleet.domain.names import Priority
from agentfleet.domain.plan import Range

DEFAULT_TENANT: Final = "default"
"""Whose an event is that says nothing of a tenant."""
_COUNTS: Final = ("spent", "failed", "postponed", "wake")
"""What a task's message says only if it is not zero."""


class BadMessage(ValueError):
    """A message that isn't one of ours; says what is wrong with it."""


class TaskMessage(Struct, frozen=True):
    """Carry out one unit of a goal's plan."""

    goal_id: str
    unit: int
    tenant: str
    pool: str
    priority: Priority
    delay: timedelta = timedelta()
    """How long the queue keeps it back, at most 15 minutes."""
    spent: int = 0
    """Receives of earlier messages in which it may have been tried."""
    failed: int = 0
    """Attempts that came to an error: what its `retries` are for."""
    postponed: int = 0
    """How often the unit was sent again because it could not be tried."""
    wake: int = 0
    """Is it sent beside the message of a unit that waits, since what it waits for has ended? Then the number of the look."""

    def body(self) -> str:
        """The message's JSON. Where and when it goes isn't part of it."""
        counts = {name: count for name in _COUNTS if (count := getattr(self, name))}
        return dumps({"goal": self.goal_id, "unit": self.unit, "tenant": self.tenant, **counts})


class TaskPointer(Struct, frozen=True):
    """A task message as its receiver reads it."""

    goal_id: str
    unit: int
    tenant: str
    spent: int = 0
    failed: int = 0
    postponed: int = 0
    wake: int = 0


class ReleaseMessage(Struct, frozen=True):
    """Send the messages of these units: a part of a large fan-out."""

    goal_id: str
    units: tuple[Range, ...]

    def body(self) -> str:
        """The message's JSON."""
        return dumps({"goal": self.goal_id, "units": self.units})


class SubmittedEvent(Struct, frozen=True):
    """A goal that comes as an event."""

    id: str
    detail: dict[str, Any]
    """A goal request, with `tenant` beside it if there are several."""

    @property
    def tenant(self) -> Any:
        """Whose it is, as the event has it."""
        return self.detail.get("tenant", DEFAULT_TENANT)


def read_submission(body: str) -> SubmittedEvent:
    """An EventBridge event. Raises BadMessage."""
    match _read(body):
        case {"id": str(event_id), "detail": dict(detail)}:
            return SubmittedEvent(event_id, dict(detail))
    raise BadMessage(f"not an EventBridge event (id, detail): {body[:200]}")


def read_task(body: str) -> TaskPointer:
    """Raises BadMessage."""
    match _read(body):
        case {"goal": str(goal), "unit": int(unit), "tenant": str(tenant), **rest}:
            match [rest.get(name, 0) for name in _COUNTS]:
                case [int(spent), int(failed), int(postponed), int(wake)] if min(unit, spent, failed, postponed, wake) >= 0:
                    return TaskPointer(goal, unit, tenant, spent, failed, postponed, wake)
    raise BadMessage(f"not a task message (goal, unit, tenant): {body[:200]}")


def read_release(body: str) -> ReleaseMessage:
    """Raises BadMessage."""
    match _read(body):
        case {"goal": str(goal), "units": list(units)}:
            try:
                return ReleaseMessage(goal, tuple((int(first), int(last)) for first, last in units))
            except (TypeError, ValueError) as error:
                raise BadMessage(f"units must be pairs of numbers: {body[:200]}") from error
    raise BadMessage(f"not a release message (goal, units): {body[:200]}")


def _read(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise BadMessage(f"not JSON: {body[:200]}") from error

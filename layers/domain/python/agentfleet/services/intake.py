"""Goals that come in as events: `GoalSubmitted` on the fleet's bus."""

import json
from typing import Any, Final

from agentfleet.domain.errors import Forbidden, InvalidRequest, Problem
from agentfleet.domain.goal import Goal
from agentfleet.domain.messages import BadMessage
from agentfleet.domain.task import parse_request
from agentfleet.ports import MessageBus
from agentfleet.services.accept import Accepter

DEFAULT_TENANT: Final = "default"


class EventIntake:
    """Accepts the goal of one event. The event's id makes the same event the same goal, however often it is delivered."""

    def __init__(self, accepter: Accepter, bus: MessageBus) -> None:
        self._accepter = accepter
        self._bus = bus

    def __call__(self, body: str) -> Goal | None:
        """The goal of an EventBridge event (JSON): its detail is a goal request, with `tenant` beside it if there are several.

        A request that can't be accepted is answered by `GoalRejected` on the bus and gives None. Raises BadMessage for
        what isn't an event, DeliveryFailed if a queue or the bus did not take a message.
        """
        event_id, detail = _read(body)
        tenant = detail.pop("tenant", DEFAULT_TENANT)
        try:
            if not isinstance(tenant, str) or not tenant:
                raise InvalidRequest.of("tenant", f"must be a name, not {tenant!r:.80}")
            return self._accepter.accept(parse_request(detail), tenant, f"event:{event_id}")[0]
        except (InvalidRequest, Forbidden) as error:
            found = error.problems if isinstance(error, InvalidRequest) else (Problem("tenant", str(error)),)
            problems = [problem.as_dict() for problem in found]
            self._bus.publish("GoalRejected", {"event": event_id, "tenant": str(tenant)[:128], "problems": problems})
            return None


def _read(body: str) -> tuple[str, dict[str, Any]]:
    try:
        event = json.loads(body)
    except ValueError as error:
        raise BadMessage(f"not JSON: {body[:200]}") from error
    match event:
        case {"id": str(event_id), "detail": dict(detail)}:
            return event_id, dict(detail)
    raise BadMessage(f"not an EventBridge event (id, detail): {body[:200]}")

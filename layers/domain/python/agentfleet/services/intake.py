"""Goals that come in as events: `GoalSubmitted` on the fleet's bus."""

from agentfleet.domain.errors import Forbidden, InvalidRequest, Problem
from agentfleet.domain.goal import Goal
from agentfleet.domain.messages import read_submission
from agentfleet.domain.task import parse_request
from agentfleet.ports import MessageBus
from agentfleet.services.accept import Accepter


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
        event = read_submission(body)
        tenant, detail = event.tenant, {name: value for name, value in event.detail.items() if name != "tenant"}
        try:
            if not isinstance(tenant, str) or not tenant:
                raise InvalidRequest.of("tenant", f"must be a name, not {tenant!r:.80}")
            return self._accepter.accept(parse_request(detail), tenant, f"event:{event.id}")[0]
        except (InvalidRequest, Forbidden) as error:
            found = error.problems if isinstance(error, InvalidRequest) else (Problem("tenant", str(error)),)
            problems = [problem.as_dict() for problem in found]
            self._bus.publish("GoalRejected", {"event": event.id, "tenant": str(tenant)[:128], "problems": problems})
            return None

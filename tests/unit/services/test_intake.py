"""Goals that come in as events."""

import json
from typing import Any

import pytest

from agentfleet.domain.messages import BadMessage
from tests.fakes.fleet import InProcessFleet
from tests.unit.services.test_platform import goal_of, pool


def event(detail: Any, identity: str = "e1") -> str:
    """What EventBridge puts into the queue."""
    return json.dumps({"version": "0", "id": identity, "detail-type": "GoalSubmitted", "source": "shop", "detail": detail})


def test_an_event_delivered_twice_is_one_goal() -> None:
    """The event's id is the idempotency key."""
    fleet = InProcessFleet(pool)

    first = fleet.platform.intake(event({**goal_of({"id": "a"}), "tenant": "acme"}))
    second = fleet.platform.intake(event({**goal_of({"id": "a"}), "tenant": "acme"}))

    assert first is not None
    assert second is not None
    assert (first.id, first.tenant) == (second.id, "acme")
    assert len(fleet.goals.goals) == 1


def test_a_bad_request_is_answered_on_the_bus() -> None:
    """GoalRejected carries every problem; the message is done with."""
    fleet = InProcessFleet(pool)

    assert fleet.platform.intake(event(goal_of({"id": "a", "depends_on": ["b"]}))) is None

    topic, message = fleet.bus.published[-1]
    assert topic == "GoalRejected"
    assert message["problems"][0]["field"] == "tasks[a].depends_on"


@pytest.mark.parametrize("body", ["x", "[]", '{"id": 1, "detail": {}}', '{"id": "e", "detail": "text"}'])
def test_what_is_no_event_is_left_to_the_dead_letter_queue(body: str) -> None:
    """It raises, so that the message is received again and then kept for a person."""
    with pytest.raises(BadMessage):
        InProcessFleet(pool).platform.intake(body)

"""Requests for approval: asked once, decided once, listed while they wait."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.domain.approval import Approval, Decision
from agentfleet.domain.errors import InvalidRequest
from tests.contract.making import at_once
from tests.contract.world import World


def request(world: World, **changes: Any) -> Approval:
    """A new goal's request."""
    fields: dict[str, Any] = {
        "goal_id": world.fresh("goal"),
        "unit": 7,
        "tenant": world.fresh("tenant"),
        "tasks": ("pay", "pay.2"),
        "capability": "bank.pay",
        "input": '{"text":"Grüße 🚀 \\"twice\\""}',
        "why": "rule bank.*",
        "asked": world.clock() + timedelta(microseconds=1),
    }
    return Approval(**fields | changes)


def decided(approval: Approval, decision: Decision, note: str | None = "because") -> Approval:
    """The same with a decision."""
    return replace(approval, decision=decision, decided=approval.asked + timedelta(seconds=9), by="acme", note=note)


def test_what_is_asked_is_read_and_listed(world: World) -> None:
    """Every field comes back exactly, by unit, by goal and by tenant; nothing else's."""
    asked = request(world)

    assert world.approvals.ask(asked)

    assert world.approvals.get(asked.goal_id, 7) == asked
    assert world.approvals.get(asked.goal_id, 8) is None
    assert world.approvals.of_goal(asked.goal_id) == {7: asked}
    assert world.approvals.of_goal("nothing") == {}
    assert world.approvals.waiting(asked.tenant, 10, None).items == (asked,)
    assert world.approvals.waiting(world.fresh("tenant"), 10, None).items == ()


def test_the_first_request_stands(world: World) -> None:
    """Asking again changes nothing and is listed once."""
    first = request(world)
    world.approvals.ask(first)

    assert not world.approvals.ask(replace(first, why="another", asked=first.asked + timedelta(seconds=1)))

    assert world.approvals.get(first.goal_id, 7) == first
    assert world.approvals.waiting(first.tenant, 10, None).items == (first,)


@pytest.mark.parametrize("decision", [Decision.APPROVED, Decision.REJECTED])
def test_the_first_decision_stands(world: World, decision: Decision) -> None:
    """A second one changes nothing; what is decided waits no longer."""
    asked = request(world)
    world.approvals.ask(asked)
    yes = decided(asked, decision)

    assert world.approvals.decide(yes)
    assert not world.approvals.decide(decided(asked, Decision.REJECTED, "too late"))
    assert not world.approvals.ask(asked)

    assert world.approvals.get(asked.goal_id, 7) == yes
    assert world.approvals.waiting(asked.tenant, 10, None).items == ()


def test_what_was_not_asked_can_not_be_decided(world: World) -> None:
    """No decision before its request."""
    unknown = decided(request(world), Decision.APPROVED, None)

    assert not world.approvals.decide(unknown)
    assert world.approvals.get(unknown.goal_id, unknown.unit) is None


def test_one_of_many_deciders_wins(world: World) -> None:
    """Of ten that decide at once exactly one is told that it did."""
    asked = request(world)
    world.approvals.ask(asked)
    choices = [decided(asked, Decision.APPROVED if number % 2 else Decision.REJECTED, str(number)) for number in range(10)]

    def decide(choice: Approval) -> bool:
        return world.approvals.decide(choice)

    won = [choice for choice, first in zip(choices, at_once([partial(decide, one) for one in choices]), strict=True) if first]

    assert won == [world.approvals.get(asked.goal_id, 7)]


def test_what_waits_is_listed_in_pages_oldest_first(world: World) -> None:
    """Following the cursor shows everything once; a made-up cursor is refused."""
    first = request(world)
    asked = [replace(first, unit=unit, asked=first.asked + timedelta(seconds=unit)) for unit in (3, 1, 2)]
    for one in asked:
        world.approvals.ask(one)

    page = world.approvals.waiting(first.tenant, 2, None)
    rest = world.approvals.waiting(first.tenant, 2, page.cursor)

    assert [one.unit for one in page.items] == [1, 2]
    assert [one.unit for one in rest.items] == [3]
    with pytest.raises(InvalidRequest):
        world.approvals.waiting(first.tenant, 2, "nonsense")

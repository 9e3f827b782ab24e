"""The contract of PlanStore."""

import pytest

from agentfleet.domain.codec import EncodedPlan, encode
from agentfleet.domain.errors import NotFound
from tests.contract.making import compiled
from tests.contract.world import World

LARGE = "".join(chr(33 + n * 7919 % 90) for n in range(300))
"""Text that gzip can't do much about when every task has another part of it."""


def large_plan() -> EncodedPlan:
    """A plan that does not fit its item, in several segments."""
    plan = encode(compiled(1200, LARGE))
    bulky = {name: part + b"\0" * 20_000 for name, part in plan.parts.items() if name != "header"}
    return EncodedPlan(plan.parts | bulky)


def test_a_small_plan_comes_back_as_it_was(world: World) -> None:
    """Header, units and joins survive the item."""
    goal_id, plan = world.fresh("g"), compiled(5, "Grüße")

    assert world.plans.put(goal_id, encode(plan))

    assert world.plans.read(goal_id).whole() == plan


def test_a_large_plan_comes_back_as_it_was(world: World) -> None:
    """One that does not fit its item survives as files; parts are read one by one."""
    goal_id, encoded = world.fresh("g"), large_plan()
    assert not encoded.is_inline

    assert world.plans.put(goal_id, encoded)

    reader = world.other_plans().read(goal_id)
    assert reader.header.units == 1202
    assert reader.unit(1201).tasks[0].id == "last"
    assert reader.whole() == compiled(1200, LARGE)


@pytest.mark.parametrize("is_large", [False, True])
def test_the_first_plan_of_a_goal_stands(world: World, is_large: bool) -> None:
    """Storing the same or another one says that there is one, and changes nothing."""
    goal_id, first = world.fresh("g"), large_plan() if is_large else encode(compiled(2))
    world.plans.put(goal_id, first)

    assert not world.plans.put(goal_id, first)
    assert not world.plans.put(goal_id, encode(compiled(9)))

    assert world.other_plans().read(goal_id).header.units == (1202 if is_large else 4)


def test_a_plan_that_is_not_there_is_not_found(world: World) -> None:
    """The error names the goal; the plan is found once it is stored."""
    goal_id = world.fresh("g")

    with pytest.raises(NotFound, match=goal_id):
        world.plans.read(goal_id)

    world.plans.put(goal_id, encode(compiled(1)))
    assert world.plans.read(goal_id).header.tasks == 3


def test_plans_expire(world: World) -> None:
    """The TTL attribute is two months from now."""
    goal_id = world.fresh("g")
    world.plans.put(goal_id, encode(compiled(1)))

    assert world.expiry(goal_id, "PLAN") in {None, int(world.clock().timestamp()) + 60 * 86_400}

"""What goals have used of language models, counted by many agents at once."""

from functools import partial

from agentfleet.domain.model_use import ModelUse
from tests.contract.making import at_once
from tests.contract.world import World

HAIKU = "global.anthropic.claude-haiku-4-5-20251001-v1:0"
CALL = ModelUse(HAIKU, calls=1, input=900, output=80, cache_read=20, nanodollars=1_300_007)


def test_a_goal_that_asked_no_model_has_used_none(world: World) -> None:
    """Reading makes nothing."""
    assert list(world.uses.read(world.fresh("goal"))) == []


def test_uses_add_up_by_model_for_every_goal_that_they_are_for(world: World) -> None:
    """The goal's own and those above it; counts that are zero stay so."""
    inner, outer = world.fresh("goal"), world.fresh("goal")
    late = ModelUse("amazon.nova-lite-v1:0", calls=1, unknown=1, nanodollars=5)

    world.uses.add((inner, outer), CALL)
    world.uses.add((outer,), CALL)
    world.uses.add((outer,), late)

    assert list(world.uses.read(inner)) == [CALL]
    assert list(world.uses.read(outer)) == [late, CALL + CALL]


def test_calls_that_end_at_once_are_all_counted(world: World) -> None:
    """To the nanodollar."""
    goal = world.fresh("goal")
    count = 40

    at_once([partial(world.uses.add, (goal,), CALL) for _ in range(count)])

    [use] = world.uses.read(goal)
    assert (use.calls, use.nanodollars, use.tokens) == (count, count * CALL.nanodollars, count * 1000)

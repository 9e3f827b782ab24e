"""Goals and agents move only along their state machines."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from agentfleet.domain import fleet, goal
from agentfleet.domain.errors import IllegalTransition
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.result import retry_delay

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(GoalState, GoalState)))
def test_a_goal_moves_as_its_state_machine_says_and_no_other_way(before: GoalState, after: GoalState) -> None:
    """Every pair of states: allowed ones move, all others raise and name what is allowed."""
    one = Goal("g", "acme", "test", before, NOW, tasks=1, shards=1)

    if after in goal.MOVES[before]:
        assert one.move(after).state is after
    else:
        with pytest.raises(IllegalTransition, match=f"{before} and can't become {after}"):
            one.move(after)


def test_ended_goals_stay_ended() -> None:
    """Final states have no way out, and only they are final."""
    assert {state for state in GoalState if state.is_final} == {"SUCCEEDED", "FAILED", "CANCELLED"}


def test_an_agent_that_says_nothing_is_not_living_after_its_lifetime() -> None:
    """Liveness follows from the last word and the state."""
    agent = fleet.Agent("a", "p", (), fleet.AgentState.IDLE, NOW, NOW)

    assert agent.is_living(NOW + fleet.LIFETIME - timedelta(seconds=1))
    assert not agent.is_living(NOW + fleet.LIFETIME)
    assert not agent.move(fleet.AgentState.OFFLINE, NOW).is_living(NOW)


def test_an_agent_that_is_gone_takes_up_no_work() -> None:
    """From OFFLINE an agent can only start again."""
    agent = fleet.Agent("a", "p", (), fleet.AgentState.OFFLINE, NOW, NOW)

    with pytest.raises(IllegalTransition, match="OFFLINE and can't become EXECUTING; allowed: STARTING"):
        agent.move(fleet.AgentState.EXECUTING, NOW)


def test_an_agent_is_not_at_work_longer_than_an_invocation_lasts() -> None:
    """Who was killed can't say so; and an entry may be some seconds older than the work."""
    agent = fleet.Agent("a", "p", (), fleet.AgentState.EXECUTING, NOW, NOW, ("g/t",))
    minute = timedelta(minutes=1)

    assert agent.may_be_at_work(NOW + minute + fleet.ENTRY_EVERY, minute)
    assert not agent.may_be_at_work(NOW + minute + fleet.ENTRY_EVERY + timedelta(seconds=1), minute)
    assert not agent.move(fleet.AgentState.IDLE, NOW).may_be_at_work(NOW, minute)


def test_retries_wait_longer_and_never_for_ever() -> None:
    """The delay doubles at most, is jittered over its whole range, and has a floor and a ceiling."""
    assert retry_delay(1, 0.999) < timedelta(seconds=2)
    assert retry_delay(3, 0.5) == timedelta(seconds=4)
    assert retry_delay(3, 0.0) == timedelta(seconds=1)
    assert retry_delay(60, 0.999) <= timedelta(seconds=120)

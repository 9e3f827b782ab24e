"""How health is judged, and what follows for new work."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain.pool_health import (
    CALM_PASSES,
    STALE,
    HealthState,
    PoolHealth,
    RoutingTable,
    Vitals,
    assess,
    shares,
    smooth_cycle,
)
from tests.fakes import START

H, D, U, X = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY, HealthState.DRAINING
MINUTE = timedelta(minutes=1)


def after(*looks: tuple[int, int, int]) -> list[HealthState]:
    """The states after each of these looks (invocations, errors, throttles), a minute apart."""
    health: PoolHealth | None = None
    states = []
    for number, look in enumerate(looks):
        health = assess(Vitals(START + number * MINUTE, *look), health)
        states.append(health.state)
    return states


@pytest.mark.parametrize(
    ("look", "state"),
    [
        ((0, 0, 0), H),
        ((9, 9, 0), H),
        ((10, 0, 0), H),
        ((100, 9, 0), H),
        ((100, 10, 0), D),
        ((100, 49, 0), D),
        ((100, 50, 0), U),
        ((10, 0, 9), H),
        ((10, 0, 10), D),
        ((0, 0, 50), D),
    ],
)
def test_a_first_look_goes_by_the_shares_alone(look: tuple[int, int, int], state: HealthState) -> None:
    """A tenth of failures degrades, half makes unhealthy, half throttled degrades; a few invocations say nothing."""
    assert after(look) == [state]


@pytest.mark.parametrize(("lost", "state"), [(0.9, H), (1.0, D), (4.9, D), (5.0, U)])
def test_invocations_lost_to_failed_tasks_count_like_those_that_broke_off(lost: float, state: HealthState) -> None:
    """An agent turns what its tasks raise into results, so that Lambda itself sees no error."""
    found = assess(Vitals(START, 10, lost=lost), None)

    assert found.state is state
    assert state is H or found.reason == f"the tasks of {lost:.0f} of 10 invocations failed"


def test_worse_holds_at_once_and_better_step_by_step() -> None:
    """A pool that failed gets work again little by little: three good looks for each step."""
    well, ill = (100, 0, 0), (100, 60, 0)

    assert after(well, ill, *[well] * (2 * CALM_PASSES)) == [H, U, U, U, D, D, D, H]


def test_a_bad_look_in_between_starts_the_count_anew() -> None:
    """Three good looks must be in a row."""
    well, ill = (100, 0, 0), (100, 60, 0)

    assert after(ill, well, well, ill, well, well, well) == [U, U, U, U, U, U, D]


def test_a_share_near_the_bar_does_not_flap() -> None:
    """Failures must fall to half of what made the state."""
    assert after((100, 12, 0), *[(100, 8, 0)] * 9) == [D] * 10
    assert after((100, 55, 0), *[(100, 30, 0)] * 9) == [U] * 10


def test_the_reason_and_the_beginning_of_a_state_are_kept() -> None:
    """So that whoever asks later learns why."""
    first = assess(Vitals(START, 10, 6), None)
    later = assess(Vitals(START + MINUTE, 0), first)

    assert (first.reason, first.since) == ("6 of 10 invocations failed", START)
    assert (later.reason, later.since, later.at) == (first.reason, START, START + MINUTE)


def test_what_was_said_long_ago_is_forgotten() -> None:
    """Without the fleet manager every pool counts as healthy; what somebody drains stays so."""
    table = RoutingTable({"a": PoolHealth(U, START, START, "why"), "b": PoolHealth(U, START, START)}, {"b": START})

    assert table.describe("a", START) == (U, "why")
    assert table.state_of("a", START + STALE) is H
    assert table.state_of("b", START + STALE) is X
    assert table.state_of("unknown", START) is H
    assert RoutingTable(tripped={"a": "crm"}).describe("a", START) == (U, "the breaker of crm is open")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((H, H, H), {"a": 3, "b": 2, "c": 1}),
        ((D, H, H), {"a": 3, "b": 8, "c": 4}),
        ((U, H, H), {"b": 2, "c": 1}),
        ((X, U, D), {"c": 1}),
        ((U, U, U), {"a": 3, "b": 2, "c": 1}),
        ((X, U, U), {"b": 2, "c": 1}),
        ((X, X, X), {"a": 3, "b": 2, "c": 1}),
    ],
)
def test_new_work_goes_to_what_is_fit(states: tuple[HealthState, ...], expected: dict[str, int]) -> None:
    """A degraded pool gets a fourth, an unhealthy or draining one nothing; where none is fit, all by weight."""
    assert shares({"a": 3, "b": 2, "c": 1}, dict(zip("abc", states, strict=True))) == expected


def test_the_turns_are_nginxs() -> None:
    """The example of nginx's own change log: 5, 1, 1 gives a a b a c a a."""
    assert "".join(smooth_cycle({"a": 5, "b": 1, "c": 1})) == "aabacaa"


def test_a_canary_gets_one_turn_in_twenty() -> None:
    """95 to 5: one of twenty, in the middle of the others."""
    cycle = smooth_cycle(shares({"canary": 5, "stable": 95}, {"canary": H, "stable": H}))

    assert cycle == ("stable",) * 9 + ("canary",) + ("stable",) * 10


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12), min_size=1))
def test_turns_are_by_weight_and_evenly_spread(weights: dict[str, int]) -> None:
    """Over a cycle exactly by weight; in any stretch within a turn or so of it for each pool."""
    cycle = smooth_cycle(weights)
    total = sum(weights.values())

    assert len(cycle) == total
    assert {name: cycle.count(name) for name in weights} == weights
    for name, weight in weights.items():
        for length in range(1, total + 1):
            assert abs(cycle[:length].count(name) - length * weight / total) < len(weights)

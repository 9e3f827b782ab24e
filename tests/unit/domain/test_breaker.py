"""The breaker's rules, whatever happens in whatever order."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.domain.breaker import Breaker, BreakerPolicy, BreakerState, admit, fail, succeed
from tests.fakes import START

POLICY = BreakerPolicy(failures=3, window=timedelta(seconds=10), recovery=timedelta(seconds=5), trial=timedelta(seconds=7))
STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60)


def opened() -> Breaker:
    """A breaker that has just opened at START."""
    breaker = Breaker()
    for _ in range(POLICY.failures):
        breaker = fail(breaker, POLICY, START, is_trial=False)
    return breaker


def test_it_opens_at_the_threshold_and_refuses() -> None:
    """The third failure within the window opens it; the refusal says how long to stay away."""
    breaker = opened()

    refused = admit(breaker, POLICY, START + timedelta(seconds=2))

    assert breaker.state is BreakerState.OPEN
    assert (refused.admitted, refused.wait) == (False, timedelta(seconds=3))


def test_old_failures_are_forgotten() -> None:
    """Failures that are further apart than the window allows never open it."""
    breaker = Breaker()
    for number in range(20):
        breaker = fail(breaker, POLICY, START + number * timedelta(seconds=6), is_trial=False)

    assert breaker.state is BreakerState.CLOSED


def test_one_trial_at_a_time_decides() -> None:
    """After the recovery one call is let through, others not; its outcome closes the breaker or opens it again."""
    now = START + POLICY.recovery
    trial = admit(opened(), POLICY, now)

    assert trial.admitted
    assert trial.is_trial
    assert not admit(trial.breaker, POLICY, now).admitted
    assert succeed(trial.breaker, is_trial=True) == Breaker()
    assert fail(trial.breaker, POLICY, now, is_trial=True) == Breaker(BreakerState.OPEN, until=now + POLICY.recovery)


def test_a_lost_trial_is_replaced() -> None:
    """Whoever made the trial may have died: when its time is over another one is let through."""
    trial = admit(opened(), POLICY, START + POLICY.recovery)

    assert admit(trial.breaker, POLICY, START + POLICY.recovery + POLICY.trial).is_trial


def test_calls_from_before_prove_nothing() -> None:
    """A call that began while it was closed neither closes nor reopens it."""
    trial = admit(opened(), POLICY, START + POLICY.recovery).breaker

    assert succeed(trial, is_trial=False) == trial
    assert fail(trial, POLICY, START, is_trial=False) == trial


@settings(deadline=None)
@given(STEPS)
def test_what_always_holds(steps: list[tuple[bool, int]]) -> None:
    """Refusals end when they say, an open breaker is left only through a trial, and failures stay under the threshold."""
    breaker, now = Breaker(), START
    for succeeds, seconds in steps:
        now += timedelta(seconds=seconds)
        admission = admit(breaker, POLICY, now)
        if not admission.admitted:
            assert timedelta() < admission.wait <= max(POLICY.recovery, POLICY.trial)
            assert admit(breaker, POLICY, now + admission.wait).admitted
            assert admission.breaker == breaker
            continue
        assert admission.is_trial == (breaker.state is not BreakerState.CLOSED)
        breaker = admission.breaker
        if succeeds:
            breaker = succeed(breaker, is_trial=admission.is_trial)
        else:
            breaker = fail(breaker, POLICY, now, is_trial=admission.is_trial)
        assert len(breaker.failures) < POLICY.failures
        assert breaker.state is not BreakerState.HALF_OPEN
        assert (breaker.until is None) == (breaker.state is BreakerState.CLOSED)


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"failures": 101}, {"window": timedelta()}, {"recovery": -timedelta(1)}])
def test_a_wrong_policy_is_refused(wrong: dict[str, Any]) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BreakerPolicy(**wrong)

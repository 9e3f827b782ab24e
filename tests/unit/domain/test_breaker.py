"""The breaker's rules, whatever happens in whatever order."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.domain.breaker import Breaker, BreakerPolicy, BreakerState, Calls, admit, fail, succeed
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


@pytest.mark.parametrize(
    "wrong",
    [{"failures": 0}, {"failures": 101}, {"window": timedelta()}, {"recovery": -timedelta(1)}, {"rate": 0.05}, {"rate": 1.1}],
)
def test_a_wrong_policy_is_refused(wrong: dict[str, Any]) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BreakerPolicy(**wrong)


def until_open(outcomes: Iterable[bool], policy: BreakerPolicy, apart: timedelta) -> int | None:
    """How many calls of one environment, so far apart, end before they open a breaker; None if they don't."""
    calls, breaker, now = Calls(), Breaker(), START
    for number, succeeds in enumerate(outcomes, 1):
        now += apart
        calls, failures = calls.note(policy, now, succeeded=succeeds)
        if failures:
            breaker = fail(breaker, policy, now, is_trial=False, failures=failures)
        if breaker.state is BreakerState.OPEN:
            return number
    return None


def test_few_failures_of_many_calls_leave_it_closed() -> None:
    """Twenty calls a second with one in two hundred failing: twelve failures within the window, and then a real outage."""
    now_and_then = [number % 200 > 0 for number in range(1, 12_051)]
    apart = timedelta(milliseconds=50)

    assert until_open(now_and_then, BreakerPolicy(), apart) is None
    assert until_open([*now_and_then, *[False] * 20], BreakerPolicy(), apart) == len(now_and_then) + 5


def test_what_fails_from_the_first_call_opens_it_at_the_threshold() -> None:
    """Whatever the rate; and a handful of calls over the whole fleet is enough, one from each environment."""
    for rate in (0.1, 0.5, 1.0):
        assert until_open([False] * 20, BreakerPolicy(rate=rate), timedelta(seconds=1)) == 5

    breaker = Breaker()
    for number in range(5):
        _, failures = Calls().note(BreakerPolicy(), START + timedelta(seconds=number), succeeded=False)
        breaker = fail(breaker, BreakerPolicy(), failures[-1], is_trial=False, failures=failures)
    assert breaker.state is BreakerState.OPEN


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=80),
    st.sampled_from([0.1, 0.3, 0.5, 1.0]),
    st.integers(1, 5),
)
def test_failures_count_once_and_only_at_the_rate(steps: list[tuple[bool, int]], rate: float, failures: int) -> None:
    """Each at most once, none that is older than the window, and none while too few of the latest calls have failed."""
    policy = BreakerPolicy(failures=failures, window=timedelta(seconds=10), rate=rate)
    calls, now = Calls(), START
    told: list[datetime] = []
    seen: list[tuple[datetime, bool]] = []
    for succeeds, seconds in steps:
        now += timedelta(seconds=seconds)
        calls, counted = calls.note(policy, now, succeeded=succeeds)
        seen.append((now, succeeds))
        latest = [good for moment, good in seen if now - moment < policy.window][-ceil(failures / rate) :]
        is_bad = latest.count(False) >= rate * len(latest)
        assert bool(counted) == (is_bad and not succeeds)
        assert all(now - moment < policy.window for moment in counted)
        assert len(calls.outcomes) <= policy.latest
        told.extend(counted)
    failed = Counter(moment for moment, good in seen if not good)
    assert not Counter(told) - failed

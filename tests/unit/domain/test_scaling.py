"""The rule that sizes a pool: single decisions, then whole days of load."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentfleet.domain.scaling import CALM_PASSES, KEPT, Action, Decision, Memory, Observation, ScalingRecord, decide
from tests.fakes import START
from tests.unit.domain.simulated_pool import SimulatedPool

BUSY = Observation(START, 10, 2, 100, 10, waiting=50, in_flight=10, oldest_age=45.0)
KNOWN = Memory(10)


@pytest.mark.parametrize(
    ("changes", "action", "concurrency", "says"),
    [
        ({}, Action.UP, 19, "50 waiting, the oldest for 45 s"),
        ({"oldest_age": 29.0}, Action.HOLD, 10, "50 waiting, none for 30 s yet"),
        ({"waiting": 0, "oldest_age": 300.0}, Action.HOLD, 10, "nothing waits, 10 in work"),
        ({"waiting": 0, "in_flight": 0, "oldest_age": None}, Action.HOLD, 10, "nothing to do"),
        ({"in_flight": 3}, Action.HOLD, 10, "agents are free"),
        ({"errors": 60, "invocations": 100}, Action.HOLD, 10, "60 of 100 invocations failed"),
        ({"lost": 59.5, "errors": 1, "invocations": 100}, Action.HOLD, 10, "but the tasks of 60 of 100 invocations failed"),
        ({"lost": 49.0, "invocations": 100}, Action.UP, 19, "50 waiting"),
        ({"errors": 40, "invocations": 100}, Action.UP, 19, "waiting"),
        ({"throttles": 7}, Action.HALVE, 5, "7 invocations throttled"),
        ({"model_throttles": 12}, Action.HALVE, 5, "12 model calls throttled"),
        ({"throttles": 7, "model_throttles": 12}, Action.HALVE, 5, "7 invocations and 12 model calls throttled"),
        ({"throttles": 7, "min_concurrency": 8}, Action.HALVE, 8, "throttled"),
        ({"throttles": 7, "min_concurrency": 10}, Action.HOLD, 10, "at its least size already"),
        ({"max_concurrency": 10}, Action.HOLD, 10, "at its largest size already"),
        ({"max_concurrency": 12}, Action.UP, 11, "waiting"),
        ({"spent": 8.0, "budget": 10.0}, Action.HOLD, 10, "$8.00 of $10.00 a day are spent"),
        ({"spent": 10.0, "budget": 10.0}, Action.DOWN, 2, "$10.00 of $10.00 a day are spent"),
        ({"spent": 7.9, "budget": 10.0}, Action.UP, 19, "waiting"),
        ({"settled": False}, Action.HOLD, 10, "still taking hold"),
        ({"settled": False, "is_uneven": True}, Action.HOLD, 10, "different limits, up to 10: evened out"),
        ({"held_by": "f1", "throttles": 7}, Action.HOLD, 10, "held by fleet f1"),
        ({"min_concurrency": 20}, Action.UP, 20, "below its least size, 20"),
        ({"max_concurrency": 8}, Action.DOWN, 8, "above its largest size, 8"),
    ],
)
def test_each_rule_says_what_it_does_and_why(changes: dict[str, Any], action: Action, concurrency: int, says: str) -> None:
    """The first rule that applies decides, and the reason holds the numbers that it went by."""
    decision, memory = decide(replace(BUSY, **changes), KNOWN)

    assert (decision.action, decision.concurrency) == (action, concurrency)
    assert says in decision.reason
    assert (decision.before, memory.concurrency) == (10, concurrency)


def test_without_a_measured_age_a_backlog_ages_from_pass_to_pass() -> None:
    """Messages that two passes in a row find waiting, and that half a minute apart, count as late."""
    unmeasured = replace(BUSY, oldest_age=None)

    first, memory = decide(unmeasured, KNOWN)
    second, _ = decide(replace(unmeasured, at=START + timedelta(seconds=60)), memory)

    assert (first.action, second.action) == (Action.HOLD, Action.UP)
    assert "the oldest for 60 s" in second.reason


@pytest.mark.parametrize("memory", [Memory(25), None])
def test_a_size_set_by_hand_is_left_alone_for_a_while(memory: Memory | None) -> None:
    """Also on the very first pass, where the size is not the one that was deployed; then the rule takes over."""
    changed = replace(BUSY, concurrency=30, in_flight=30)

    noticed, memory = decide(changed, memory)
    later, memory = decide(replace(changed, at=START + timedelta(minutes=14)), memory)
    over, _ = decide(replace(changed, at=START + timedelta(minutes=15)), memory)

    assert [one.action for one in (noticed, later, over)] == [Action.HOLD, Action.HOLD, Action.UP]
    assert "set to 30 by hand at 03:04 UTC" in later.reason


def test_what_a_fleet_takes_and_gives_back_is_no_change_by_hand() -> None:
    """As soon as the fleet is released the rule goes on."""
    _, held = decide(replace(BUSY, concurrency=50, held_by="f1"), KNOWN)
    released, _ = decide(BUSY, held)

    assert released.action is Action.UP


def test_an_unsettled_change_of_our_own_is_no_change_by_hand() -> None:
    """While it takes hold the pool may show its old size; somebody else's change meanwhile is still noticed."""
    up, memory = decide(BUSY, KNOWN)
    _, memory = decide(replace(BUSY, settled=False), memory)
    ours, _ = decide(replace(BUSY, concurrency=up.concurrency, in_flight=19), memory)
    theirs, _ = decide(replace(BUSY, concurrency=40, in_flight=40), memory)

    assert ours.action is Action.UP
    assert "by hand" in theirs.reason


def halted(memory: Memory | None, **changes: Any) -> list[Decision]:
    """Four passes over a pool of which one queue got 19 and the others stayed at 10, until it is evened out."""
    made: list[Decision] = []
    seen = replace(BUSY, concurrency=19, settled=False, is_uneven=True, **changes)
    for minute in range(4):
        decision, memory = decide(replace(seen, at=START + timedelta(minutes=minute)), memory)
        made.append(decision)
        if decision.action is not Action.HOLD:
            seen = replace(seen, concurrency=decision.concurrency, in_flight=19, settled=True, is_uneven=False)
    return made


@pytest.mark.parametrize("memory", [KNOWN, None])
def test_a_change_that_came_to_a_halt_half_way_is_ended(memory: Memory | None) -> None:
    """By the size that the last pass left, and at the next pass the load decides again; nobody's hand is seen in it."""
    first, second, third, _ = halted(memory)

    assert (first.action, second.action, second.concurrency) == (Action.HOLD, Action.EVEN, 10)
    assert "came to a halt half way" in second.reason
    assert (third.action, third.concurrency) == (Action.UP, 19)


def test_an_uneven_pool_that_an_operators_fleet_holds_gets_the_fleets_size() -> None:
    """It was the fleet's change that came to a halt."""
    _, second, third, _ = halted(KNOWN, held_by="f1", resting=19)

    assert (second.action, second.concurrency) == (Action.EVEN, 19)
    assert third.reason == "held by fleet f1 until it is released"


def test_an_uneven_pool_comes_within_its_limits() -> None:
    """What was left may be out of limits that were deployed since."""
    assert halted(KNOWN, max_concurrency=8)[1].concurrency == 8


def test_who_changes_limits_one_by_one_is_given_a_pass_to_end() -> None:
    """Then it is a change by hand like any other."""
    _, memory = decide(replace(BUSY, concurrency=30, settled=False, is_uneven=True), KNOWN)
    done, _ = decide(replace(BUSY, at=START + timedelta(minutes=1), concurrency=30), memory)

    assert "set to 30 by hand" in done.reason


def test_a_pool_of_one_grows_however_much_it_throttles_itself() -> None:
    """One agent for three queues: two of their pollers are refused always. What is still told of that later halves nothing."""
    alone = replace(BUSY, concurrency=1, min_concurrency=1, resting=1, in_flight=6, throttles=50, invocations=10)
    up, memory = decide(alone, Memory(1))
    moved = replace(alone, concurrency=up.concurrency, in_flight=up.concurrency)
    soon, memory = decide(replace(moved, at=START + timedelta(minutes=3)), memory)
    still, _ = decide(replace(moved, at=START + timedelta(minutes=4)), memory)
    over, _ = decide(replace(moved, at=START + timedelta(minutes=4), throttles=0), memory)

    assert (up.action, up.concurrency) == (Action.UP, 10)
    assert (soon.action, still.action, over.action) == (Action.HOLD, Action.HALVE, Action.UP)
    assert "which it is at a size of one, as until 03:04 UTC" in soon.reason


def test_models_that_refuse_keep_a_pool_of_one_as_it_is() -> None:
    """Those throttles are not its own doing."""
    alone = replace(BUSY, concurrency=1, min_concurrency=1, resting=1, in_flight=6, throttles=50, model_throttles=3)

    decision, _ = decide(alone, Memory(1))

    assert (decision.action, decision.concurrency) == (Action.HOLD, 1)


def test_only_the_latest_of_holds_in_a_row_is_kept() -> None:
    """A quiet hour does not push the last changes out; the hold says since when."""
    hold, up = Decision(START, Action.HOLD, 10, 10, "quiet"), Decision(START, Action.UP, 10, 19, "late")
    record = ScalingRecord(KNOWN).note(up)
    for minute in range(60):
        record = record.note(replace(hold, at=START + timedelta(minutes=minute)))

    assert [one.action for one in record.decisions] == [Action.HOLD, Action.UP]
    assert (record.decisions[0].since, record.decisions[0].at) == (START, START + timedelta(minutes=59))
    for _ in range(30):
        record = record.note(up)
    assert len(record.decisions) == KEPT


@pytest.mark.parametrize("load", [3, 15, 40, 90])
def test_a_constant_load_converges(load: int) -> None:
    """The pool ends at a size that carries the load and then stays there."""
    pool = SimulatedPool(lambda _: load).run(90)

    assert pool.concurrency >= load
    assert pool.waiting < load * 2
    assert len(set(pool.sizes[-20:])) == 1


def test_a_step_is_followed_and_given_back() -> None:
    """Up a tenth of the range at a time while the backlog ages, back to the deployed size when it is over."""
    pool = SimulatedPool(lambda second: 60 if 600 <= second < 3000 else 1).run(180)

    assert max(pool.sizes) >= 60
    assert pool.concurrency == pool.resting


def test_a_short_spike_moves_little() -> None:
    """What is worked off before it is late changes nothing."""
    pool = SimulatedPool(lambda second: 200 if second == 90 else 1).run(30)

    assert set(pool.actions()) == {Action.HOLD}


@pytest.mark.parametrize("period", [2, 4, 8, 30])
def test_a_sawtooth_does_not_flap(period: int) -> None:
    """Load that comes and goes: the pool never turns round sooner than it has been calm for long enough."""
    pool = SimulatedPool(lambda second: 60 if second // 60 % period < period / 2 else 0).run(240)

    turns = [number for number, action in enumerate(pool.actions()) if action is Action.DOWN]
    for turn in turns:
        assert set(pool.actions()[turn - CALM_PASSES + 1 : turn]) <= {Action.HOLD}
    if period <= CALM_PASSES:
        assert not turns


def test_throttling_halves_once_and_then_waits() -> None:
    """One cause halves once in three minutes; a limit that stays is found, and the pool does not grow into it at once."""
    pool = SimulatedPool(lambda _: 80, concurrency=80, resting=80, allowed=lambda _: 20.0).run(30)

    first = pool.actions().index(Action.HALVE)
    assert pool.sizes[first] == 40
    assert pool.actions()[first + 1 : first + 3] == [Action.HOLD, Action.HOLD]
    assert min(pool.sizes) <= 20
    halved = [number for number, action in enumerate(pool.actions()) if action is Action.HALVE]
    assert all(later - earlier >= 3 for earlier, later in pairwise(halved))


def test_a_pool_that_throttling_brought_down_to_one_comes_back() -> None:
    """As soon as whatever throttled it is over, though at a size of one it always throttles itself."""
    pool = SimulatedPool(lambda _: 30, least=1, allowed=lambda second: 0.5 if second < 1200 else float("inf")).run(60)

    assert 1 in pool.sizes
    assert pool.concurrency >= 30


def test_an_idle_pool_goes_back_to_the_size_it_is_deployed_with() -> None:
    """From above a quarter at a time, from below (after throttling) at once."""
    above, below = (SimulatedPool(lambda _: 0, concurrency=size) for size in (64, 2))
    for pool in (above, below):
        pool.run(120)

    assert above.concurrency == below.concurrency == 10
    assert all(after >= before * 0.74 for before, after in pairwise(above.sizes))


def test_a_spent_budget_keeps_the_pool_small_until_midnight() -> None:
    """Down to its least size whatever waits, and up again when the next day's budget is untouched."""
    pool = SimulatedPool(lambda _: 60, spent=lambda second: 5.0 if second < 1800 else 0.0, budget=5.0)

    pool.run(29)
    assert (pool.concurrency, Action.UP in pool.actions()) == (2, False)
    pool.run(30)
    assert pool.concurrency > 10


@st.composite
def pools(draw: st.DrawFn) -> SimulatedPool:
    """A pool with any limits under any load, throttled or not, that somebody may have misconfigured in size."""
    least = draw(st.integers(1, 20))
    most = draw(st.integers(least, 200))
    loads = draw(st.lists(st.integers(0, 150), min_size=1, max_size=12))
    minutes = draw(st.integers(1, 15))
    allowed = draw(st.one_of(st.just(float("inf")), st.integers(1, 100).map(float)))
    resting = draw(st.integers(least, most))
    return SimulatedPool(
        lambda second: loads[second // 60 // minutes % len(loads)],
        concurrency=resting,
        least=least,
        most=most,
        resting=resting,
        allowed=lambda _: allowed,
        settles=draw(st.booleans()),
        is_measured=draw(st.booleans()),
    )


@settings(deadline=None)
@given(pools())
def test_whatever_happens_a_pool_stays_within_its_limits_and_never_flaps(pool: SimulatedPool) -> None:
    """Limits hold after every pass; no growth within three passes of a halving, no decay without calm; each says why."""
    pool.run(60)

    actions = pool.actions()
    assert all(pool.least <= size <= pool.most for size in pool.sizes)
    assert all(
        decision.reason and (decision.action is Action.HOLD) == (decision.before == decision.concurrency)
        for decision in pool.decisions
    )
    for number, action in enumerate(actions):
        if action is Action.DOWN:
            assert set(actions[max(0, number - CALM_PASSES + 1) : number]) <= {Action.HOLD}
        if action in {Action.UP, Action.HALVE}:
            assert Action.HALVE not in actions[max(0, number - 2) : number]
        if action is Action.HALVE:
            assert pool.sizes[number] == max(pool.least, pool.decisions[number].before // 2)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 90), st.integers(0, 1000))
def test_any_constant_load_that_fits_converges(load: int, phase: int) -> None:
    """From wherever the load begins, the size is the same over the last twenty minutes and carries the load."""
    pool = SimulatedPool(lambda second: load if second >= phase else 0).run(120)

    assert len(set(pool.sizes[-20:])) == 1
    assert pool.concurrency >= min(load, pool.most)

"""The queueing model obeys the limits that it is given."""

from dataclasses import replace

import pytest

from bench.queue_model import Load, Model, Shape, drawn_from
from bench.quotas import QUOTAS
from bench.scale import key_units

QUICK = Shape(
    tasks_per_invocation=10,
    units_per_task=1.0,
    service=lambda _: 0.1,
    hop=lambda _: 0.0,
    cold_start=lambda _: 0.0,
    table_units=QUOTAS.table_most,
    concurrency=100,
)


def test_a_light_load_waits_for_nothing() -> None:
    """Every task takes its service time, give or take a tick, and no limit is met."""
    outcome = Model(QUICK, Load(500, 10)).run()

    assert outcome.rate(2, 10) == pytest.approx(500, rel=0.03)
    assert outcome.percentile(0.99) == pytest.approx(0.1, abs=0.03)
    assert outcome.bottleneck(0, 10) is None


def test_workers_bound_the_rate() -> None:
    """Two workers of ten tasks in 100 ms do 200 tasks a second."""
    outcome = Model(replace(QUICK, concurrency=2), Load(1_000, 10)).run()

    assert outcome.rate(2, 10) == pytest.approx(200, rel=0.2)
    assert outcome.concurrency == 2
    assert outcome.bottleneck(5, 10) == "trigger"


def test_a_backlog_is_worked_off() -> None:
    """Every task of it ends, by as many rounds as there must be."""
    outcome = Model(replace(QUICK, concurrency=4), Load(0, 0, backlog=400)).run()

    assert sum(tasks for _, tasks in outcome.finished) == 400
    assert outcome.finished[-1][0] == pytest.approx(1.0, abs=0.25)


def test_a_trigger_grows_while_messages_wait() -> None:
    """Five at first, and five more a second: so the rate grows by 500 tasks a second each second."""
    outcome = Model(replace(QUICK, concurrency=None), Load(5_000, 20)).run()

    assert outcome.rate(0, 1) < 1_100
    assert 7 < (outcome.reached(4_000) or 0) < 12


def test_provisioned_pollers_are_there_at_once() -> None:
    """Ten invocations each, from the first second on."""
    outcome = Model(replace(QUICK, concurrency=None, provisioned=5), Load(4_000, 5)).run()

    assert (outcome.reached(3_900) or 0) <= 3.0
    assert outcome.concurrency <= 50


def test_the_tables_units_bound_the_rate() -> None:
    """The table is named as the bottleneck, not the workers that wait for it."""
    outcome = Model(replace(QUICK, table_units=1_000), Load(3_000, 10)).run()

    assert outcome.rate(2, 10) == pytest.approx(1_000, rel=0.1)
    assert outcome.bottleneck(5, 10) == "table's write units"


def test_a_table_doubles_after_half_an_hour() -> None:
    """Not before."""
    slow = replace(QUICK, table_units=100)

    outcome = Model(slow, Load(400, 2_400), grain=2).run()

    assert outcome.rate(1_000, 1_800) == pytest.approx(100, rel=0.1)
    assert outcome.rate(1_850, 2_400) == pytest.approx(200, rel=0.1)


def test_the_account_bounds_concurrency() -> None:
    """No more environments than it may have, however many messages wait."""
    small = replace(QUICK, concurrency=None, provisioned=50, quotas=replace(QUOTAS, environments=20))

    outcome = Model(small, Load(10_000, 5)).run()

    assert outcome.concurrency == 20
    assert outcome.bottleneck(2, 5) == "account concurrency"


def test_a_coarser_grain_gives_the_same_rate() -> None:
    """One event for four invocations: a quarter of the work, the same throughput."""
    fine, coarse = (Model(QUICK, Load(5_000, 10), grain=grain).run().rate(2, 10) for grain in (1, 4))

    assert coarse == pytest.approx(fine, rel=0.05)


def test_the_same_seed_gives_the_same_run() -> None:
    """What is drawn comes from the seed alone."""
    shape = replace(QUICK, service=drawn_from([0.05, 0.1, 0.4]))

    first, second, other = (Model(shape, Load(1_000, 3), seed=seed).run().latencies for seed in (7, 7, 8))

    assert first == second != other


def test_no_partition_key_can_get_hot() -> None:
    """In its whole life the fullest key of any goal takes fewer units than one second allows."""
    assert 500 < key_units(1.2) < QUOTAS.partition_key

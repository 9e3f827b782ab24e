"""Dollars by counted requests and list prices."""

import re
from pathlib import Path
from typing import Any

import pytest

from agentfleet.domain.prices import PRICES
from bench.cost import (
    IDLE_DOLLARS_MONTH,
    IDLE_REQUESTS_MONTH,
    QUEUES,
    RECEIVES_A_MINUTE,
    SCENARIOS,
    Cluster,
    break_even,
    calculate,
    cluster_dollars_hour,
    elsewhere_dollars,
    fleet_dollars,
    lambda_gb_seconds,
)
from bench.observe import request_dollars
from bench.prices import temporal_dollars
from tests.unit.bench.rows import PEERS, RESULTS, ROW

NOTHING: dict[str, Any] = {name: 0.0 for name in ROW if name.endswith("per_task")}


def test_every_request_has_its_price() -> None:
    """A million of one thing costs what its list price is."""
    prices = {
        "wru": PRICES.write_units,
        "rru": PRICES.read_units,
        "sqs_requests": PRICES.requests_sqs,
        "invocations": PRICES.requests_lambda,
        "api_requests": PRICES.requests_http,
        "event_requests": PRICES.requests_events,
        "s3_puts": PRICES.requests_s3_put,
        "s3_gets": PRICES.requests_s3_get,
    }

    assert {name: request_dollars({**NOTHING, f"{name}_per_task": 1.0}) for name in prices} == prices


def test_functions_are_paid_for_cpu_requests_and_waiting() -> None:
    """CPU is stretched to the share of a core that the memory buys; a batch waits once for all of its tasks."""
    busy = {**NOTHING, "cpu_functions_ms_per_task": 10.0}
    waiting = {**NOTHING, "invocations_per_task": 0.1, "sqs_requests_per_task": 0.2}

    assert lambda_gb_seconds(busy, memory=1769) == pytest.approx(0.010 * 1769 / 1024)
    assert lambda_gb_seconds(busy, memory=512) == pytest.approx(0.010 * 1769 / 1024)
    assert lambda_gb_seconds(busy, memory=3538) == pytest.approx(2 * 0.010 * 1769 / 1024)
    assert lambda_gb_seconds(waiting, waited=2.0, memory=1024) == pytest.approx(0.2)


def test_a_total_is_its_parts() -> None:
    """Requests and duration."""
    dollars = fleet_dollars(ROW)

    assert dollars["total"] == dollars["requests"] + dollars["duration"]


def test_what_an_idle_fleet_costs_is_what_its_readme_says() -> None:
    """So many queues, polled so often, at the price of a request."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    said = re.search(
        r"the (\d+) queues about (\d+) times a minute, about (\d+) million SQS requests a month \((\d+) \$\)", readme
    )

    assert said is not None
    polling = IDLE_REQUESTS_MONTH * PRICES.requests_sqs
    assert [int(number) for number in said.groups()] == [QUEUES, RECEIVES_A_MINUTE, round(IDLE_REQUESTS_MONTH), round(polling)]
    assert pytest.approx(1.40 + polling) == IDLE_DOLLARS_MONTH


def test_a_standard_state_machine_costs_its_transitions_and_calls() -> None:
    """25 dollars per million transitions, and a call each; chunks of ten are a tenth of both."""
    single, chunks = (elsewhere_dollars(SCENARIOS[name])["Step Functions Standard"] for name in ("noop", "chunks"))

    assert 25.2 < single < 25.3
    assert chunks == pytest.approx(single / 10)


@pytest.mark.parametrize(
    ("millions", "dollars"), [(1, 50), (5, 250), (10, 475), (300, 250 + 225 + 400 + 1050 + 1500 + 2500 + 2500)]
)
def test_temporals_price_falls_by_steps(millions: float, dollars: float) -> None:
    """Each step's price is for the actions within it; what is beyond the last costs what the last does."""
    assert temporal_dollars(millions) == dollars


def test_a_cluster_has_two_workers_at_least_and_more_for_more_cpu() -> None:
    """Ten tasks of 140 ms take two whole workers at 70 %; eleven take a third."""
    idle, two, three = (cluster_dollars_hour(rate, 140.0, Cluster(commands_per_task=0.0)) for rate in (0.0, 10.0, 11.0))

    assert idle == two < three


def test_the_break_even_rate_is_where_both_cost_the_same() -> None:
    """A cheaper task moves it up; a task that costs next to nothing here never meets it."""
    dear, cheap = (break_even(dollars, 5.0, Cluster()) for dollars in (2.0, 1.0))

    assert dear is not None
    assert cheap is not None
    assert 1.9 < cheap / dear < 2.1
    assert break_even(0.0001, 5.0, Cluster()) is None


def test_without_peers_there_is_no_break_even() -> None:
    """Everything else is calculated all the same."""
    alone, compared = calculate(RESULTS, None), calculate(RESULTS, PEERS)

    assert alone["break_even"] == {}
    assert alone["scenarios"] == compared["scenarios"]
    assert set(compared["break_even"]) == {"noop against celery", "chunks against celery"}

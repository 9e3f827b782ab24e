"""What the signals of a pool are made from, in CloudWatch's own terms."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto import mock_aws

from agentfleet.adapters.attempt_signals import LossMetric
from agentfleet.adapters.clients import Clients
from agentfleet.adapters.model_signals import ThrottleMetric
from agentfleet.adapters.signals import CloudWatchSignals
from agentfleet.domain.catalog import Catalog, PoolSpec
from agentfleet.ports import Signals

NOW = datetime(2026, 1, 2, 3, 4, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Any:
    """AWS clients of a moto of its own."""
    for name, value in {"DEFAULT_REGION": "us-east-1", "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        yield Clients()


def publish(
    clients: Clients, metric: str, dimensions: dict[str, str], *points: tuple[float, timedelta], namespace: str = ""
) -> None:
    """Values of a metric so long ago."""
    clients.cloudwatch.put_metric_data(
        Namespace=namespace or ("AWS/SQS" if "QueueName" in dimensions else "AWS/Lambda"),
        MetricData=[
            {
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                "Value": value,
                "Timestamp": NOW - ago,
            }
            for value, ago in points
        ],
    )


def signals(clients: Clients, **spec: Any) -> Signals:
    """Of the pool `data`."""
    catalog = Catalog(fleet="fleet", pools={"data": PoolSpec(name="data", memory=1024, **spec)})
    return CloudWatchSignals(clients.cloudwatch, catalog).read("data", NOW)


def test_without_metrics_nothing_is_claimed(clients: Clients) -> None:
    """An age that nobody measured is not zero."""
    assert signals(clients) == Signals(oldest_age=None)


def test_the_newest_age_of_the_oldest_queue_and_the_last_minutes_sums(clients: Clients) -> None:
    """What is older than three minutes, or another function's, does not count."""
    minute = timedelta(minutes=1)
    publish(clients, "ApproximateAgeOfOldestMessage", {"QueueName": "fleet-data-low"}, (400.0, 2 * minute), (70.0, minute))
    publish(clients, "ApproximateAgeOfOldestMessage", {"QueueName": "fleet-data-high"}, (12.0, minute))
    function = {"FunctionName": "fleet-data"}
    publish(clients, "Throttles", function, (3, minute), (4, 2 * minute), (90, 10 * minute))
    publish(clients, "Throttles", {"FunctionName": "fleet-web"}, (50, minute))
    publish(clients, "Errors", function, (2, minute))
    publish(clients, "Invocations", function, (11, minute))

    assert signals(clients) == Signals(oldest_age=70.0, throttles=7, errors=2, invocations=11)


def test_a_pool_with_a_budget_tells_what_it_has_cost_since_midnight(clients: Clients) -> None:
    """Gigabyte-seconds and requests at Lambda's list price, yesterday's left out."""
    function = {"FunctionName": "fleet-data"}
    publish(clients, "Duration", function, (1_000_000.0, timedelta(hours=1)), (9_000_000.0, timedelta(hours=5)))
    publish(clients, "Invocations", function, (500.0, timedelta(hours=1)))

    assert signals(clients, daily_budget=1.0).spent == pytest.approx(1000 * 1.33334e-5 + 500 * 2e-7)
    assert signals(clients).spent == 0.0


def test_calls_that_a_model_refused_are_those_of_the_pool(clients: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    """The metric that an agent's log line declares is the one that is asked for, of pools with models only."""
    ThrottleMetric("fleet", "data", lambda: NOW)("some.model")
    line = json.loads(capsys.readouterr().out)
    [declared] = line["_aws"]["CloudWatchMetrics"]
    [dimensions], [metric] = declared["Dimensions"], declared["Metrics"]
    own = {name: line[name] for name in dimensions}
    publish(clients, metric["Name"], own, (line[metric["Name"]], MINUTE), (4, 2 * MINUTE), namespace=declared["Namespace"])
    publish(clients, metric["Name"], {**own, "Pool": "web"}, (50, MINUTE), namespace=declared["Namespace"])

    assert line["_aws"]["Timestamp"] == NOW.timestamp() * 1000
    assert signals(clients, models=("some.model",)).model_throttles == 5
    assert signals(clients).model_throttles == 0


def test_invocations_lost_to_failed_tasks_are_those_of_the_pool(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    """The metric that an agent's log line declares is the one that is asked for, of every pool."""
    LossMetric("fleet", "data", lambda: NOW)(2 / 3)
    [line] = map(vars, caplog.records)
    [declared] = line["_aws"]["CloudWatchMetrics"]
    [dimensions], [metric] = declared["Dimensions"], declared["Metrics"]
    own = {name: line[name] for name in dimensions}
    publish(clients, metric["Name"], own, (line[metric["Name"]], MINUTE), (1, 2 * MINUTE), namespace=declared["Namespace"])
    publish(clients, metric["Name"], {**own, "Pool": "web"}, (50, MINUTE), namespace=declared["Namespace"])

    assert (line["tenant"], line["_aws"]["Timestamp"]) == ("*", NOW.timestamp() * 1000)
    assert signals(clients).lost == pytest.approx(1.667)

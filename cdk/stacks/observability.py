"""One page that shows how the fleet is doing, and alarms on what its users would notice."""

from collections.abc import Sequence
from typing import Any, Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from constructs import Construct

from agentfleet.domain import names
from cdk.catalog import FleetDefinition
from cdk.constructs.queue_with_dlq import alarm_on

_MINUTE: Final = Duration.minutes(1)
_WIDTH: Final = 24


class ObservabilityStack(Stack):
    """Dashboard and alarms. Metrics are found by name, so nothing here holds another stack in place."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        fleet: FleetDefinition,
        api_id: str,
        history: bool,
        topic: sns.ITopic | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, description="Agent Fleet: dashboard and alarms", **kwargs)
        self._fleet = fleet
        self._api = {"ApiId": api_id}
        self._topic = topic
        workers = [
            names.function(fleet.name, name)
            for name in (
                "accept_goals",
                "release_tasks",
                "remember_goals",
                "heal_work",
                "compensate_goals",
                "manage_fleet",
                "serve_api",
                "authorize_request",
                *(("record_history",) if history else ()),
            )
        ]
        for function in workers:
            self._errors_alarm(function)
        self._api_alarm()
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=fleet.name,
            default_interval=Duration.hours(3),
            widgets=[
                self._api_row(),
                self._flow_row(),
                *(self._pool_row(pool) for pool in fleet.pools),
                [
                    self._function_graph("Errors", "Errors", workers),
                    self._function_graph("Duration, p95 ms", "Duration", workers, "p95"),
                ],
            ],
        )

    def _errors_alarm(self, function: str) -> None:
        alarm = cloudwatch.Alarm(
            self,
            "".join(part.title() for part in function.split("-")) + "Errors",
            alarm_name=f"{function}-errors",
            alarm_description=f"{function} keeps failing: see its log group.",
            metric=_metric("AWS/Lambda", "Errors", {"FunctionName": function}, "Sum"),
            threshold=5,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm_on(alarm, self._topic)

    def _api_alarm(self) -> None:
        alarm = cloudwatch.Alarm(
            self,
            "ApiFaults",
            alarm_name=f"{self._fleet.name}-api-faults",
            alarm_description="The API answers 5xx.",
            metric=_metric("AWS/ApiGateway", "5xx", self._api, "Sum"),
            threshold=5,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm_on(alarm, self._topic)

    def _api_row(self) -> list[cloudwatch.IWidget]:
        counts = [_metric("AWS/ApiGateway", name, self._api, "Sum") for name in ("Count", "4xx", "5xx")]
        latencies = [_metric("AWS/ApiGateway", "Latency", self._api, statistic) for statistic in ("p50", "p95", "p99")]
        return [_graph("API: requests", counts), _graph("API: latency, ms", latencies)]

    def _flow_row(self) -> list[cloudwatch.IWidget]:
        name = self._fleet.name
        queues = [names.submissions_queue(name), names.release_queue(name), names.endings_queue(name)]
        dead = [names.pool_dead_letters(self._fleet.name, pool) for pool in self._fleet.pools]
        return [
            _graph("Goals, releases and endings waiting", _visible(queues)),
            _graph("Dead letters", _visible([*dead, *(names.dead_letters(queue) for queue in queues)])),
        ]

    def _pool_row(self, pool: str) -> list[cloudwatch.IWidget]:
        queues = [names.task_queue(self._fleet.name, pool, priority) for priority in names.PRIORITIES]
        function = {"FunctionName": names.function(self._fleet.name, pool)}
        load = [
            _metric("AWS/Lambda", "ConcurrentExecutions", function, "Maximum"),
            _metric("AWS/Lambda", "Throttles", function, "Sum"),
            _metric("AWS/Lambda", "Errors", function, "Sum"),
        ]
        ages = [_metric("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": queue}, "Maximum", queue) for queue in queues]
        return [
            _graph(f"{pool}: tasks waiting", _visible(queues), columns=3),
            _graph(f"{pool}: oldest, s", ages, columns=3),
            _graph(f"{pool}: agents", load, columns=3),
        ]

    def _function_graph(
        self, title: str, metric: str, functions: Sequence[str], statistic: str = "Sum"
    ) -> cloudwatch.GraphWidget:
        lines = [_metric("AWS/Lambda", metric, {"FunctionName": function}, statistic, function) for function in functions]
        return _graph(title, lines)


def _metric(
    namespace: str, name: str, dimensions: dict[str, str], statistic: str, label: str | None = None
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace, metric_name=name, dimensions_map=dimensions, statistic=statistic, period=_MINUTE, label=label
    )


def _visible(queues: Sequence[str]) -> list[cloudwatch.Metric]:
    return [
        _metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": queue}, "Maximum", queue) for queue in queues
    ]


def _graph(title: str, metrics: Sequence[cloudwatch.IMetric], columns: int = 2) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=_WIDTH // columns)

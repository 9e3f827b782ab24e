"""Pools as Lambda and SQS know them: depth of their queues, concurrency of their triggers, their logs."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.backoff import Backoff
from agentfleet.domain import names
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import InvalidRequest, NotFound, RetryableError
from agentfleet.domain.fleet import Pool

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_lambda.type_defs import EventSourceMappingConfigurationTypeDef
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

MAX_CONCURRENCY: Final = 1000
LEAST_TRIGGER: Final = 2
"""Lambda takes no smaller maximum for an SQS trigger (Lambda Developer Guide, 'Maximum concurrency for Amazon SQS')."""

_HIDDEN: Final = ("ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")
_QUEUE_ABSENT: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})


class LambdaPools:
    """A PoolControl: `LambdaPools(sqs, functions, logs, catalog, url_prefix, threads, backoff=Backoff(limit=4))`.

    Concurrency 1 is less than a trigger can be limited to: the function reserves a single environment instead, which then
    serves all three priorities. Whatever their pollers hand over beside it is throttled (Lambda Developer Guide,
    'Configuring maximum concurrency for Amazon SQS event sources': reserve no less than all maxima together).
    """

    def __init__(
        self,
        sqs: "SQSClient",
        functions: "LambdaClient",
        logs: "CloudWatchLogsClient",
        catalog: Catalog,
        url_prefix: str,
        threads: Executor,
        backoff: Backoff = Backoff(limit=4.0),  # noqa: B008 - frozen
    ) -> None:
        self._sqs = sqs
        self._functions = functions
        self._logs = logs
        self._catalog = catalog
        self._url_prefix = url_prefix
        self._threads = threads
        self._backoff = backoff

    def read(self, pools: Iterable[str]) -> Sequence[Pool]:
        """These pools now. Raises NotFound naming one that isn't deployed."""
        return list(self._threads.map(self._read, list(pools)))

    def set_concurrency(self, pool: str, concurrency: int) -> None:
        """Ask for another trigger concurrency (1 to 1,000); `Pool.settled` tells when it holds.

        The triggers are changed one after another: who is refused half way may ask again, and only what differs is changed.
        Raises ValueError outside the range, NotFound, RetryableError while an earlier change is still taking hold, and
        InvalidRequest for a size of one that the account has no concurrency left to reserve for.
        """
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise ValueError(f"concurrency must be 1 to {MAX_CONCURRENCY:,}, not {concurrency}")
        function = self._function(pool)
        triggers = self._triggers(pool)
        if concurrency == 1:
            self._reserve_one(pool, function)
        elif self._reserved(function) == 1:
            self._functions.delete_function_concurrency(FunctionName=function)
        for trigger in triggers:
            if _limit(trigger) != max(concurrency, LEAST_TRIGGER):
                self._update(pool, trigger["UUID"], max(concurrency, LEAST_TRIGGER))

    def logs(self, pool: str, since: datetime, limit: int) -> Sequence[tuple[datetime, str]]:
        """The newest log lines of a pool, oldest first; none if it never ran."""
        group = f"/aws/lambda/{self._function(pool)}"
        request: dict[str, Any] = {"logGroupName": group, "startTime": int(since.timestamp() * 1000), "startFromHead": False}
        lines: list[tuple[datetime, str]] = []
        while len(lines) < limit:
            try:
                answer = self._logs.filter_log_events(**request)
            except self._logs.exceptions.ResourceNotFoundException:
                return []
            lines.extend((_moment(event["timestamp"]), event["message"].rstrip("\n")) for event in answer["events"])
            if not answer.get("nextToken"):
                break
            request["nextToken"] = answer["nextToken"]
        return sorted(lines, key=lambda line: line[0])[max(0, len(lines) - limit) :]

    def _read(self, pool: str) -> Pool:
        function = self._function(pool)
        spec = self._catalog.pools[pool]
        waiting = in_flight = 0
        for priority in names.PRIORITIES:
            ready, hidden = self._depth(pool, names.task_queue(self._catalog.fleet, pool, priority))
            waiting, in_flight = waiting + ready, in_flight + hidden
        triggers = self._triggers(pool)
        limits = {_limit(trigger) or spec.concurrency for trigger in triggers}
        is_changing = any(trigger["State"].endswith("ing") for trigger in triggers)  # Creating, Enabling, Updating …
        return Pool(
            name=pool,
            capabilities=tuple(capability.name for capability in spec.capabilities),
            concurrency=1 if self._reserved(function) == 1 else max(limits),
            min_concurrency=spec.min_concurrency,
            max_concurrency=spec.max_concurrency,
            waiting=waiting,
            in_flight=in_flight,
            dead=sum(self._depth(pool, names.pool_dead_letters(self._catalog.fleet, pool))),
            settled=len(limits) == 1 and not is_changing,
            is_uneven=len(limits) > 1 and not is_changing,
        )

    def _function(self, pool: str) -> str:
        if pool not in self._catalog.pools:
            raise NotFound(f"there is no pool {pool!r}; there are: {', '.join(sorted(self._catalog.pools))}")
        return names.function(self._catalog.fleet, pool)

    def _depth(self, pool: str, queue: str) -> tuple[int, int]:
        """Messages (ready; received, hidden or kept back)."""
        try:
            answer = self._sqs.get_queue_attributes(
                QueueUrl=self._url_prefix + queue,
                AttributeNames=["ApproximateNumberOfMessages", *_HIDDEN],
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _QUEUE_ABSENT:
                raise NotFound(f"pool {pool!r} is not deployed: there is no queue {queue}") from error
            raise
        found = answer["Attributes"]
        return int(found["ApproximateNumberOfMessages"]), sum(int(found.get(name, 0)) for name in _HIDDEN)

    def _triggers(self, pool: str) -> "list[EventSourceMappingConfigurationTypeDef]":
        """The triggers of a pool's queues; a function may have others."""
        queues = {names.task_queue(self._catalog.fleet, pool, priority) for priority in names.PRIORITIES}
        pages = self._functions.get_paginator("list_event_source_mappings").paginate(FunctionName=self._function(pool))
        try:
            found = [
                trigger
                for page in pages
                for trigger in page["EventSourceMappings"]
                if trigger.get("EventSourceArn", "").rpartition(":")[2] in queues
            ]
        except self._functions.exceptions.ResourceNotFoundException:
            found = []
        if not found:
            raise NotFound(f"pool {pool!r} is not deployed: no queue of its triggers a function")
        return found

    def _reserved(self, function: str) -> int | None:
        return self._functions.get_function_concurrency(FunctionName=function).get("ReservedConcurrentExecutions")

    def _reserve_one(self, pool: str, function: str) -> None:
        try:
            self._functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
        except self._functions.exceptions.InvalidParameterValueException as error:
            why = error.response["Error"].get("Message", "")
            raise InvalidRequest.of(
                "concurrency",
                f"1 for pool {pool} reserves one of the account's concurrent executions, of which Lambda keeps 100 unreserved;"
                f" ask for 2 or more, or for a higher quota ({why})",
            ) from error

    def _update(self, pool: str, trigger: str, limit: int) -> None:
        for _ in self._backoff.rounds():
            try:
                self._functions.update_event_source_mapping(UUID=trigger, ScalingConfig={"MaximumConcurrency": limit})
            except self._functions.exceptions.ResourceInUseException:
                continue
            return
        raise RetryableError(f"pool {pool!r} is still taking an earlier change of concurrency on; try again", delay=10.0)


def _limit(trigger: "EventSourceMappingConfigurationTypeDef") -> int | None:
    return trigger.get("ScalingConfig", {}).get("MaximumConcurrency")


def _moment(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)

"""What a user writes an agent with: `agent = Agent("data")` and `@agent.capability(…)` over typed functions.

The agent itself is the Lambda handler: point the function at `handler.agent`.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aws_lambda_powertools import Logger

from agentfleet import bootstrap_pools
from agentfleet.domain.errors import ModelUnavailable, PermanentError, RetryableError
from agentfleet.services.capability import Capability, SubPlan, TaskContext
from agentfleet.services.perform import BeforeHook
from agentfleet.services.remote import RemoteCall, RemoteCaller
from agentfleet.services.work import Batch, Delivery

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from agentfleet.services.run import TaskRunner

__all__ = ["Agent", "ModelUnavailable", "PermanentError", "RemoteCall", "RetryableError", "SubPlan", "TaskContext"]

F = TypeVar("F", bound=Callable[..., Any])


class Agent:
    """A pool's agent: its capabilities, and the handler that carries out batches of task messages."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.capabilities: dict[str, Capability] = {}
        self.before: list[BeforeHook] = []
        self.remote_caller: RemoteCaller | None = None
        self._runner: TaskRunner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def capability(
        self,
        name: str,
        *,
        idempotent: bool = False,
        timeout: float = 60.0,
        chunk: int = 1,
        cacheable: bool = False,
        keep: float = 3600.0,
        version: str = "",
        approval: Literal["required"] | None = None,
        undone_by: str | None = None,
    ) -> Callable[[F], F]:
        """Declare a function as something this pool's agents can do. The function itself stays as it is.

        `idempotent`: running it twice for one task does no harm; others are claimed first (one more write).
        `timeout`: seconds. `chunk`: so many tasks may share one message and one result (idempotent ones only).
        `cacheable`: what it gives depends on its input alone, so that a result may answer later tasks of the same tenant for
        `keep` seconds (idempotent ones only); `version` names what made it, by default the handler file's content.
        `approval="required"`: a person must approve each task before it runs, which waits at no cost until then.
        `undone_by`: the capability that undoes what this one does; planners make it the task's compensation.
        Raises ValueError for a name declared twice or options that don't go together, TypeError for a signature that isn't
        `(input: Model)` or `(input: Model, context: TaskContext)`.
        """
        if name in self.capabilities:
            raise ValueError(f"pool {self.pool} declares {name} twice")
        if chunk > 1 and not idempotent:
            raise ValueError(f"{name}: chunk={chunk} needs idempotent=True: a chunk is repeated as a whole")
        if cacheable and not idempotent:
            raise ValueError(f"{name}: cacheable=True needs idempotent=True: a kept result means that nothing is done")
        if approval not in {None, "required"}:
            raise ValueError(f"{name}: approval={approval!r} must be 'required', or left out")
        if approval and chunk > 1:
            raise ValueError(f"{name}: chunk={chunk} and approval='required' don't go together: each task is approved alone")
        if keep <= 0:
            raise ValueError(f"{name}: keep={keep} must be more than 0 seconds")

        def declare(function: F) -> F:
            self.capabilities[name] = Capability(
                function,
                name,
                idempotent=idempotent,
                timeout=timeout,
                chunk=chunk,
                cacheable=cacheable,
                keep=keep,
                version=version,
                approval=approval,
                undone_by=undone_by,
            )
            return function

        return declare

    def remote(self, caller: RemoteCaller) -> RemoteCaller:
        """Declare `caller(call, context)` as what has remote agents do those tasks that this pool takes in for them."""
        self.remote_caller = caller
        return caller

    def before_task(self, hook: BeforeHook) -> BeforeHook:
        """Call `hook(context, input)` before every task; raising fails the task."""
        self.before.append(hook)
        return hook

    def __call__(self, event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
        """The Lambda handler: an SQS event of task messages; says which of them must be received again."""
        if self._runner is None or self._loop is None:
            self._runner = bootstrap_pools.runner(self.pool, self.capabilities, self.before, self.remote_caller)
            # Not asyncio.Runner: its run() sets up a signal handler and prints its task's result, a sixth of a batch's CPU.
            self._loop = asyncio.new_event_loop()
        cut_off = datetime.now(UTC) + timedelta(milliseconds=context.get_remaining_time_in_millis())
        batch = self._loop.run_until_complete(self._runner.run(read_deliveries(event), cut_off))
        _log(self.pool, batch)
        if batch.lost:
            bootstrap_pools.tell_lost(batch.lost_share)
        return {"batchItemFailures": batch.failures}


def read_deliveries(event: dict[str, Any]) -> list[Delivery]:
    """The messages of an SQS event, as Lambda hands them over."""
    return [
        Delivery(
            message_id=record["messageId"],
            receipt=record["receiptHandle"],
            body=record["body"],
            attempt=int(record["attributes"]["ApproximateReceiveCount"]),
            queue=record["eventSourceARN"].rpartition(":")[2],
        )
        for record in event["Records"]
    ]


def _measure_cache(pool: str, counts: Mapping[str, int]) -> None:
    """A line in CloudWatch's embedded metric format: hits of all tiers, values made, and calls that failed, by pool."""
    from aws_lambda_powertools import Metrics  # noqa: PLC0415 - agents without a cache must not pay for the import
    from aws_lambda_powertools.metrics import MetricUnit  # noqa: PLC0415

    metrics = Metrics(namespace="AgentFleet", service=pool)
    hits, errors = (sum(n for name, n in counts.items() if name.endswith(f".{kind}")) for kind in ("hits", "errors"))
    for name, count in {"CacheHits": hits, "CacheLoads": counts.get("loads", 0), "CacheErrors": errors}.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    metrics.flush_metrics()


def _log(pool: str, batch: Batch) -> None:
    """One line per batch, and one per task that did not succeed.

    A line that names one tenant may be shown to that tenant; one that concerns several names "*", and is shown to none.
    """
    logger = Logger(service=pool)
    tenants = {work.goal.tenant for work in batch.settled}
    again = [one for one in batch.again if one.work.delivery.message_id not in batch.returned]
    counts = {"postponed": len(again) - (failed := sum(one.has_failed for one in again)), "retried": failed}
    more: dict[str, Any] = {name: count for name, count in counts.items() if count}
    if batch.cache:
        more["cache"] = batch.cache
        _measure_cache(pool, batch.cache)
    logger.info(
        "batch",
        tenant=next(iter(tenants), None) if len(tenants) < 2 else "*",
        received=len(batch.deliveries),
        settled=len(batch.settled),
        dropped=len(batch.dropped),
        returned=len(batch.returned),
        **more,
        tasks=[f"{work.goal.id}/{task.id}" for work in batch.settled[:10] for task in work.unit.tasks[:10]],
    )
    for message_id, returned in batch.returned.items():
        after = returned.after and returned.after.total_seconds()
        logger.warning("returned", tenant=returned.tenant, message_id=message_id, again_after=after, exc_info=returned.error)
    for mishap in batch.mishaps:
        logger.error("mishap", tenant="*", exc_info=mishap)
    if batch.stuck:
        logger.warning("stuck", tenant="*", tasks=list(batch.stuck[:10]), threads=len(batch.stuck))
    for one in again:
        logger.warning(
            "retried" if one.has_failed else "postponed",
            tenant=one.work.goal.tenant,
            goal=one.work.goal.id,
            unit=one.work.unit.number,
            error=type(one.error).__name__,
            reason=str(one.error),
            again_after=one.after.total_seconds(),
            exc_info=one.error if one.has_failed else None,
        )
    for work in batch.settled:
        if work.result and (failure := work.result.first_failure):
            logger.error(
                "failed",
                tenant=work.goal.tenant,
                goal=work.goal.id,
                task=failure.task,
                error=failure.error,
                reason=failure.message,
            )

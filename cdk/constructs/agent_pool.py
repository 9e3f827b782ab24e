"""A pool of agents: one function, fed by one queue per priority."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from agentfleet.domain import names
from cdk.catalog import PoolDefinition
from cdk.constructs.python_function import Network, PythonFunction, PythonFunctionProps
from cdk.constructs.queue_with_dlq import DeadLetterQueue, QueueWithDlq, QueueWithDlqProps
from cdk.permissions import Permissions
from cdk.stage import Stage

OLDEST_AGE_ALARMS: Final[dict[names.Priority, int]] = {"high": 300, "normal": 900, "low": 3600}
"""Seconds that the oldest message of a priority may wait before someone is told."""

MIN_TRIGGER_CONCURRENCY: Final = 2
"""The least that an SQS trigger accepts (Lambda: Configuring maximum concurrency for Amazon SQS event sources)."""


@dataclass(frozen=True)
class AgentPoolProps:
    """One block of fleet.toml with what it stands on."""

    stage: Stage
    fleet: str
    pool: PoolDefinition
    key: kms.IKey
    layers: tuple[lambda_.ILayerVersion, ...]
    environment: Mapping[str, str]
    permissions: Permissions
    """All that its agents may do, apart from writing their log."""
    topic: sns.ITopic | None = None
    network: Network | None = None


class AgentPool(Construct):
    """Three queues that share a dead-letter queue, the function that consumes them, and a trigger for each."""

    def __init__(self, scope: Construct, construct_id: str, props: AgentPoolProps) -> None:
        super().__init__(scope, construct_id)
        spec = props.pool.spec
        self.dead_letters = DeadLetterQueue(
            self, "Dead", queue_name=names.pool_dead_letters(props.fleet, spec.name), key=props.key, topic=props.topic
        )
        self.queues = {priority: self._queue(priority, props) for priority in names.PRIORITIES}
        self.agent = PythonFunction(
            self,
            "Agent",
            PythonFunctionProps(
                stage=props.stage,
                key=props.key,
                function_name=names.function(props.fleet, spec.name),
                description=spec.description,
                folder=props.pool.folder,
                handler="handler.agent",
                layers=props.layers,
                permissions=props.permissions,
                environment={**props.environment, "POOL": spec.name, "POOL_SETTINGS": json.dumps(props.pool.settings)},
                memory=props.pool.memory,
                timeout=spec.timeout,
                reserved_concurrency=1 if spec.concurrency == 1 else None,
                network=props.network,
            ),
        )
        for priority, queue in self.queues.items():
            lambda_.EventSourceMapping(
                self,
                f"{priority.title()}Trigger",
                target=self.agent.function,
                event_source_arn=queue.queue.queue_arn,
                batch_size=spec.batch,
                report_batch_item_failures=True,
                max_concurrency=max(MIN_TRIGGER_CONCURRENCY, spec.concurrency),
            )

    def _queue(self, priority: names.Priority, props: AgentPoolProps) -> QueueWithDlq:
        return QueueWithDlq(
            self,
            priority.title(),
            QueueWithDlqProps(
                queue_name=names.task_queue(props.fleet, props.pool.spec.name, priority),
                key=props.key,
                dead_letters=self.dead_letters,
                consumer_timeout=props.pool.spec.timeout,
                oldest_age_alarm=OLDEST_AGE_ALARMS[priority],
                topic=props.topic,
            ),
        )

"""Who does the work: the pools and the functions that accept goals and release tasks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from agentfleet.domain import names
from cdk.constructs.agent_pool import AgentPool, AgentPoolProps
from cdk.constructs.fleet_layers import FleetLayers
from cdk.constructs.fleet_manager import FleetManager
from cdk.constructs.python_function import PythonFunction, PythonFunctionProps
from cdk.constructs.saga_machine import SagaMachine, SagaMachineProps
from cdk.foundation import Foundation
from cdk.models import ask_models, model_environment, trace_environment
from cdk.permissions import Permissions
from cdk.stacks.cache import CacheStack
from cdk.stacks.messaging import ACCEPT_TIMEOUT, RELEASE_TIMEOUT, REMEMBER_TIMEOUT

HEAL_RATE: Final = Duration.minutes(2)
HEAL_TIMEOUT: Final = 110
"""Seconds: a run is over before the next begins."""


class AgentsStack(Stack):
    """One AgentPool per block of fleet.toml, and a worker behind each queue that is no pool's."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        foundation: Foundation,
        topic: sns.ITopic | None,
        cache: CacheStack | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, description="Agent Fleet: agents", **kwargs)
        self._foundation = foundation
        self._cache = cache
        self._access = foundation.access(self)
        self._layers = FleetLayers(self, "Layers", foundation)
        fleet = foundation.fleet
        self.pools = {name: self._pool(name, topic) for name in fleet.pools}
        self.accept_goals = self._worker(
            "accept_goals",
            "Turns submitted goals into running plans",
            names.submissions_queue(fleet.name),
            ACCEPT_TIMEOUT,
            self._access.accept_plans() + self._access.find_living(),
        )
        self.release_tasks = self._worker(
            "release_tasks",
            "Spreads a large fan-out over several workers",
            names.release_queue(fleet.name),
            RELEASE_TIMEOUT,
            self._access.release_plans(),
        )
        self.remember_goals = self._worker(
            "remember_goals",
            "Keeps what became of goals in words",
            names.endings_queue(fleet.name),
            REMEMBER_TIMEOUT,
            self._access.remember_goals(),
            self._access.memory_environment,
        )
        self.manage_fleet = FleetManager(
            self, "ManageFleet", foundation=foundation, access=self._access, layers=self._layers.of()
        )
        self.heal_work = self._healer()
        self.saga = SagaMachine(
            self, "Saga", SagaMachineProps(foundation=foundation, access=self._access, layers=self._layers.of(), topic=topic)
        )

    def _healer(self) -> PythonFunction:
        access = self._access
        healer = PythonFunction(
            self,
            "HealWork",
            PythonFunctionProps(
                stage=self._foundation.stage,
                key=access.key,
                function_name=names.function(self._foundation.fleet.name, "heal_work"),
                description="Sets goals going again that stand still, and deals with dead letters",
                folder=self._foundation.fleet.root / "functions" / "heal_work",
                layers=self._layers.of(),
                permissions=access.repair_plans()
                + access.find_living()
                + access.watch_queues()
                + access.read_queue_ages()
                + access.tend_dead_letters()
                + access.start_sagas()
                + access.watch_sagas(),
                environment=access.environment("work", "registry"),
                memory=1024,
                timeout=HEAL_TIMEOUT,
            ),
        )
        events.Rule(
            healer,
            "Schedule",
            description="Every two minutes, longer than one run takes",
            schedule=events.Schedule.rate(HEAL_RATE),
            targets=[targets.LambdaFunction(healer.function, retry_attempts=0)],
        )
        return healer

    def _pool(self, name: str, topic: sns.ITopic | None) -> AgentPool:
        pool = self._foundation.fleet.pools[name]
        model = pool.model if self._foundation.stage.has_models else None
        cached = model is not None or any(capability.cacheable for capability in pool.spec.capabilities)
        cache = self._cache if cached else None
        knows, remembers = "knowledge" in pool.grants, "memory" in pool.grants
        queues = [names.task_queue(self._foundation.fleet.name, name, priority) for priority in names.PRIORITIES]
        return AgentPool(
            self,
            "".join(part.title() for part in name.split("-")),
            AgentPoolProps(
                stage=self._foundation.stage,
                fleet=self._foundation.fleet.name,
                pool=pool,
                key=self._access.key,
                layers=self._layers.of(*pool.layers),
                environment=self._access.environment("work", "registry")
                | (self._reach_cache() if cached else {})
                | (self._access.knowledge_environment if knows else {})
                | (self._access.memory_environment if remembers else {})
                | model_environment(model, self._foundation.stage)
                | trace_environment(pool.layers, self._foundation.stage),
                permissions=self._access.carry_out_plans(pool.grants, cached=cached)
                + (self._access.use_knowledge() if knows else Permissions())
                + (self._access.use_table("memory") if remembers else Permissions())
                + self._access.consume(*queues)
                + self._access.start_sagas()
                + self._access.answer_sagas()
                + self._access.keep_budgets()
                + (cache.permissions_in(self) if cache else Permissions())
                + (self._access.apply_guardrail(pool.guardrails.bedrock) if pool.guardrails.bedrock else Permissions())
                + ask_models(self, model.chain if model else ())
                + self._access.read_secrets(*(server.secret for server in pool.spec.servers if server.secret)),
                topic=topic,
                network=cache.network if cache else None,
            ),
        )

    def _reach_cache(self) -> dict[str, str]:
        if self._cache:
            return self._cache.address
        url = self._foundation.stage.cache_url
        return {"CACHE_URL": url} if url else {}

    def _worker(
        self,
        folder: str,
        description: str,
        queue: str,
        timeout: int,
        permissions: Permissions,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> PythonFunction:
        worker = PythonFunction(
            self,
            "".join(part.title() for part in folder.split("_")),
            PythonFunctionProps(
                stage=self._foundation.stage,
                key=self._access.key,
                function_name=names.function(self._foundation.fleet.name, folder),
                description=description,
                folder=self._foundation.fleet.root / "functions" / folder,
                layers=self._layers.of(),
                permissions=permissions + self._access.consume(queue, hides=False),
                environment={**self._access.environment("work", "registry"), **environment},
                memory=1024,
                timeout=timeout,
            ),
        )
        lambda_.EventSourceMapping(
            worker,
            "Trigger",
            target=worker.function,
            event_source_arn=self._access.queue_arn(queue),
            batch_size=10,
            report_batch_item_failures=True,
            max_concurrency=50,
        )
        return worker

"""How the services hang together over any set of adapters: the wiring that production and the tests share."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import random
from typing import Any

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.fleet import Agent, AgentState
from agentfleet.domain.playbook import Playbook
from agentfleet.ports import (
    AgentStore,
    BlobStore,
    BreakerStore,
    ClaimStore,
    Clock,
    GoalStore,
    JoinStore,
    MessageBus,
    PlanStore,
    ResultStore,
    TaskQueues,
)
from agentfleet.services.accept import Accepter
from agentfleet.services.breaker import Breakers, LocalBreakers, read_policy
from agentfleet.services.cache import CacheManager
from agentfleet.services.capability import Capability
from agentfleet.services.finish import Finisher
from agentfleet.services.intake import EventIntake
from agentfleet.services.perform import BeforeHook, Performer
from agentfleet.services.registry import Presence, Registry
from agentfleet.services.release import ReleasePart, Releaser
from agentfleet.services.reuse import ResultReuse
from agentfleet.services.routing import Router
from agentfleet.services.run import Stores, TaskRunner


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything the services reach out to."""

    goals: GoalStore
    plans: PlanStore
    results: ResultStore
    joins: JoinStore
    claims: ClaimStore
    queues: TaskQueues
    bus: MessageBus
    blobs: BlobStore
    agents: AgentStore
    clock: Clock
    breakers: BreakerStore = field(default_factory=LocalBreakers)


class Platform:
    """The services that run goals, composed once."""

    def __init__(
        self,
        outside: Outside,
        catalog: Catalog,
        playbooks: Mapping[str, Playbook],
        *,
        random_bits: Callable[[int], int] = secrets.randbits,
        fraction: Callable[[], float] = random,
    ) -> None:
        self.outside = outside
        self.catalog = catalog
        self.playbooks = playbooks
        self.releaser = Releaser(Router(catalog), outside.queues)
        self.registry = Registry(catalog, outside.agents, outside.clock)
        self.finisher = Finisher(
            outside.goals, outside.plans, outside.results, outside.joins, self.releaser, outside.bus, outside.clock
        )
        self.release_part = ReleasePart(outside.goals, outside.plans, self.releaser)
        self.accepter = Accepter(
            catalog, playbooks, outside.goals, outside.plans, self.releaser, outside.bus, outside.clock, random_bits
        )
        self.intake = EventIntake(self.accepter, outside.bus)
        self._fraction = fraction

    def runner(
        self,
        pool: str,
        agent_id: str,
        capabilities: Mapping[str, Capability],
        *,
        before: Sequence[BeforeHook] = (),
        settings: dict[str, Any] | None = None,
        cache: CacheManager | None = None,
    ) -> TaskRunner:
        """The runner of one execution environment of a pool; without a cache nothing that is cacheable is cached."""
        outside = self.outside
        now = outside.clock()
        entry = Agent(agent_id, pool, tuple(sorted(capabilities)), AgentState.STARTING, now, now)
        performer = Performer(
            agent_id,
            capabilities,
            outside.results,
            outside.blobs,
            self.accepter,
            outside.clock,
            self._fraction,
            settings=settings,
            before=before,
            reuse=None if cache is None else ResultReuse(cache),
            breakers=Breakers(outside.breakers, outside.clock, read_policy((settings or {}).get("breaker", {}))),
        )
        stores = Stores(outside.goals, outside.plans, outside.results, outside.claims, outside.queues)
        presence = Presence(self.registry, entry, outside.clock)
        return TaskRunner(
            capabilities, stores, performer, self.accepter, self.finisher, presence, outside.clock, self._fraction, pool
        )

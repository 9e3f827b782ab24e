"""How the services hang together over any set of adapters: the wiring that production and the tests share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from random import random
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.fleet import Agent, AgentState
from agentfleet.ports import (
    AgentStore,
    BlobStore,
    BreakerStore,
    ClaimStore,
    Clock,
    DeadLetters,
    GoalStore,
    HealthStore,
    JoinStore,
    MessageBus,
    PlanStore,
    QueueWatch,
    ResultStore,
    RoutingStore,
    Sagas,
    TaskQueues,
    UndoAnswers,
)
from agentfleet.ports_agents import JournalStore
from agentfleet.ports_governance import ApprovalStore, BudgetStore, KillStore
from agentfleet.services.accept import Accepter
from agentfleet.services.approval import ApprovalBook, ApprovalGate, ApprovalPolicy, LocalApprovals
from agentfleet.services.breaker import Breakers, LocalBreakers, read_policy
from agentfleet.services.budget import Budgets, LocalBudgets
from agentfleet.services.capability import Capability, MemorySource, ModelSource
from agentfleet.services.finish import Finisher
from agentfleet.services.journal import LocalJournals
from agentfleet.services.kill import Halt, KillStage, KillSwitch, LocalKills
from agentfleet.services.perform import BeforeHook, Performer
from agentfleet.services.registry import Presence, Registry
from agentfleet.services.release import ReleasePart, Releaser
from agentfleet.services.reuse import ResultReuse
from agentfleet.services.routing import LocalRouting, Router, RoutingBoard
from agentfleet.services.run import Gates, Stores, TaskRunner
from agentfleet.services.undo import Undoer

if TYPE_CHECKING:
    from agentfleet.domain.goal import Goal
    from agentfleet.domain.plan import Unit
    from agentfleet.domain.playbook import Playbook
    from agentfleet.ports_agents import ToolServer
    from agentfleet.services.approval import ApprovalDesk
    from agentfleet.services.cache import CacheManager
    from agentfleet.services.capability import TaskContext
    from agentfleet.services.control import Controller
    from agentfleet.services.dead_letters import DeadLetterOffice
    from agentfleet.services.guardrail import Guard
    from agentfleet.services.heal import Healer
    from agentfleet.services.incidents import IncidentLog
    from agentfleet.services.intake import EventIntake
    from agentfleet.services.kill import KillDesk
    from agentfleet.services.saga import Saga
    from agentfleet.services.task_tools import CallHere, Refused, TaskTools, Workshop

# What agents don't need is imported where it is composed: every agent's cold start would pay for it.


class Outside(Struct, frozen=True):
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
    sagas: Sagas
    answers: UndoAnswers
    breakers: BreakerStore = field(default_factory=LocalBreakers)
    budgets: BudgetStore = field(default_factory=LocalBudgets)
    approvals: ApprovalStore = field(default_factory=LocalApprovals)
    kills: KillStore = field(default_factory=LocalKills)
    routing: RoutingStore = field(default_factory=LocalRouting)
    journals: JournalStore = field(default_factory=LocalJournals)


class Healing(Struct, frozen=True):
    """The services that look after goals."""

    healer: Healer
    office: DeadLetterOffice
    incidents: IncidentLog


class Governance(Struct, frozen=True):
    """The services by which people hold the fleet within bounds."""

    budgets: Budgets
    approvals: ApprovalDesk
    kills: KillDesk


class Bench(Struct, frozen=True):
    """What the tools of a pool's tasks reach out to."""

    refused: Refused | None = None
    """Told of every call that was not let through."""
    servers: Callable[[], Mapping[str, ToolServer]] = dict
    """MCP servers by name, made when a task first asks for its tools."""
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Let so many seconds pass."""


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
        self.switch = KillSwitch(outside.kills, outside.clock, catalog)
        self.budgets = Budgets(outside.budgets, outside.clock, catalog.budget.day)
        self.approval_policy = ApprovalPolicy(catalog)
        self.approvals = ApprovalBook(self.approval_policy, outside.approvals)
        self.board = RoutingBoard(outside.routing, outside.breakers, catalog, outside.clock)
        self.router = Router(catalog, self.board)
        self.releaser = Releaser(self.router, outside.queues)
        self.registry = Registry(catalog, outside.agents, outside.clock)
        self.finisher = Finisher(
            outside.goals,
            outside.plans,
            outside.results,
            outside.joins,
            self.releaser,
            outside.bus,
            outside.clock,
            outside.sagas,
        )
        self.release_part = ReleasePart(outside.goals, outside.plans, self.releaser)
        self.accepter = Accepter(
            catalog,
            playbooks,
            outside.goals,
            outside.plans,
            self.releaser,
            outside.bus,
            outside.clock,
            random_bits,
            self.switch,
        )
        self._fraction = fraction
        self._random_bits = random_bits

    @cached_property
    def saga(self) -> Saga:
        """What undoes goals."""
        from agentfleet.services.saga import Saga

        outside = self.outside
        return Saga(
            outside.goals,
            outside.plans,
            outside.results,
            outside.claims,
            outside.sagas,
            self.router,
            self.finisher,
            outside.clock,
            self.catalog.fleet,
        )

    @cached_property
    def control(self) -> Controller:
        """What cancels, pauses, resumes and forks goals."""
        from agentfleet.services.control import Controller

        outside = self.outside
        return Controller(
            outside.goals,
            outside.plans,
            outside.results,
            self.finisher,
            self.releaser,
            outside.clock,
            self._random_bits,
            self.switch,
        )

    @cached_property
    def intake(self) -> EventIntake:
        """What accepts goals that come as events."""
        from agentfleet.services.intake import EventIntake

        return EventIntake(self.accepter, self.outside.bus)

    def runner(
        self,
        pool: str,
        agent_id: str,
        capabilities: Mapping[str, Capability],
        *,
        before: Sequence[BeforeHook] = (),
        settings: dict[str, Any] | None = None,
        cache: CacheManager | None = None,
        guard: Guard | None = None,
        models: ModelSource | None = None,
        memories: MemorySource | None = None,
        bench: Bench = Bench(),
    ) -> TaskRunner:
        """The runner of one execution environment of a pool; no cache: nothing is cached; no models: none is asked.

        No memories: its agents remember nothing.
        """
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
            budgets=self.budgets,
            guard=guard,
            models=models,
            memories=memories,
            journals=outside.journals,
            workshop=self._workshop(pool, capabilities, guard, bench),
            halt=Halt(self.switch, outside.goals, pool, outside.clock, self._fraction),
        )
        stores = Stores(outside.goals, outside.plans, outside.results, outside.claims, outside.queues)
        presence = Presence(self.registry, entry, outside.clock)
        gates = Gates(
            KillStage(self.switch, pool, outside.clock, self._fraction),
            ApprovalGate(self.approval_policy, outside.approvals, outside.bus, capabilities, outside.clock),
        )
        undoer = Undoer(
            agent_id,
            outside.goals,
            outside.plans,
            outside.results,
            outside.claims,
            outside.queues,
            performer,
            outside.answers,
            outside.clock,
        )
        return TaskRunner(
            capabilities,
            stores,
            performer,
            self.accepter,
            self.finisher,
            presence,
            outside.clock,
            self._fraction,
            pool,
            self.router,
            undoer,
            gates,
        )

    def _workshop(
        self, pool: str, capabilities: Mapping[str, Capability], guard: Guard | None, bench: Bench
    ) -> Workshop | None:
        """What makes the tools of a pool's tasks, where it has any, when a task first asks for them."""
        spec = self.catalog.pools[pool]
        if not spec.tools and not spec.servers:
            return None

        @lru_cache(maxsize=1)
        def made() -> Workshop:
            from agentfleet.services.task_tools import ToolShop

            return ToolShop(
                spec,
                self.catalog,
                self.accepter,
                self.outside.goals,
                self.outside.clock,
                capabilities,
                self.approval_policy,
                guard,
                bench.refused,
                bench.servers(),
                bench.pause,
            )

        def tools_of(goal: Goal, unit: Unit, call_here: CallHere, context: TaskContext) -> TaskTools:
            return made()(goal, unit, call_here, context)

        return tools_of

    def healing(self, watch: QueueWatch, letters: DeadLetters, health: HealthStore) -> Healing:
        """The services that look after goals, over these queues and this memory."""
        from agentfleet.services.dead_letters import DeadLetterOffice
        from agentfleet.services.heal import Healer, Standstills
        from agentfleet.services.incidents import IncidentLog

        reach, catalog, clock = self.outside, self.catalog, self.outside.clock
        goals, plans, results, releaser, finisher = reach.goals, reach.plans, reach.results, self.releaser, self.finisher
        incidents = IncidentLog(health, goals, results, clock)
        office = DeadLetterOffice(letters, health, incidents, goals, plans, results, catalog, releaser, finisher, clock)
        standstills = Standstills(self.approvals, self.switch, reach.claims, catalog)
        healer = Healer(
            goals,
            plans,
            results,
            watch,
            health,
            incidents,
            office,
            catalog,
            releaser,
            finisher,
            self.saga,
            clock,
            standstills,
        )
        return Healing(healer, office, incidents)

    def governance(self) -> Governance:
        """The services by which people hold the fleet within bounds."""
        from agentfleet.services.approval import ApprovalDesk
        from agentfleet.services.kill import KillDesk

        reach, clock = self.outside, self.outside.clock
        desk = ApprovalDesk(reach.approvals, reach.goals, reach.plans, reach.results, self.releaser, clock)
        return Governance(self.budgets, desk, KillDesk(reach.kills, self.catalog, clock))

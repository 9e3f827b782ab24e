"""How the services hang together over any set of adapters: the wiring that production and the tests share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import cached_property
from random import random
from typing import TYPE_CHECKING

from msgspec import Struct

from agentfleet.services.approval import ApprovalBook, ApprovalPolicy
from agentfleet.services.finish import Finisher
from agentfleet.services.kill import KillSwitch
from agentfleet.services.registry import Registry
from agentfleet.services.release import ReleasePart, Releaser
from agentfleet.services.routing import Router, RoutingBoard

if TYPE_CHECKING:
    from agentfleet.domain.catalog import Catalog
    from agentfleet.domain.goal import Goal
    from agentfleet.domain.playbook import Playbook
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
    from agentfleet.services.approval import ApprovalDesk
    from agentfleet.services.budget import Budgets
    from agentfleet.services.control import Controller
    from agentfleet.services.dead_letters import DeadLetterOffice
    from agentfleet.services.heal import Healer
    from agentfleet.services.incidents import IncidentLog
    from agentfleet.services.intake import EventIntake
    from agentfleet.services.kill import KillDesk
    from agentfleet.services.saga import Saga

# What only some functions need is imported where it is composed: every other function's cold start would pay for it.


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
    breakers: BreakerStore
    budgets: BudgetStore
    approvals: ApprovalStore
    kills: KillStore
    routing: RoutingStore
    journals: JournalStore


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
            outside.claims,
        )
        self.release_part = ReleasePart(outside.goals, outside.plans, self.releaser)
        self.fraction = fraction
        self._random_bits = random_bits

    @cached_property
    def accepter(self) -> Accepter:
        """What turns requests into goals."""
        from agentfleet.services.accept import Accepter

        outside = self.outside
        return Accepter(
            self.catalog,
            self.playbooks,
            outside.goals,
            outside.plans,
            self.releaser,
            outside.bus,
            outside.clock,
            self._random_bits,
            self.switch,
        )

    @cached_property
    def budgets(self) -> Budgets:
        """What sets money aside."""
        from agentfleet.services.budget import Budgets

        return Budgets(self.outside.budgets, self.outside.clock, self.catalog.budget.day)

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

    def healing(self, watch: QueueWatch, letters: DeadLetters, health: HealthStore) -> Healing:
        """The services that look after goals, over these queues and this memory."""
        from agentfleet.services.dead_letters import DeadLetterOffice
        from agentfleet.services.heal import Healer, Standstills
        from agentfleet.services.incidents import IncidentLog

        reach, catalog, clock = self.outside, self.catalog, self.outside.clock
        goals, plans, results, releaser, finisher = reach.goals, reach.plans, reach.results, self.releaser, self.finisher
        incidents = IncidentLog(health, goals, results, clock)

        def accept(event: str) -> Goal | None:
            return self.intake(event)  # made when a person asks for it: the healer's cold start must not pay for it

        office = DeadLetterOffice(
            letters,
            watch,
            health,
            incidents,
            goals,
            plans,
            results,
            reach.claims,
            catalog,
            releaser,
            finisher,
            clock,
            accept,
        )
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

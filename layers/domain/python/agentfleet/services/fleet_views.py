"""What the API shows and takes of agents, pools and fleets."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from agentfleet.domain.catalog import CapabilitySpec
from agentfleet.domain.fleet import Agent, AgentState, Fleet, Pool
from agentfleet.domain.pool_health import HealthState
from agentfleet.domain.scaling import Action, Decision, ScalingMode, ScalingRecord
from agentfleet.services.views import Order, View


class AgentView(View):
    """One worker: an execution environment of a pool, a container, or a remote agent."""

    id: str
    pool: str
    capabilities: tuple[str, ...]
    state: AgentState
    started: datetime
    seen: datetime
    """When it was last heard of."""
    tasks: tuple[str, ...] = ()
    """`goal/task` of what it works on now, as far as these are your goals."""
    last: str | None = None
    """`goal/task` of what it took up last, if that goal is yours."""
    completed: int = 0
    endpoint: str | None = None
    cache: dict[str, int] = Field(default_factory=dict)
    """What happened in its cache since it started: `<tier>.hits`, `loads` …; empty for one without."""

    @classmethod
    def of(cls, agent: Agent, tasks: tuple[str, ...], last: str | None) -> Self:
        """The view of an agent whose visible tasks are `tasks`; `last` is what it did before, if that is visible."""
        return cls(
            id=agent.id,
            pool=agent.pool,
            capabilities=agent.capabilities,
            state=agent.state,
            started=agent.started,
            seen=agent.seen,
            tasks=tasks,
            last=last,
            completed=agent.completed,
            endpoint=agent.endpoint,
            cache=dict(agent.cache),
        )


class AgentList(View):
    """Living agents by pool."""

    agents: tuple[AgentView, ...]


class CapabilityView(View):
    """One thing that a pool's agents can do."""

    name: str
    description: str
    idempotent: bool
    timeout: float
    """Seconds."""
    chunk: int
    """How many tasks may share one message."""

    @classmethod
    def of(cls, spec: CapabilitySpec) -> Self:
        """The view of a declaration."""
        return cls(
            name=spec.name, description=spec.description, idempotent=spec.idempotent, timeout=spec.timeout, chunk=spec.chunk
        )


class DecisionView(View):
    """What the fleet manager decided about a pool."""

    at: datetime
    since: datetime | None = None
    """Of holds in a row only the latest is kept; the first was then."""
    action: Action
    before: int
    """Concurrency that it found."""
    concurrency: int
    """Concurrency that it wants."""
    reason: str
    applied: bool
    """False for a hold, in a dry run, and when the change was refused."""

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """The view of a decision."""
        return cls(
            at=decision.at,
            since=decision.since,
            action=decision.action,
            before=decision.before,
            concurrency=decision.concurrency,
            reason=decision.reason,
            applied=decision.applied,
        )


class PoolView(View):
    """A pool as it is now."""

    name: str
    description: str
    capabilities: tuple[CapabilityView, ...]
    concurrency: int
    """How many agents each priority's queue may keep busy at once."""
    min_concurrency: int
    max_concurrency: int
    waiting: int
    """Messages ready in its queues."""
    in_flight: int
    dead: int
    """Messages in its dead-letter queue."""
    settled: bool
    """False while a change of concurrency is still taking hold."""
    scaling: ScalingMode = "off"
    """Does the fleet manager move its concurrency?"""
    decisions: tuple[DecisionView, ...] = ()
    """What it decided last, newest first: one in a list of pools, at most 20 for a single pool."""
    health: HealthState = HealthState.HEALTHY
    health_reason: str = ""
    """Why it isn't healthy."""

    @classmethod
    def of(
        cls,
        pool: Pool,
        description: str,
        capabilities: tuple[CapabilityView, ...],
        scaling: ScalingMode,
        record: ScalingRecord | None,
        health: tuple[HealthState, str],
    ) -> Self:
        """The view of a pool as it is now, with what its declaration says."""
        return cls(
            name=pool.name,
            description=description,
            capabilities=capabilities,
            concurrency=pool.concurrency,
            min_concurrency=pool.min_concurrency,
            max_concurrency=pool.max_concurrency,
            waiting=pool.waiting,
            in_flight=pool.in_flight,
            dead=pool.dead,
            settled=pool.settled,
            scaling=scaling,
            decisions=tuple(map(DecisionView.of, record.decisions)) if record else (),
            health=health[0],
            health_reason=health[1],
        )


class PoolList(View):
    """Every pool, by name."""

    pools: tuple[PoolView, ...]


class PoolChange(Order):
    """Another size for a pool."""

    concurrency: Annotated[int, Field(ge=1, le=1000)]


class LogLine(View):
    """A line that an agent logged."""

    at: datetime
    message: str


class LogPage(View):
    """The newest lines of a pool, oldest first."""

    lines: tuple[LogLine, ...]


class FleetOrder(Order):
    """Pools to be sized for a purpose."""

    size: Annotated[int, Field(ge=1, le=1000)]
    """How many agents each of the pools may run at once."""
    capabilities: Annotated[tuple[str, ...], Field(max_length=100)] | None = None
    """What the fleet must be able to do; null: everything there is."""


class FleetChange(Order):
    """Another size for a fleet."""

    size: Annotated[int, Field(ge=1, le=1000)]


class FleetView(View):
    """Pools that you have sized for a purpose."""

    id: str
    size: int
    pools: tuple[str, ...]
    before: dict[str, int]
    """Pool → concurrency before this fleet, restored by its release."""
    created: datetime
    released: datetime | None = None
    ready: bool
    """Does every pool have its size, with nothing left to take hold?"""

    @classmethod
    def of(cls, fleet: Fleet, *, ready: bool) -> Self:
        """The view of a fleet."""
        return cls(
            id=fleet.id,
            size=fleet.size,
            pools=fleet.pools,
            before=fleet.before,
            created=fleet.created,
            released=fleet.released,
            ready=ready,
        )


class FleetList(View):
    """Your fleets that have not been released, newest first."""

    fleets: tuple[FleetView, ...]

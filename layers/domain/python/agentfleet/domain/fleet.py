"""Agents and the groups they work in: the agent's lifecycle, pools as seen now, fleets held by a user."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain.errors import IllegalTransition


class AgentState(StrEnum):
    """Where an agent (one execution environment of a pool) stands."""

    STARTING = "STARTING"
    IDLE = "IDLE"
    EXECUTING = "EXECUTING"
    DRAINING = "DRAINING"
    OFFLINE = "OFFLINE"


_S = AgentState
MOVES: Final[dict[AgentState, frozenset[AgentState]]] = {
    _S.STARTING: frozenset({_S.IDLE, _S.EXECUTING, _S.DRAINING, _S.OFFLINE}),
    _S.IDLE: frozenset({_S.IDLE, _S.EXECUTING, _S.DRAINING, _S.OFFLINE}),
    _S.EXECUTING: frozenset({_S.IDLE, _S.EXECUTING, _S.DRAINING, _S.OFFLINE}),
    _S.DRAINING: frozenset({_S.DRAINING, _S.OFFLINE}),
    _S.OFFLINE: frozenset({_S.STARTING}),
}

HEARTBEAT: Final = timedelta(seconds=20)
"""How often a working agent says that it lives."""
LIFETIME: Final = timedelta(minutes=15)
"""How long an agent that says nothing counts as living: a frozen Lambda environment can't speak, and may come back."""


class Agent(Struct, frozen=True):
    """One worker: a Lambda execution environment, a container, or a remote agent."""

    id: str
    pool: str
    capabilities: tuple[str, ...]
    state: AgentState
    started: datetime
    seen: datetime
    tasks: tuple[str, ...] = ()
    """`goal/task` of what it works on now, at most ten."""
    completed: int = 0
    endpoint: str | None = None
    """Where a remote agent is reached; None for one that polls a queue."""
    last: str | None = None
    """`goal/task` of what it took up last."""
    cache: Mapping[str, int] = field(default_factory=dict)
    """What happened in its cache since it started, by kind (services/cache.py); empty for one without."""

    def move(self, to: AgentState, now: datetime, tasks: tuple[str, ...] = (), completed: int = 0) -> "Agent":
        """The agent in its next state, `completed` tasks further. Raises IllegalTransition."""
        if to not in MOVES[self.state]:
            allowed = ", ".join(sorted(MOVES[self.state]))
            raise IllegalTransition(f"agent {self.id} is {self.state} and can't become {to}; allowed: {allowed}")
        last = tasks[-1] if tasks else self.last
        return replace(self, state=to, seen=now, tasks=tasks[:10], completed=self.completed + completed, last=last)

    def is_living(self, now: datetime) -> bool:
        """Heard of within its lifetime, and not gone."""
        return self.state is not AgentState.OFFLINE and now - self.seen < LIFETIME


class Pool(Struct, frozen=True):
    """A pool as it is now."""

    name: str
    capabilities: tuple[str, ...]
    concurrency: int
    """How many agents each priority's queue may keep busy at once."""
    min_concurrency: int
    max_concurrency: int
    waiting: int
    """Messages ready in its queues."""
    in_flight: int
    dead: int
    """Messages in its dead-letter queue."""
    settled: bool = True
    """False while a change of concurrency is still taking hold."""


class Fleet(Struct, frozen=True):
    """Pools that a user has sized for a purpose, and what they were before."""

    id: str
    tenant: str
    size: int
    """How many agents each of the pools may run at once."""
    pools: tuple[str, ...]
    before: dict[str, int]
    """Pool → concurrency before this fleet, restored by its release."""
    created: datetime
    released: datetime | None = None

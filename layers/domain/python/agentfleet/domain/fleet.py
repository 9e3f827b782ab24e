"""Agents and the groups they work in: the agent's lifecycle, pools as seen now, fleets held by a user."""

from collections.abc import Mapping, Sequence
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
    OFFLINE = "OFFLINE"


_S = AgentState
MOVES: Final[dict[AgentState, frozenset[AgentState]]] = {
    _S.STARTING: frozenset({_S.IDLE, _S.EXECUTING, _S.OFFLINE}),
    _S.IDLE: frozenset({_S.IDLE, _S.EXECUTING, _S.OFFLINE}),
    _S.EXECUTING: frozenset({_S.IDLE, _S.EXECUTING, _S.OFFLINE}),
    _S.OFFLINE: frozenset({_S.STARTING}),
}

ENTRY_EVERY: Final = timedelta(seconds=5)
"""How old what an agent says of itself may be while it works: an entry costs a write, so not each batch makes one."""
LIFETIME: Final = timedelta(minutes=15)
"""How long an agent that says nothing counts as living: a frozen Lambda environment can't speak, and may come back."""

TENANT_SHARE: Final = 0.5
"""Part of a pool's largest size that a tenant's fleet may ask for: the rest is for what the load asks for."""


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

    def may_be_at_work(self, now: datetime, longest: timedelta) -> bool:
        """May it still be at what it said, where no invocation lasts longer than that?

        Who is killed can't say so, and who is at work says nothing in between: but Lambda ends every invocation in time.
        """
        return self.state is AgentState.EXECUTING and self.is_living(now) and now - self.seen <= longest + ENTRY_EVERY


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
    """Received, hidden, or kept back by its queues for later."""
    dead: int
    """Messages in its dead-letter queue."""
    settled: bool = True
    """False while a change of concurrency is still taking hold, or where it came to a halt half way."""
    is_uneven: bool = False
    """Have its queues different limits, though no change is taking hold? `concurrency` is the largest of them."""


class Fleet(Struct, frozen=True):
    """Pools that a user has sized for a purpose, and what they were before.

    A tenant's fleet makes room: its pools have at least that size. An operator's decides: they have that size exactly.
    """

    id: str
    tenant: str
    size: int
    """How many agents each of the pools may run at once."""
    pools: tuple[str, ...]
    before: dict[str, int]
    """Pool → concurrency before this fleet and all that held it then, restored by the release of the last of them."""
    created: datetime
    released: datetime | None = None
    by_operator: bool = False
    """Was it an operator who spawned it?"""


def room_for_tenants(deployed: int, largest: int) -> int:
    """How large the fleets of tenants may make a pool: half of its largest size, or its deployed one if that is more."""
    return max(deployed, int(largest * TENANT_SHARE))


def held_size(pool: str, deployed: int, holders: Sequence[Fleet]) -> int:
    """The size of a pool that these fleets hold (newest first, at least one), whoever came first and whoever goes first.

    The newest fleet of an operator decides alone. Otherwise there is room for the largest, and never less than the pool is
    deployed with or had before.
    """
    for fleet in holders:
        if fleet.by_operator:
            return fleet.size
    return max(deployed, *(max(fleet.size, fleet.before[pool]) for fleet in holders))

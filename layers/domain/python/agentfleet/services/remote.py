"""Remote agents: what others run and we call over HTTP, as capabilities of the pool that calls them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain.catalog import Catalog, RemoteAgent
from agentfleet.domain.fleet import Agent, AgentState
from agentfleet.ports import AgentStore, Clock, RemoteProbe
from agentfleet.services.capability import Capability, TaskContext

LOOK_AGAIN: Final = timedelta(seconds=5)
"""What the registry says of remote agents is asked for once in so long: the fleet manager writes it each minute."""


class RemoteCall(Struct, frozen=True):
    """A task that one of these agents is to do."""

    capability: str
    input: dict[str, Any]
    agents: tuple[RemoteAgent, ...]
    """Those that offer the capability, in the order in which they are to be tried."""


RemoteCaller = Callable[[RemoteCall, TaskContext], Any]
"""Has one of a call's agents do its task, and gives the output."""


class RemoteOrder:
    """Whom a task tries first: `RemoteOrder(store, clock)`."""

    def __init__(self, store: AgentStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._offline: frozenset[str] = frozenset()
        self._looked: datetime | None = None

    def __call__(self, agents: Sequence[RemoteAgent], key: str, turn: int) -> tuple[RemoteAgent, ...]:
        """The agents from the one that key and turn give, in a circle; those that did not say they are well come last.

        They are not left out: where none is well, one may have come back since it was asked.
        """
        first = (crc32(key.encode()) + turn) % len(agents)
        circle = (*agents[first:], *agents[:first])
        if len(circle) == 1:
            return circle
        offline = self._find_offline({one.pool for one in circle})
        return tuple(sorted(circle, key=lambda one: one.name in offline))

    def _find_offline(self, pools: set[str]) -> frozenset[str]:
        now = self._clock()
        if self._looked is None or now - self._looked >= LOOK_AGAIN:
            found = self._store.list(pools)
            self._offline = frozenset(agent.id for agent in found if agent.endpoint and agent.state is AgentState.OFFLINE)
            self._looked = now
        return self._offline


def remote_capabilities(
    catalog: Catalog, pool: str, caller: RemoteCaller | None, order: RemoteOrder
) -> Mapping[str, Capability]:
    """What a pool can do by calling remote agents, by capability. Raises TypeError if it must, but declares no caller."""
    found: dict[str, Capability] = {}
    for spec in catalog.pools[pool].capabilities:
        if not spec.is_remote:
            continue
        if caller is None:
            raise TypeError(f"{spec.name} is offered by remote agents, and pool {pool} has no @agent.remote to call them")
        agents = tuple(one for one in catalog.remotes if spec.name in one.capabilities)
        function = _function(caller, spec.name, agents, order, moves=spec.idempotent)
        found[spec.name] = Capability(
            function, spec.name, idempotent=spec.idempotent, timeout=spec.timeout, chunk=1, version="remote"
        )
    return found


def _function(
    caller: RemoteCaller, capability: str, agents: tuple[RemoteAgent, ...], order: RemoteOrder, *, moves: bool
) -> Callable[..., Any]:
    def call(input: dict[str, Any], context: TaskContext) -> Any:
        """Done by a remote agent."""
        # What must not be done twice is tried again where it may have been done: only there is its key known.
        turn = context.attempt - 1 if moves else 0
        return caller(RemoteCall(capability, input, order(agents, context.idempotency_key, turn)), context)

    return call


class RemoteWatch:
    """Asks every remote agent how it is and writes that into the registry; calling it makes one pass."""

    def __init__(self, catalog: Catalog, probe: RemoteProbe, agents: AgentStore, clock: Clock) -> None:
        self._catalog = catalog
        self._probe = probe
        self._agents = agents
        self._clock = clock

    def __call__(self) -> Sequence[Agent]:
        """The agents as they were found, by name: IDLE, or OFFLINE for one that did not say it is well."""
        remotes = self._catalog.remotes
        pools = sorted({one.pool for one in remotes})
        known = {agent.id: agent for agent in self._agents.list(pools)} if pools else {}
        found: list[Agent] = []
        for remote in remotes:
            now = self._clock()
            before = known.get(remote.name)
            agent = replace(
                before or Agent(remote.name, remote.pool, (), AgentState.OFFLINE, now, now),
                capabilities=remote.capabilities,
                endpoint=remote.url,
                state=AgentState.OFFLINE,
            )
            if self._probe.is_well(remote.health_url):
                agent = replace(agent, state=AgentState.IDLE, seen=now)
            self._agents.put(agent)
            found.append(agent)
        return found

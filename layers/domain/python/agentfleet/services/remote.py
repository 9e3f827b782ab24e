"""Remote agents: what others run and we call over HTTP, as capabilities of the pool that calls them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain.catalog import Catalog, RemoteAgent
from agentfleet.domain.fleet import Agent, AgentState
from agentfleet.ports import AgentStore, Clock, RemoteProbe
from agentfleet.services.capability import Capability, TaskContext


class RemoteCall(Struct, frozen=True):
    """A task that one of these agents is to do."""

    capability: str
    input: dict[str, Any]
    agents: tuple[RemoteAgent, ...]
    """Those that offer the capability, by name."""


RemoteCaller = Callable[[RemoteCall, TaskContext], Any]
"""Has one of a call's agents do its task, and gives the output."""


def remote_capabilities(catalog: Catalog, pool: str, caller: RemoteCaller | None) -> Mapping[str, Capability]:
    """What a pool can do by calling remote agents, by capability. Raises TypeError if it must, but declares no caller."""
    found: dict[str, Capability] = {}
    for spec in catalog.pools[pool].capabilities:
        if not spec.is_remote:
            continue
        if caller is None:
            raise TypeError(f"{spec.name} is offered by remote agents, and pool {pool} has no @agent.remote to call them")
        agents = tuple(one for one in catalog.remotes if spec.name in one.capabilities)
        function = _function(caller, spec.name, agents)
        found[spec.name] = Capability(
            function, spec.name, idempotent=spec.idempotent, timeout=spec.timeout, chunk=1, version="remote"
        )
    return found


def _function(caller: RemoteCaller, capability: str, agents: tuple[RemoteAgent, ...]) -> Callable[..., Any]:
    def call(input: dict[str, Any], context: TaskContext) -> Any:
        """Done by a remote agent."""
        return caller(RemoteCall(capability, input, agents), context)

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

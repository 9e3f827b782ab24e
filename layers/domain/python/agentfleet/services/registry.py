"""Who is alive and what can they do: agents register themselves and say now and then that they live."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import RegistryUnavailable
from agentfleet.domain.fleet import ENTRY_EVERY, Agent, AgentState
from agentfleet.ports import AgentStore, Clock

_log: Final = logging.getLogger(__name__)


class Registry:
    """Discovers living agents by capability or pool."""

    def __init__(self, catalog: Catalog, agents: AgentStore, clock: Clock) -> None:
        self._catalog = catalog
        self._agents = agents
        self._clock = clock

    def register(self, agent: Agent) -> None:
        """Make an agent known, or say again that it lives."""
        self._agents.put(agent)

    def discover(self, capability: str | None = None, pool: str | None = None) -> Sequence[Agent]:
        """The living agents that offer the capability and belong to the pool, by pool and id; all without either."""
        now = self._clock()
        pools = [pool] if pool else sorted(self._catalog.pools)
        return [
            agent
            for agent in self._agents.list(pools)
            if agent.is_living(now) and (capability is None or capability in agent.capabilities)
        ]


class Presence:
    """An agent's own entry: written when it starts to work and at most every `every` seconds after.

    An entry costs a write unit, so short tasks don't each cause one: while work goes on, what is shown may be `every`
    seconds old. Work goes on while the registry takes no entries: it only shows what happens.
    """

    def __init__(self, registry: Registry, agent: Agent, clock: Clock, every: float = ENTRY_EVERY.total_seconds()) -> None:
        self._registry = registry
        self._agent = agent
        self._clock = clock
        self._every = every
        self._shown: Agent | None = None

    def working(self, tasks: Sequence[str]) -> None:
        """The agent takes up these tasks."""
        self._show(self._agent.move(AgentState.EXECUTING, self._clock(), tuple(tasks)))

    def rested(self, completed: int, cache: Mapping[str, int] | None = None) -> None:
        """It has finished that many; `cache` is what happened in its cache since the start."""
        resting = replace(self._agent.move(AgentState.IDLE, self._clock(), (), completed), cache=dict(cache or {}))
        shown_at_work = self._shown is not None and self._shown.state is AgentState.EXECUTING
        self._show(resting, urgent=shown_at_work and (resting.seen - self._agent.seen).total_seconds() >= 1.0)

    def _show(self, agent: Agent, *, urgent: bool = False) -> None:
        self._agent = agent
        if urgent or self._shown is None or (agent.seen - self._shown.seen).total_seconds() >= self._every:
            try:
                self._registry.register(agent)
            except RegistryUnavailable as error:
                _log.warning("%s", error)
            self._shown = agent

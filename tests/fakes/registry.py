"""The registry, pools and knowledge in memory."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from agentfleet.domain import names
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import NotFound
from agentfleet.domain.fleet import Agent, Fleet, Pool
from agentfleet.domain.scaling import ScalingRecord
from agentfleet.ports import Signals
from tests.fakes.queues import FakeQueues


class FakeAgents:
    """An AgentStore."""

    def __init__(self) -> None:
        self.agents: dict[tuple[str, str], Agent] = {}

    def put(self, agent: Agent) -> None:
        self.agents[agent.pool, agent.id] = agent

    def list(self, pools: Iterable[str]) -> Sequence[Agent]:
        wanted = set(pools)
        return [agent for (pool, _), agent in sorted(self.agents.items()) if pool in wanted]


class FakeFleets:
    """A FleetStore."""

    def __init__(self) -> None:
        self.fleets: dict[str, Fleet] = {}

    def put(self, fleet: Fleet) -> None:
        self.fleets[fleet.id] = fleet

    def get(self, fleet_id: str) -> Fleet | None:
        return self.fleets.get(fleet_id)

    def list(self, tenant: str) -> Sequence[Fleet]:
        return [fleet for fleet in self._held() if fleet.tenant == tenant]

    def holders(self, pool: str) -> Sequence[Fleet]:
        return [fleet for fleet in self._held() if pool in fleet.pools]

    def _held(self) -> Sequence[Fleet]:
        held = [fleet for fleet in self.fleets.values() if fleet.released is None]
        return sorted(held, key=lambda fleet: (fleet.created, fleet.id), reverse=True)


class FakeScalings:
    """A ScalingStore."""

    def __init__(self) -> None:
        self.records: dict[str, ScalingRecord] = {}

    def get(self, pool: str) -> ScalingRecord | None:
        return self.records.get(pool)

    def put(self, pool: str, record: ScalingRecord) -> None:
        self.records[pool] = record


class FakeSignals:
    """A PoolSignals: what a test says, and otherwise that nobody measures anything."""

    def __init__(self) -> None:
        self.signals: dict[str, Signals] = {}
        self.asked: list[str] = []

    def read(self, pool: str, now: datetime) -> Signals:
        self.asked.append(pool)
        return self.signals.get(pool, Signals())


class FakePools:
    """A PoolControl over a catalog. A change of concurrency holds at once, or after `settle()` if `is_slow` is set."""

    def __init__(self, catalog: Catalog, queues: FakeQueues | None = None) -> None:
        self.catalog = catalog
        self.queues = queues
        self.is_slow = False
        self.lines: dict[str, list[tuple[datetime, str]]] = {}
        """Pool → log lines."""
        self._wanted = {name: pool.concurrency for name, pool in catalog.pools.items()}
        self._actual = dict(self._wanted)
        self.halting: dict[str, Exception] = {}
        """Pool → what its next change is refused with half way."""
        self._halted: dict[str, int] = {}

    def read(self, pools: Iterable[str]) -> Sequence[Pool]:
        return [self._read(pool) for pool in pools]

    def set_concurrency(self, pool: str, concurrency: int) -> None:
        self._check(pool)
        if not 1 <= concurrency <= 1000:
            raise ValueError(f"concurrency must be 1 to 1,000, not {concurrency}")
        if refused := self.halting.pop(pool, None):
            self._halted[pool] = concurrency
            raise refused
        self._halted.pop(pool, None)
        self._wanted[pool] = concurrency
        if not self.is_slow:
            self.settle()

    def logs(self, pool: str, since: datetime, limit: int) -> Sequence[tuple[datetime, str]]:
        self._check(pool)
        lines = sorted(line for line in self.lines.get(pool, []) if line[0] >= since)
        return lines[max(0, len(lines) - limit) :]

    def settle(self) -> None:
        """Let every change of concurrency take hold."""
        self._actual = dict(self._wanted)

    def _check(self, pool: str) -> None:
        if pool not in self.catalog.pools:
            raise NotFound(f"there is no pool {pool!r}; there are: {', '.join(sorted(self.catalog.pools))}")

    def _read(self, pool: str) -> Pool:
        self._check(pool)
        spec = self.catalog.pools[pool]
        waiting = in_flight = dead = 0
        if self.queues:
            for priority in names.PRIORITIES:
                ready, hidden = self.queues.depth(names.task_queue(self.catalog.fleet, pool, priority))
                waiting, in_flight = waiting + ready, in_flight + hidden
            dead = sum(self.queues.depth(names.pool_dead_letters(self.catalog.fleet, pool)))
        return Pool(
            name=pool,
            capabilities=tuple(capability.name for capability in spec.capabilities),
            concurrency=max(self._wanted[pool], self._halted.get(pool, 0)),
            min_concurrency=spec.min_concurrency,
            max_concurrency=spec.max_concurrency,
            waiting=waiting,
            in_flight=in_flight,
            dead=dead,
            settled=self._wanted[pool] == self._actual[pool] and pool not in self._halted,
            is_uneven=pool in self._halted,
        )

"""Say once a minute how well each pool is, for those who route work to pools."""

from agentfleet.domain.pool_health import PoolHealth, RoutingTable, Vitals, assess
from agentfleet.domain.scaling import Observation
from agentfleet.ports import RoutingStore


class HealthWatch:
    """Keeps the pools' health: `HealthWatch(routing)`. A pass of the fleet manager calls `begin`, then `note` for each pool."""

    def __init__(self, routing: RoutingStore) -> None:
        self._routing = routing
        self._before = RoutingTable()

    def begin(self) -> None:
        """Read what the last pass left."""
        self._before = self._routing.read()

    def note(self, pool: str, seen: Observation) -> PoolHealth:
        """Judge a pool by what this pass has seen of it, and store that."""
        vitals = Vitals(seen.at, seen.invocations, seen.errors, seen.throttles, seen.lost)
        health = assess(vitals, self._before.health.get(pool))
        self._routing.put_health(pool, health)
        return health

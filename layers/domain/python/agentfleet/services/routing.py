"""Which pool a unit goes to."""

import zlib

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import NotFound
from agentfleet.domain.plan import Unit


class Router:
    """Spreads a capability's units over the pools that offer it, by weight.

    The choice depends only on goal and unit, so that a repeated release goes the same way; units with an affinity key
    follow the key.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._turns: dict[str, tuple[str, ...]] = {
            name: tuple(spec.pool for spec in specs for _ in range(catalog.pools[spec.pool].weight))
            for name, specs in catalog.capabilities.items()
        }

    def pool_for(self, goal_id: str, unit: Unit) -> str:
        """The pool's name. Raises NotFound if no deployed pool offers the capability any more."""
        turns = self._turns.get(unit.capability)
        if not turns:
            raise NotFound(f"no pool offers {unit.capability}, which goal {goal_id} needs; it did when the goal was accepted")
        if len(turns) == 1:
            return turns[0]
        key = unit.tasks[0].affinity or f"{goal_id}/{unit.number}"
        return turns[zlib.crc32(key.encode()) % len(turns)]

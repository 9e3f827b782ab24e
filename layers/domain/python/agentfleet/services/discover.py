"""Find out who can do something, and take pools out of service and back."""

from collections import Counter

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import NotFound, closest
from agentfleet.ports import Clock
from agentfleet.services.registry import Registry
from agentfleet.services.routing import Router, RoutingBoard
from agentfleet.services.routing_views import OfferList, OfferView


class Discovery:
    """Pools by what they offer, their health and their weight."""

    def __init__(self, catalog: Catalog, router: Router, board: RoutingBoard, registry: Registry, clock: Clock) -> None:
        self._catalog = catalog
        self._router = router
        self._board = board
        self._registry = registry
        self._clock = clock

    def discover(self, capability: str) -> OfferList:
        """The pools that offer a capability, those that get most of its new work first. Raises NotFound."""
        specs = self._catalog.capabilities.get(capability, ())
        if not specs:
            known = list(self._catalog.capabilities)
            raise NotFound(f"no pool can do {capability[:64]!r}; {closest(capability, known)}")
        shares = self._router.share_of(capability)
        table, now = self._board.table(), self._clock()
        living = Counter(agent.pool for agent in self._registry.discover(capability))
        offers: list[OfferView] = []
        for spec in specs:
            health, reason = table.describe(spec.pool, now)
            weight = self._catalog.pools[spec.pool].weight
            offers.append(
                OfferView(
                    pool=spec.pool,
                    health=health,
                    reason=reason,
                    weight=weight,
                    share=round(shares[spec.pool], 4),
                    agents=living[spec.pool],
                )
            )
        return OfferList(capability=capability, offers=tuple(sorted(offers, key=lambda one: (-one.share, one.pool))))

    def drain(self, pool: str) -> None:
        """Let a pool, with all its shards, get no new work where another offers the same; what it has, it finishes.

        Draining again keeps the time since when. Raises NotFound.
        """
        names = self._known(pool)
        draining = self._board.look().draining
        self._board.drain([name for name in names if name not in draining], self._clock())

    def undrain(self, pool: str) -> None:
        """Let a pool, with all its shards, get work again; one that isn't draining stays as it is. Raises NotFound."""
        self._board.drain(self._known(pool), None)

    def _known(self, pool: str) -> tuple[str, ...]:
        if pool not in self._catalog.pools:
            raise NotFound(f"there is no pool {pool[:64]!r}; {closest(pool, list(self._catalog.pools))}")
        return self._catalog.shards_of(pool)

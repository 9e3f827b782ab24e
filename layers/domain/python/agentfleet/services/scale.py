"""Size pools by hand: one pool, or all that a purpose needs as a fleet that gives back what it took."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from agentfleet.domain import ids
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import InvalidRequest, NotFound, Problem, closest
from agentfleet.domain.fleet import TENANT_SHARE, Fleet, Pool, held_size, room_for_tenants
from agentfleet.ports import Clock, FleetStore, PoolControl, ScalingStore
from agentfleet.services.fleet_views import CapabilityView, FleetList, FleetView, LogLine, LogPage, PoolList, PoolView
from agentfleet.services.routing import RoutingBoard

MAX_SIZE: Final = 1_000
"""What Lambda takes at most (AWS, 'Configuring scaling behavior for SQS event source mappings')."""


class Scaler:
    """Moves the trigger concurrency of pools between 1 and their limits."""

    def __init__(
        self,
        pools: PoolControl,
        fleets: FleetStore,
        scalings: ScalingStore,
        catalog: Catalog,
        clock: Clock,
        random_bits: Callable[[int], int],
        board: RoutingBoard,
    ) -> None:
        self._pools = pools
        self._fleets = fleets
        self._scalings = scalings
        self._catalog = catalog
        self._clock = clock
        self._random_bits = random_bits
        self._board = board

    def spawn_fleet(
        self, tenant: str, size: int, capabilities: Sequence[str] | None, *, by_operator: bool = False
    ) -> FleetView:
        """Give every pool that offers one of `capabilities` (all pools for None) room for `size` agents.

        An operator's fleet takes pools down to `size` as well. What they had before is stored first, so that a release can
        restore it whatever happens in between. Raises InvalidRequest for a size out of 1 to 1,000, over a pool's limit or, for
        all but operators, over the share of it that tenants may have, and for capabilities that no pool offers.
        """
        names = self._pools_for(capabilities)
        pools = self._pools.read(names)
        self._check_size("size", size, pools, by_operator=by_operator)
        # Holders are read after the pools' sizes: who is not among them yet has not changed a size that was read.
        held = {pool.name: self._fleets.holders(pool.name) for pool in pools}
        now = self._clock()
        fleet = Fleet(
            id="f" + ids.new_goal_id(now, self._random_bits)[1:],
            tenant=tenant,
            size=size,
            pools=tuple(names),
            before={pool.name: held[pool.name][0].before[pool.name] if held[pool.name] else pool.concurrency for pool in pools},
            created=now,
            by_operator=by_operator,
        )
        self._fleets.put(fleet)
        for pool in pools:
            self._fit(pool, held[pool.name], fleet.before[pool.name])
        return self.view(fleet)

    def resize_fleet(self, tenant: str, fleet_id: str, size: int) -> FleetView:
        """Another size for all pools of a fleet. Raises NotFound, InvalidRequest as spawn_fleet does or if it was released."""
        fleet = self._own(tenant, fleet_id)
        if fleet.released:
            raise InvalidRequest.of("fleet", f"{fleet_id} was released; spawn another one")
        pools = self._pools.read(fleet.pools)
        self._check_size("size", size, pools, by_operator=fleet.by_operator)
        held = {pool.name: self._fleets.holders(pool.name) for pool in pools}
        resized = replace(fleet, size=size)
        self._fleets.put(resized)
        for pool in pools:
            self._fit(pool, held[pool.name], fleet.before[pool.name])
        return self.view(resized)

    def release_fleet(self, tenant: str, fleet_id: str) -> FleetView:
        """Give the pools back to the fleets that hold them too, whosever they are, or else to what they had.

        A pool that the fleet manager or somebody's hand has moved meanwhile is left to them. Releasing twice changes nothing.
        Raises NotFound.
        """
        fleet = self._own(tenant, fleet_id)
        if fleet.released:
            return self.view(fleet)
        pools = self._pools.read(fleet.pools)
        held = {pool.name: self._fleets.holders(pool.name) for pool in pools}
        for pool in pools:
            self._fit(pool, held[pool.name], fleet.before[pool.name], fleet_id)
        released = replace(fleet, released=self._clock())
        self._fleets.put(released)
        for pool in self._pools.read(fleet.pools):
            self._fit(pool, held[pool.name], fleet.before[pool.name])  # others may have come or gone meanwhile
        return self.view(released)

    def _fit(self, pool: Pool, known: Sequence[Fleet], before: int, leaving: str | None = None) -> None:
        """Bring a pool to what the fleets make of it that hold it now, `leaving` not among them; `known` held it just before.

        Only a size that one of them asked for is changed: elsewhere the fleet manager or somebody's hand has moved the pool.
        """
        holders = [fleet for fleet in self._fleets.holders(pool.name) if fleet.id != leaving]
        deployed = self._catalog.pools[pool.name].concurrency
        was = held_size(pool.name, deployed, known) if known else before
        wanted = held_size(pool.name, deployed, holders) if holders else before
        fleets = (*known, *holders)
        asked_for = {before, *(held_size(pool.name, deployed, [fleet]) for fleet in fleets)}
        is_theirs = pool.concurrency in asked_for or not pool.settled or any(fleet.by_operator for fleet in fleets)
        if is_theirs or wanted > max(was, pool.concurrency):
            self._set([pool], wanted)

    def fleet(self, tenant: str, fleet_id: str) -> FleetView:
        """A fleet, and whether its pools have their size by now. Raises NotFound."""
        return self.view(self._own(tenant, fleet_id))

    def fleets(self, tenant: str) -> FleetList:
        """The tenant's fleets that have not been released, newest first."""
        held = self._fleets.list(tenant)
        pools = {pool.name: pool for pool in self._pools.read(sorted({name for fleet in held for name in fleet.pools}))}
        return FleetList(fleets=tuple(FleetView.of(fleet, ready=_is_ready(fleet, pools.values())) for fleet in held))

    def view(self, fleet: Fleet) -> FleetView:
        """The view of a fleet as its pools are now."""
        return FleetView.of(fleet, ready=_is_ready(fleet, self._pools.read(fleet.pools)))

    def scale_pool(self, name: str, concurrency: int) -> PoolView:
        """Another concurrency for one pool, for everybody. Raises NotFound, InvalidRequest naming the pool's limit."""
        [pool] = self._pools.read([self._known(name)])
        self._check_size("concurrency", concurrency, [pool], by_operator=True)
        self._set([pool], concurrency)
        return self.pool(name)

    def pool(self, name: str) -> PoolView:
        """One pool as it is now, with all decisions that are kept. Raises NotFound."""
        [pool] = self._pools.read([self._known(name)])
        return self._view(pool)

    def pools(self) -> PoolList:
        """Every pool as it is now with its latest decision, by name."""
        views = map(self._view, self._pools.read(sorted(self._catalog.pools)))
        return PoolList(pools=tuple(view.model_copy(update={"decisions": view.decisions[:1]}) for view in views))

    def logs(self, tenant: str, name: str, minutes: int, limit: int) -> LogPage:
        """The newest `limit` lines of the last `minutes`, oldest first; not those that say they belong to others.

        Raises NotFound.
        """
        lines = self._pools.logs(self._known(name), self._clock() - timedelta(minutes=minutes), limit)
        shown = (LogLine(at=at, message=message) for at, message in lines if _owner(message) in {None, tenant})
        return LogPage(lines=tuple(shown))

    def _view(self, pool: Pool) -> PoolView:
        spec = self._catalog.pools[pool.name]
        return PoolView.of(
            pool,
            spec.description,
            tuple(CapabilityView.of(capability) for capability in spec.capabilities),
            spec.scaling,
            self._scalings.get(pool.name),
            self._board.table().describe(pool.name, self._clock()),
        )

    def _set(self, pools: Iterable[Pool], concurrency: int) -> None:
        for pool in pools:
            if pool.concurrency != concurrency or pool.is_uneven:
                self._pools.set_concurrency(pool.name, concurrency)

    def _check_size(self, field: str, size: int, pools: Iterable[Pool], *, by_operator: bool) -> None:
        if not 1 <= size <= MAX_SIZE:
            raise InvalidRequest.of(field, f"must be from 1 to {MAX_SIZE:,}, not {size}")
        problems = []
        for pool in pools:
            room = room_for_tenants(self._catalog.pools[pool.name].concurrency, pool.max_concurrency)
            most, why = pool.max_concurrency, "max_concurrency in fleet.toml"
            if not by_operator and size <= most:
                most, why = room, f"tenants' fleets have {TENANT_SHARE:.0%} of max_concurrency; operators may ask for all of it"
            if size > most:
                problems.append(Problem(field, f"pool {pool.name} takes at most {most}, not {size} ({why})"))
        if problems:
            raise InvalidRequest(problems)

    def _own(self, tenant: str, fleet_id: str) -> Fleet:
        fleet = self._fleets.get(fleet_id)
        if fleet is None or fleet.tenant != tenant:
            raise NotFound(f"there is no fleet {fleet_id[:64]!r}")
        return fleet

    def _known(self, pool: str) -> str:
        if pool not in self._catalog.pools:
            raise NotFound(f"there is no pool {pool[:64]!r}; {closest(pool, list(self._catalog.pools))}")
        return pool

    def _pools_for(self, capabilities: Sequence[str] | None) -> Sequence[str]:
        if capabilities is None:
            return sorted(self._catalog.pools)
        known = self._catalog.capabilities
        problems = [
            Problem(f"capabilities[{index}]", f"no pool can do {name[:64]!r}; {closest(name, list(known))}")
            for index, name in enumerate(capabilities)
            if name not in known
        ]
        if not capabilities:
            problems = [Problem("capabilities", "must name at least one capability, or be left out for all pools")]
        if problems:
            raise InvalidRequest(problems)
        return self._catalog.pools_for(capabilities)


def _is_ready(fleet: Fleet, pools: Iterable[Pool]) -> bool:
    mine = [pool for pool in pools if pool.name in fleet.pools]
    return fleet.released is None and all(pool.settled and pool.concurrency >= fleet.size for pool in mine)


def _owner(line: str) -> str | None:
    """The tenant that a structured log line names."""
    if not line.startswith("{"):
        return None
    try:
        owner = json.loads(line).get("tenant")
    except ValueError:
        return None
    return owner if isinstance(owner, str) else None

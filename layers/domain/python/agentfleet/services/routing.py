"""Which pool a unit goes to: by weight over the pools that are fit, by its affinity key where it has one."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from math import lcm
from typing import Any, Final
from zlib import crc32

from msgspec.structs import replace

from agentfleet.domain.breaker import BreakerState
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import NotFound
from agentfleet.domain.plan import Unit
from agentfleet.domain.pool_health import HealthState, PoolHealth, RoutingTable, fit_for_affinity, shares, smooth_cycle
from agentfleet.ports import BreakerStore, Clock, RoutingStore

FRESH: Final = timedelta(seconds=5)
"""How old what a process knows of the pools' health may be."""
RING_POINTS: Final = 32
"""Of the heaviest pool, in relation to the lightest: a ring's size follows from its weights."""

_log: Final = logging.getLogger(__name__)


class LocalRouting:
    """A RoutingStore in this process's memory, for fleets that share no registry."""

    def __init__(self) -> None:
        self._table = RoutingTable()

    def read(self) -> RoutingTable:
        """What was stored so far."""
        return self._table

    def put_health(self, pool: str, health: PoolHealth) -> None:
        """Store or replace."""
        self._table = replace(self._table, health={**self._table.health, pool: health})

    def drain(self, pool: str, since: datetime | None) -> None:
        """Mark a pool as draining since then; None: as draining no more."""
        others = {name: moment for name, moment in self._table.draining.items() if name != pool}
        self._table = replace(self._table, draining=others if since is None else {**others, pool: since})


class RoutingBoard:
    """The routing table, read at most every five seconds; what was read last counts while it can't be read."""

    def __init__(self, store: RoutingStore, breakers: BreakerStore, catalog: Catalog, clock: Clock) -> None:
        self._store = store
        self._breakers = breakers
        self._dependencies = {name: spec.dependencies for name, spec in catalog.pools.items() if spec.dependencies}
        self.clock = clock
        self._known = RoutingTable()
        self._read: datetime | None = None

    def table(self) -> RoutingTable:
        """Pools' health, which of them are draining, and whose dependencies are down."""
        now = self.clock()
        if self._read is None or now - self._read >= FRESH:
            self._read = now
            try:
                self._known = self.look()
            except Exception as error:
                _log.warning("the pools' health can't be read, what is known counts: %r", error)
        return self._known

    def drain(self, pools: Sequence[str], since: datetime | None) -> None:
        """Mark pools as draining since then, or with None as draining no more. Other processes see it seconds later."""
        for pool in pools:
            self._store.drain(pool, since)
        self._read = None

    def look(self) -> RoutingTable:
        """The table as it is now, whatever is known. Raises what the stores raise."""
        stored = self._store.read()
        return RoutingTable(stored.health, stored.draining, self._tripped())

    def _tripped(self) -> dict[str, str]:
        now = self.clock()
        breakers = {name: self._breakers.read(name)[0] for needed in self._dependencies.values() for name in needed}
        is_open = {
            name
            for name, breaker in breakers.items()
            if breaker.state is not BreakerState.CLOSED and breaker.until is not None and now < breaker.until
        }
        return {
            pool: next(name for name in needed if name in is_open)
            for pool, needed in self._dependencies.items()
            if not is_open.isdisjoint(needed)
        }


class _Choice:
    """How one capability's units are spread while its pools' states stay as they are."""

    def __init__(self, weights: Mapping[str, int], states: Mapping[str, HealthState]) -> None:
        self.states = states
        self.turns = smooth_cycle(shares(weights, states))
        self._weights = {name: weights[name] for name in sorted(fit_for_affinity(weights.keys(), states))}
        self._ring: Callable[[str], Any] | None = None

    def by_key(self, key: str) -> str:
        """The pool that a key belongs to."""
        if len(self._weights) == 1:
            return next(iter(self._weights))
        if self._ring is None:
            from uhashring import HashRing  # noqa: PLC0415 - only what uses affinity over several pools pays for it

            least = min(self._weights.values())
            points = {name: min(RING_POINTS, round(weight / least)) for name, weight in self._weights.items()}
            self._ring = HashRing(points).get_node
        return str(self._ring(key))


class Router:
    """Spreads a capability's units over the pools that offer it.

    Within a release the pools take turns in the order of a smooth weighted round robin; where it begins follows from goal
    and first unit. So nothing is counted anywhere, environments that release one unit each don't all begin with the same
    pool, and a release that is repeated goes the same way while the pools' health is the same. A unit with an affinity key
    goes where the key belongs on a consistent-hash ring over the pools. A capability of a single pool costs nothing.
    """

    def __init__(self, catalog: Catalog, board: RoutingBoard | None = None) -> None:
        self._catalog = catalog
        self._board = board
        self._homes = {name: tuple(spec.pool for spec in specs) for name, specs in catalog.capabilities.items()}
        self._choices: dict[str, _Choice] = {}
        self._weights: dict[str, dict[str, int]] = {}

    def pools_for(self, goal_id: str, units: Sequence[Unit]) -> list[str]:
        """The pool of each of these units, which are released together. Raises NotFound as `pool_for` does."""
        choices: dict[str, _Choice] = {}
        turns: dict[str, int] = {}
        return [self._pool(goal_id, unit, choices, turns) for unit in units]

    def pool_for(self, goal_id: str, unit: Unit) -> str:
        """The pool's name. Raises NotFound if no deployed pool offers the capability any more."""
        return self._pool(goal_id, unit, {}, {})

    def homes(self, goal_id: str, unit: Unit) -> tuple[str, ...]:
        """Every pool that a message of this unit may be with, in order of name. Raises NotFound as `pool_for` does."""
        homes = self._homes.get(unit.capability)
        if not homes:
            raise NotFound(f"no pool offers {unit.capability}, which goal {goal_id} needs; it did when the goal was accepted")
        return homes

    def elsewhere(self, goal_id: str, unit: Unit, pool: str, refusals: int) -> str | None:
        """Another pool for a unit that `pool` can't try now; None once it was refused by as many as there are.

        Only a pool with code of its own counts: a shard calls what its sibling calls.
        """
        homes = self.homes(goal_id, unit)
        families = {self._catalog.family_of(name): name for name in homes}
        if len(families) < 2:
            return None
        states = self._states(homes)
        here = self._catalog.family_of(pool)
        fit = {name for name in shares(self._weights_of(unit.capability), states) if states[name] is not HealthState.UNHEALTHY}
        names = sorted({self._catalog.family_of(name) for name in fit} | {here})
        if refusals >= len(names) - 1:
            return None
        following = names[(names.index(here) + 1) % len(names)]
        members = [name for name in homes if name in fit and self._catalog.family_of(name) == following]
        return members[crc32(f"{goal_id}/{unit.number}".encode()) % len(members)]

    def share_of(self, capability: str) -> dict[str, float]:
        """Pool → its part of the capability's new work now (they add up to 1); empty if no pool offers it."""
        homes = self._homes.get(capability, ())
        if not homes:
            return {}
        states = self._states(homes)
        parts = shares(self._weights_of(capability), states)
        return {name: parts.get(name, 0) / sum(parts.values()) for name in homes}

    def _pool(self, goal_id: str, unit: Unit, choices: dict[str, _Choice], turns: dict[str, int]) -> str:
        homes = self.homes(goal_id, unit)
        if len(homes) == 1:
            return homes[0]
        capability = unit.capability
        choice = choices.get(capability)
        if choice is None:
            choice = choices[capability] = self._choice(capability, homes)
        key = unit.tasks[0].affinity
        if key is not None:
            return choice.by_key(key)
        turn = turns.get(capability)
        if turn is None:
            turn = crc32(f"{goal_id}/{unit.number}".encode())
        turns[capability] = turn + 1
        return choice.turns[turn % len(choice.turns)]

    def _choice(self, capability: str, homes: Sequence[str]) -> _Choice:
        states = self._states(homes)
        known = self._choices.get(capability)
        if known is None or known.states != states:
            known = self._choices[capability] = _Choice(self._weights_of(capability), states)
        return known

    def _states(self, pools: Sequence[str]) -> dict[str, HealthState]:
        if self._board is None:
            return dict.fromkeys(pools, HealthState.HEALTHY)
        table, now = self._board.table(), self._board.clock()
        return {name: table.state_of(name, now) for name in pools}

    def _weights_of(self, capability: str) -> dict[str, int]:
        """Pools' weights; the shards of a pool divide its weight among them."""
        if capability not in self._weights:
            homes = self._homes[capability]
            families = [self._catalog.family_of(name) for name in homes]
            common = lcm(*(families.count(family) for family in families))
            self._weights[capability] = {
                name: self._catalog.pools[name].weight * common // families.count(family)
                for name, family in zip(homes, families, strict=True)
            }
        return self._weights[capability]

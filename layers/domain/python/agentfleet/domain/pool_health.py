"""How well is a pool? A pure rule from what was seen of it now and a minute ago; and where new work goes by that."""

from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from enum import StrEnum
from math import gcd
from typing import Final

from msgspec import Struct, field

LEAST_SEEN: Final = 10
"""Fewer invocations in three minutes say nothing."""
SICK: Final = 0.5
"""Share of failed invocations from which a pool is unhealthy."""
POORLY: Final = 0.1
"""Share of failed invocations from which it is degraded; of throttled ones it takes half."""
CALM_PASSES: Final = 3
"""So many passes in a row must be good before a pool is taken for better, one state at a time."""
STALE: Final = timedelta(minutes=5)
"""What nobody has said again for so long is forgotten: without the fleet manager all pools are healthy."""
DEGRADED_SHARE: Final = 4
"""A degraded pool gets a fourth of its weight."""


class HealthState(StrEnum):
    """What a pool is fit for."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    """Gets a fourth of its share: enough to see whether it recovers."""
    UNHEALTHY = "UNHEALTHY"
    """Gets nothing while another pool offers the same."""
    DRAINING = "DRAINING"
    """Somebody wants it empty: it finishes what it has, and gets nothing while another pool offers the same."""


_BETTER: Final = {HealthState.UNHEALTHY: HealthState.DEGRADED, HealthState.DEGRADED: HealthState.HEALTHY}
_GRADE: Final = {HealthState.HEALTHY: 0, HealthState.DEGRADED: 1, HealthState.UNHEALTHY: 2}


class Vitals(Struct, frozen=True):
    """What a pass of the fleet manager sees of a pool's last minutes."""

    at: datetime
    invocations: int = 0
    errors: int = 0
    """Invocations that broke off."""
    throttles: int = 0
    lost: float = 0.0
    """Invocations that were lost to failed tasks: one in which half of the attempts failed is half of one."""


class PoolHealth(Struct, frozen=True):
    """What a pass leaves to the next one, and to whoever routes."""

    state: HealthState
    at: datetime
    since: datetime
    """When it came into this state."""
    reason: str = ""
    calm: int = 0
    """Passes in a row that found it better than its state says."""


def assess(seen: Vitals, before: PoolHealth | None) -> PoolHealth:
    """The pool's health after one more look. Worse holds at once; better only after three looks in a row, step by step.

    A share of failures keeps a pool in the state that it brought about until it has fallen to half of that.
    """
    held = before.state if before else HealthState.HEALTHY
    found, reason = _grade(seen, held)
    if before is None or _GRADE[found] > _GRADE[held]:
        return PoolHealth(found, seen.at, seen.at, reason)
    if found is held:
        return PoolHealth(held, seen.at, before.since, reason or before.reason)
    if before.calm + 1 < CALM_PASSES:
        return PoolHealth(held, seen.at, before.since, before.reason, before.calm + 1)
    better = _BETTER[held]
    return PoolHealth(better, seen.at, seen.at, f"{CALM_PASSES} good passes" if better is not HealthState.HEALTHY else "")


def _grade(seen: Vitals, held: HealthState) -> tuple[HealthState, str]:
    """What this look alone says, with lower bars for what the pool is in already."""
    if seen.invocations + seen.throttles < LEAST_SEEN:
        return HealthState.HEALTHY, ""
    failed = (seen.errors + seen.lost) / seen.invocations if seen.invocations else 0.0
    refused = seen.throttles / (seen.invocations + seen.throttles)
    why_failed = say_failed(seen.errors, seen.lost, seen.invocations)
    if failed >= (SICK / 2 if held is HealthState.UNHEALTHY else SICK):
        return HealthState.UNHEALTHY, why_failed
    ease = 1 if held is HealthState.HEALTHY else 2
    if failed >= POORLY / ease:
        return HealthState.DEGRADED, why_failed
    if refused >= SICK / ease:
        return HealthState.DEGRADED, f"{seen.throttles:,} invocations throttled"
    return HealthState.HEALTHY, ""


def say_failed(errors: int, lost: float, invocations: int) -> str:
    """How much failed, in words: invocations as such, or the tasks in them."""
    failed = f"{errors + lost:,.0f} of {invocations:,} invocations"
    return f"{failed} failed" if errors >= lost else f"the tasks of {failed} failed"


class RoutingTable(Struct, frozen=True):
    """What is known of the pools by whoever sends work to them."""

    health: Mapping[str, PoolHealth] = field(default_factory=dict)
    """As the fleet manager last found it."""
    draining: Mapping[str, datetime] = field(default_factory=dict)
    """Pool → since when."""
    tripped: Mapping[str, str] = field(default_factory=dict)
    """Pool → the dependency of it whose breaker is open."""

    def state_of(self, pool: str, now: datetime) -> HealthState:
        """A pool that nobody has said anything about of late is healthy."""
        return self.describe(pool, now)[0]

    def describe(self, pool: str, now: datetime) -> tuple[HealthState, str]:
        """A pool's state, and why (empty for a healthy one)."""
        if pool in self.draining:
            return HealthState.DRAINING, f"drained since {self.draining[pool]:%Y-%m-%d %H:%M} UTC"
        if pool in self.tripped:
            return HealthState.UNHEALTHY, f"the breaker of {self.tripped[pool]} is open"
        known = self.health.get(pool)
        if known is None or now - known.at >= STALE:
            return HealthState.HEALTHY, ""
        return known.state, known.reason


def shares(weights: Mapping[str, int], states: Mapping[str, HealthState]) -> dict[str, int]:
    """What each pool gets of new work, in relation to the others; those that get nothing are left out.

    Where no pool is fit, all get some by weight: a pool that is thought unhealthy may work, one that gets nothing can't. A
    draining pool is the last resort of all.
    """
    open_to_work = {name: weight for name, weight in weights.items() if states[name] is not HealthState.DRAINING}
    fit = {
        name: weight * (1 if states[name] is HealthState.DEGRADED else DEGRADED_SHARE)
        for name, weight in open_to_work.items()
        if states[name] is not HealthState.UNHEALTHY
    }
    chosen = fit or open_to_work or dict(weights)
    common = gcd(*chosen.values()) if chosen else 1
    return {name: weight // common for name, weight in chosen.items()}


def smooth_cycle(weights: Mapping[str, int]) -> tuple[str, ...]:
    """The order in which pools take turns: each as often as its weight says, and as evenly spread as can be.

    nginx's smooth weighted round robin: at each turn everybody gains its weight, who has most goes and pays the total; the
    first by name among equals. After as many turns as the weights add up to it begins anew.
    """
    total = sum(weights.values())
    credit = dict.fromkeys(sorted(weights), 0)
    turns: list[str] = []
    for _ in range(total):
        for name in credit:
            credit[name] += weights[name]
        chosen = max(credit, key=lambda name: credit[name])
        credit[chosen] -= total
        turns.append(chosen)
    return tuple(turns)


def fit_for_affinity(pools: Set[str], states: Mapping[str, HealthState]) -> frozenset[str]:
    """The pools that keys are spread over: a degraded pool keeps its keys, as what it knows of them is worth something."""
    open_to_work = {pool for pool in pools if states[pool] is not HealthState.DRAINING}
    fit = {pool for pool in open_to_work if states[pool] is not HealthState.UNHEALTHY}
    return frozenset(fit or open_to_work or pools)

"""The fleet manager: once a minute it looks at every pool, decides what size it should have, says why, and how well it is."""

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain.catalog import Catalog, PoolSpec
from agentfleet.domain.errors import InvalidRequest, RetryableError
from agentfleet.domain.fleet import held_size
from agentfleet.domain.scaling import Action, Decision, Memory, Observation, ScalingMode, ScalingRecord, decide
from agentfleet.ports import AgentStore, Clock, FleetStore, PoolControl, PoolSignals, ScalingStore, Signals
from agentfleet.services.pool_health import HealthWatch

QUIET: Final = Signals()
BUSY_OF_LATE: Final = timedelta(minutes=3)
"""How far back signals reach."""


class PoolDecision(Struct, frozen=True):
    """A decision and the pool that it is about."""

    pool: str
    mode: ScalingMode
    decision: Decision


class Pass(Struct, frozen=True):
    """What one pass of the fleet manager came to."""

    decisions: tuple[PoolDecision, ...]
    """In order of the pools' names."""
    problems: tuple[Exception, ...] = ()
    """Why some pools could not be managed, each with a note that names its pool."""


class Autoscaler:
    """`Autoscaler(pools, signals, fleets, records, catalog, clock, health=None, agents=None)`; calling it makes one pass.

    With `health` it judges the pools' health as well, also of those whose scaling is off; with `agents` also of those that
    happen to have nothing to do just now, where that decides who gets work.
    """

    def __init__(
        self,
        pools: PoolControl,
        signals: PoolSignals,
        fleets: FleetStore,
        records: ScalingStore,
        catalog: Catalog,
        clock: Clock,
        health: HealthWatch | None = None,
        agents: AgentStore | None = None,
    ) -> None:
        self._pools = pools
        self._signals = signals
        self._fleets = fleets
        self._records = records
        self._catalog = catalog
        self._clock = clock
        self._health = health
        self._agents = agents
        self._rivals = frozenset(one.pool for offers in catalog.capabilities.values() if len(offers) > 1 for one in offers)

    def __call__(self) -> Pass:
        """Decide about every pool whose scaling isn't off, and apply it unless that is a dry run.

        A pool that can't be looked at doesn't keep the others waiting, and no pool's size waits for what is known of health.
        """
        made: list[PoolDecision] = []
        problems: list[Exception] = []
        health = self._begin_health(problems)
        for name, spec in sorted(self._catalog.pools.items()):
            if spec.scaling == "off" and health is None:
                continue
            try:
                seen = self._observe(spec)
                if health:
                    health.note(name, seen)
                if spec.scaling != "off":
                    made.append(PoolDecision(name, spec.scaling, self._scale(spec, seen)))
            except Exception as error:
                error.add_note(f"pool {name}")
                problems.append(error)
        return Pass(tuple(made), tuple(problems))

    def _begin_health(self, problems: list[Exception]) -> HealthWatch | None:
        if self._health is None:
            return None
        try:
            self._health.begin()
        except Exception as error:
            error.add_note("health of all pools")
            problems.append(error)
            return None
        return self._health

    def _scale(self, spec: PoolSpec, seen: Observation) -> Decision:
        record = self._records.get(spec.name)
        decision, memory = decide(seen, record.memory if record else None)
        if decision.action is not Action.HOLD:
            decision, memory = self._apply(spec, decision, memory)
        self._records.put(spec.name, replace(record or ScalingRecord(memory), memory=memory).note(decision))
        return decision

    def _observe(self, spec: PoolSpec) -> Observation:
        [pool] = self._pools.read([spec.name])
        # A metric costs money each time it is asked for; a pool with nothing to do and no budget needs none.
        now = self._clock()
        is_asked_for = pool.waiting + pool.in_flight > 0 or spec.daily_budget is not None or self._was_busy(spec.name, now)
        signals = self._signals.read(spec.name, now) if is_asked_for else QUIET
        holders = self._fleets.holders(spec.name)
        return Observation(
            at=now,
            concurrency=pool.concurrency,
            min_concurrency=pool.min_concurrency,
            max_concurrency=pool.max_concurrency,
            # Tenants' fleets make room and no more: load, throttles and budgets go on to decide.
            resting=held_size(spec.name, spec.concurrency, holders) if holders else spec.concurrency,
            waiting=pool.waiting,
            in_flight=pool.in_flight,
            oldest_age=signals.oldest_age,
            throttles=signals.throttles,
            errors=signals.errors,
            lost=signals.lost,
            invocations=signals.invocations,
            model_throttles=signals.model_throttles,
            settled=pool.settled,
            is_uneven=pool.is_uneven,
            spent=signals.spent,
            budget=spec.daily_budget,
            held_by=next((fleet.id for fleet in holders if fleet.by_operator), None),
            has_room=bool(holders),
        )

    def _was_busy(self, pool: str, now: datetime) -> bool:
        """Has one of several pools that offer the same worked within the last minutes?

        A canary whose few tasks fail at once has an empty queue whenever it is looked at.
        """
        if self._health is None or self._agents is None or pool not in self._rivals:
            return False
        return any(now - agent.seen < BUSY_OF_LATE for agent in self._agents.list([pool]))

    def _apply(self, spec: PoolSpec, decision: Decision, memory: Memory) -> tuple[Decision, Memory]:
        """The decision as it came out, and what to remember if it did not take effect: the size that stayed."""
        # What an uneven pool should have is what it is not at.
        stayed = memory if decision.action is Action.EVEN else replace(memory, concurrency=decision.before)
        if spec.scaling == "dry-run":
            return decision, stayed
        try:
            self._pools.set_concurrency(spec.name, decision.concurrency)
        except (RetryableError, InvalidRequest) as error:
            return replace(decision, reason=f"{decision.reason}; not applied: {error}"), stayed
        return replace(decision, applied=True), memory

"""The kill switch: agents stop taking up work of what is stopped within seconds, and keep it until it may go on.

A task that is under way asks, too, before each call of a model or a tool: it stops there.

What is stopped is read at most once in two seconds per environment, and only when there is something to decide. Where it
can't be read, what was known before holds.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from msgspec.structs import replace

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import Forbidden, GoalEnded, InvalidRequest, NotFound, Stopped, closest
from agentfleet.domain.goal import Goal
from agentfleet.domain.kill import Kill, Scope, pause
from agentfleet.domain.names import TENANT
from agentfleet.ports import Clock, GoalStore
from agentfleet.ports_governance import KillStore
from agentfleet.services.work import Batch

FRESH: Final = timedelta(seconds=2)
GOAL_FRESH: Final = timedelta(seconds=1)
"""How long a goal that was alive is taken to be so still: at most one read per goal and second, and a cancellation is
noticed that much later."""

_log: Final = logging.getLogger(__name__)


class LocalKills:
    """A KillStore in this process's memory, for agents that share no registry."""

    def __init__(self) -> None:
        self._kills: dict[Scope, Kill] = {}

    def read(self) -> Sequence[Kill]:
        """Every kill, lifted ones among them."""
        return list(self._kills.values())

    def put(self, kill: Kill) -> None:
        """Store or replace."""
        self._kills[kill.scope] = kill

    def get(self, scope: Scope) -> Kill | None:
        """What is known of one scope."""
        return self._kills.get(scope)


class KillSwitch:
    """Knows what is stopped, as of two seconds ago at most."""

    def __init__(self, store: KillStore, clock: Clock, catalog: Catalog) -> None:
        self._store = store
        self._clock = clock
        self._shard_of = {name: pool.shard_of for name, pool in catalog.pools.items() if pool.shard_of}
        self._known: tuple[Kill, ...] = ()
        self._read: datetime | None = None
        self._mutex = Lock()

    def stopping(self, tenant: str, pool: str | None = None) -> Kill | None:
        """The kill that stops this tenant's work, in this pool if one is given; None if nothing does."""
        return next((kill for kill in self._now() if kill.lifted is None and self._concerns(kill, tenant, pool)), None)

    def quiet_until(self, tenant: str, pools: Iterable[str]) -> datetime | None:
        """Until when this tenant's work in these pools may have been kept still: now, where it still is. None: never."""
        now = self._clock()
        names = [*pools, None]
        concerned = [kill for kill in self._now() if any(self._concerns(kill, tenant, pool) for pool in names)]
        return max((kill.lifted or now for kill in concerned), default=None)

    def refuse(self, tenant: str) -> None:
        """Raises Forbidden if a tenant may not submit anything now."""
        if kill := self.stopping(tenant):
            since = f"{kill.since:%Y-%m-%d %H:%M} UTC"
            raise Forbidden(f"nothing can be submitted: {kill.scope} has been stopped since {since}: {kill.reason}")

    def _concerns(self, kill: Kill, tenant: str, pool: str | None) -> bool:
        match kill.scope.kind:
            case "all":
                return True
            case "tenant":
                return kill.scope.name == tenant
            case "pool":
                return pool is not None and kill.scope.name in {pool, self._shard_of.get(pool)}

    def _now(self) -> tuple[Kill, ...]:
        now = self._clock()
        with self._mutex:
            if self._read is None or now - self._read >= FRESH:
                self._read = now
                try:
                    self._known = tuple(self._store.read())
                except Exception as error:
                    _log.warning("the kill switch can't be read, what is known holds: %r", error)
            return self._known


def stopped_by(kill: Kill, now: datetime, fraction: float) -> Stopped:
    """What becomes of work that a kill stops."""
    return Stopped(f"{kill.scope} is stopped: {kill.reason}", pause(kill, now, fraction).total_seconds())


class KillStage:
    """The stage of an agent's pipeline that sends away what is stopped, without using up an attempt."""

    def __init__(self, switch: KillSwitch, pool: str, clock: Clock, fraction: Callable[[], float]) -> None:
        self._switch = switch
        self._pool = pool
        self._clock = clock
        self._fraction = fraction

    def __call__(self, batch: Batch) -> None:
        """Postpone the work of every stopped tenant, or all of it."""
        for work in list(batch.works):
            if kill := self._switch.stopping(work.goal.tenant, self._pool):
                stopped = stopped_by(kill, self._clock(), self._fraction())
                batch.postpone(work, stopped, timedelta(seconds=stopped.delay or 0.0))


class Halt:
    """Tells tasks that are under way to stop: when the switch is thrown, or their goal, or one above it, has ended.

    A goal is read at most once a second per task.
    """

    def __init__(self, switch: KillSwitch, goals: GoalStore, pool: str, clock: Clock, fraction: Callable[[], float]) -> None:
        self._switch = switch
        self._goals = goals
        self._pool = pool
        self._clock = clock
        self._fraction = fraction

    def of(self, goal: Goal) -> Callable[[], None]:
        """What a task of this goal, which has just been read, asks on its way. Raises Stopped, GoalEnded."""
        looked = self._clock()

        def ask() -> None:
            nonlocal looked
            now = self._clock()
            if kill := self._switch.stopping(goal.tenant, self._pool):
                raise stopped_by(kill, now, self._fraction())
            if now - looked >= GOAL_FRESH:
                wanted = [goal.id, *(goal.parent.ancestors if goal.parent else ())]
                found = self._goals.get(wanted)
                for name in wanted:
                    if name not in found or not found[name].state.is_alive:
                        raise GoalEnded(f"goal {name} is {found[name].state if name in found else 'gone'}")
                looked = now

        return ask


class KillDesk:
    """Where operators throw the switch."""

    def __init__(self, store: KillStore, catalog: Catalog, clock: Clock) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock

    def list(self, tenant: str | None) -> Sequence[Kill]:
        """What is stopped now, newest first; with a tenant, only what concerns it."""
        held = [kill for kill in self._store.read() if kill.lifted is None]
        shown = [kill for kill in held if tenant is None or kill.scope.kind != "tenant" or kill.scope.name == tenant]
        return sorted(shown, key=lambda kill: kill.since, reverse=True)

    def kill(self, scope: Scope, reason: str, by: str) -> Kill:
        """Stop a scope; stopping it again changes the reason. Raises NotFound for an unknown pool, InvalidRequest."""
        self._check(scope)
        known = self._store.get(scope)
        since = known.since if known and known.lifted is None else self._clock()
        kill = Kill(scope, reason, by, since)
        self._store.put(kill)
        return kill

    def lift(self, scope: Scope, by: str) -> Kill:
        """Let a scope go on. Raises NotFound if it isn't stopped."""
        known = self._store.get(scope)
        if known is None or known.lifted is not None:
            raise NotFound(f"{scope} is not stopped")
        lifted = replace(known, lifted=self._clock(), lifted_by=by)
        self._store.put(lifted)
        return lifted

    def _check(self, scope: Scope) -> None:
        if scope.kind == "pool" and scope.name not in self._catalog.pools:
            raise NotFound(f"there is no pool {scope.name[:64]!r}; {closest(scope.name, list(self._catalog.pools))}")
        if scope.kind == "tenant" and not TENANT.fullmatch(scope.name):
            raise InvalidRequest.of("tenant", f"may hold letters, digits and ._-, up to 64, not {scope.name[:80]!r}")

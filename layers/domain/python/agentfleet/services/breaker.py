"""Circuit breakers that all environments share, and bulkheads that each has for itself.

The state is kept in a store and read at most once a second per dependency and environment; a success writes nothing, nor does a
failure among many successes of the same environment, so a dependency in good health costs one read a second. When the store
can't be reached, calls are let through on what is known.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from threading import Lock
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain.breaker import Admission, Breaker, BreakerPolicy, BreakerState, Calls, admit, fail, succeed
from agentfleet.domain.errors import BulkheadFull, CircuitOpen, NotFound, PermanentError, Postponed
from agentfleet.ports import BreakerStore, Clock

P = ParamSpec("P")
T = TypeVar("T")

FRESH: Final = timedelta(seconds=1)
KEPT: Final = timedelta(hours=1)
"""How long after it says nothing any more a breaker stays stored."""
TRIES: Final = 5
BULKHEAD_DELAY: Final = 1.0
KNOWN: Final = 1000

_log: Final = logging.getLogger(__name__)


class LocalBreakers:
    """A BreakerStore in this process's memory, for agents that share no registry."""

    def __init__(self) -> None:
        self._breakers: dict[str, tuple[Breaker, int]] = {}
        self._mutex = Lock()

    def read(self, dependency: str) -> tuple[Breaker, int]:
        """The breaker and its version; a new one of version 0 if there is none."""
        with self._mutex:
            return self._breakers.get(dependency, (Breaker(), 0))

    def write(self, dependency: str, breaker: Breaker, version: int, expires: datetime) -> bool:  # noqa: ARG002
        """Store it as version + 1 if `version` is still the newest; it is kept as long as the process."""
        with self._mutex:
            if self._breakers.get(dependency, (Breaker(), 0))[1] != version:
                return False
            self._breakers[dependency] = (breaker, version + 1)
            return True


class _Known(Struct, frozen=True):
    breaker: Breaker
    version: int
    read: datetime


class Breakers:
    """The breakers of one environment: `Breakers(store, clock, policy)`; `policy` holds where a caller gives no other."""

    def __init__(self, store: BreakerStore, clock: Clock, policy: BreakerPolicy = BreakerPolicy()) -> None:  # noqa: B008
        self._store = store
        self._clock = clock
        self.policy = policy
        self._known: dict[str, _Known] = {}
        self._calls: dict[str, Calls] = {}
        self._running: Counter[str] = Counter()
        self._mutex = Lock()

    def guard(self, dependency: str, policy: BreakerPolicy | None = None, concurrency: int | None = None) -> "Guard":
        """What to put around one call to a dependency; `concurrency`: how many may run at once in this environment."""
        if not dependency or len(dependency) > 500:
            raise ValueError(f"dependency: must have 1 to 500 characters, not {len(dependency)}")
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency: must be at least 1, not {concurrency}")
        return Guard(self, dependency, policy or self.policy, concurrency)

    def is_at_hand(self, dependency: str) -> bool:
        """Is it known, without asking the store, that calls may go through?"""
        known = self._fresh(dependency)
        return known is not None and known.breaker.state is BreakerState.CLOSED

    def enter(self, dependency: str, policy: BreakerPolicy, concurrency: int | None) -> bool:
        """Before a call; says whether it is a trial. Raises CircuitOpen, BulkheadFull."""
        with self._mutex:
            if concurrency is not None and self._running[dependency] >= concurrency:
                raise BulkheadFull(f"{concurrency} calls to {dependency} are under way already", BULKHEAD_DELAY)
            self._running[dependency] += 1
        admission = None
        try:
            admission = self._admit(dependency, policy)
        finally:
            if admission is None or not admission.admitted:
                self.abandon(dependency)
        if not admission.admitted:
            wait = max(0.1, admission.wait.total_seconds())
            raise CircuitOpen(f"calls to {dependency} failed of late; it is left alone for {wait:.1f} s more", wait)
        return admission.is_trial

    def leave(self, dependency: str, policy: BreakerPolicy, *, succeeded: bool, is_trial: bool) -> None:
        """After a call."""
        self.abandon(dependency)
        counted = self._note(dependency, policy, succeeded=succeeded)
        if succeeded and is_trial:
            self._change(dependency, policy, lambda breaker, _: succeed(breaker, is_trial=True))
        elif not succeeded and (is_trial or counted):
            self._change(
                dependency, policy, lambda breaker, now: fail(breaker, policy, now, is_trial=is_trial, failures=counted)
            )

    def _note(self, dependency: str, policy: BreakerPolicy, *, succeeded: bool) -> tuple[datetime, ...]:
        """Remember how a call ended. Gives the failures that count from now on."""
        with self._mutex:
            if len(self._calls) >= KNOWN:
                self._calls.clear()
            calls = self._calls.get(dependency, Calls())
            self._calls[dependency], counted = calls.note(policy, self._clock(), succeeded=succeeded)
        return counted

    def abandon(self, dependency: str) -> None:
        """After a call that was never made, or showed nothing: a trial is left to run out."""
        with self._mutex:
            self._running[dependency] -= 1
            if self._running[dependency] <= 0:
                del self._running[dependency]

    def _admit(self, dependency: str, policy: BreakerPolicy) -> Admission:
        known = self._fresh(dependency) or self._read(dependency)
        admission = admit(known.breaker, policy, self._clock())
        if not admission.is_trial:
            return admission
        known = self._read(dependency)
        admission = admit(known.breaker, policy, self._clock())
        if admission.is_trial and not self._write(dependency, admission.breaker, known.version, policy):
            return Admission(False, self._read(dependency).breaker, wait=FRESH)  # somebody else makes the trial
        return admission

    def _change(self, dependency: str, policy: BreakerPolicy, change: Callable[[Breaker, datetime], Breaker]) -> None:
        for _ in range(TRIES):
            known = self._read(dependency)
            after = change(known.breaker, self._clock())
            if after == known.breaker or self._write(dependency, after, known.version, policy):
                if after.state is not known.breaker.state:
                    _log.warning("breaker of %s: %s to %s", dependency, known.breaker.state, after.state)
                return
        _log.warning("breaker of %s: %d writes were overtaken, one outcome is not counted", dependency, TRIES)

    def _fresh(self, dependency: str) -> _Known | None:
        known = self._known.get(dependency)
        return known if known is not None and self._clock() - known.read < FRESH else None

    def _read(self, dependency: str) -> _Known:
        try:
            breaker, version = self._store.read(dependency)
        except Exception as error:
            _log.warning("breaker of %s can't be read, what is known counts: %r", dependency, error)
            old = self._known.get(dependency)
            breaker, version = (old.breaker, old.version) if old else (Breaker(), 0)
        return self._remember(dependency, breaker, version)

    def _write(self, dependency: str, breaker: Breaker, version: int, policy: BreakerPolicy) -> bool:
        try:
            expires = self._clock() + policy.window + policy.recovery + policy.trial + KEPT
            if not self._store.write(dependency, breaker, version, expires):
                return False
            version += 1
        except Exception as error:
            _log.warning("breaker of %s can't be stored, it holds in this environment only: %r", dependency, error)
        self._remember(dependency, breaker, version)
        return True

    def _remember(self, dependency: str, breaker: Breaker, version: int) -> _Known:
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[dependency] = known = _Known(breaker, version, self._clock())
        return known


class Guard:
    """Around one call: `with guard:`, `async with guard:`, `guard.call(f, …)` or `await guard.call_async(f, …)`.

    Raises CircuitOpen or BulkheadFull instead of letting the call begin. Any exception out of the call counts as a failure of
    the dependency, running out of time included, except PermanentError and NotFound (it did answer) and another guard's
    refusal (it was not asked).
    """

    def __init__(self, breakers: Breakers, dependency: str, policy: BreakerPolicy, concurrency: int | None) -> None:
        self._breakers = breakers
        self._dependency = dependency
        self._policy = policy
        self._concurrency = concurrency
        self._is_trial = False

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function."""
        with self:
            return function(*args, **kwargs)

    async def call_async(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a coroutine function."""
        async with self:
            return await function(*args, **kwargs)

    def __enter__(self) -> Self:
        self._is_trial = self._breakers.enter(self._dependency, self._policy, self._concurrency)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Postponed):
            self._breakers.abandon(self._dependency)
            return
        answered = error is None or isinstance(error, PermanentError | NotFound)
        self._breakers.leave(self._dependency, self._policy, succeeded=answered, is_trial=self._is_trial)

    async def __aenter__(self) -> Self:
        if self._breakers.is_at_hand(self._dependency):
            return self.__enter__()
        entering = asyncio.ensure_future(asyncio.to_thread(self.__enter__))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            # The thread goes on and enters; nobody will leave, so that is done as soon as it has entered.
            entering.add_done_callback(self._abandon)
            raise

    def _abandon(self, entering: "asyncio.Future[Self]") -> None:
        if entering.exception() is None:
            self._breakers.abandon(self._dependency)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and not self._is_trial:
            self.__exit__(kind, error, trace)
        else:
            await asyncio.to_thread(self.__exit__, kind, error, trace)


def read_policy(settings: Mapping[str, Any]) -> BreakerPolicy:
    """The policy from a pool's `[pools.<name>.settings.breaker]`: `failures`, `rate`, and `window`, `recovery`, `trial` in
    seconds.

    Raises ValueError naming a key that there isn't, or whose value is out of its range.
    """
    allowed = ("failures", "rate", "window", "recovery", "trial")
    if unknown := sorted(set(settings) - set(allowed)):
        raise ValueError(f"breaker: there is no setting {', '.join(unknown)}; allowed are {', '.join(allowed)}")
    times: dict[str, Any] = {name: timedelta(seconds=float(settings[name])) for name in allowed[2:] if name in settings}
    default = BreakerPolicy()
    counts = BreakerPolicy(
        failures=int(settings.get("failures", default.failures)), rate=float(settings.get("rate", default.rate))
    )
    return replace(counts, **times)

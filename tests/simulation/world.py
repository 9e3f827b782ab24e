"""Time, chance and who runs: every call of a port passes here, and anything may happen at it."""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, NoReturn

from tests.fakes.clock import START
from tests.simulation.scenario import Weather
from tests.simulation.strands import Strand, Strands

INVOCATION: Final = 60.0
"""Seconds that an invocation may take."""
VISIBILITY: Final = 360.0
MAX_STEPS: Final = 60_000
KINDS: Final = (
    *("crash-before", "crash-after") * 3,
    *("refused", "answer-lost") * 2,
    "torn",
    "torn-crash",
    "stall",
    "long-stall",
    "duplicate",
    "duplicate",
    "wake-hidden",
)


class Killed(BaseException):
    """The environment died: nothing in it runs on, and no `except Exception` notices."""


class Refused(Exception):
    """A throttled or failed call, as an AWS client raises it."""


class _NoSelector:
    """Stands in for the operating system: there are no files, so nothing is ever waited for."""

    def select(self, timeout: float | None) -> list[Any]:
        return []


class Loop(asyncio.BaseEventLoop):
    """An event loop without the outside: what is ready runs in order, and timers see no time pass."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _NoSelector()
        self.tasks: list[asyncio.Task[Any]] = []
        """Of the last call; `asyncio.all_tasks` would look through those of all environments."""

    def time(self) -> float:
        return 0.0

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        task = super().create_task(coro, **options)
        self.tasks.append(task)
        return task

    def _process_events(self, events: list[Any]) -> None:
        """Nothing comes from outside."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Whatever else was under way in an environment that died has nobody left to tell."""
        if not isinstance(context.get("exception"), Killed):
            super().call_exception_handler(context)


class Actor:
    """Something that runs by itself and may die: an environment, or somebody who submits or cancels."""

    def __init__(self, name: str, skew: float = 0.0) -> None:
        self.name = name
        self.skew = skew
        self.strand: Strand | None = None
        self.wake_at = 0.0
        self.started_at = 0.0
        self.since = 0.0
        """When somebody first took up what it is at; of several messages the earliest."""
        self.cut_off = float("inf")
        """When the platform ends the invocation, if it does."""
        self.is_dead = False
        self.deaths = 0
        self.torn: str | None = None
        self.loop: Loop | None = None

    def drive(self, work: Any) -> Any:
        """Run a coroutine in this environment's own loop."""
        if self.loop is None:
            self.loop = Loop()
        self.loop.tasks = [one for one in self.loop.tasks if not one.done()]
        return self.loop.run_until_complete(work)

    def bury(self) -> None:
        """Let what still waits in its loop see that it is dead."""
        self.is_dead = True
        if self.loop is not None:
            if left := {one for one in self.loop.tasks if not one.done()}:
                self.loop.run_until_complete(_all_ended(left))
            self.loop.close()
            self.loop = None


async def _all_ended(tasks: set["asyncio.Task[Any]"]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class World:
    """The scheduler of one run."""

    def __init__(self, seed: int, weather: Weather, strands: Strands, trace: list[str] | None = None) -> None:
        self.weather = weather
        self.now = 0.0
        self.steps = 0
        self.order = random.Random(seed * 2 + 1)
        self.luck = random.Random(seed * 2 + 2)
        self.ill_luck = random.Random(seed ^ 0x5EED)
        """Draws which faults strike and when, and nothing else: given faults then strike exactly as drawn ones did."""
        self.faults: list[tuple[int, str]] = []
        """What has happened so far."""
        self.violations: list[str] = []
        self.trace = trace
        self.nobody = Actor("nobody")
        self.current = self.nobody
        self.busy: list[Actor] = []
        self.startable: Callable[[], list[Callable[[], None]]] = list
        """Gives what could be started now."""
        self.upcoming: Callable[[], float | None] = lambda: None
        """Gives when a hidden message comes back next."""
        self.duplicate: Callable[[], None] = lambda: None
        self.wake_hidden: Callable[[], None] = lambda: None
        self._told = 0.0, START
        """The last time that was asked for: most ask several times at once."""
        self._strands = strands
        self._given = dict(weather.faults) if weather.faults is not None else None
        self._next_fault = self._gap() if self._given is None and weather.budget else 0

    def clock(self) -> Any:
        """The time as whoever runs now sees it."""
        seconds = self.now + self.current.skew
        if seconds != self._told[0]:
            self._told = seconds, START + timedelta(seconds=seconds)
        return self._told[1]

    def violate(self, message: str) -> None:
        """Something that must never be."""
        self.violations.append(message)
        self.note(f"VIOLATION {message}")

    def note(self, text: str) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now:10.3f}s {self.steps:5d} {self.current.name:<12} {text}")

    def before(self, label: str) -> str | None:
        """A call is about to be made. Gives the fault that strikes after it."""
        me = self.current
        if me.is_dead:
            raise Killed
        self.steps += 1
        self.now += 0.004
        if self.steps > MAX_STEPS:
            raise Killed
        after = None
        if self._given is not None:
            kind = self._given.get(self.steps)
            if kind:
                after = self._strike(kind, label)
        elif self.steps == self._next_fault:
            kind = self.ill_luck.choice(KINDS)
            after = self._strike(kind, label)
            self._next_fault = self.steps + self._gap() if len(self.faults) < self.weather.budget else 0
        if self.weather.switch and self.order.random() < self.weather.switch:
            self.halt()
        return after

    def after(self, fault: str) -> None:
        """The call has taken effect."""
        if fault == "crash-after":
            self.die()
        raise Refused("the answer was lost")

    def die(self) -> NoReturn:
        """Whoever runs now dies: nothing that it still tries on its way out, in a `finally`, takes effect."""
        self.current.is_dead = True
        self.current.deaths += 1
        raise Killed

    def _gap(self) -> int:
        return 1 + int(self.ill_luck.expovariate(1.0 / self.weather.calm))

    def _strike(self, kind: str, label: str) -> str | None:
        self.faults.append((self.steps, kind))
        if self.trace is not None:
            self.note(f"*** {kind} at {label}")
        match kind:
            case "crash-before":
                self.die()
            case "refused":
                raise Refused("throttled")
            case "torn" | "torn-crash":
                self.current.torn = kind
            case "stall" | "long-stall":
                self._stall(kind)
            case "duplicate":
                self.duplicate()
            case "wake-hidden":
                self.wake_hidden()
            case _:
                return kind
        return None

    def _stall(self, kind: str) -> None:
        """The environment stands still. A function is ended at its time limit; a container goes on whenever it wakes."""
        me = self.current
        me.wake_at = self.now + (self.luck.uniform(0.5, 50.0) if kind == "stall" else self.luck.uniform(50.0, 1200.0))
        is_limited = self.luck.random() < 0.4
        self.halt()
        if is_limited and self.now > me.cut_off:
            self.note("*** ended at its time limit")
            self.die()

    def torn(self, size: int) -> int | None:
        """If a batch call is to be cut in two: how much of it takes effect."""
        me = self.current
        if me.torn is None:
            return None
        return self.luck.randint(0, size)

    def tear(self, error: Exception) -> NoReturn:
        """End a call that was cut in two."""
        kind, self.current.torn = self.current.torn, None
        if kind == "torn":
            raise error
        self.die()

    def halt(self) -> None:
        """Let others run first."""
        me = self.current
        if me.strand is None:
            return
        me.strand.halt()
        self.current = me
        if me.is_dead:
            raise Killed

    def start(self, actor: Actor, activity: Callable[[], None]) -> None:
        """Begin an activity and run it to its first halt."""
        actor.is_dead, actor.torn, actor.wake_at, actor.started_at = False, None, self.now, self.now
        actor.since = self.now
        actor.strand = self._strands.free()
        self.busy.append(actor)
        self._turn(actor, lambda strand: strand.begin(activity))

    def _turn(self, actor: Actor, go: Callable[[Strand], None]) -> None:
        strand = actor.strand
        assert strand is not None
        self.current = actor
        try:
            go(strand)
        finally:
            self.current = self.nobody
            if strand.is_free:
                actor.strand = None
                self.busy.remove(actor)

    def run(self) -> None:
        """Let everything happen until nothing is left to do."""
        while self.steps <= MAX_STEPS:
            ready = [actor for actor in self.busy if actor.wake_at <= self.now]
            starts = self.startable() if not ready or self.order.random() < 0.5 else []
            if not ready and not starts:
                times = [actor.wake_at for actor in self.busy]
                if (upcoming := self.upcoming()) is not None:
                    times.append(upcoming)
                if not times:
                    return
                self.now = max(self.now, min(times))
                continue
            if starts:
                starts[int(self.order.random() * len(starts))]()
            else:
                self._turn(ready[int(self.order.random() * len(ready))], Strand.resume)
            self.now += 0.002
        self.violate(f"not at rest after {MAX_STEPS} steps")
        for actor in list(self.busy):
            actor.is_dead = True
            while actor in self.busy:
                self._turn(actor, Strand.resume)

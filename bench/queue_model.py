"""The deployed shape as a queueing model: tasks → SQS → trigger → execution environments → writes, under AWS's limits.

One event stands for the invocation of a batch, or for `grain` of them, where a long time is simulated. Tasks arrive at a
constant rate. An invocation starts when a batch waits, the trigger may run one more, and an environment is there or to be had.
It ends after the message's hop, a cold start if there was one, its own time, and the wait for its write units.

Simplifications: a write that has to wait queues instead of being refused and tried again; DynamoDB's burst credit and
the splitting of partitions are left out; an environment that was made stays; polls that find a batch half full are left out.
"""

import math
import random
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Final

import simpy

from bench.quotas import LATENCIES, QUOTAS, Milliseconds, Quotas

TICK: Final = 0.02
"""Seconds between two looks at what may start."""
AFTERWARDS: Final = 60.0
Sample = Callable[[random.Random], float]
"""Draws seconds."""
_Z99: Final = NormalDist().inv_cdf(0.99)


def lognormal(of: Milliseconds) -> Sample:
    """Seconds whose median and 99th percentile are these."""
    mu = math.log(of.p50 / 1000)
    sigma = (math.log(of.p99 / 1000) - mu) / _Z99
    return lambda rng: rng.lognormvariate(mu, sigma)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is deployed, and what an invocation of it takes."""

    tasks_per_invocation: float
    units_per_task: float
    """Write units."""
    service: Sample
    """Of an invocation, without waiting for write units."""
    hop: Sample = field(default_factory=lambda: lognormal(LATENCIES.hop))
    cold_start: Sample = field(default_factory=lambda: lognormal(LATENCIES.cold_start))
    quotas: Quotas = QUOTAS
    provisioned: int = 0
    """Pollers; none: the trigger's own."""
    concurrency: int | None = None
    """The trigger's maximum concurrency, if it is set; then it counts from the start."""
    table_units: int = QUOTAS.table_new
    """Write units a second that the table can take when the load begins."""
    messages_per_invocation: float = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """Tasks that arrive: so many a second for so many seconds; `backlog` of them at once at the start."""

    tasks_per_second: float
    seconds: float
    backlog: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of a load."""

    finished: list[tuple[float, float]]
    """Second of the end and tasks, per invocation."""
    latencies: list[float]
    """Seconds from a task's arrival to its end, one per invocation."""
    held: dict[str, list[float]]
    """Moments, 20 ms apart, at which each limit held something back."""
    concurrency: int
    """Most invocations at a time."""

    def rate(self, begin: float, end: float) -> float:
        """Tasks per second that ended between two moments."""
        low, high = (bisect_left(self.finished, (moment, 0.0)) for moment in (begin, end))
        return sum(tasks for _, tasks in self.finished[low:high]) / (end - begin)

    def reached(self, rate: float, window: float = 2.0) -> float | None:
        """Seconds until so many tasks per second ended, over a window; None if it never was so."""
        last = self.finished[-1][0] if self.finished else 0.0
        steps = (step * window / 2 for step in range(2, int(2 * last / window) + 1))
        return next((end for end in steps if self.rate(end - window, end) >= rate), None)

    def percentile(self, share: float) -> float:
        """Of the latencies, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    def bottleneck(self, begin: float, end: float) -> str | None:
        """The limit that held things back most between two moments; None if that was less than a twentieth of the time."""
        inside = {name: sum(begin <= one < end for one in moments) * TICK for name, moments in self.held.items()}
        name = max(inside, key=lambda one: inside[one], default=None)
        return name if name is not None and inside[name] > (end - begin) / 20 else None


class _Rate:
    """A limit of so much a second, as a queue: whoever comes waits until the limit has room for him."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def wait(self, now: float, amount: float, per_second: float) -> float:
        """Seconds until `amount` is through."""
        begin = max(now, self._free_at)
        self._free_at = begin + amount / per_second
        return begin - now

    def behind(self, now: float) -> float:
        """Seconds that somebody who comes then waits."""
        return max(0.0, self._free_at - now)


class Model:
    """One run: `Model(shape, load).run()`."""

    def __init__(self, shape: Shape, load: Load, *, seed: int = 1, grain: int = 1) -> None:
        self._shape, self._load, self._grain = shape, load, grain
        self._rng = random.Random(seed)
        self._env = simpy.Environment()
        self._waiting: deque[float] = deque()
        self._running = 0
        self._environments = 0.0
        self._new_environments = float(shape.quotas.environments_per_10_s)
        self._trigger = self._trigger_start()
        self._table = _Rate()
        self._table_units = float(shape.table_units)
        self._written: list[float] = [0.0]
        self._outcome = Outcome([], [], defaultdict(list), 0)

    def run(self) -> Outcome:
        """Until all that arrived has ended, at most until a minute after the load: a limit that is too low leaves a backlog."""
        limit = self._load.seconds + AFTERWARDS
        self._env.process(self._look(limit))
        self._env.run(until=limit)
        self._outcome.finished.sort()
        return self._outcome

    def _trigger_start(self) -> float:
        shape = self._shape
        if shape.concurrency is not None:
            return float(shape.concurrency)
        if shape.provisioned:
            return float(shape.provisioned * shape.quotas.provisioned_per_poller)
        return float(shape.quotas.trigger_start)

    def _look(self, limit: float) -> Generator[simpy.Event, Any, None]:
        """Let tasks arrive, let limits grow, start what may start: every 20 ms."""
        per_event = self._shape.tasks_per_invocation * self._grain
        due = self._load.backlog / per_event
        while self._env.now < limit:
            now = self._env.now
            if now < self._load.seconds:
                due += self._load.tasks_per_second * TICK / per_event
            arrived, due = divmod(due, 1.0)
            self._waiting.extend([now] * int(arrived))
            self._grow()
            held_back = self._start_all()
            if limit_now := self._limit_now(held_back):
                self._outcome.held[limit_now].append(now)
            elif now >= self._load.seconds and not self._running and not self._waiting:
                return
            yield self._env.timeout(TICK)

    def _grow(self) -> None:
        quotas, shape = self._shape.quotas, self._shape
        most = quotas.environments_per_10_s
        self._new_environments = min(float(most), self._new_environments + most / 10 * TICK)
        if self._waiting and shape.concurrency is None and not shape.provisioned:
            self._trigger = min(float(quotas.trigger_most), self._trigger + quotas.trigger_per_minute / 60 * TICK)
        self._double_table()

    def _double_table(self) -> None:
        """A table takes twice what it took at its peak, half an hour later."""
        quotas, now = self._shape.quotas, self._env.now
        window = quotas.table_double_minutes * 60
        if now >= window * len(self._written):
            peak = self._written[-1] / window
            self._table_units = min(float(quotas.table_most), max(self._table_units, 2 * peak))
            self._written.append(0.0)

    def _start_all(self) -> str | None:
        """Start what may start; gives the limit that holds back the rest, if something is left."""
        quotas, grain = self._shape.quotas, self._grain
        while self._waiting:
            after = (self._running + 1) * grain
            if after > self._trigger and self._running:
                return "trigger"
            if after * self._shape.messages_per_invocation > quotas.in_flight:
                return "messages in flight"
            cold = after > self._environments
            if cold and after > quotas.environments:
                return "account concurrency"
            if cold and self._new_environments < grain:
                return "new environments"
            self._begin(self._waiting.popleft(), cold)
        return None

    def _begin(self, arrived: float, cold: bool) -> None:
        shape, rng = self._shape, self._rng
        self._running += 1
        self._outcome.concurrency = max(self._outcome.concurrency, self._running * self._grain)
        hop, duration = shape.hop(rng), shape.service(rng)
        if cold:
            self._environments += self._grain
            self._new_environments -= self._grain
            duration += shape.cold_start(rng)
        event = self._env.timeout(duration)
        event.callbacks.append(lambda _: self._write(arrived - hop))

    def _write(self, arrived: float) -> None:
        """End when the table has room. A hop keeps no worker, so it was taken from the arrival instead."""
        units = self._shape.units_per_task * self._shape.tasks_per_invocation * self._grain
        self._written[-1] += units
        wait = self._table.wait(self._env.now, units, self._table_units)
        if wait > 0.0:
            self._env.timeout(wait).callbacks.append(lambda _: self._end(arrived))
        else:
            self._end(arrived)

    def _limit_now(self, held_back: str | None) -> str | None:
        """The limit in force: the table is named before those that are only reached because its writes are slow."""
        return "table's write units" if self._table.behind(self._env.now) > TICK else held_back

    def _end(self, arrived: float) -> None:
        self._running -= 1
        self._outcome.finished.append((self._env.now, self._shape.tasks_per_invocation * self._grain))
        self._outcome.latencies.append(self._env.now - arrived)


def drawn_from(seconds: Sequence[float]) -> Sample:
    """One of the measured values, each as likely as the others."""
    values = list(seconds)
    return lambda rng: rng.choice(values)

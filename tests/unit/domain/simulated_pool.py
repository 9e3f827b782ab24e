"""A queue and a pool that works it off, in steps of one second, with the scaling rule looking on once a minute."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from msgspec.structs import replace

from agentfleet.domain.scaling import Action, Decision, Memory, Observation, decide
from tests.fakes import START

MINUTE = 60


@dataclass
class SimulatedPool:
    """Agents that each finish `rate` messages a second; `arrivals(second)` come in, and more than `allowed` are throttled."""

    arrivals: Callable[[int], float]
    rate: float = 1.0
    concurrency: int = 10
    least: int = 2
    most: int = 100
    resting: int = 10
    allowed: Callable[[int], float] = lambda _: float("inf")
    spent: Callable[[int], float] = lambda _: 0.0
    budget: float | None = None
    settles: bool = True
    """False: every other pass finds the last change still taking hold."""
    is_measured: bool = True
    """Whether anybody measures how old messages are."""
    decisions: list[Decision] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Concurrency after each pass."""
    waiting: float = 0.0
    second: int = 0
    _memory: Memory | None = None
    _ages: list[tuple[int, float]] = field(default_factory=list)
    """(second of arrival, how many), oldest first."""

    def run(self, minutes: int) -> "SimulatedPool":
        """Let time pass."""
        for _ in range(minutes):
            throttles = sum(self._work() for _ in range(MINUTE))
            self._pass(throttles)
        return self

    def actions(self) -> list[Action]:
        """What was done, pass by pass."""
        return [decision.action for decision in self.decisions]

    def moves(self) -> list[int]:
        """The size after every pass that changed it, with the first."""
        return [size for size, before in zip(self.sizes, [None, *self.sizes], strict=False) if size != before]

    def _work(self) -> int:
        """One second: what arrives, what is finished, how many agents are refused."""
        arrived = self.arrivals(self.second)
        self.waiting += arrived
        self._ages.append((self.second, arrived))
        busy = min(self.concurrency, self.waiting / self.rate)
        refused = max(0.0, busy - self.allowed(self.second))
        self._finish(min(self.waiting, (busy - refused) * self.rate))
        self.second += 1
        return int(refused)

    def _finish(self, done: float) -> None:
        self.waiting -= done
        while self._ages and done >= self._ages[0][1] - 1e-9:
            done -= self._ages.pop(0)[1]
        if self._ages and done > 0:
            self._ages[0] = (self._ages[0][0], self._ages[0][1] - done)
        if self.waiting < 1e-9:
            self.waiting = 0.0
            self._ages.clear()

    def _pass(self, throttles: int) -> None:
        age = float(self.second - self._ages[0][0]) if self._ages else 0.0
        load = self.arrivals(self.second - 1) / self.rate
        seen = Observation(
            at=START + timedelta(seconds=self.second),
            concurrency=self.concurrency,
            min_concurrency=self.least,
            max_concurrency=self.most,
            resting=self.resting,
            waiting=int(self.waiting),
            in_flight=self.concurrency if self.waiting >= 1 else round(min(load, self.concurrency)),
            oldest_age=age if self.is_measured else None,
            throttles=throttles + (50 if self.concurrency == 1 and self.waiting >= 1 else 0),
            invocations=100,
            settled=self.settles or len(self.decisions) % 2 == 0,
            spent=self.spent(self.second),
            budget=self.budget,
        )
        decision, self._memory = decide(seen, self._memory)
        self.decisions.append(replace(decision, applied=decision.action is not Action.HOLD))
        self.concurrency = decision.concurrency
        self.sizes.append(self.concurrency)

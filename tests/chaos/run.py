"""One run: goals come in steadily, faults strike steadily, until all goals have ended or the time is over."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from random import Random
from threading import Event
from typing import Any, Final

from agentfleet.domain.goal import Goal
from tests.chaos.faults import FROM_OUTSIDE, Fault, Kind, draw_faults
from tests.chaos.goals import Expected, draw_goal
from tests.chaos.project import POOLS
from tests.chaos.stage import Stage

TICK: Final = 0.1
LOOK: Final = 1.0
"""Seconds between two looks at the goals."""
RECORDED: Final = 60.0
"""Seconds in which histories must tell of all ends."""
TELL: Final = 5.0
ORDERED: Final = 4
"""Faults that wait for their call at once, at most, so that faults come one by one and not all to the first who calls."""
SUBMITTING: Final = 2
"""Submissions at once."""


@dataclass(frozen=True, slots=True)
class Script:
    """How large a run is."""

    seed: int
    goals: int
    """At least so many; more while there are faults left."""
    faults: int
    window: int
    """Goals that are under way at once."""
    pace: float
    """Seconds from a fault to the next."""
    deadline: float
    """Seconds after which what has not ended is lost."""
    kinds: tuple[Kind, ...] = tuple(Kind)


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that took place."""

    fault: Fault
    at: float
    """Seconds since 1970."""
    bodies: tuple[str, ...] = ()
    """The messages that the struck process had, or that were lost or doubled."""
    target: str = ""
    """The AWS call it fell on."""


@dataclass(slots=True)
class Record:
    """What happened."""

    script: Script
    submitted: dict[str, Expected] = field(default_factory=dict)
    """By goal id."""
    ended: dict[str, Goal] = field(default_factory=dict)
    struck: list[Struck] = field(default_factory=list)
    told: dict[str, set[str]] = field(default_factory=dict)
    """Goal id → ends that the bus told of."""
    chains: dict[str, str] = field(default_factory=dict)
    """Goal id → what is wrong with its history; only of those that are not whole."""
    withdrawn: int = 0
    """Faults for which no call came."""
    seconds: float = 0.0


class Run:
    """`Run(stage, script, tell).to_end()`."""

    def __init__(self, stage: Stage, script: Script, tell: Callable[[str], None]) -> None:
        self._stage = stage
        self._script = script
        self._tell = tell
        self._random = Random(script.seed)
        self._record = Record(script)
        self._plan = draw_faults(self._random, script.faults, script.kinds)
        self._pending: list[Fault] = []
        """Kills that wait for somebody to be at work."""
        self._ordered: dict[str, Fault] = {}
        self._submitting: dict[int, tuple[Expected, Future[str]]] = {}
        self._clock = time.monotonic

    def to_end(self) -> Record:
        """Run it; gives what happened."""
        started = self._clock()
        deadline = started + self._script.deadline
        numbers = count()
        strikes, looks, lines = self._every(self._script.pace), self._every(LOOK), self._every(TELL)
        pause = Event()
        while not self._is_over() and self._clock() < deadline:
            self._top_up(numbers)
            if next(strikes):
                self._strike_next()
            self._pending = [fault for fault in self._pending if not self._kill(fault)]
            self._collect()
            if next(looks):
                self._look()
            if next(lines):
                self._say(self._clock() - started)
            pause.wait(TICK)
        self._collect()
        for fault in [*self._ordered.values(), *self._pending]:
            self._stage.withdraw(fault)
        self._record.withdrawn = len(self._ordered) + len(self._pending) + len(self._plan)
        self._look()
        self._record.seconds = self._clock() - started
        self._read_histories()
        self._say(self._record.seconds)
        return self._record

    def _every(self, seconds: float) -> Iterator[bool]:
        """True whenever so much time has passed since it last was."""
        due = self._clock()
        while True:
            now = self._clock()
            yield now >= due
            if now >= due:
                due = max(due + seconds, now - seconds)

    def _is_over(self) -> bool:
        record = self._record
        if len(record.submitted) < self._script.goals or self._plan or self._submitting:
            return False
        if len(record.ended) < len(record.submitted):
            return False
        untold = [goal for goal in record.submitted if not record.told.get(goal)]
        return not untold and not self._stage.living()

    def _top_up(self, numbers: Iterator[int]) -> None:
        record = self._record
        for number, (expected, future) in list(self._submitting.items()):
            if future.done():
                record.submitted[future.result()] = expected
                del self._submitting[number]
        under_way = len(record.submitted) - len(record.ended) + len(self._submitting)
        wanted = len(record.submitted) + len(self._submitting) < self._script.goals or self._plan
        if under_way < self._script.window and wanted and len(self._submitting) < SUBMITTING:
            number = next(numbers)
            expected = draw_goal(Random(f"{self._script.seed}.{number}"), number)
            self._submitting[number] = (expected, self._stage.in_background(self._submission(expected, number)))

    def _submission(self, expected: Expected, number: int) -> Callable[[], str]:
        return lambda: self._stage.submit(expected, as_event=number % 3 == 0)

    def _strike_next(self) -> None:
        """The next fault of the plan, unless enough others wait to take place."""
        waiting = [fault for fault in self._ordered.values() if fault.function in POOLS]
        if self._plan and len(waiting) + len(self._pending) < ORDERED:
            self._strike(self._plan.pop(0))

    def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case Kind.KILL:
                self._pending.append(fault)
            case Kind.POISON | Kind.DEAD_FLOOD:
                self._stage.poison(fault.function, fault.count, dead=fault.kind is Kind.DEAD_FLOOD)
                self._note(fault)
            case Kind.CACHE_DOWN:
                self._stage.take_cache_away(fault.seconds)
                self._note(fault)
            case _:
                assert fault.kind not in FROM_OUTSIDE
                self._ordered[fault.id] = fault
                self._stage.order(fault)

    def _kill(self, fault: Fault) -> bool:
        bodies = self._stage.kill_busy(fault.function)
        if bodies is None:
            return False
        self._note(fault, bodies=tuple(bodies))
        return True

    def _note(self, fault: Fault, **more: Any) -> None:
        self._record.struck.append(Struck(fault, time.time(), **more))

    def _collect(self) -> None:
        for note in self._stage.noted():
            fault = self._ordered.pop(note["id"])
            self._record.struck.append(Struck(fault, note["at"], tuple(note["bodies"]), note["target"]))

    def _look(self) -> None:
        record = self._record
        waiting = [goal for goal in record.submitted if goal not in record.ended]
        record.ended |= {name: goal for name, goal in self._stage.goals(waiting).items() if goal.state.is_final}
        for goal, state in self._stage.told():
            record.told.setdefault(goal, set()).add(state)

    def _read_histories(self) -> None:
        """Histories are written behind the tables: one that does not tell the end yet is read again for a while."""
        deadline, pause = self._clock() + RECORDED, Event()
        left = dict.fromkeys(self._record.submitted, "")
        while left:
            left = {name: wrong for name in left if (wrong := self._wrong_history(name))}
            if self._clock() >= deadline:
                break
            pause.wait(LOOK if left else 0.0)
        self._record.chains = left

    def _wrong_history(self, goal_id: str) -> str:
        broken, states = self._stage.history(goal_id)
        wanted = self._record.submitted[goal_id].state
        return broken or ("" if states[-1:] == [wanted] else f"tells {states}, not that it ended {wanted}")

    def _say(self, seconds: float) -> None:
        record = self._record
        self._tell(
            f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}  goals {len(record.ended)} of {len(record.submitted)} ended"
            f" · faults {len(record.struck)} of {self._script.faults}"
            f" ({len(self._ordered)} waiting for a call, {len(self._pending)} for somebody at work)"
            f" · dead letters {self._stage.dead_letters()}"
        )

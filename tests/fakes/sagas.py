"""The saga's state machine as statemachines/saga.asl.json has it, in memory: it remembers everything and never dies itself."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agentfleet.domain.codec import dumps
from agentfleet.domain.saga import Outcome, SagaStatus
from agentfleet.services.saga import Saga, Undo

SPREAD = 2.0
"""Seconds before the first look."""
RETRIES = {"PermanentError": 0, "Postponed": 20, "States.ALL": 6}
"""Of one compensation, by what its error is called."""
INTERVALS = {"Postponed": (5.0, 900.0), "States.ALL": (1.0, 120.0)}
"""Seconds before the first of these retries and before a late one; in between they double."""
TIMEOUT = 1800.0
"""Seconds that an answer may take."""
HEARTBEAT = 300.0
"""Seconds between two signs of life, and between the sending and the first."""
CALL_RETRY = 2.0


@dataclass(slots=True)
class _Open:
    """A compensation on its way."""

    undo: Undo
    tries: Counter[str] = field(default_factory=Counter)
    """Retries, by what the error was called."""
    token: str = ""
    """Empty: it waits to be sent again."""
    moment: float = 0.0
    """When it is sent again, or given up."""
    deaf: float = 0.0
    """When it is given up unless there is a sign of life."""

    @property
    def rings(self) -> float:
        """When something happens to it by itself."""
        return min(self.moment, self.deaf) if self.token else self.moment


@dataclass(slots=True)
class Execution:
    """One saga."""

    goal_id: str
    attempt: int
    due: float
    spent: int = 0
    open: list[_Open] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    parks: bool = False
    calling: bool = False
    """Is its Lambda function at work?"""
    ended: bool = False
    waves: list[list[str]] = field(default_factory=list)
    """Task ids by wave."""


class SagaMachine:
    """A Sagas and an UndoAnswers, and the engine behind both."""

    def __init__(self, now: Callable[[], float], send: Callable[[str, str], None]) -> None:
        self.executions: dict[tuple[str, int], Execution] = {}
        self.retries: Counter[str] = Counter()
        """Of all compensations, by what the error was called."""
        self._now = now
        self._send = send
        self._tokens: dict[str, tuple[Execution, _Open]] = {}
        self._sent = 0

    # What the services see.

    def start(self, goal_id: str, attempt: int) -> None:
        self.executions.setdefault((goal_id, attempt), Execution(goal_id, attempt, self._now() + SPREAD))

    def status(self, goal_id: str, attempt: int) -> SagaStatus | None:
        execution = self.executions.get((goal_id, attempt))
        if execution is None:
            return None
        return SagaStatus.ENDED if execution.ended else SagaStatus.RUNNING

    def succeeded(self, token: str) -> None:
        if token in self._tokens:
            execution, one = self._tokens.pop(token)
            execution.open.remove(one)
            self._after(execution)

    def failed(self, token: str, error: str, cause: str) -> None:
        if token in self._tokens:
            execution, one = self._tokens.pop(token)
            self._again(execution, one, error, cause)

    def beat(self, token: str) -> bool:
        if token not in self._tokens:
            return False
        self._tokens[token][1].deaf = self._now() + HEARTBEAT
        return True

    # What time does.

    def due(self) -> Execution | None:
        """An execution whose function is to be called now."""
        if not self.executions:
            return None
        now = self._now()
        for execution in self.executions.values():
            for one in list(execution.open):
                if one.rings <= now:
                    self._ring(execution, one)
        waiting = (one for one in self.executions.values() if not (one.ended or one.open or one.calling))
        return next((one for one in waiting if one.due <= now), None)

    def upcoming(self) -> float | None:
        """When something happens next by itself."""
        running = [one for one in self.executions.values() if not one.ended and not one.calling]
        times = [one.due for one in running if not one.open]
        return min([*times, *(one.rings for execution in running for one in execution.open)], default=None)

    def call(self, execution: Execution, saga: Saga) -> None:
        """Call its function and go on from what it says; if that dies or raises, it is called again later."""
        execution.calling = True
        execution.due = self._now() + CALL_RETRY
        try:
            if execution.parks:
                saga.park(execution.goal_id, execution.attempt, execution.failures)
                execution.ended = True
                return
            step = saga.look(execution.goal_id, execution.attempt, execution.spent)
            execution.spent = step.spent
            if step.outcome is Outcome.UNDO:
                execution.waves.append([undo.task for undo in step.undos])
                for undo in step.undos:
                    one = _Open(undo)
                    execution.open.append(one)
                    self._ask(execution, one)
            elif step.outcome is Outcome.WAIT:
                execution.due = self._now() + step.seconds
            else:
                execution.ended = True
        finally:
            execution.calling = False

    def _ask(self, execution: Execution, one: _Open) -> None:
        self._sent += 1
        now = self._now()
        one.token, one.moment, one.deaf = f"token-{self._sent}", now + TIMEOUT, now + HEARTBEAT
        self._tokens[one.token] = (execution, one)
        self._send(one.undo.queue, dumps({**one.undo.message, "token": one.token}))

    def _ring(self, execution: Execution, one: _Open) -> None:
        if one.token:
            del self._tokens[one.token]
            self._again(execution, one, "States.Timeout" if one.moment <= self._now() else "States.HeartbeatTimeout", "")
        else:
            self._ask(execution, one)

    def _again(self, execution: Execution, one: _Open, error: str, cause: str) -> None:
        kind = error if error in RETRIES else "States.ALL"
        if one.tries[kind] < RETRIES[kind]:
            first, most = INTERVALS[kind]
            one.token, one.moment = "", self._now() + min(most, first * 2.0 ** one.tries[kind])
            one.tries[kind] += 1
            self.retries[kind] += 1
            return
        execution.open.remove(one)
        execution.failures.append({"task": one.undo.task, "error": error, "cause": cause})
        self._after(execution)

    def _after(self, execution: Execution) -> None:
        if not execution.open:
            execution.due, execution.parks = self._now(), bool(execution.failures)

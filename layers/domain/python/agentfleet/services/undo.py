"""Undo tasks: what an agent does with the messages of a saga.

The order makes a crash harmless, as with tasks: claim → undo → result → answer → the message is deleted. A compensation
that is asked for again finds its result and only answers. One that failed gives its claim up before it answers: each of the
saga's retries is another message, which would find it taken.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from agentfleet.domain import ids
from agentfleet.domain.errors import NotFound, Postponed, RetryableError
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.messages import BadMessage
from agentfleet.domain.plan import Unit
from agentfleet.domain.result import Claim, Result, TaskOutcome, TaskState
from agentfleet.domain.saga import UndoPointer, read_undo
from agentfleet.ports import ClaimStore, Clock, GoalStore, PlanStore, ResultStore, UndoAnswers
from agentfleet.services.capability import Undoes
from agentfleet.services.finish import fetch_outcomes, resolve_template
from agentfleet.services.perform import Performer, TaskTimeout, is_retryable
from agentfleet.services.work import Delivery

_log: Final = logging.getLogger(__name__)
BEAT: Final = 60.0
"""Seconds between two signs of life; the saga waits five times as long for one."""
LONGEST_AWAY: Final = 3 * BEAT
"""Seconds that a message may be hidden while its task is held: each time it is received is a sign of life."""
_RESERVE: Final = timedelta(seconds=3)
_CAUSE: Final = 1000


def is_undo(delivery: Delivery) -> bool:
    """Is this a saga's message? One that can't be read is nobody's."""
    try:
        return read_undo(delivery.body) is not None
    except BadMessage:
        return False


class Undoer:
    """Carries out compensations, each once in effect however often it is asked for."""

    def __init__(
        self,
        agent_id: str,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        claims: ClaimStore,
        performer: Performer,
        answers: UndoAnswers,
        clock: Clock,
    ) -> None:
        self._agent_id = agent_id
        self._goals = goals
        self._plans = plans
        self._results = results
        self._claims = claims
        self._performer = performer
        self._answers = answers
        self._clock = clock

    async def run(self, deliveries: Sequence[Delivery], deadline: datetime) -> list[tuple[Delivery, Exception]]:
        """Undo what these messages ask for, concurrently; gives those that must be received again, and why."""
        errors = await asyncio.gather(*(self._answer(one, deadline) for one in deliveries))
        return [(delivery, error) for delivery, error in zip(deliveries, errors, strict=True) if error]

    async def _answer(self, delivery: Delivery, deadline: datetime) -> Exception | None:
        """Undo one task and tell the saga; whatever the compensation raises is the saga's to deal with."""
        pointer = read_undo(delivery.body)
        assert pointer is not None  # noqa: S101 - `is_undo` chose it
        try:
            try:
                is_undone = await self._undo(pointer, delivery, deadline)
            except _Busy as error:
                return error if self._answers.beat(pointer.token) else None
            except Exception as error:
                self._answers.failed(pointer.token, _kind(error), f"{type(error).__name__}: {error}"[:_CAUSE])
            else:
                if is_undone:
                    self._answers.succeeded(pointer.token)
        except Exception as error:
            return error  # nobody was told: the message comes again
        return None

    async def _undo(self, pointer: UndoPointer, delivery: Delivery, deadline: datetime) -> bool:
        """Is the unit undone? False if nobody wants it undone any more. Raises what the compensation raises, _Busy."""
        goals = self._goals.get(list(dict.fromkeys((pointer.goal_id, pointer.saga))))
        if pointer.goal_id not in goals or pointer.saga not in goals:
            raise NotFound(f"there is no goal {pointer.goal_id}, or none that it is part of by the id {pointer.saga}")
        if goals[pointer.saga].state is not GoalState.COMPENSATING:
            return False
        goal = goals[pointer.goal_id]
        if self._is_undone(goal, pointer.unit):
            return True
        now = self._clock()
        lease = deadline + _RESERVE - now
        kept = ids.undo_id(goal.id)
        claim = self._claims.claim(kept, goal.shards, pointer.unit, delivery.holder, now, lease)
        if claim is None:
            raise self._busy(goal, pointer.unit, now)
        try:
            if claim.fence == 1 or not self._is_undone(goal, pointer.unit):
                await self._undo_claimed(goal, pointer, delivery, deadline, claim)
        except TaskTimeout:
            raise  # what it began may still act: nobody else may before the lease ends
        except Exception:
            self._release(claim, goal.shards)
            raise
        return True

    def _busy(self, goal: Goal, unit: int, now: datetime) -> "_Busy":
        kept = ids.undo_id(goal.id)
        held = self._claims.held(kept, goal.shards, [unit]).get(unit)
        wait = (held.until - now).total_seconds() if held else 0.0
        return _Busy(f"another agent undoes unit {unit} of goal {goal.id}", min(LONGEST_AWAY, max(1.0, wait)))

    async def _undo_claimed(
        self, goal: Goal, pointer: UndoPointer, delivery: Delivery, deadline: datetime, claim: Claim
    ) -> None:
        """Run the compensation, with signs of life meanwhile, and store that it ran."""
        started = self._clock()
        plan = self._plans.read(goal.id)
        beating = asyncio.get_running_loop().create_task(self._beat(pointer.token))
        try:
            output = await self._perform(goal, plan.unit(pointer.unit), deadline, delivery.attempt, claim.fence)
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
        duration = (self._clock() - started).total_seconds()
        outcome = TaskOutcome(TaskState.SUCCEEDED, output)
        self._results.put(
            goal.shards, [Result(claim.goal_id, claim.unit, (outcome,), self._agent_id, started, duration, delivery.attempt)]
        )

    def _release(self, claim: Claim, shards: int) -> None:
        try:
            self._claims.release(claim, shards, self._clock())
        except Exception as error:
            _log.warning("the claim of unit %d of %s stays until %s: %s", claim.unit, claim.goal_id, claim.until, error)

    def _is_undone(self, goal: Goal, unit: int) -> bool:
        return bool(self._results.get(ids.undo_id(goal.id), goal.shards, [unit], outputs=False))

    async def _perform(self, goal: Goal, unit: Unit, deadline: datetime, attempt: int, fence: int) -> object:
        task = unit.tasks[0]  # a task with a compensation shares its message with none
        compensation = task.compensation
        if compensation is None:
            raise NotFound(f"task {task.id} of goal {goal.id} has no compensation")
        places = [(unit.number, 0), *(place for group in compensation.sources.values() for place in group)]
        outcome_at = fetch_outcomes(self._results, goal, places)
        value = resolve_template(compensation.input, compensation.sources, outcome_at, partial=True)
        own = outcome_at((unit.number, 0))
        attempted = own is None or own.state is not TaskState.SUCCEEDED
        undoes = Undoes(task.id, ids.task_key(goal.id, task.id), attempted)
        return await self._performer.undo(goal, compensation, value, undoes, deadline, attempt, fence)

    async def _beat(self, token: str) -> None:
        while True:
            await asyncio.sleep(BEAT)
            if not await asyncio.to_thread(self._answers.beat, token):
                return


class _Busy(RetryableError):
    """Somebody else undoes the same task, for `delay` seconds at most, or there will be time to look again then."""


def _kind(error: Exception) -> str:
    """By what name the saga is told of it: it tries each as often as statemachines/saga.asl.json says."""
    if isinstance(error, Postponed):
        return "Postponed"
    return "RetryableError" if is_retryable(error) else "PermanentError"

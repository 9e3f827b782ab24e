"""Perform tasks: resolve and check the input, call the user's function, check the output, decide what failure means."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from agentfleet.domain.errors import (
    BadOutput,
    DeliveryFailed,
    FleetError,
    Forbidden,
    GoalEnded,
    InvalidRequest,
    NotFound,
    PermanentError,
    Postponed,
    RetryableError,
    Stopped,
    Waiting,
)
from agentfleet.domain.goal import MAX_DEPTH, Failure, Goal
from agentfleet.domain.names import PLANNER
from agentfleet.domain.plan import Place, PlannedCompensation, PlannedTask
from agentfleet.domain.result import POSTPONEMENTS, Result, TaskOutcome, TaskState, postpone_delay, retry_delay
from agentfleet.ports import BlobStore, Clock, ResultStore
from agentfleet.ports_agents import JournalStore
from agentfleet.services.breaker import Breakers
from agentfleet.services.budget import Budgets, TaskBudget
from agentfleet.services.capability import Capability, MemorySource, ModelSource, SubPlan, TaskContext, TaskFiles, Undoes
from agentfleet.services.crew import Crew
from agentfleet.services.finish import fetch_outcomes, resolve_template
from agentfleet.services.work import Batch, Work

if TYPE_CHECKING:
    from agentfleet.services.accept import Accepter
    from agentfleet.services.guardrail import Guard
    from agentfleet.services.kill import Halt
    from agentfleet.services.reuse import ResultReuse
    from agentfleet.services.task_tools import Workshop

T = TypeVar("T")

MESSAGE_LIMIT: Final = 1000
REPAIR: Final = "repair"

BeforeHook = Callable[[TaskContext, Any], None]
"""Sees a task's checked input before it runs; raising fails the task."""


class Performer:
    """Does the work of a batch; every error a user's code raises becomes data here."""

    def __init__(
        self,
        agent_id: str,
        capabilities: Mapping[str, Capability],
        results: ResultStore,
        blobs: BlobStore,
        accepter: "Callable[[], Accepter]",
        clock: Clock,
        fraction: Callable[[], float],
        *,
        settings: dict[str, Any] | None = None,
        before: Sequence[BeforeHook] = (),
        reuse: "ResultReuse | None" = None,
        breakers: Breakers | None = None,
        budgets: Budgets | None = None,
        guard: "Guard | None" = None,
        models: ModelSource | None = None,
        memories: MemorySource | None = None,
        journals: JournalStore | None = None,
        workshop: "Workshop | None" = None,
        halt: "Halt | None" = None,
    ) -> None:
        self._agent_id = agent_id
        self._capabilities = capabilities
        self._results = results
        self._blobs = blobs
        self._accepter = accepter
        self._clock = clock
        self._fraction = fraction
        self._settings = settings or {}
        self._before = before
        self._reuse = reuse
        self._breakers = breakers
        self._budgets = budgets
        self._guard = guard
        self._models = models
        self._memories = memories
        self._journals = journals
        self._workshop = workshop
        self._halt = halt
        self._crew = Crew()

    @property
    def cache_counts(self) -> dict[str, int]:
        """What has happened in the cache since the start, by kind; empty without a cache."""
        return dict(self._reuse.counts) if self._reuse else {}

    def read_inputs(self, batch: Batch) -> None:
        """Replace references by the outputs they name, and check what results against the capability's input type."""

        def read(works: list[Work]) -> None:
            fresh = [work for work in works if work.awaits_doing]
            places = [place for work in fresh for task in work.unit.tasks for group in task.sources.values() for place in group]
            outcome_at = fetch_outcomes(self._results, works[0].goal, places)
            for work in fresh:
                work.inputs = [_attempt(self._prepare, work, task, outcome_at) for task in work.unit.tasks]

        batch.each_goal(read)

    def _prepare(self, work: Work, task: PlannedTask, outcome_at: Callable[[Place], TaskOutcome | None]) -> Any:
        if task.when is not None and not resolve_template(task.when, task.sources, outcome_at):
            return TaskOutcome(TaskState.SKIPPED)
        resolved = resolve_template(task.input, task.sources, outcome_at)
        if work.goal.bounds:
            work.goal.bounds.check_hosts(resolved)
        return self._capability(work.unit.capability).read_input(resolved)

    def _capability(self, name: str) -> Capability:
        capability = self._capabilities.get(name)
        if capability is None:
            known = ", ".join(sorted(self._capabilities))
            raise PermanentError(f"this pool can't do {name}, only {known}")
        return capability

    def run_hooks(self, batch: Batch) -> None:
        """Show every task that is about to run to the hooks."""
        if not self._before and not self._guard:
            return
        for work in batch.works:
            for slot, value in enumerate(work.inputs if work.awaits_doing else ()):
                if not isinstance(value, TaskOutcome | Exception):
                    context = self._context(work, work.unit.tasks[slot], batch)
                    work.inputs[slot] = _attempt(self._call_hooks, self._capabilities[work.unit.capability], context, value)

    def _call_hooks(self, capability: Capability, context: TaskContext, value: Any) -> Any:
        if self._guard:
            self._guard.check_input(capability, context, value)
        for hook in self._before:
            hook(context, value)
        return value

    async def execute(self, batch: Batch) -> None:
        """Do the tasks: coroutines concurrently in this loop, plain functions in threads."""
        await _all_of([self._do(work, batch) for work in list(batch.works) if work.awaits_doing])

    async def _do(self, work: Work, batch: Batch) -> None:
        started = self._clock()
        raw = await _all_of([self._call(work, slot, batch) for slot in range(len(work.unit.tasks))])
        work.is_loose = any(isinstance(value, TaskTimeout) for value in raw) or self._is_stuck(work)
        if any(isinstance(value, GoalEnded) for value in raw):
            batch.drop(work)
            return
        batch.tried += sum(not isinstance(value, Postponed) for value in raw)
        batch.lost += sum(isinstance(value, Exception) and speaks_against_agent(value) for value in raw)
        if any(isinstance(value, SubPlan) for value in raw):
            try:
                refusal = self._delegate(work, raw)
            except DeliveryFailed as error:
                batch.give_back(work, error)  # no attempt of the task's: its sub-plan may be on its way already
                return
            if refusal is None:
                batch.drop(work)
                return
            raw = [refusal for _ in raw]
        refused = [value for value in raw if isinstance(value, Postponed)]
        if refused and isinstance(refused[0], Waiting | Stopped):
            batch.postpone(work, refused[0], timedelta(seconds=refused[0].delay or 0.0))
            return
        if refused and work.delivery.postponed < POSTPONEMENTS:
            wanted = refused[0].delay or 0.0
            batch.postpone(work, refused[0], postpone_delay(wanted, work.delivery.postponed, self._fraction()))
            return
        again = [value for value in raw if isinstance(value, Exception) and is_retryable(value)]
        if again and work.delivery.failed < work.unit.retries:
            batch.retry(work, again[0], self._delay(again[0], work.delivery.failed + 1))
            return
        if work.unit.on_failure == "replan" and isinstance(raw[0], Exception):
            try:
                if self._replan(work, raw[0]):
                    batch.drop(work)
                    return
            except DeliveryFailed as error:
                batch.give_back(work, error)
                return
        outcomes = tuple(_outcome(value, task.id) for task, value in zip(work.unit.tasks, raw, strict=True))
        duration = (self._clock() - started).total_seconds()
        attempt = work.delivery.attempt
        work.result = Result(work.goal.id, work.unit.number, outcomes, self._agent_id, started, duration, attempt)

    @property
    def stuck(self) -> Sequence[str]:
        """The tasks whose function still runs in this environment though nobody waits for it, as `goal/task`."""
        return self._crew.stuck()

    def _is_stuck(self, work: Work) -> bool:
        stuck = self._crew.stuck()
        return bool(stuck) and any(_place(work.goal.id, task.id) in stuck for task in work.unit.tasks)

    async def _call(self, work: Work, slot: int, batch: Batch) -> TaskOutcome | SubPlan | Exception:
        value = work.inputs[slot]
        if isinstance(value, TaskOutcome | Exception):
            return value
        capability = self._capabilities[work.unit.capability]
        context = self._context(work, work.unit.tasks[slot], batch)
        run = partial(self._run, capability, value, context)
        try:
            if capability.cacheable and self._reuse is not None:
                running = self._reuse.produce(capability, value, context, run)
            else:
                running = run()
            output = await self._in_time(running, context, work.unit.timeout)
            return output if isinstance(output, SubPlan) else TaskOutcome(TaskState.SUCCEEDED, output)
        except Exception as error:
            return error

    async def _run(self, capability: Capability, value: Any, context: TaskContext) -> Any:
        """Call the user's function; gives its output as plain JSON, or the SubPlan that it returned."""
        if self._guard:
            await self._guard.moderate(capability, context, value, "input")
        if capability.is_async:
            output = await capability.call(value, context)
        else:
            output = await self._crew.call(
                capability.call,
                value,
                context,
                name=_place(context.goal_id, context.task_id),
                seconds=context.remaining_seconds(),
            )
        if isinstance(output, SubPlan):
            return output
        plain = capability.write_output(output)
        if self._guard:
            plain = self._guard.clean_output(context, plain)
            await self._guard.moderate(capability, context, plain, "output")
        return plain

    async def undo(
        self,
        goal: Goal,
        compensation: PlannedCompensation,
        value: Any,
        undoes: Undoes,
        deadline: datetime,
        attempt: int,
        fence: int,
    ) -> Any:
        """Run a compensation on a resolved input; gives its output. Raises what it raises, TaskTimeout, PermanentError."""
        capability = self._capability(compensation.capability)
        if goal.bounds:
            goal.bounds.check_hosts(value)
        context = TaskContext(
            goal_id=goal.id,
            task_id=undoes.task_id,
            tenant=goal.tenant,
            attempt=attempt,
            blobs=TaskFiles(self._blobs, goal.tenant, goal.id, undoes.task_id),
            clock=self._clock,
            deadline=min(deadline, self._clock() + timedelta(seconds=compensation.timeout)),
            fence=fence,
            settings=self._settings,
            breakers=self._breakers,
            undoes=undoes,
            bounds=goal.bounds,
        )
        checked = self._call_hooks(capability, context, capability.read_input(value))
        output = await self._in_time(self._run(capability, checked, context), context, compensation.timeout)
        if isinstance(output, SubPlan):
            raise PermanentError(f"{compensation.capability} returned a sub-plan, which a compensation can't")
        return output

    async def _in_time(self, running: Awaitable[Any], context: TaskContext, seconds: float) -> Any:
        try:
            async with asyncio.timeout(context.remaining_seconds()) as timer:
                return await running
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise TaskTimeout(f"took longer than {seconds:g} s, or than its invocation had left") from error

    def _context(self, work: Work, task: PlannedTask, batch: Batch) -> TaskContext:
        return TaskContext(
            goal_id=work.goal.id,
            task_id=task.id,
            tenant=work.goal.tenant,
            attempt=work.delivery.attempt,
            blobs=TaskFiles(self._blobs, work.goal.tenant, work.goal.id, task.id),
            clock=self._clock,
            deadline=min(
                batch.deadline,
                work.goal.deadline or batch.deadline,
                self._clock() + timedelta(seconds=work.unit.timeout),
            ),
            fence=work.claim.fence if work.claim else None,
            settings=self._settings,
            breakers=self._breakers,
            budget=TaskBudget(self._budgets, work.goal),
            models=self._models,
            memories=self._memories,
            bounds=work.goal.bounds,
            journals=self._journals,
            workshop=partial(self._workshop, work.goal, work.unit, self.call_here) if self._workshop else None,
            stops=self._halt.of(work.goal) if self._halt else None,
        )

    async def call_here(self, name: str, value: Any, context: TaskContext) -> Any:
        """Carry out one of this pool's own capabilities for a task that calls it, with all checks; plain JSON or a SubPlan."""
        capability = self._capability(name)
        checked = self._call_hooks(capability, context, capability.read_input(value))
        return await self._in_time(self._run(capability, checked, context), context, capability.timeout)

    def _replan(self, work: Work, error: Exception) -> bool:
        """Have a planner find another way to do a task that failed for good; False if nobody can be asked.

        Its answer takes the task's place: what depends on the task goes on with the new part's output. The planner itself is
        never replanned, and since each round nests two goals the limit on depth ends what doesn't help.
        Raises DeliveryFailed if a queue did not take it.
        """
        above = len(work.goal.parent.ancestors) if work.goal.parent else 0
        if above + 2 > MAX_DEPTH:
            return False
        (task,) = work.unit.tasks
        places = [place for group in task.sources.values() for place in group]
        resolved = resolve_template(task.input, task.sources, fetch_outcomes(self._results, work.goal, places))
        failed = {
            "task": task.id,
            "capability": work.unit.capability,
            "input": resolved,
            "error": type(error).__name__,
            "message": str(error)[:MESSAGE_LIMIT],
            "attempts": work.delivery.attempt,
            "alternatives": list(task.alternatives),
        }
        repair = {"id": REPAIR, "capability": PLANNER, "input": {"failed": failed}, "on_failure": "fail"}
        try:
            self._accepter().delegate(work.goal, work.unit.number, 0, {"tasks": [repair], "output": {"$from": REPAIR}})
        except DeliveryFailed:
            raise
        except FleetError:
            return False
        return True

    def _delegate(self, work: Work, raw: Sequence[Any]) -> Exception | None:
        """Start the sub-plan; the error if that can't be. Raises DeliveryFailed if a queue did not take its roots."""
        plan = raw[0]
        if len(raw) > 1 or not isinstance(plan, SubPlan):
            return PermanentError(f"{work.unit.capability} shares messages (chunk > 1), so it can't return a sub-plan")
        try:
            body = {"tasks": plan.tasks, "output": plan.output}
            self._accepter().delegate(work.goal, work.unit.number, 0, body, plan.budget, plan.bounds)
        except DeliveryFailed:
            raise
        except FleetError as error:
            return error
        return None

    def _delay(self, error: Exception, attempt: int) -> timedelta:
        if isinstance(error, RetryableError) and error.delay is not None and error.delay > 0:
            return timedelta(seconds=error.delay)
        return retry_delay(attempt, self._fraction())


class TaskTimeout(RetryableError):
    """A task took longer than it may."""


async def _all_of(running: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What these give, run concurrently. One alone needs no task of its own, and most are alone."""
    return [await running[0]] if len(running) == 1 else await asyncio.gather(*running)


def _place(goal_id: str, task_id: str) -> str:
    return f"{goal_id}/{task_id}"


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's value, or the exception that it raised, as data."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def is_retryable(error: Exception) -> bool:
    """May another attempt end differently?"""
    return not isinstance(error, PermanentError | NotFound)


def speaks_against_agent(error: Exception) -> bool:
    """Is a failed attempt a sign that its agent is ill?

    Time-outs, what may go better next time, errors that nobody foresaw, and outputs that break their own promise are. What a
    task asked for in vain is not, nor what could not be tried: no tenant's mistakes may make a pool look ill.
    """
    excused = PermanentError | NotFound | InvalidRequest | Forbidden | Postponed
    return isinstance(error, BadOutput) or not isinstance(error, excused)


def _outcome(value: TaskOutcome | SubPlan | Exception, task: str) -> TaskOutcome:
    if isinstance(value, TaskOutcome):
        return value
    assert isinstance(value, Exception)  # noqa: S101 - sub-plans have been started or refused before
    failure = Failure(type(value).__name__, str(value)[:MESSAGE_LIMIT] or repr(value), task)
    return TaskOutcome(TaskState.FAILED, failure=failure)

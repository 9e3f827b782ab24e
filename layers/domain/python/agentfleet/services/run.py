"""Carry out a batch of task messages: what every agent does, whatever its capabilities.

The order within a batch is what makes a crash harmless: goal alive → not stopped → approved → claim → do → result → join →
release → the message is deleted. Whatever is repeated after a crash finds its result already there and only joins and
releases again. What fails for one goal gives back that goal's messages, and no others.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain import ids
from agentfleet.domain.errors import CircuitOpen, DeliveryFailed, Held, NotFound, RetryableError, Stopped, Waiting
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.messages import BadMessage, TaskMessage, TaskPointer, read_task
from agentfleet.domain.result import POSTPONE_LIMIT, RESENT, RESENT_FOR, RESTING, retry_delay
from agentfleet.ports import ClaimStore, Clock, GoalStore, PlanStore, ResultStore, TaskQueues
from agentfleet.services.capability import Capability
from agentfleet.services.finish import Finisher
from agentfleet.services.kill import GOAL_FRESH
from agentfleet.services.perform import Performer
from agentfleet.services.pipeline import ProcessingPipeline, Stage
from agentfleet.services.registry import Presence
from agentfleet.services.routing import Router
from agentfleet.services.undo import Undoer, is_undo
from agentfleet.services.work import Again, Batch, Delivery, Work

if TYPE_CHECKING:
    from agentfleet.services.accept import Accepter

RESERVE: Final = timedelta(seconds=3)
"""Kept from an invocation's time for storing and releasing."""
LONGEST_HIDING: Final = timedelta(minutes=15)
MOST_CLAIMS: Final = 30
"""More than refusals (20) and retries (6) account for: a unit that was claimed more often kills its agents, or most of them."""
SOON: Final = timedelta(seconds=1)
"""At least so long a message stays away that found its unit held."""
POISON: Final = timedelta(seconds=1)
"""A message that can't be read won't become readable: let it reach the dead-letter queue soon."""
KNOWN_GOALS: Final = 1000
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
REST_MARGIN: Final = timedelta(minutes=10)
"""How long after it should have looked again a waiting unit is not taken to be lost."""


LOOKS: Final = 2
"""Of a unit that was woken. The second is for what ended while somebody was at the unit and had looked already."""


class Stores(Struct, frozen=True):
    """What a runner reads and writes."""

    goals: GoalStore
    plans: PlanStore
    results: ResultStore
    claims: ClaimStore
    queues: TaskQueues


class Gates(Struct, frozen=True):
    """Stages that hold work back: what is stopped, and what nobody has approved."""

    stop: Stage[Batch]
    approve: Stage[Batch]


class TaskRunner:
    """Runs batches of messages through one pipeline of stages."""

    def __init__(
        self,
        capabilities: Mapping[str, Capability],
        stores: Stores,
        performer: Performer,
        accepter: "Callable[[], Accepter]",
        finisher: Finisher,
        presence: Presence,
        clock: Clock,
        fraction: Callable[[], float],
        pool: str,
        router: Router,
        undoer: Undoer,
        gates: Gates,
    ) -> None:
        self._capabilities = capabilities
        self._stores = stores
        self._performer = performer
        self._accepter = accepter
        self._finisher = finisher
        self._presence = presence
        self._clock = clock
        self._fraction = fraction
        self._pool = pool
        self._undoer = undoer
        self._router = router
        self._known_goals: dict[str, tuple[Goal, datetime]] = {}
        self._resent: dict[str, datetime] = {}
        """By goal: when it was noted that messages of it were sent again."""
        self.pipeline: ProcessingPipeline[Batch] = (
            ProcessingPipeline[Batch]()
            .add_stage(self._load, name="load")
            .add_stage(gates.stop, name="stop")
            .add_stage(self._recall, name="recall")
            .add_stage(performer.read_inputs, name="validate")
            .add_stage(gates.approve, name="approve")
            .add_stage(self._claim, name="claim")
            .add_stage(performer.run_hooks, name="before-hooks")
            .add_stage(performer.execute, name="execute")
            .add_stage(self._store, name="store")
            .add_stage(self._advance, name="release")
            .add_stage(self._send_again, name="again")
        )

    async def run(self, deliveries: Sequence[Delivery], cut_off: datetime) -> Batch:
        """Carry out these messages before the invocation is cut off; what is `returned` must be received again."""
        before = self._performer.cache_counts
        undos = [one for one in deliveries if is_undo(one)]
        batch = Batch(tuple(one for one in deliveries if not is_undo(one)), cut_off - RESERVE)
        if undos:
            _, left = await asyncio.gather(self._carry_out(batch), self._undoer.run(undos, batch.deadline))
            for delivery, error in left:
                delay = error.delay if isinstance(error, RetryableError) else None
                batch.give_back(delivery, error, None if delay is None else timedelta(seconds=delay))
        else:
            await self._carry_out(batch)
        self._hide_returned(batch)
        batch.stuck = tuple(self._performer.stuck)
        after = self._performer.cache_counts
        batch.cache = {name: n for name, count in after.items() if (n := count - before.get(name, 0))}
        return batch

    async def _carry_out(self, batch: Batch) -> None:
        """Whatever fails, the invocation answers: else all its messages would stay hidden for six times its timeout."""
        try:
            await self.pipeline.execute(batch)
        except Exception as error:
            batch.give_back_rest(error)

    def _load(self, batch: Batch) -> None:
        """Goal, plan and unit of every message; those of goals that have ended are dropped."""
        pointers: list[tuple[Delivery, TaskPointer]] = []
        for delivery in batch.deliveries:
            try:
                pointer = read_task(delivery.body)
                counts = {"failed": pointer.failed, "postponed": pointer.postponed, "wake": pointer.wake}
                pointers.append((replace(delivery, attempt=delivery.attempt + pointer.spent, **counts), pointer))
            except BadMessage as error:
                batch.give_back(delivery, error, POISON)
        goals, errors = self._goals_apart({pointer.goal_id for _, pointer in pointers})
        for delivery, pointer in pointers:
            goal = goals.get(pointer.goal_id)
            if goal is None:
                batch.give_back(delivery, errors.get(pointer.goal_id) or NotFound(f"there is no goal {pointer.goal_id}"))
                continue
            try:
                if goal.paused and not delivery.is_repeated:
                    batch.drop(delivery)  # resuming sends whatever may run then
                    continue
                if goal.state.is_alive:
                    plan = self._stores.plans.read(goal.id)
                    batch.works.append(Work(delivery, goal, plan, plan.unit(pointer.unit)))
                    continue
                if delivery.is_repeated:
                    self._finisher.confirm_end(goal, pointer.unit)
                    self._end_sub_plan(goal, pointer.unit)
                batch.drop(delivery)
            except Exception as error:
                batch.give_back(delivery, error)
        self._presence.working([f"{work.goal.id}/{task.id}" for work in batch.works for task in work.unit.tasks])

    def _end_sub_plan(self, goal: Goal, unit: int) -> None:
        """Who delegated may have died before the sub-plan's roots were sent: no message of its own would ever end it."""
        for child in self._stores.goals.get([ids.child_goal_id(goal.id, unit, 0)]).values():
            if child.state.is_alive:
                self._finisher.end(child, GoalState.CANCELLED, undo=False)

    def _goals_apart(self, wanted: set[str]) -> tuple[dict[str, Goal], dict[str, Exception]]:
        """These goals, and what went wrong with those that can't be read or ended now; the others don't suffer for it."""
        try:
            return self._goals_now(wanted), {}
        except Exception as error:
            if len(wanted) == 1:
                return {}, dict.fromkeys(wanted, error)
        goals: dict[str, Goal] = {}
        errors: dict[str, Exception] = {}
        for name in sorted(wanted):
            found, failed = self._goals_apart({name})
            goals |= found
            errors |= failed
        return goals, errors

    def _goals_now(self, wanted: set[str]) -> dict[str, Goal]:
        """These goals, read at most once a second; a sub-plan's goal ends when one it is part of has ended."""
        now = self._clock()
        found = self._refresh(wanted, now)
        above = self._refresh({name for goal in found.values() if goal.parent for name in goal.parent.ancestors}, now)
        for goal in list(found.values()):
            ancestors = goal.parent.ancestors if goal.parent else ()
            if not goal.state.is_alive:
                continue
            if not all(name in above and above[name].state.is_alive for name in ancestors):
                # What it did is undone, if at all, by the saga of the goal that it is part of.
                found[goal.id] = self._finisher.end(goal, GoalState.CANCELLED, undo=False)
            elif late := goal.lateness(now):
                found[goal.id] = self._finisher.end(goal, GoalState.FAILED, failure=late)
            elif paused := next((above[name].paused for name in ancestors if above[name].paused), None):
                found[goal.id] = replace(goal, paused=paused)
        return found

    def _is_stale(self, name: str, now: datetime) -> bool:
        """Whether a goal must be read again. One that was paused always: resuming sends each message once, and here it
        would be dropped."""
        goal, read = self._known_goals.get(name, (None, now))
        return goal is None or (goal.state.is_alive and (goal.paused is not None or now - read >= GOAL_FRESH))

    def _refresh(self, wanted: set[str], now: datetime) -> dict[str, Goal]:
        stale = [name for name in sorted(wanted) if self._is_stale(name, now)]
        if len(self._known_goals) > KNOWN_GOALS:
            self._known_goals.clear()
            stale = sorted(wanted)
        if stale:
            self._known_goals |= {name: (goal, now) for name, goal in self._stores.goals.get(stale).items()}
        return {name: self._known_goals[name][0] for name in wanted if name in self._known_goals}

    def _recall(self, batch: Batch) -> None:
        """A message received before may have left its result, or a sub-plan, behind.

        What follows from that result is still to be carried on where the goal is paused; what has none waits for its resuming.
        """

        def recall(works: list[Work]) -> None:
            if again := [work for work in works if work.delivery.is_repeated]:
                self._take_standing(batch, again)

        batch.each_goal(recall)
        for work in [work for work in batch.works if work.goal.paused and work.awaits_doing]:
            batch.drop(work)

    def _take_standing(self, batch: Batch, works: Sequence[Work]) -> None:
        goal = works[0].goal
        standing = self._stores.results.get(goal.id, goal.shards, [work.unit.number for work in works], outputs=False)
        open_works = [work for work in works if work.unit.number not in standing]
        children = {ids.child_goal_id(goal.id, work.unit.number, 0): work for work in open_works}
        for work in works:
            if work.unit.number in standing:
                work.result, work.is_stored = standing[work.unit.number], True
        for name, child in (self._stores.goals.get(sorted(children)) if children else {}).items():
            self._accepter().resume(child)
            batch.drop(children[name])

    def _claim(self, batch: Batch) -> None:
        """Take a lease on what may not be done twice, and on what may have to be undone: it tells that somebody tried."""
        for work in list(batch.works):
            capability = self._capabilities.get(work.unit.capability)
            undoable = any(task.compensation for task in work.unit.tasks)
            if capability is None or (capability.idempotent and not undoable) or not work.awaits_doing:
                continue
            try:
                self._claim_one(work, batch)
            except Exception as error:
                batch.give_back(work, error)

    def _claim_one(self, work: Work, batch: Batch) -> None:
        now = self._clock()
        goal, number = work.goal, work.unit.number
        lease = batch.deadline + RESERVE - now
        work.claim = self._stores.claims.claim(goal.id, goal.shards, number, work.delivery.holder, now, lease)
        if work.claim is None:
            # Not left in the queue: receives that find it held would count as its attempts, and kill the message in the end.
            held = self._stores.claims.held(goal.id, goal.shards, [number]).get(number)
            wait = max(SOON, held.until - now) if held else SOON
            error = Held(f"another agent holds unit {number} of goal {goal.id}", wait.total_seconds())
            if held and held.fence > MOST_CLAIMS:
                batch.give_back(work, error, wait)  # it kills its agents: fresh messages would go on killing for ever
            else:
                batch.postpone(work, error, wait)
        elif work.claim.fence > 1:
            self._take_standing(batch, [work])  # it was claimed before, so it may have been finished

    def _store(self, batch: Batch) -> None:
        """One conditional put per unit, all of a goal's in one request: the first result stands."""

        def store(works: list[Work]) -> None:
            fresh = [work for work in works if work.result and not work.is_stored]
            if fresh:
                standing = self._stores.results.put(fresh[0].goal.shards, [work.result for work in fresh if work.result])
                for work, result in zip(fresh, standing, strict=True):
                    work.result, work.is_stored = result, True

        batch.each_goal(store)

    def _advance(self, batch: Batch) -> None:
        """Join, release, finish, goal by goal: one that can't go on leaves its messages to be received again."""

        def advance(works: list[Work]) -> None:
            results = [work.result for work in works if work.result]
            repeated = any(work.delivery.is_repeated for work in works)
            self._finisher.advance(works[0].goal, works[0].plan, results, repeated=repeated)
            batch.settle(works)

        batch.each_goal(advance)

    def _send_again(self, batch: Batch) -> None:
        """A fresh message, kept back by the queue, takes the place of one whose next receive would say nothing of its task.

        Dying in between leaves both; then the unit is done twice at worst, as after any redelivery, and the first result
        stands.
        """
        fresh: list[tuple[Again, TaskMessage]] = []
        for one in batch.again:
            try:
                if message := self._message(one, batch):
                    fresh.append((one, message))
                else:
                    batch.drop(one.work)
            except Exception as failed:
                batch.mishaps.append(failed)
                batch.give_back(one.work, one.error, one.after)
        refused: Collection[int] = ()
        try:
            if fresh:
                self._stores.queues.send_tasks([message for _, message in fresh])
        except Exception as failed:
            batch.mishaps.append(failed)
            known = failed.refused if isinstance(failed, DeliveryFailed) else None
            refused = range(len(fresh)) if known is None else known
        for number, (one, _) in enumerate(fresh):
            if number in refused:
                batch.give_back(one.work, one.error, one.after)
            else:
                batch.drop(one.work)

    def _message(self, again: Again, batch: Batch) -> TaskMessage | None:
        """What to send for it; None for what another message of the unit is there for.

        Where another pool can do the same, which an open breaker here says nothing about, it goes there at once.
        """
        work, error, delivery = again.work, again.error, again.work.delivery
        is_open = isinstance(error, CircuitOpen) and not again.has_failed
        elsewhere = is_open and self._router.elsewhere(work.goal.id, work.unit, self._pool, delivery.postponed)
        after = timedelta() if elsewhere else again.after
        held = self._let_go(work, batch)
        wait = max(after, held - self._clock()) if held else after  # sooner it would only be found taken
        # What is stopped, or waits for its own, may be so for days: no dependency failed to be called.
        is_refused = not again.has_failed and not isinstance(error, Held | Stopped | Waiting)
        must_wait = not again.has_failed and not is_refused and after > timedelta()
        if delivery.wake >= LOOKS and must_wait:
            return None  # the unit's own message is there still
        if isinstance(error, Waiting) and work.claim is None and not delivery.wake:
            self._rest(work, wait)
        if not isinstance(error, Waiting | Stopped):  # of those the healer knows
            self._note_resent(work)
        return TaskMessage(
            work.goal.id,
            work.unit.number,
            work.goal.tenant,
            elsewhere or self._pool,
            work.unit.priority,
            delay=min(wait, timedelta(seconds=POSTPONE_LIMIT)),
            spent=delivery.attempt - (not again.has_failed),
            failed=delivery.failed + again.has_failed,
            postponed=delivery.postponed if again.has_failed else max(1, delivery.postponed + is_refused),
            wake=delivery.wake + must_wait if delivery.wake else 0,
        )

    def _note_resent(self, work: Work) -> None:
        """Say that messages of the goal may be younger than its last progress: the healer would take them to be lost."""
        goal, now = work.goal, self._clock()
        if now - self._resent.get(goal.id, _LONG_AGO) >= RESENT_FOR / 2:
            self._stores.claims.claim(goal.id, goal.shards, work.plan.header.units, RESENT, now, RESENT_FOR)
            if len(self._resent) > KNOWN_GOALS:
                self._resent.clear()
            self._resent[goal.id] = now

    def _rest(self, work: Work, wait: timedelta) -> None:
        """Say until when nobody need look for a unit that waits for its own: its last result may be days old by then."""
        goal, number = work.goal, work.unit.number
        self._stores.claims.claim(goal.id, goal.shards, number, RESTING, self._clock(), wait + REST_MARGIN)

    def _let_go(self, work: Work, batch: Batch) -> datetime | None:
        """Release the claim of what is tried again by another message; or give until when it stays, if it does.

        What may still act keeps its claim to the end of its lease, and so does what can't be released now.
        """
        if work.claim is None:
            return None
        if not work.is_loose:
            try:
                self._stores.claims.release(work.claim, work.goal.shards, self._clock())
            except Exception as error:
                batch.mishaps.append(error)
            else:
                return None
        return work.claim.until

    def _hide_returned(self, batch: Batch) -> None:
        """What is received again stays hidden for its delay, and while its unit is held: it would only be refused."""
        now = self._clock()
        waits: dict[str, dict[str, timedelta]] = defaultdict(dict)
        for returned in batch.returned.values():
            delivery = returned.delivery
            held = self._let_go(returned.work, batch) if returned.work else None
            wanted = returned.after or retry_delay(delivery.attempt, self._fraction())
            after = max(wanted, held - now) if held else wanted
            waits[delivery.queue][delivery.receipt] = min(after, LONGEST_HIDING)
        for queue, receipts in waits.items():
            try:
                self._stores.queues.hide(queue, receipts)
            except Exception as error:
                batch.mishaps.append(error)  # they come again when the queue's own time is over
        self._presence.rested(sum(len(work.unit.tasks) for work in batch.settled), self._performer.cache_counts)

"""Dead letters: say why each is there, send again what can run, fail what can't, and keep a record of both."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain import ids
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.dead_letters import (
    AGENT_DIED,
    CAPABILITY_GONE,
    MAX_RECEIVES,
    Action,
    Cause,
    Circumstances,
    DeadLetter,
    LetterRecord,
    decide,
    diagnose,
)
from agentfleet.domain.errors import InvalidRequest, NotFound, closest
from agentfleet.domain.goal import Failure, Goal
from agentfleet.domain.healing import VISIBILITY_PER_TIMEOUT, IncidentKind
from agentfleet.domain.messages import BadMessage, TaskPointer, read_task
from agentfleet.domain.plan import PlanReader, Unit
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from agentfleet.ports import Clock, DeadLetters, GoalStore, HealthStore, PlanStore, ResultStore
from agentfleet.services.authorize import Caller
from agentfleet.services.finish import Finisher
from agentfleet.services.incidents import IncidentLog
from agentfleet.services.release import Releaser
from agentfleet.services.routing import Router

TAKEN = 200
"""Dead letters of a pool that one visit looks at, those left out that nobody can read."""
FLOOD = 2000
"""All dead letters of a pool that one visit takes: what can't be read waits for a person, and must not hide the rest."""
_BATCH = 10
_RECEIVED_HERE = timedelta(minutes=5)
"""A first receive as recent as this is one of the dead-letter queue itself."""


class Examined(Struct, frozen=True):
    """A dead letter with its diagnosis."""

    pool: str
    letter: DeadLetter
    cause: Cause
    action: Action
    """What is done about it without a person."""
    pointer: TaskPointer | None
    goal: Goal | None
    plan: PlanReader | None
    unit: Unit | None
    before: LetterRecord | None

    @property
    def key(self) -> str:
        """Names the task across all its letters; a letter that can't be read only itself."""
        return f"{self.pointer.goal_id}.{self.pointer.unit}" if self.pointer else self.letter.id

    @property
    def tenant(self) -> str | None:
        """Whose it is, as far as that can be told."""
        if self.goal:
            return self.goal.tenant
        return self.pointer.tenant if self.pointer else None


class Visit(Struct):
    """What one visit to all dead-letter queues did."""

    done: Counter[Action] = field(default_factory=Counter)
    held: set[tuple[str, int]] = field(default_factory=set)
    """(goal, unit) whose letters are still there."""
    unseen: set[str] = field(default_factory=set)
    """Pools that have more letters than were looked at."""
    errors: list[str] = field(default_factory=list)


class DeadLetterOffice:
    """Deals with the dead letters of every pool, by policy or by a person's word."""

    def __init__(
        self,
        letters: DeadLetters,
        health: HealthStore,
        incidents: IncidentLog,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        catalog: Catalog,
        releaser: Releaser,
        finisher: Finisher,
        clock: Clock,
    ) -> None:
        self._letters = letters
        self._health = health
        self._incidents = incidents
        self._goals = goals
        self._plans = plans
        self._results = results
        self._catalog = catalog
        self._router = Router(catalog)
        self._releaser = releaser
        self._finisher = finisher
        self._clock = clock

    def visit(self, until: datetime) -> Visit:
        """Do for every pool's letters what the policy says; what can't be dealt with stays, with its error."""
        visit = Visit()
        for pool in sorted(self._catalog.pools):
            if self._clock() >= until:
                visit.unseen.add(pool)
                continue
            taken, all_seen = self._take(pool, most=FLOOD)
            if not all_seen:
                visit.unseen.add(pool)
            kept = []
            for letter in taken:
                try:
                    examined = self._examine(pool, letter)
                    if examined.action is Action.KEEP:
                        kept.append(letter)
                    else:
                        self._carry_out(examined, examined.action)
                    visit.done[examined.action] += 1
                except Exception as error:
                    kept.append(letter)
                    visit.held.update(_place(letter))
                    visit.errors.append(f"dead letter {letter.id} of pool {pool}: {type(error).__name__}: {error}")
            self._letters.give_back(pool, kept)
        return visit

    def lying(self, caller: Caller, pool: str | None, limit: int) -> Sequence[Examined]:
        """Dead letters as they lie there: the caller's own, an operator's all. Raises NotFound for an unknown pool."""
        pools = sorted(self._catalog.pools) if pool is None else [self._known(pool)]
        found: list[Examined] = []
        for name in pools:
            taken, _ = self._take(name, limit)
            try:
                found.extend(self._examine(name, letter) for letter in taken)
            finally:
                self._letters.give_back(name, taken)
        return [one for one in found if _may_touch(caller, one.tenant)][:limit]

    def records(self, caller: Caller, pool: str, limit: int) -> Sequence[LetterRecord]:
        """What became of a pool's earlier dead letters, last seen first. Raises NotFound."""
        return [one for one in self._health.letters(self._known(pool), limit) if _may_touch(caller, one.tenant)]

    def redrive(self, caller: Caller, pool: str, key: str | None) -> Sequence[Examined]:
        """Send a task's message again, or those of all letters whose goals live. Gives the ones that were.

        Raises NotFound, InvalidRequest for a letter whose task can't run any more.
        """

        def may(one: Examined) -> bool:
            if _can_run(one):
                return True
            if key is not None:
                raise InvalidRequest.of("key", f"{key} can't run any more ({one.cause}); bury it with a reason")
            return False

        return self._by_hand(caller, pool, key, Action.REDRIVE, "redriven by hand", may)

    def bury(self, caller: Caller, pool: str, key: str, reason: str) -> Examined:
        """Take a letter out of its queue, and keep what it was and why. Raises NotFound."""
        [buried] = self._by_hand(caller, pool, key, Action.BURY, reason, lambda _: True)
        return buried

    def _by_hand(
        self, caller: Caller, pool: str, key: str | None, action: Action, reason: str, may: Callable[[Examined], bool]
    ) -> Sequence[Examined]:
        taken, _ = self._take(self._known(pool))
        left = {letter.id: letter for letter in taken}
        done: list[Examined] = []
        try:
            for letter in taken:
                one = self._examine(pool, letter)
                if _may_touch(caller, one.tenant) and key in {None, one.key} and may(one):
                    self._carry_out(one, action, reason, by_person=True)
                    del left[letter.id]
                    done.append(one)
        finally:
            self._letters.give_back(pool, list(left.values()))
        if key is not None and not done:
            raise NotFound(f"pool {pool} has no dead letter {key[:128]!r}")
        return done

    def _take(self, pool: str, limit: int = TAKEN, most: int | None = None) -> tuple[list[DeadLetter], bool]:
        """At most `limit` letters, and whether those are all; with `most`, at most so many of which `limit` can be read."""
        taken: list[DeadLetter] = []
        counted = 0
        while counted < limit and (most is None or len(taken) < most):
            part = self._letters.take(pool, min(_BATCH, limit - counted))
            if not part:
                return taken, True
            taken.extend(part)
            counted += len(part) if most is None else sum(bool(_place(letter)) for letter in part)
        return taken, False

    def _examine(self, pool: str, letter: DeadLetter) -> Examined:
        try:
            pointer = read_task(letter.body)
        except BadMessage:
            pointer = None
        goal = self._goals.get([pointer.goal_id]).get(pointer.goal_id) if pointer else None
        plan, unit = self._unit(goal, pointer)
        alive = goal is not None and pointer is not None and unit is not None and goal.state.is_alive
        has_result = has_sub_plan = False
        if alive and goal and pointer:
            has_result = bool(self._results.get(goal.id, goal.shards, [pointer.unit], outputs=False))
            has_sub_plan = bool(self._goals.get([ids.child_goal_id(goal.id, pointer.unit, 0)]))
        now = self._clock()
        received = letter.first_received
        since = received if received and now - received > _RECEIVED_HERE else letter.first_sent
        case = Circumstances(
            pointer=pointer,
            goal=goal,
            has_unit=unit is not None,
            has_result=has_result,
            has_sub_plan=has_sub_plan,
            pool=pool,
            routed_to=self._routed_to(goal, unit, pool),
            lived=(now - since).total_seconds(),
            visibility=VISIBILITY_PER_TIMEOUT * self._catalog.pools[pool].timeout,
        )
        cause = diagnose(case)
        key = f"{pointer.goal_id}.{pointer.unit}" if pointer else letter.id
        before = self._health.letter(pool, key) if pointer else None
        action = decide(cause, before.redrives if before else 0)
        return Examined(pool, letter, cause, action, pointer, goal, plan, unit, before)

    def _unit(self, goal: Goal | None, pointer: TaskPointer | None) -> tuple[PlanReader | None, Unit | None]:
        if goal is None or pointer is None:
            return None, None
        plan = self._plans.read(goal.id)
        try:
            return plan, plan.unit(pointer.unit)
        except IndexError:
            return plan, None

    def _routed_to(self, goal: Goal | None, unit: Unit | None, pool: str) -> str | None:
        """The pool that may have it: the one where it died if that still offers the capability."""
        if goal is None or unit is None:
            return None
        try:
            homes = self._router.homes(goal.id, unit)
        except NotFound:
            return None
        return pool if pool in homes else homes[0]

    def _carry_out(self, one: Examined, action: Action, reason: str | None = None, *, by_person: bool = False) -> None:
        """Act, record, and only then take the letter away: whoever dies in between does it again, which changes nothing."""
        goal, plan, unit = one.goal, one.plan, one.unit
        if goal and plan and unit and action is not Action.BURY:
            match action:
                case Action.ADVANCE:
                    stored = self._results.get(goal.id, goal.shards, [unit.number])
                    self._finisher.advance(goal, plan, list(stored.values()), repeated=True)
                case Action.REDRIVE:
                    self._releaser.release(goal, plan, [(unit.number, unit.number)])
                case Action.FAIL:
                    self._fail(goal, plan, unit, one)
            known = self._health.open_incidents()
            sent = int(action is Action.REDRIVE)
            self._incidents.note(
                goal, IncidentKind.DEAD_LETTER, one.letter.first_sent, known=known, sent=sent, by_person=by_person
            )
        self._health.file_letter(self._record(one, action, reason or one.cause.value, by_person=by_person))
        self._letters.delete(one.pool, [one.letter])

    def _record(self, one: Examined, action: Action, reason: str, *, by_person: bool) -> LetterRecord:
        now = self._clock()
        redrives = int(action is Action.REDRIVE)
        fresh = LetterRecord(
            pool=one.pool,
            key=one.key,
            tenant=one.tenant,
            body=one.letter.body[:4000],
            cause=one.cause,
            action=action,
            reason=reason,
            first_seen=now,
            last_seen=now,
            receives=one.letter.receives,
            redrives=redrives,
            by_person=by_person,
        )
        if one.before is None:
            return fresh
        # A person's redrive grants the policy's own one again.
        total = 0 if by_person else one.before.redrives + redrives
        return replace(fresh, first_seen=one.before.first_seen, redrives=total)

    def _fail(self, goal: Goal, plan: PlanReader, unit: Unit, one: Examined) -> None:
        """Store what no agent could say any more, by the way that every result takes."""
        if one.cause is Cause.CAPABILITY_GONE:
            error, why = CAPABILITY_GONE, f"no deployed pool can do {unit.capability} any more"
        else:
            times = MAX_RECEIVES * (1 + (one.before.redrives if one.before else 0))
            how = "were killed or ran out of time" if one.cause is Cause.KILLED else "gave it back without an attempt"
            error, why = AGENT_DIED, f"agents of pool {one.pool} {how} in all of {times} attempts"
        outcomes = tuple(TaskOutcome(TaskState.FAILED, failure=Failure(error, why, task.id)) for task in unit.tasks)
        now = self._clock()
        result = Result(goal.id, unit.number, outcomes, f"dead-letters:{one.pool}", now, 0.0, MAX_RECEIVES)
        self._finisher.advance(goal, plan, self._results.put(goal.shards, [result]), repeated=True)

    def _known(self, pool: str) -> str:
        if pool not in self._catalog.pools:
            raise NotFound(f"there is no pool {pool[:64]!r}; {closest(pool, list(self._catalog.pools))}")
        return pool


def _may_touch(caller: Caller, tenant: str | None) -> bool:
    """A tenant its own letters; an operator everybody's, and those of which nobody can tell whose they are."""
    return caller.is_operator or caller.tenant == tenant


def _can_run(one: Examined) -> bool:
    return one.cause in {Cause.CAPABILITY_MOVED, Cause.RETURNED, Cause.KILLED}


def _place(letter: DeadLetter) -> set[tuple[str, int]]:
    try:
        pointer = read_task(letter.body)
    except BadMessage:
        return set()
    return {(pointer.goal_id, pointer.unit)}

"""Dead letters: say why each is there, send again what can run, fail what can't, and keep a record of both."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from agentfleet.domain import ids, names
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.dead_letters import (
    AGENT_DIED,
    CAPABILITY_GONE,
    KEPT_UNREADABLE,
    MAX_RECEIVES,
    POOL_THROTTLED,
    Action,
    Cause,
    Circumstances,
    DeadLetter,
    LetterRecord,
    Reading,
    decide,
    diagnose,
    read_letter,
)
from agentfleet.domain.errors import InvalidRequest, NotFound, Unfinished, closest
from agentfleet.domain.goal import Failure, Goal
from agentfleet.domain.healing import VISIBILITY_PER_TIMEOUT, IncidentKind
from agentfleet.domain.messages import TaskPointer
from agentfleet.domain.names import SUBMISSIONS
from agentfleet.domain.plan import PlanReader, Unit
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from agentfleet.ports import ClaimStore, Clock, DeadLetters, GoalStore, HealthStore, PlanStore, QueueWatch, ResultStore
from agentfleet.services.authorize import Caller
from agentfleet.services.finish import Finisher
from agentfleet.services.incidents import IncidentLog
from agentfleet.services.letter_sweep import Sweep
from agentfleet.services.release import Releaser
from agentfleet.services.routing import Router

BY_HAND = timedelta(seconds=12)
"""How long letters are looked through for a person, of the 29 seconds that a request may take."""
_TOLD_FOR = timedelta(minutes=1)
"""How long what was told of a pool's throttles is taken for known."""
_RECEIVED_HERE = timedelta(minutes=5)
"""A first receive as recent as this is one of the dead-letter queue itself."""


class Examined(Struct, frozen=True):
    """A dead letter with its diagnosis."""

    pool: str
    letter: DeadLetter
    cause: Cause
    action: Action
    """What is done about it without a person."""
    reading: Reading
    before: LetterRecord | None = None
    goal: Goal | None = None
    """The goal that it is about; of an event, the one that came of sending it again."""
    plan: PlanReader | None = None
    unit: Unit | None = None

    @property
    def key(self) -> str:
        """What people name it by."""
        return self.reading.key

    @property
    def pointer(self) -> TaskPointer | None:
        """What a task's message points at."""
        return self.reading.pointer

    @property
    def tenant(self) -> str | None:
        """Whose it is, as far as that can be told."""
        return self.goal.tenant if self.goal else self.reading.tenant


class Lot(Struct, frozen=True):
    """Dead letters that were found, or dealt with."""

    letters: tuple[Examined, ...]
    complete: bool
    """Are there no others?"""


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
        watch: QueueWatch,
        health: HealthStore,
        incidents: IncidentLog,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        claims: ClaimStore,
        catalog: Catalog,
        releaser: Releaser,
        finisher: Finisher,
        clock: Clock,
        accept: Callable[[str], Goal | None],
    ) -> None:
        """`accept` takes in the goal of an event once more (services/intake.py)."""
        self._letters = letters
        self._watch = watch
        self._throttled: dict[str, tuple[datetime | None, datetime | None]] = {}
        """By pool: when it was asked for, and what was told."""
        self._health = health
        self._incidents = incidents
        self._goals = goals
        self._plans = plans
        self._results = results
        self._claims = claims
        self._catalog = catalog
        self._router = Router(catalog)
        self._releaser = releaser
        self._finisher = finisher
        self._clock = clock
        self._accept = accept

    def visit(self, until: datetime) -> Visit:
        """Do for every pool's letters what the policy says; what can't be dealt with stays, with its error."""
        visit = Visit()
        unreadable: Counter[str] = Counter()
        with Sweep(self._letters, self._catalog.pools, self._clock, until) as sweep:
            for pool, letter in sweep:
                try:
                    examined = self._examine(pool, letter)
                    unreadable[pool] += examined.cause is Cause.UNREADABLE
                    action, reason = examined.action, None
                    if action is Action.KEEP and unreadable[pool] > KEPT_UNREADABLE:
                        action, reason = Action.BURY, f"one of more than {KEPT_UNREADABLE:,} that nobody can read"
                    if action is not Action.KEEP:
                        self._carry_out(examined, action, reason)
                        sweep.settled(pool, letter)
                    else:
                        visit.held.update(_place(pool, letter))
                    visit.done[action] += 1
                except Exception as error:
                    visit.held.update(_place(pool, letter))
                    visit.errors.append(f"dead letter {letter.id} of pool {pool}: {type(error).__name__}: {error}")
        visit.unseen = sweep.unseen
        return visit

    def lying(self, caller: Caller, pool: str | None, limit: int, key: str | None = None) -> Lot:
        """Dead letters as they lie there, by pool, those that can be read first: a caller's own, an operator's all.

        Goals that came as events and were not accepted are those of `submissions`. With `key` only those of one task or event.
        Raises NotFound for an unknown pool.
        """
        pools = sorted([*self._catalog.pools, SUBMISSIONS]) if pool is None else [self._known(pool)]
        readable: list[tuple[str, DeadLetter]] = []
        others: list[tuple[str, DeadLetter]] = []
        with self._sweep(pools) as sweep:
            for name, letter in sweep:
                reading = read_letter(letter, name)
                if _is_meant(caller, reading, key):
                    kind = readable if reading.is_known else others
                    if len(kind) <= limit:
                        kind.append((name, letter))
                if len(readable) > limit:
                    break
            found = [self._examine(*one) for one in sorted([*readable, *others][:limit], key=lambda one: one[0])]
        complete = not sweep.unseen and len(readable) + len(others) <= limit
        return Lot(tuple(one for one in found if _may_touch(caller, one.tenant)), complete)

    def records(self, caller: Caller, pool: str, limit: int) -> Sequence[LetterRecord]:
        """What became of a pool's earlier dead letters, last seen first. Raises NotFound."""
        return [one for one in self._health.letters(self._known(pool), limit) if _may_touch(caller, one.tenant)]

    def redrive(self, caller: Caller, pool: str, key: str | None) -> Lot:
        """Send a task's message again, or those of all letters whose goals live; take an event's goal in. Gives what was.

        Raises NotFound, InvalidRequest for a letter whose task can't run any more, Unfinished if it was not found in time.
        """

        def may(one: Examined) -> bool:
            if _can_run(one):
                return True
            if key is not None:
                raise InvalidRequest.of("key", f"{key} can't run any more ({one.cause}); bury it with a reason")
            return False

        return self._by_hand(caller, pool, key, Action.REDRIVE, "redriven by hand", may)

    def bury(self, caller: Caller, pool: str, key: str, reason: str) -> Examined:
        """Take a task's letters, or one that can't be read, out of its queue, and keep what it was and why.

        Raises NotFound, Unfinished if it was not found in time.
        """
        return self._by_hand(caller, pool, key, Action.BURY, reason, lambda _: True).letters[0]

    def _by_hand(
        self, caller: Caller, pool: str, key: str | None, action: Action, reason: str, may: Callable[[Examined], bool]
    ) -> Lot:
        done: list[Examined] = []
        with self._sweep([self._known(pool)]) as sweep:
            for _, letter in sweep:
                if not _is_meant(caller, read_letter(letter, pool), key):
                    continue
                one = self._examine(pool, letter)
                if _may_touch(caller, one.tenant) and may(one):
                    done.append(self._carry_out(one, action, reason, by_person=True))
                    sweep.settled(pool, letter)
        if key is not None and not done:
            if sweep.unseen:
                raise Unfinished(f"{key[:128]!r} was not among the dead letters of pool {pool} that there was time to look at")
            raise NotFound(f"pool {pool} has no dead letter {key[:128]!r}")
        return Lot(tuple(done), complete=not sweep.unseen)

    def _sweep(self, pools: Iterable[str]) -> Sweep:
        return Sweep(self._letters, pools, self._clock, self._clock() + BY_HAND)

    def _examine(self, pool: str, letter: DeadLetter) -> Examined:
        reading = read_letter(letter, pool)
        before = self._health.letter(pool, reading.key) if reading.is_known else None
        if pool == SUBMISSIONS:
            cause = Cause.NOT_ACCEPTED if reading.is_known else Cause.UNREADABLE
            return Examined(pool, letter, cause, Action.KEEP, reading, before)
        pointer = reading.pointer
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
        if alive and case.has_lived_long and self._was_throttled(pool, since):
            case = replace(case, was_throttled=True)
        cause = diagnose(case)
        action = decide(cause, before.redrives if before else 0, now - letter.first_sent)
        if action is Action.FAIL and goal and pointer and self._is_held(goal, pointer.unit, now):
            action = Action.KEEP  # somebody has another message of it, and may be about to do it: look again afterwards
        return Examined(pool, letter, cause, action, reading, before, goal, plan, unit)

    def _was_throttled(self, pool: str, since: datetime) -> bool:
        """Asked once a minute at most: letters come in floods."""
        now = self._clock()
        asked, last = self._throttled.get(pool, (None, None))
        if asked is None or now - asked > _TOLD_FOR:
            last = self._watch.last_throttled(names.function(self._catalog.fleet, pool))
            self._throttled[pool] = now, last
        return last is not None and last >= since

    def _is_held(self, goal: Goal, unit: int, now: datetime) -> bool:
        claim = self._claims.held(goal.id, goal.shards, [unit]).get(unit)
        return claim is not None and claim.until > now

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

    def _carry_out(self, one: Examined, action: Action, reason: str | None = None, *, by_person: bool = False) -> Examined:
        """Act, record, and only then take the letter away: whoever dies in between does it again, which changes nothing."""
        if one.reading.event and action is Action.REDRIVE:
            one = replace(one, goal=self._accept(one.letter.body))
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
        return one

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
            error, why = _given_up(one, times)
        outcomes = tuple(TaskOutcome(TaskState.FAILED, failure=Failure(error, why, task.id)) for task in unit.tasks)
        now = self._clock()
        result = Result(goal.id, unit.number, outcomes, f"dead-letters:{one.pool}", now, 0.0, MAX_RECEIVES)
        self._finisher.advance(goal, plan, self._results.put(goal.shards, [result]), repeated=True)

    def _known(self, pool: str) -> str:
        known = [*self._catalog.pools, SUBMISSIONS]
        if pool not in known:
            raise NotFound(f"there is no pool {pool[:64]!r}; {closest(pool, known)}")
        return pool


def _given_up(one: Examined, times: int) -> tuple[str, str]:
    """The error of a task whose message was received so often, and its words."""
    if one.cause is Cause.THROTTLED:
        return POOL_THROTTLED, f"invocations of pool {one.pool} were throttled while its message was received {times} times"
    how = "were killed or ran out of time" if one.cause is Cause.KILLED else "gave it back without an attempt"
    return AGENT_DIED, f"agents of pool {one.pool} {how} in all of {times} attempts"


def _may_touch(caller: Caller, tenant: str | None) -> bool:
    """A tenant its own letters; an operator everybody's, and those of which nobody can tell whose they are."""
    return caller.is_operator or caller.tenant == tenant


def _can_run(one: Examined) -> bool:
    return one.cause in {
        Cause.CAPABILITY_MOVED,
        Cause.RETURNED,
        Cause.THROTTLED,
        Cause.KILLED,
        Cause.NOT_ACCEPTED,
    }


def _is_meant(caller: Caller, reading: Reading, key: str | None) -> bool:
    """May it be one that the caller asks for? Told by the letter alone: a flood of others costs no look at their goals."""
    return key in {None, reading.key} and _may_touch(caller, reading.tenant)


def _place(pool: str, letter: DeadLetter) -> set[tuple[str, int]]:
    pointer = read_letter(letter, pool).pointer
    return {(pointer.goal_id, pointer.unit)} if pointer else set()

"""How large should a pool be? A pure rule from what was seen of it now and a minute ago, with a reason in words.

Additive increase, multiplicative decrease (Chiu and Jain, 'Analysis of the Increase and Decrease Algorithms for Congestion
Avoidance in Computer Networks', 1989): a tenth of the pool's range at a time while a backlog ages, half on throttling.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain.pool_health import say_failed

ScalingMode = Literal["auto", "dry-run", "off"]

LATE: Final = 30.0
"""Seconds that a message may wait before its pool grows."""
STEPS: Final = 10
"""Steps from the least size to the largest."""
CALM_PASSES: Final = 5
"""So many passes in a row must find a pool half empty before it gives a quarter back: a sawtooth does not flap."""
RECOVERY: Final = timedelta(minutes=3)
"""How long a throttled pool stays as it is: CloudWatch tells of throttles up to minutes later, and one cause halves once."""
AS_ONE: Final = timedelta(minutes=4)
"""How long after a size of one its throttles may still be told: signals reach back three minutes, counted in whole ones."""
HAND_HOLDS: Final = timedelta(minutes=15)
"""How long a size that somebody set by hand is left alone."""
SPARING: Final = 0.8
"""Share of the day's budget from which a pool no longer grows."""
FAILING: Final = 0.5
"""Share of failed invocations from which more agents would only fail faster."""
KEPT: Final = 20
"""Decisions kept per pool."""


class Action(StrEnum):
    """What a decision does to a pool."""

    UP = "up"
    DOWN = "down"
    HOLD = "hold"
    HALVE = "halve"
    EVEN = "even"
    """Its queues have different limits: all get what the last pass left."""


class Observation(Struct, frozen=True):
    """A pool as one pass finds it."""

    at: datetime
    concurrency: int
    min_concurrency: int
    max_concurrency: int
    resting: int
    """The concurrency to which it returns when it is quiet: what it is deployed with, or more while a tenant's fleet asks."""
    waiting: int = 0
    """Messages ready in its queues."""
    in_flight: int = 0
    oldest_age: float | None = None
    """Seconds that its oldest message has been there; None where nobody measures it."""
    throttles: int = 0
    """Invocations refused in the last minutes."""
    errors: int = 0
    lost: float = 0.0
    """Invocations that were lost to failed tasks, though none of them broke off."""
    invocations: int = 0
    model_throttles: int = 0
    """Calls that its language models refused in the last minutes."""
    settled: bool = True
    is_uneven: bool = False
    """Came a change to a halt half way, or did somebody change one of its queues' limits?"""
    spent: float = 0.0
    """Dollars since midnight UTC."""
    budget: float | None = None
    """Dollars per day."""
    held_by: str | None = None
    """The operator's fleet that holds it."""
    has_room: bool = False
    """Do tenants' fleets ask for room in it?"""

    @property
    def is_held(self) -> bool:
        """Do fleets hold it, whosever they are? Then what they set is nobody's hand."""
        return self.has_room or self.held_by is not None

    @property
    def is_one(self) -> bool:
        """Has it a single agent for three queues? Then two of their pollers are throttled whatever else is well."""
        return self.concurrency == 1


class Memory(Struct, frozen=True):
    """What a pass leaves to the next one."""

    concurrency: int
    """What the pool has once the pass's decision holds."""
    calm: int = 0
    """Passes in a row that found it half empty."""
    waiting_since: datetime | None = None
    """Since when every pass has found messages waiting."""
    halved: datetime | None = None
    by_hand: datetime | None = None
    """When somebody else's change was noticed."""
    held: bool = False
    """Did fleets hold it then?"""
    uneven: int = 0
    """Passes in a row that found its queues with different limits."""
    one_until: datetime | None = None
    """When a pass last found it at a size of one."""


class Decision(Struct, frozen=True):
    """What was decided about a pool, and why."""

    at: datetime
    action: Action
    before: int
    concurrency: int
    reason: str
    applied: bool = False
    """False for a hold, in a dry run, and when the change was refused."""
    since: datetime | None = None
    """Of holds in a row the latest is kept; the first was then."""


class ScalingRecord(Struct, frozen=True):
    """What is stored of a pool between passes."""

    memory: Memory
    decisions: tuple[Decision, ...] = ()
    """Newest first, at most 20; of holds in a row the latest."""

    def note(self, decision: Decision) -> "ScalingRecord":
        """The record with one more decision."""
        older = self.decisions
        if decision.action is Action.HOLD and older and older[0].action is Action.HOLD:
            decision = replace(decision, since=older[0].since or older[0].at)
            older = older[1:]
        return replace(self, decisions=(decision, *older)[:KEPT])


def decide(seen: Observation, memory: Memory | None) -> tuple[Decision, Memory]:
    """The size that a pool should have, and what to remember of this pass; `memory` is what the last one left.

    The new concurrency lies within the pool's limits, except where the decision is to hold what somebody else set.
    """
    expected = seen.resting if memory is None else memory.concurrency
    memory = _remember(seen, memory, expected)
    action, concurrency, reason = _choose(seen, memory, expected)
    decision = Decision(seen.at, action, seen.concurrency, concurrency, reason)
    halved = seen.at if action is Action.HALVE else memory.halved
    calm = 0 if action is not Action.HOLD else memory.calm
    # An unsettled pool may show its old size or its new one: what it should have stays what the last pass said.
    known = memory.concurrency if seen.held_by or seen.settled or action is not Action.HOLD else expected
    left = concurrency if action is not Action.HOLD else known
    return decision, replace(memory, concurrency=left, halved=halved, calm=calm)


def _remember(seen: Observation, memory: Memory | None, expected: int) -> Memory:
    """What the last pass left, brought up to what this one sees, before anything is decided."""
    known = memory or Memory(expected)
    # While a fleet holds the pool its size is the fleet's, and giving it back is no change by hand.
    is_foreign = seen.concurrency != expected and seen.settled and not (known.held or seen.is_held)
    is_throttled = seen.model_throttles or (seen.throttles and not seen.is_one)
    is_calm = seen.waiting == 0 and seen.in_flight * 2 <= seen.concurrency and not is_throttled
    return Memory(
        concurrency=seen.concurrency,
        calm=known.calm + 1 if is_calm else 0,
        waiting_since=(known.waiting_since or seen.at) if seen.waiting else None,
        halved=known.halved,
        by_hand=seen.at if is_foreign else known.by_hand,
        held=seen.is_held,
        uneven=known.uneven + 1 if seen.is_uneven else 0,
        one_until=seen.at if seen.is_one else known.one_until,
    )


def _choose(seen: Observation, memory: Memory, expected: int) -> tuple[Action, int, str]:
    """Action, new concurrency, reason: the first rule that applies. `expected` is what the pool should have had."""
    now = seen.concurrency
    if memory.uneven > 1:  # who changes them one by one is given a pass to end
        size = seen.resting if seen.held_by else min(max(expected, seen.min_concurrency), seen.max_concurrency)
        return Action.EVEN, size, f"its queues have different limits, up to {now}: a change came to a halt half way"
    if seen.held_by:
        return Action.HOLD, now, f"held by fleet {seen.held_by} until it is released"
    if seen.is_uneven:
        return (
            Action.HOLD,
            now,
            f"its queues have different limits, up to {now}: evened out if the next pass finds them so",
        )
    if not seen.settled:
        return Action.HOLD, now, "the last change is still taking hold"
    if memory.by_hand and seen.at - memory.by_hand < HAND_HOLDS:
        minutes = HAND_HOLDS.total_seconds() / 60
        return Action.HOLD, now, f"set to {now} by hand at {memory.by_hand:%H:%M} UTC; left alone for {minutes:g} minutes"
    if now < seen.min_concurrency:
        return Action.UP, seen.min_concurrency, f"below its least size, {seen.min_concurrency}"
    if now > seen.max_concurrency:
        return Action.DOWN, seen.max_concurrency, f"above its largest size, {seen.max_concurrency}"
    if seen.budget is not None and seen.spent >= seen.budget:
        return _shrink(seen, Action.DOWN, seen.min_concurrency, f"{_dollars(seen)} a day are spent")
    if seen.model_throttles or (seen.throttles and not seen.is_one):
        return _throttled(seen, memory)
    age = _age(seen, memory)
    if seen.waiting and age >= LATE:
        return _grow(seen, memory, f"{seen.waiting:,} waiting, the oldest for {age:.0f} s")
    if memory.calm >= CALM_PASSES and now != seen.resting:
        return _rest(seen, memory)
    if seen.waiting:
        return Action.HOLD, now, f"{seen.waiting:,} waiting, none for {LATE:g} s yet"
    return Action.HOLD, now, f"nothing waits, {seen.in_flight:,} in work" if seen.in_flight else "nothing to do"


def _throttled(seen: Observation, memory: Memory) -> tuple[Action, int, str]:
    counts = ((seen.throttles, "invocations"), (seen.model_throttles, "model calls"))
    cause = " and ".join(f"{count:,} {what}" for count, what in counts if count) + " throttled"
    if memory.halved and seen.at - memory.halved < RECOVERY:
        return Action.HOLD, seen.concurrency, f"{cause}, but halved at {memory.halved:%H:%M} UTC: waiting for what that does"
    if memory.one_until and seen.at - memory.one_until < AS_ONE and not seen.model_throttles:
        cause = f"{cause}, which it is at a size of one, as until {memory.one_until:%H:%M} UTC"
        return Action.HOLD, seen.concurrency, f"{cause}: waiting for what it is now"
    return _shrink(seen, Action.HALVE, seen.concurrency // 2, cause)


def _shrink(seen: Observation, action: Action, to: int, cause: str) -> tuple[Action, int, str]:
    to = max(seen.min_concurrency, to)
    if to == seen.concurrency:
        return Action.HOLD, to, f"{cause}; at its least size already"
    return action, to, cause


def _grow(seen: Observation, memory: Memory, cause: str) -> tuple[Action, int, str]:
    """A step up, unless something says that it would do no good."""
    now = seen.concurrency
    if memory.halved and seen.at - memory.halved < RECOVERY:
        return Action.HOLD, now, f"{cause}, but throttled at {memory.halved:%H:%M} UTC"
    if (failed := seen.errors + seen.lost) and failed >= FAILING * seen.invocations:
        return Action.HOLD, now, f"{cause}, but {say_failed(seen.errors, seen.lost, seen.invocations)}"
    if seen.budget is not None and seen.spent >= SPARING * seen.budget:
        return Action.HOLD, now, f"{cause}, but {_dollars(seen)} a day are spent"
    if seen.in_flight < now:
        return Action.HOLD, now, f"{cause}, but only {seen.in_flight:,} in work: agents are free"
    if now >= seen.max_concurrency:
        return Action.HOLD, now, f"{cause}; at its largest size already"
    step = max(1, (seen.max_concurrency - seen.min_concurrency) // STEPS)
    return Action.UP, min(seen.max_concurrency, now + step), cause


def _rest(seen: Observation, memory: Memory) -> tuple[Action, int, str]:
    """Back towards the size it is deployed with: a quarter of a large one at a time, or up at once after a throttling."""
    now = seen.concurrency
    cause = f"half empty for {memory.calm} passes"
    if now > seen.resting:
        return Action.DOWN, max(seen.resting, now - max(1, now // 4)), cause
    if seen.budget is not None and seen.spent >= SPARING * seen.budget:
        return Action.HOLD, now, f"{cause}, but {_dollars(seen)} a day are spent"
    return Action.UP, seen.resting, f"{cause}, and smaller than deployed"


def _age(seen: Observation, memory: Memory) -> float:
    """How long the oldest message has waited: measured, else for how long every pass has found some waiting."""
    if seen.oldest_age is not None:
        return seen.oldest_age
    return (seen.at - memory.waiting_since).total_seconds() if memory.waiting_since else 0.0


def _dollars(seen: Observation) -> str:
    return f"${seen.spent:,.2f} of ${seen.budget:,.2f}"

"""Which faults a run brings: drawn from one seed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final


class Kind(StrEnum):
    """What goes wrong."""

    KILL = "kill"
    """A process that is carrying out tasks is killed from outside, by its number."""
    DIE_BEFORE = "die-before"
    """It dies at an AWS call, which is not made any more."""
    DIE_AFTER = "die-after"
    """It dies at an AWS call that took effect."""
    THROTTLE = "throttle"
    ERROR = "error"
    RESET_BEFORE = "reset-before"
    """The connection breaks before the call took effect."""
    RESET_AFTER = "reset-after"
    """The connection breaks, and the call took effect."""
    SLOW = "slow"
    DUPLICATE = "duplicate"
    """Messages are sent twice."""
    LOSE = "lose"
    """Messages that a queue took are gone."""
    POISON = "poison"
    """Messages that nobody can read."""
    DEAD_FLOOD = "dead-flood"
    """Many of them at once in a dead-letter queue."""
    CACHE_DOWN = "cache-down"
    """Valkey is killed, and comes back empty."""


FROM_OUTSIDE: Final = frozenset({Kind.KILL, Kind.POISON, Kind.DEAD_FLOOD, Kind.CACHE_DOWN})
"""What the run does itself; all else is ordered from the processes."""

WEIGHTS: Final[Mapping[Kind, int]] = {
    Kind.KILL: 70,
    Kind.DIE_BEFORE: 30,
    Kind.DIE_AFTER: 40,
    Kind.THROTTLE: 30,
    Kind.ERROR: 25,
    Kind.RESET_BEFORE: 25,
    Kind.RESET_AFTER: 40,
    Kind.SLOW: 20,
    Kind.DUPLICATE: 25,
    Kind.LOSE: 8,
    Kind.POISON: 12,
    Kind.DEAD_FLOOD: 3,
    Kind.CACHE_DOWN: 4,
}
"""How often each kind comes, about."""

POOLS: Final = ("sums", "ledger")
_AGENT_CALLS: Final = (
    "BatchExecuteStatement",
    "UpdateItem",
    "PutItem",
    "BatchGetItem",
    "DynamoDB",
    "SendMessageBatch",
)
_OTHER_CALLS: Final = ("DynamoDB", "PutItem", "SendMessageBatch")
_ELSEWHERE: Final = ("serve-api", "serve-api", "accept-goals", "heal-work", "manage-fleet")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the plan."""

    id: str
    kind: Kind
    function: str
    """Whose process it falls on, without the fleet's name; for messages: the pool."""
    target: str = ""
    """Part of the AWS call's name that it falls on."""
    calls: int = 1
    """How many calls in a row."""
    seconds: float = 0.0
    """How long it takes."""
    count: int = 1
    """How many messages."""

    def order(self) -> dict[str, Any]:
        """What a process is told."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "target": self.target,
            "calls": self.calls,
            "seconds": self.seconds,
        }


def draw_faults(random: Random, number: int, kinds: Sequence[Kind] = tuple(Kind)) -> list[Fault]:
    """`number` faults, every kind among them if there is room, in the order in which they come."""
    drawn = list(kinds[:number]) + random.choices(kinds, [WEIGHTS[kind] for kind in kinds], k=max(0, number - len(kinds)))
    random.shuffle(drawn)
    return [_draw(random, f"{place:04d}-{kind.value}", kind) for place, kind in enumerate(drawn)]


def _draw(random: Random, name: str, kind: Kind) -> Fault:
    pool = "sums" if random.random() < 0.7 else "ledger"
    if kind in {Kind.DUPLICATE, Kind.LOSE}:
        return Fault(name, kind, "sums", "AmazonSQS.SendMessageBatch")
    if kind in FROM_OUTSIDE:
        count = 220 if kind is Kind.DEAD_FLOOD else random.randint(1, 5)
        return Fault(name, kind, pool, seconds=random.uniform(1.0, 4.0), count=count)
    dies = kind in {Kind.DIE_BEFORE, Kind.DIE_AFTER}
    function = random.choice(_ELSEWHERE) if random.random() < 0.12 else pool
    # Four calls in a row use up the SDK's own tries, six a try of whoever called as well.
    calls = 1 if dies or kind is Kind.SLOW else random.choice((1, 1, 1, 2, 4, 6))
    target = random.choice(_AGENT_CALLS if function in POOLS else _OTHER_CALLS)
    return Fault(name, kind, function, target, calls, seconds=random.uniform(0.3, 2.0))


def by_kind(faults: Sequence[Fault]) -> dict[str, int]:
    """How many of each kind, the kinds in their own order."""
    counted = Counter(fault.kind for fault in faults)
    return {kind.value: counted[kind] for kind in Kind if counted[kind]}

"""One pass over dead-letter queues: what was taken and is still there when it ends is given back."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from msgspec.structs import replace

from agentfleet.domain.dead_letters import DeadLetter
from agentfleet.ports import Clock, DeadLetters

FIRST: Final = 10
"""Letters of each queue in the first round: most queues are empty."""
ROUND: Final = 100
"""Letters of a later round, shared among the queues that still have any."""


class Sweep:
    """`with Sweep(letters, pools, clock, until) as sweep: for pool, letter in sweep: …`, until no queue has any left.

    It ends early when the time is over; whoever looks may end it too. What is `settled` is not given back.
    """

    def __init__(self, letters: DeadLetters, pools: Iterable[str], clock: Clock, until: datetime) -> None:
        self.unseen: set[str] = set(pools)
        """Pools that may have letters which nobody has looked at."""
        self._letters = letters
        self._clock = clock
        self._until = until
        self._held: dict[str, dict[str, DeadLetter]] = defaultdict(dict)
        """By pool and id, without their bodies: there may be thousands."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pool, held in self._held.items():
            self._letters.give_back(pool, list(held.values()))

    def __iter__(self) -> Iterator[tuple[str, DeadLetter]]:
        """(pool, letter), each letter once, ten pools' as well as one's."""
        limit = FIRST
        while self.unseen and self._clock() < self._until:
            taken = self._letters.take(sorted(self.unseen), limit)
            limit = max(FIRST, ROUND // len(self.unseen))
            self.unseen = {pool for pool, part in taken.items() if part}
            fresh = [(pool, one) for pool, part in taken.items() for one in part if one.id not in self._held[pool]]
            for pool, part in taken.items():
                self._held[pool].update({one.id: replace(one, body="") for one in part})
            for pool, one in fresh:
                if self._clock() >= self._until:
                    return
                yield pool, one

    def settled(self, pool: str, letter: DeadLetter) -> None:
        """It is gone from its queue."""
        self._held[pool].pop(letter.id, None)

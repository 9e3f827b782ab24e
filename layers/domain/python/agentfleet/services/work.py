"""A batch of received messages on its way through an agent."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field

from agentfleet.domain.goal import Goal
from agentfleet.domain.plan import PlanReader, Unit
from agentfleet.domain.result import Claim, Result


class Delivery(Struct, frozen=True):
    """A received message."""

    message_id: str
    receipt: str
    body: str
    attempt: int
    """How often the unit may have been tried, this time included: every receive counts but those that are known not to have.
    A receive that Lambda throttled looks like one whose agent died, so nothing is decided by this alone."""
    queue: str
    failed: int = 0
    """How many attempts came to an error."""
    postponed: int = 0
    """How often the unit was sent again because it could not be tried."""
    wake: int = 0
    """Which look of a unit that was woken it is; 0: it was not."""

    @property
    def holder(self) -> str:
        """Who holds what is claimed for this delivery: a queue may deliver one message to two agents, under one message id."""
        return f"{self.message_id}/{hashlib.blake2s(self.receipt.encode(), digest_size=6).hexdigest()}"

    @property
    def is_repeated(self) -> bool:
        """May somebody have worked on the unit before?"""
        return self.attempt > 1 or self.postponed > 0


class Work(Struct, eq=False):
    """One unit to be carried out, from its message to its stored result."""

    delivery: Delivery
    goal: Goal
    plan: PlanReader
    unit: Unit
    claim: Claim | None = None
    inputs: list[Any] = field(default_factory=list)
    """By slot: the checked input, or already an outcome or an exception."""
    result: Result | None = None
    is_stored: bool = False
    is_loose: bool = False
    """May something that was started for it still act, though nobody waits for it any more?"""

    @property
    def awaits_doing(self) -> bool:
        """Is there no result of it yet?"""
        return self.result is None


class Returned(Struct, frozen=True):
    """Why a message is left to be received again, and after how long (None: as the retry policy says)."""

    error: Exception
    after: timedelta | None
    delivery: Delivery
    work: Work | None = None
    """None: it could not be told, or need not be, what the message asks for."""

    @property
    def tenant(self) -> str:
        """Whose message it was; "*" if that could not be told."""
        return self.work.goal.tenant if self.work else "*"


class Again(Struct, frozen=True):
    """A unit that a fresh message is sent for, since the one that was received may count no more receives for it."""

    work: Work
    error: Exception
    """Why."""
    after: timedelta
    has_failed: bool = False
    """Was it tried? If not, that costs no attempt."""


class Batch(Struct):
    """What one invocation received, and how far it is."""

    deliveries: tuple[Delivery, ...]
    deadline: datetime
    """When work must stop, so that what is done can still be stored."""
    works: list[Work] = field(default_factory=list)
    """Still on their way."""
    settled: list[Work] = field(default_factory=list)
    """Stored and released."""
    dropped: list[Delivery] = field(default_factory=list)
    """Nothing to do for them: their goal has ended, or their task was delegated."""
    returned: dict[str, Returned] = field(default_factory=dict)
    """By message id."""
    cache: dict[str, int] = field(default_factory=dict)
    """What happened in the cache meanwhile, counted by kind; what did not happen is left out."""
    again: list[Again] = field(default_factory=list)
    """Could not be tried, or failed and may be tried again: to be sent again after some time."""
    mishaps: list[Exception] = field(default_factory=list)
    """What went wrong beside the works themselves."""
    stuck: tuple[str, ...] = ()
    """Tasks whose function still runs in this environment, though nobody waits for it: `goal/task`."""
    tried: int = 0
    """Tasks that were attempted here."""
    lost: int = 0
    """Those of them whose attempt failed in a way that speaks against the agent."""

    @property
    def lost_share(self) -> float:
        """Which part of the attempts was lost, 0 to 1."""
        return self.lost / self.tried if self.tried else 0.0

    def postpone(self, work: Work, error: Exception, after: timedelta) -> None:
        """Send the unit again later, as if this message had not been received."""
        self.works.remove(work)
        self.again.append(Again(work, error, after))

    def retry(self, work: Work, error: Exception, after: timedelta) -> None:
        """Send the unit again later, with one more attempt that failed."""
        self.works.remove(work)
        self.again.append(Again(work, error, after, has_failed=True))

    def give_back(self, work: Work | Delivery, error: Exception, after: timedelta | None = None) -> None:
        """Leave a message to be received again."""
        delivery = self._leave(work)
        self.returned[delivery.message_id] = Returned(error, after, delivery, work if isinstance(work, Work) else None)

    def give_back_rest(self, error: Exception) -> None:
        """Leave all that is neither done nor given back yet to be received again."""
        for work in list(self.works):
            self.give_back(work, error)
        gone = {one.receipt for one in self.dropped} | {work.delivery.receipt for work in self.settled}
        gone |= {one.delivery.receipt for one in self.returned.values()}
        left: list[Work | Delivery] = [*(one.work for one in self.again), *self.deliveries]
        for one in left:
            receipt = (one.delivery if isinstance(one, Work) else one).receipt
            if receipt not in gone:
                gone.add(receipt)
                self.give_back(one, error)

    def each_goal(self, step: Callable[[list[Work]], None]) -> None:
        """Take this step with the works of each goal; where it fails, those of that goal are given back, and no others."""
        for works in self.by_goal():
            try:
                step(works)
            except Exception as error:
                for work in works:
                    if work in self.works:
                        self.give_back(work, error)

    def drop(self, work: Work | Delivery) -> None:
        """Let a message be deleted without more ado."""
        self.dropped.append(self._leave(work))

    def settle(self, works: Iterable[Work]) -> None:
        """These are done: their messages may be deleted."""
        for work in works:
            self._leave(work)
            self.settled.append(work)

    def _leave(self, work: Work | Delivery) -> Delivery:
        if isinstance(work, Delivery):
            return work
        if work in self.works:  # what is sent again has left already
            self.works.remove(work)
        return work.delivery

    def by_goal(self) -> list[list[Work]]:
        """Works still on their way, grouped by goal."""
        grouped: dict[str, list[Work]] = defaultdict(list)
        for work in self.works:
            grouped[work.goal.id].append(work)
        return list(grouped.values())

    @property
    def failures(self) -> list[dict[str, str]]:
        """The response that makes SQS keep what was returned (AWS Lambda, 'Reporting batch item failures')."""
        return [{"itemIdentifier": message_id} for message_id in self.returned]

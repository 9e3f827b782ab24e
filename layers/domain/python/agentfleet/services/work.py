"""A batch of received messages on its way through an agent."""

from collections import defaultdict
from collections.abc import Iterable
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
    """How often the unit's message has been received, this time included; receives that could not even try don't count."""
    queue: str
    postponed: int = 0
    """How often the unit was sent again because it could not be tried."""
    wake: int = 0
    """Which look of a unit that was woken it is; 0: it was not."""

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

    @property
    def awaits_doing(self) -> bool:
        """Is there no result of it yet?"""
        return self.result is None


class Returned(Struct, frozen=True):
    """Why a message is left to be received again, and after how long (None: as the retry policy says)."""

    error: Exception
    after: timedelta | None
    tenant: str
    """Whose message it was; "*" if that could not be told."""


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
    postponed: list[tuple[Work, Exception, timedelta]] = field(default_factory=list)
    """Could not be tried, and why: to be sent again after this time."""
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
        self.postponed.append((work, error, after))

    def give_back(self, work: Work | Delivery, error: Exception, after: timedelta | None = None) -> None:
        """Leave a message to be received again."""
        delivery = self._leave(work)
        tenant = work.goal.tenant if isinstance(work, Work) else "*"
        self.returned[delivery.message_id] = Returned(error, after, tenant)

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

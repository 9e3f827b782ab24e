"""What the services need from the outside, as Protocols. Adapters and fakes satisfy them, held by one contract suite."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    # Who only names a port must not load all that the others speak of: a cold start would pay for it.
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from agentfleet.domain.breaker import Breaker
    from agentfleet.domain.codec import EncodedPlan, SegmentedPlan
    from agentfleet.domain.dead_letters import DeadLetter, LetterRecord
    from agentfleet.domain.fleet import Agent, Fleet, Pool
    from agentfleet.domain.goal import Goal, GoalState, Width
    from agentfleet.domain.healing import Finished, Incident, QueueLook, Rounds
    from agentfleet.domain.history import Head, Segment
    from agentfleet.domain.messages import ReleaseMessage, TaskMessage
    from agentfleet.domain.pool_health import PoolHealth, RoutingTable
    from agentfleet.domain.result import Claim, Result, TaskState
    from agentfleet.domain.saga import SagaStatus
    from agentfleet.domain.scaling import ScalingRecord

T = TypeVar("T")

Clock = Callable[[], datetime]
"""Now, in UTC."""


class Page(Struct, Generic[T], frozen=True):
    """Part of a listing, and where the next part starts (None: this was the last)."""

    items: tuple[T, ...]
    cursor: str | None = None


class GoalStore(Protocol):
    """Goals by id."""

    def create(self, goal: Goal) -> bool:
        """Store a goal unless one has its id. False if one has: nothing was changed."""

    def get(self, goal_ids: Sequence[str]) -> dict[str, Goal]:
        """The goals that there are among these (at most 100), read consistently."""

    def replace(self, before: Goal, after: Goal) -> bool:
        """Store `after` if the goal is still in `before`'s state. False if it isn't: nothing was changed."""

    def list(self, tenant: str, state: GoalState | None, limit: int, cursor: str | None) -> Page[Goal]:
        """A tenant's goals, newest first, without their outputs; goals made by sub-plans are left out.

        A page may be short and still have a cursor. Raises InvalidRequest for a bad cursor.
        """

    def alive(self, tenant: str, limit: int) -> Sequence[Width]:
        """The newest goals whose tasks may run, newest first; goals made by sub-plans are left out. A moment behind.

        It costs what it gives: a tenant's goals that have ended are not looked at.
        """

    def living(self, limit: int, cursor: str | None) -> Page[str]:
        """Ids of goals that may be alive, those of sub-plans among them, in no order; a moment behind.

        Whoever follows the cursors to the end has been shown every goal that was alive all the while. A page may be short
        and still have a cursor.
        """


class PlanStore(Protocol):
    """Compiled plans by goal. Never changed once written, so they may be kept in memory for ever."""

    def put(self, goal_id: str, plan: EncodedPlan) -> bool:
        """Store a plan unless the goal has one. False if it has: that one stays as it is, also where `plan` differs."""

    def read(self, goal_id: str) -> SegmentedPlan:
        """Raises NotFound."""


class ResultStore(Protocol):
    """One result per unit: the first that was put stands."""

    def put(self, shards: int, results: Sequence[Result]) -> Sequence[Result]:
        """Store those whose unit has no result yet. Gives, in the same order, the results that stand."""

    def get(self, goal_id: str, shards: int, units: Iterable[int], *, outputs: bool = True) -> dict[int, Result]:
        """The results that there are among these units, read consistently. Without `outputs`, large ones stay unread (None)."""

    def tally(self, goal_id: str, shards: int) -> dict[TaskState, int]:
        """How many tasks ended how."""

    def finished(self, goal_id: str, shards: int) -> dict[int, Finished]:
        """Every unit that has a result, without reading the results themselves; may be a moment behind."""


class JoinStore(Protocol):
    """Sets of finished members."""

    def add(self, goal_id: str, shards: int, join: int, slots: Sequence[int]) -> int:
        """Unite the join's set with these slots. Gives its size after that; adding again changes nothing."""


class ClaimStore(Protocol):
    """Leases on units whose side effects must happen once."""

    def claim(self, goal_id: str, shards: int, unit: int, owner: str, now: datetime, lease: timedelta) -> Claim | None:
        """Take the unit if it is free, its lease is over, or `owner` holds it. None if somebody else does."""

    def release(self, claim: Claim, shards: int, now: datetime) -> None:
        """End a lease now; whoever has claimed the unit since keeps it. The fence stays: it tells that somebody tried."""

    def held(self, goal_id: str, shards: int, units: Iterable[int]) -> dict[int, Claim]:
        """The last claims that were taken of these units, their leases over or not, read consistently."""

    def claim_each(
        self, goal_id: str, shards: int, units: Iterable[int], owner: str, now: datetime, lease: timedelta
    ) -> dict[int, Claim]:
        """Take those of these units that can be taken, each for itself. Who dies on the way may have taken any of them."""


class TaskQueues(Protocol):
    """The queues between agents."""

    def send_tasks(self, messages: Sequence[TaskMessage]) -> None:
        """Hand over every message to its pool's queue, which keeps it back for the message's delay.

        Raises DeliveryFailed if some were not taken.
        """

    def send_releases(self, messages: Sequence[ReleaseMessage]) -> None:
        """Hand over to the release queue. Raises DeliveryFailed if some were not taken."""

    def hide(self, queue: str, receipts: Mapping[str, timedelta]) -> None:
        """Keep received messages of the named queue hidden for these times from now (receipt handle → time)."""


class Subscription(Protocol):
    """A running subscription."""

    def close(self) -> None:
        """End it, and wait until its handler is not running any more."""


class MessageBus(Protocol):
    """Publish and subscribe, by topic (an event's detail type such as `GoalSucceeded`)."""

    def publish(self, topic: str, message: Mapping[str, Any]) -> None:
        """Raises DeliveryFailed if the bus did not take it."""

    def subscribe(self, topic: str, handler: Callable[[Mapping[str, Any]], None]) -> Subscription:
        """Call `handler` for every message published under `topic` from now on, at least once each."""


class BlobStore(Protocol):
    """Files by URI (`s3://bucket/key`)."""

    def put(self, key: str, body: bytes, content_type: str) -> str:
        """Store under a key of the fleet's bucket. Gives the URI."""

    def get(self, uri: str) -> bytes:
        """Raises NotFound; raises PermanentError for a URI that isn't `s3://bucket/key`."""

    def key_of(self, uri: str) -> str | None:
        """The key of a blob in the fleet's own bucket; None for one elsewhere. Raises PermanentError as `get` does."""

    def list(self, prefix: str) -> Sequence[tuple[str, int]]:
        """(URI, bytes) of at most 1,000 blobs whose key starts so."""

    def link(self, uri: str, lifetime: timedelta) -> str:
        """An HTTP address that gives the blob to whoever holds it, for a while."""


class AgentStore(Protocol):
    """The registry's table of agents."""

    def put(self, agent: Agent) -> None:
        """Store what an agent says of itself; it disappears by itself some time after its lifetime.

        Raises RegistryUnavailable.
        """

    def list(self, pools: Iterable[str]) -> Sequence[Agent]:
        """The agents of these pools, living or not, by pool and id."""


class FleetStore(Protocol):
    """Fleets that users hold."""

    def put(self, fleet: Fleet) -> None:
        """Store a fleet as it is now."""

    def get(self, fleet_id: str) -> Fleet | None:
        """One fleet."""

    def list(self, tenant: str) -> Sequence[Fleet]:
        """A tenant's fleets that have not been released, newest first."""

    def holders(self, pool: str) -> Sequence[Fleet]:
        """The fleets, of whatever tenant, that hold this pool and have not been released, newest first."""


class Signals(Struct, frozen=True):
    """What is measured of a pool beside its queues' depth."""

    oldest_age: float | None = None
    """Seconds that the oldest message of its queues has been there; None where nobody measures it."""
    throttles: int = 0
    """In the last three minutes, as the next three."""
    errors: int = 0
    lost: float = 0.0
    """Invocations that were lost although none broke off: one in which half of the attempts at tasks failed is half of one."""
    invocations: int = 0
    model_throttles: int = 0
    """Calls that a language model refused because there were too many."""
    spent: float = 0.0
    """Dollars of Lambda since midnight UTC."""


class PoolSignals(Protocol):
    """What a monitoring service knows of pools."""

    def read(self, pool: str, now: datetime) -> Signals:
        """The pool's signals as far as they are told by now: minutes late, on AWS."""


class ScalingStore(Protocol):
    """What the fleet manager remembers, by pool."""

    def get(self, pool: str) -> ScalingRecord | None:
        """None for a pool that no pass has looked at."""

    def put(self, pool: str, record: ScalingRecord) -> None:
        """Store or replace."""


class PoolControl(Protocol):
    """Pools as they are, and the one lever on them."""

    def read(self, pools: Iterable[str]) -> Sequence[Pool]:
        """These pools now. Raises NotFound naming one that isn't deployed."""

    def set_concurrency(self, pool: str, concurrency: int) -> None:
        """Ask for another trigger concurrency (1 to 1,000); `Pool.settled` tells when it holds."""

    def logs(self, pool: str, since: datetime, limit: int) -> Sequence[tuple[datetime, str]]:
        """The newest log lines of a pool, oldest first."""


class HistoryStore(Protocol):
    """What happened to goals, as chains of events (see domain/history.py)."""

    def head(self, goal_id: str) -> Head | None:
        """The chain's head, which may be behind its end; None if nothing was recorded of the goal."""

    def begin(self, goal_id: str, now: datetime) -> Head:
        """The goal's head, made now if there is none."""

    def end(self, head: Head) -> Head:
        """How far the chain has really come, by its last segment."""

    def append(self, segment: Segment) -> bool:
        """Store a segment unless another continues the chain from the same event: then False, and nothing was changed."""

    def move(self, head: Head) -> None:
        """Bring the goal's head forward to this one; a head that is further already stays."""

    def segments(self, head: Head, first: int = 1) -> Iterator[Segment]:
        """The chain's segments in order, from the one with event `first` on."""

    def filed(self, partition: str) -> Iterator[Segment]:
        """All segments under an hour and shard, goal by goal, each goal's in order."""


class HistoryVault(Protocol):
    """Where copies of histories are kept that nobody can change."""

    def put(self, name: str, body: IO[bytes]) -> None:
        """Store a copy: what can be read of a file from here on."""


class QueueWatch(Protocol):
    """What can be seen of queues without receiving from them."""

    def look(self, queues: Mapping[str, str]) -> dict[str, QueueLook]:
        """These queues (name → name of the function that consumes it) now. Raises NotFound naming one that isn't there."""

    def last_throttled(self, function: str) -> datetime | None:
        """No invocation of this function was refused after this, to five minutes; None if none was in the last four days."""


class DeadLetters(Protocol):
    """The pools' dead-letter queues."""

    def take(self, pools: Sequence[str], limit: int) -> dict[str, Sequence[DeadLetter]]:
        """Receive at most `limit` of each pool's, hidden from others for a minute; none of one that is empty.

        All queues are asked at once. Raises NotFound.
        """

    def give_back(self, pool: str, letters: Sequence[DeadLetter]) -> None:
        """Make received ones visible again at once."""

    def delete(self, pool: str, letters: Sequence[DeadLetter]) -> None:
        """Delete received ones."""


class HealthStore(Protocol):
    """What the healer remembers and reports."""

    def rounds(self) -> Rounds:
        """What the last run left; empty before the first."""

    def keep_rounds(self, rounds: Rounds) -> None:
        """For the next run."""

    def open_incidents(self) -> dict[str, Incident]:
        """Incidents that are not healed, by goal."""

    def record(self, incident: Incident) -> None:
        """Store an incident as it is now: once it is healed it is not open any more."""

    def healed(self, limit: int) -> Sequence[Incident]:
        """The incidents that were healed last, newest first."""

    def file_letter(self, record: LetterRecord) -> None:
        """Store, or replace, what became of a dead letter."""

    def letter(self, pool: str, key: str) -> LetterRecord | None:
        """What became of a task's dead letter before."""

    def letters(self, pool: str, limit: int) -> Sequence[LetterRecord]:
        """What became of a pool's dead letters, at most `limit`, last seen first."""


class CacheTier(Protocol):
    """One tier of a cache: text by key, forgotten after a time or whenever the tier likes. Safe to use from many threads."""

    def get(self, key: str) -> str | None:
        """The text, None if it was never put or is forgotten. Raises CacheUnavailable."""

    def put(self, key: str, text: str, lifetime: timedelta) -> None:
        """Store or replace, for at most this long. Raises CacheUnavailable."""

    def delete(self, key: str) -> None:
        """Forget; an absent key is none the worse for it. Raises CacheUnavailable."""


class CacheLock(Protocol):
    """Locks that end by themselves, shared by all processes."""

    def acquire(self, key: str, owner: str, lease: timedelta) -> bool:
        """Take the lock unless somebody has it. Raises CacheUnavailable."""

    def release(self, key: str, owner: str) -> None:
        """Give it back if `owner` still has it. Raises CacheUnavailable."""


class BreakerStore(Protocol):
    """Circuit breakers by dependency, shared by all processes; each write names the version that it replaces."""

    def read(self, dependency: str) -> tuple[Breaker, int]:
        """The breaker and its version; a new one of version 0 if there is none. Read consistently."""

    def write(self, dependency: str, breaker: Breaker, version: int, expires: datetime) -> bool:
        """Store it as version + 1 if `version` is still the newest. False if it isn't: nothing was changed.

        It is forgotten some time after `expires`.
        """


class Sagas(Protocol):
    """The state machine that undoes what goals did, one execution per goal and attempt."""

    def start(self, goal_id: str, attempt: int) -> None:
        """Start the goal's saga of this number, unless it was started before. Raises DeliveryFailed."""

    def status(self, goal_id: str, attempt: int) -> SagaStatus | None:
        """None if it was never started."""


class UndoAnswers(Protocol):
    """What an agent tells the saga that waits for a compensation; nothing happens if nobody waits for it any more."""

    def succeeded(self, token: str) -> None:
        """It is undone. Raises DeliveryFailed."""

    def failed(self, token: str, error: str, cause: str) -> None:
        """It could not be undone this time. Raises DeliveryFailed."""

    def beat(self, token: str) -> bool:
        """Somebody is at it. False if nobody waits for that any more."""


class RoutingStore(Protocol):
    """What those who route must know of the pools, in one place."""

    def read(self) -> RoutingTable:
        """Health and draining of every pool, perhaps a moment behind; nothing about breakers."""

    def put_health(self, pool: str, health: PoolHealth) -> None:
        """Store or replace."""

    def drain(self, pool: str, since: datetime | None) -> None:
        """Mark a pool as draining since then; None: as draining no more."""


class RemoteProbe(Protocol):
    """Asks remote agents how they are."""

    def is_well(self, url: str) -> bool:
        """Did whoever is at this health address say in time that it is well?"""

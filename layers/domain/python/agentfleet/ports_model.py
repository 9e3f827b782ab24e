"""What the services need of language models, as Protocols: the model itself, money for it, and bulk jobs."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from agentfleet.domain.batch_inference import BatchRecord, BatchResult, BatchStatus
from agentfleet.domain.model import Cost, ModelRequest, Reply
from agentfleet.domain.model_use import ModelUse


class ModelPort(Protocol):
    """Models by id. Calls block their thread; they may run in many threads at once.

    Raises ModelUnavailable, ModelRequestInvalid, ModelInputTooLong, ModelThrottled, ModelTimeout, ModelFailed.
    """

    def converse(self, model: str, request: ModelRequest, timeout: float) -> Reply:
        """One call. The server may be waited for somewhat longer than `timeout` seconds, never for ever."""

    def stream(self, model: str, request: ModelRequest, timeout: float) -> Iterator[str | Reply]:
        """One call whose words come as they are written; the last item is the whole reply."""


class Purpose(Struct, frozen=True):
    """What a call is for."""

    tenant: str
    goal_id: str
    task_id: str
    pool: str
    model: str


class Spending(Protocol):
    """Who pays. Every call is reserved before it is made and settled after it, in whatever way it ended."""

    def reserve(self, purpose: Purpose, most: Cost) -> str:
        """Set aside the most that a call can cost; gives the reservation's id. Raises PermanentError if it can't be paid."""

    def settle(self, reservation: str, spent: Cost | None) -> None:
        """What the call did cost. None: nobody knows, so what was reserved counts as spent."""


class FreeSpending:
    """A Spending without limits that remembers nothing."""

    def reserve(self, purpose: Purpose, most: Cost) -> str:  # noqa: ARG002
        """Always granted."""
        return ""

    def settle(self, reservation: str, spent: Cost | None) -> None:
        """Nothing was set aside."""


class UseStore(Protocol):
    """What goals have used of language models, themselves and through their sub-plans."""

    def add(self, goals: Sequence[str], use: ModelUse) -> None:
        """Count calls of a model for each of these goals. Tried once: what is counted twice would be paid twice."""

    def read(self, goal: str) -> Sequence[ModelUse]:
        """What a goal has used, a row per model by name; read consistently."""


class BatchInference(Protocol):
    """Bulk jobs of a model: many requests in a file, answered within a day at half the price."""

    def submit(self, name: str, model: str, records: Sequence[BatchRecord], key: str) -> str:
        """Start a job; gives its id. The same `key` again gives the same job.

        Raises ModelUnavailable, ModelRequestInvalid, ModelThrottled, ModelFailed.
        """

    def status(self, job: str) -> BatchStatus:
        """How far it is. Raises NotFound."""

    def results(self, job: str) -> Iterator[BatchResult]:
        """What became of every record of a job that has ended, in no order. Raises NotFound."""

    def stop(self, job: str) -> None:
        """End it; what is answered by then is kept and paid. Raises NotFound."""

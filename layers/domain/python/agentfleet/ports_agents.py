"""What agents that think need from the outside, as Protocols: where they write down what they have done so far."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol


class JournalStore(Protocol):
    """What tasks write down while they run, by name. What is written is never changed."""

    def read(self, goal_id: str, task_id: str) -> dict[str, Any]:
        """Everything that a task has written down, by name, read consistently."""

    def record(self, goal_id: str, task_id: str, name: str, entry: Any) -> Any:
        """Write down a JSON value under a name (digits and full stops), unless there is one. Gives the one that stands."""

    def take(self, goal_id: str, task_id: str, owner: str, now: datetime, until: datetime) -> bool:
        """Be the only one who goes on with the task until then. False if somebody else is: nothing was changed.

        `owner` may take it again, for longer or shorter.
        """


class ToolServer(Protocol):
    """Tools that somebody else serves, by the Model Context Protocol. Calls block their thread.

    Raises RetryableError where the server can't be reached or does not answer.
    """

    @property
    def timeout(self) -> float:
        """Seconds that one call may take."""

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """What it offers: `name`, `description`, `input` (a JSON schema), `read_only`, `idempotent`."""

    def call(self, name: str, arguments: Mapping[str, Any], timeout: float) -> tuple[Any, bool]:
        """What a tool answers, and whether the answer is an error."""

"""What remembering needs from the outside, as Protocols. Adapters and fakes satisfy them, held by one contract suite.

Everything is kept by tenant: no call can see two of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from agentfleet.domain.episode import EpisodeHead, Measured
from agentfleet.domain.memory import Fact
from agentfleet.domain.session import SessionHead, Turn
from agentfleet.ports import Page


class FactStore(Protocol):
    """What agents know."""

    def facts(self, tenant: str, agent: str | None = None) -> Sequence[Fact]:
        """All facts of one agent, or the tenant's (at most 10,000), by agent and id; read consistently."""

    def put_fact(self, tenant: str, fact: Fact, expires: datetime, before: Fact | None) -> bool:
        """Store a fact if it is still `before` (None: if there is none by its id). False if not: nothing was changed."""

    def drop_facts(self, tenant: str, facts: Iterable[Fact]) -> None:
        """Forget; an absent one is none the worse for it."""

    def drop_fact(self, tenant: str, agent: str, fact_id: str) -> bool:
        """Forget one. False if there was none."""


class Added(StrEnum):
    """What became of a turn that was to be added."""

    ADDED = "added"
    BEFORE = "before"
    """A turn was added under the same key before: nothing was changed."""
    MEANWHILE = "meanwhile"
    """The session is not what it was thought to be: nothing was changed; look again."""


class SessionStore(Protocol):
    """Conversations."""

    def head(self, tenant: str, session_id: str) -> SessionHead | None:
        """A session without its turns, read consistently."""

    def turns(self, tenant: str, head: SessionHead) -> Sequence[Turn]:
        """The turns that are not in the summary, oldest first, read consistently."""

    def add_turn(self, tenant: str, before: SessionHead | None, after: SessionHead, turn: Turn, key: str) -> Added:
        """Add a turn, as number `after.turns` - 1, if the session is still `before` (None: if there is none)."""

    def fold(self, tenant: str, before: SessionHead, after: SessionHead) -> bool:
        """Store a summary if the session is still `before`, and drop the turns that it stands for. False if it isn't."""

    def sessions(self, tenant: str, limit: int, cursor: str | None) -> Page[SessionHead]:
        """A tenant's sessions by id. Raises InvalidRequest for a bad cursor."""

    def drop_session(self, tenant: str, session_id: str) -> bool:
        """Forget a session with its turns. False if there was none."""


class EpisodeStore(Protocol):
    """What became of goals in words, and what tasks took."""

    def keep(self, tenant: str, head: EpisodeHead, plan: Mapping[str, Any] | None, measured: Mapping[str, Measured]) -> bool:
        """Add to the sums, and store the episode with its plan (None: no episode): all of it, once per goal.

        False if the goal was remembered before: nothing was changed.
        """

    def heads(self, tenant: str) -> Sequence[EpisodeHead]:
        """A tenant's episodes without their plans, at most 1,000, newest first."""

    def plans(self, tenant: str, goal_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The plans that there are among these, by goal."""

    def sums(self, tenant: str, capabilities: Iterable[str] | None = None) -> dict[str, Measured]:
        """What was measured of these capabilities, or of all."""

    def drop_episodes(self, tenant: str, heads: Iterable[EpisodeHead]) -> None:
        """Forget with their plans; an absent one is none the worse for it. Sums stay."""

    def drop_sums(self, tenant: str) -> int:
        """Forget what was measured. Gives of how many capabilities."""

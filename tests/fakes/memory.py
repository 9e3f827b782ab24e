"""What agents remember, in memory."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from typing import Any

from agentfleet.domain.episode import EpisodeHead, Measured
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.memory import Fact
from agentfleet.domain.session import SESSION_ID, SessionHead, Turn
from agentfleet.ports import Page
from agentfleet.ports_memory import Added


class FakeFacts:
    """A FactStore. `interruptions` are called, one each, before the next writes."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, str], tuple[Fact, datetime]] = {}
        self.interruptions: list[Any] = []

    def facts(self, tenant: str, agent: str | None = None) -> Sequence[Fact]:
        return [fact for key, (fact, _) in sorted(self.stored.items()) if key[0] == tenant and agent in {None, key[1]}]

    def put_fact(self, tenant: str, fact: Fact, expires: datetime, before: Fact | None) -> bool:
        if self.interruptions:
            self.interruptions.pop(0)()
        key = (tenant, fact.agent, fact.id)
        now, _ = self.stored.get(key, (None, None))
        same = now is before if now is None or before is None else _mark(now) == _mark(before)
        if same:
            self.stored[key] = fact, expires
        return same

    def drop_facts(self, tenant: str, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self.stored.pop((tenant, fact.agent, fact.id), None)

    def drop_fact(self, tenant: str, agent: str, fact_id: str) -> bool:
        return self.stored.pop((tenant, agent, fact_id), None) is not None


def _mark(fact: Fact) -> tuple[datetime, str]:
    return fact.touched, fact.touched_by


class FakeSessions:
    """A SessionStore. `interruptions` are called, one each, before the next writes."""

    def __init__(self) -> None:
        self.heads: dict[tuple[str, str], SessionHead] = {}
        self.stored: dict[tuple[str, str, datetime, int], Turn] = {}
        self.keys: set[tuple[str, str, datetime, str]] = set()
        self.interruptions: list[Any] = []

    def head(self, tenant: str, session_id: str) -> SessionHead | None:
        return self.heads.get((tenant, session_id))

    def turns(self, tenant: str, head: SessionHead) -> Sequence[Turn]:
        keys = [(tenant, head.id, head.started, number) for number in range(head.folded, head.turns)]
        return [deepcopy(self.stored[key]) for key in keys if key in self.stored]

    def add_turn(self, tenant: str, before: SessionHead | None, after: SessionHead, turn: Turn, key: str) -> Added:
        if self.interruptions:
            self.interruptions.pop(0)()
        mark = (tenant, after.id, after.started, key)
        if mark in self.keys:
            return Added.BEFORE
        if not self._is(tenant, after.id, before):
            return Added.MEANWHILE
        self.keys.add(mark)
        self.heads[tenant, after.id] = after
        self.stored[tenant, after.id, after.started, after.turns - 1] = deepcopy(turn)
        return Added.ADDED

    def fold(self, tenant: str, before: SessionHead, after: SessionHead) -> bool:
        if self.interruptions:
            self.interruptions.pop(0)()
        if not self._is(tenant, after.id, before):
            return False
        self.heads[tenant, after.id] = after
        for number in range(before.folded, after.folded):
            self.stored.pop((tenant, after.id, before.started, number), None)
        return True

    def _is(self, tenant: str, session_id: str, before: SessionHead | None) -> bool:
        now = self.heads.get((tenant, session_id))
        if now is None or before is None:
            return now is before
        return (now.started, now.turns, now.folded) == (before.started, before.turns, before.folded)

    def sessions(self, tenant: str, limit: int, cursor: str | None) -> Page[SessionHead]:
        if cursor is not None and not SESSION_ID.fullmatch(cursor):
            raise InvalidRequest.of("cursor", "is not one that a listing gave; leave it out to start from the first")
        found = [head for (owner, name), head in sorted(self.heads.items()) if owner == tenant and name > (cursor or "")]
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) >= limit else None)

    def drop_session(self, tenant: str, session_id: str) -> bool:
        self.keys = {key for key in self.keys if key[:2] != (tenant, session_id)}
        self.stored = {key: turn for key, turn in self.stored.items() if key[:2] != (tenant, session_id)}
        return self.heads.pop((tenant, session_id), None) is not None


class FakeEpisodes:
    """An EpisodeStore."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()
        self.stored: dict[tuple[str, datetime, str], EpisodeHead] = {}
        self.written: dict[tuple[str, str], dict[str, Any]] = {}
        self.measured: dict[tuple[str, str], Measured] = {}

    def keep(self, tenant: str, head: EpisodeHead, plan: Mapping[str, Any] | None, measured: Mapping[str, Measured]) -> bool:
        if (tenant, head.goal_id) in self.seen:
            return False
        self.seen.add((tenant, head.goal_id))
        for capability, more in measured.items():
            self.measured[tenant, capability] = self.measured.get((tenant, capability), Measured()) + more
        if plan is not None:
            self.stored[tenant, head.when, head.goal_id] = head
            self.written[tenant, head.goal_id] = deepcopy(dict(plan))
        return True

    def heads(self, tenant: str) -> Sequence[EpisodeHead]:
        return [head for key, head in sorted(self.stored.items(), reverse=True) if key[0] == tenant][:1000]

    def plans(self, tenant: str, goal_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {name: deepcopy(self.written[tenant, name]) for name in goal_ids if (tenant, name) in self.written}

    def sums(self, tenant: str, capabilities: Iterable[str] | None = None) -> dict[str, Measured]:
        wanted = None if capabilities is None else set(capabilities)
        return {
            name: one
            for (owner, name), one in sorted(self.measured.items())
            if owner == tenant and (wanted is None or name in wanted)
        }

    def drop_episodes(self, tenant: str, heads: Iterable[EpisodeHead]) -> None:
        for head in heads:
            self.stored.pop((tenant, head.when, head.goal_id), None)
            self.written.pop((tenant, head.goal_id), None)

    def drop_sums(self, tenant: str) -> int:
        gone = [key for key in self.measured if key[0] == tenant]
        for key in gone:
            del self.measured[key]
        return len(gone)

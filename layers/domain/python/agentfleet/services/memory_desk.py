"""What people see and do of what agents remember for them: list, add, forget; each tenant its own."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.episode import Episode, EpisodeHead, Figure
from agentfleet.domain.errors import NotFound
from agentfleet.domain.guardrails import Guardrails, GuardrailViolation
from agentfleet.domain.memory import Fact, Policy, Unkeepable, check_name, faded, fit_to_keep, is_forgotten, ranked
from agentfleet.domain.session import Message, SessionHead
from agentfleet.ports import Clock, Page
from agentfleet.ports_memory import EpisodeStore, FactStore, SessionStore
from agentfleet.services.memory import FactBook
from agentfleet.services.session import Session

PAGE: Final = 100


class Forgotten(Struct, frozen=True):
    """How much was forgotten."""

    facts: int = 0
    sessions: int = 0
    episodes: int = 0
    figures: int = 0


class MemoryDesk:
    """`MemoryDesk(facts, sessions, episodes, clock, policy, session_chars)`."""

    def __init__(
        self,
        facts: FactStore,
        sessions: SessionStore,
        episodes: EpisodeStore,
        clock: Clock,
        policy: Policy,
        session_chars: int,
    ) -> None:
        self._facts = facts
        self._sessions = sessions
        self._episodes = episodes
        self._clock = clock
        self._policy = policy
        self._chars = session_chars

    def facts(self, tenant: str, agent: str | None, query: str, limit: int) -> list[Fact]:
        """The facts that a query calls for, or the strongest; of one agent or of all. Looking makes none stronger."""
        now = self._clock()
        known = self._facts.facts(tenant, None if agent is None else check_name(agent))
        return [faded(fact, now, self._policy) for fact in ranked(query, known, now, self._policy, limit)]

    def fact(self, tenant: str, agent: str, fact_id: str) -> Fact:
        """One fact. Raises NotFound."""
        now = self._clock()
        for fact in self._facts.facts(tenant, check_name(agent)):
            if fact.id == fact_id and not is_forgotten(fact, now, self._policy):
                return faded(fact, now, self._policy)
        raise NotFound(f"agent {agent} remembers no fact {fact_id}")

    def add_fact(self, tenant: str, agent: str, text: str, about: str) -> Fact:
        """Keep a fact in somebody's name. Raises Unkeepable for what is none, or holds orders to a model."""
        try:
            text, about = (fit_to_keep(one, Guardrails(), agent, where) for one, where in ((text, "text"), (about, "about")))
        except GuardrailViolation as error:
            raise Unkeepable.of(error.findings[0].where, str(error)) from error
        said = FactBook(self._facts, self._policy, self._clock).say(tenant, agent, text, about, f"tenant {tenant}")
        return faded(said, self._clock(), self._policy)

    def forget_fact(self, tenant: str, agent: str, fact_id: str) -> None:
        """Forget a fact. Raises NotFound."""
        if not self._facts.drop_fact(tenant, check_name(agent), fact_id):
            raise NotFound(f"agent {agent} remembers no fact {fact_id}")

    def sessions(self, tenant: str, limit: int, cursor: str | None) -> Page[SessionHead]:
        """Conversations by id. Raises InvalidRequest for a bad cursor."""
        return self._sessions.sessions(tenant, limit, cursor)

    def session(self, tenant: str, session_id: str) -> tuple[SessionHead, list[Message]]:
        """A conversation as an agent goes on from it. Raises NotFound, Unkeepable."""
        session = self._session(tenant, session_id)
        head = session.head
        if head is None:
            raise NotFound(f"there is no session {session_id}")
        return head, session.messages()

    def add_turn(self, tenant: str, session_id: str, messages: Sequence[Mapping[str, Any]], key: str) -> SessionHead:
        """Add messages to a conversation, once per key. Raises Unkeepable."""
        return self._session(tenant, session_id).append(messages, key)

    def forget_session(self, tenant: str, session_id: str) -> None:
        """Forget a conversation. Raises NotFound, Unkeepable."""
        if not self._sessions.drop_session(tenant, self._session(tenant, session_id).id):
            raise NotFound(f"there is no session {session_id}")

    def _session(self, tenant: str, session_id: str) -> Session:
        return Session(self._sessions, tenant, session_id, self._clock, chars=self._chars)

    def episodes(self, tenant: str, limit: int) -> Sequence[EpisodeHead]:
        """What became of goals in words, newest first."""
        return self._episodes.heads(tenant)[:limit]

    def episode(self, tenant: str, goal_id: str) -> Episode:
        """One, with its plan. Raises NotFound."""
        head = self._episode(tenant, goal_id)
        plan = self._episodes.plans(tenant, [goal_id]).get(goal_id)
        if plan is None:
            raise NotFound(f"nothing is remembered of a goal {goal_id}")
        return Episode.of(head, plan)

    def forget_episode(self, tenant: str, goal_id: str) -> None:
        """Forget what became of a goal. What its tasks took stays in the averages. Raises NotFound."""
        self._episodes.drop_episodes(tenant, [self._episode(tenant, goal_id)])

    def _episode(self, tenant: str, goal_id: str) -> EpisodeHead:
        for head in self._episodes.heads(tenant):
            if head.goal_id == goal_id:
                return head
        raise NotFound(f"nothing is remembered of a goal {goal_id}")

    def figures(self, tenant: str) -> dict[str, Figure]:
        """What tasks took on average, by capability."""
        return {capability: one.figure for capability, one in self._episodes.sums(tenant).items()}

    def forget_all(self, tenant: str) -> Forgotten:
        """Forget everything that is remembered for a tenant, and say how much that was.

        What is remembered while this runs may stay. Doing it again is fine: it goes on where it ended.
        """
        facts = self._facts.facts(tenant)
        self._facts.drop_facts(tenant, facts)
        dropped, cursor = 0, None
        while True:
            page = self._sessions.sessions(tenant, PAGE, cursor)
            dropped += sum(self._sessions.drop_session(tenant, head.id) for head in page.items)
            if (cursor := page.cursor) is None:
                break
        episodes = self._episodes.heads(tenant)
        self._episodes.drop_episodes(tenant, episodes)
        return Forgotten(len(facts), dropped, len(episodes), self._episodes.drop_sums(tenant))

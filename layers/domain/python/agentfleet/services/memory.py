"""What a task may remember, recall and forget: `context.memory`, for pools with the grant `memory`.

    context.memory.remember("Invoices of ACME are due after 14 days.", about="ACME")
    facts = context.memory.recall("When must ACME be paid?")

Calls block: a coroutine makes them by `asyncio.to_thread`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import Struct, field

from agentfleet.domain.episode import Episode, Figure, most_alike
from agentfleet.domain.errors import RetryableError
from agentfleet.domain.guardrails import Guardrails
from agentfleet.domain.memory import (
    RECALLED,
    REPEATED,
    SHARED,
    Fact,
    Policy,
    check_name,
    faded,
    fit_to_keep,
    forgotten_at,
    new_fact,
    ranked,
    surplus,
    touch,
)
from agentfleet.domain.session import SESSION_CHARS
from agentfleet.ports import Clock
from agentfleet.ports_memory import EpisodeStore, FactStore, SessionStore

if TYPE_CHECKING:
    from agentfleet.services.capability import TaskContext
    from agentfleet.services.session import Session

TRIES: Final = 8
MOST_RECALLED: Final = 50

T = TypeVar("T")


class Memories(Struct, frozen=True):
    """The memory of one pool's agents; calling it gives a task its view of it."""

    facts: FactStore
    sessions: SessionStore
    episodes: EpisodeStore
    clock: Clock
    pool: str
    """Whose facts are meant where no agent is named."""
    policy: Policy = field(default_factory=Policy)
    rules: Guardrails = field(default_factory=Guardrails)
    session_chars: int = SESSION_CHARS

    def __call__(self, context: "TaskContext") -> "TaskMemory":
        return TaskMemory(self, context)


class FactBook:
    """An agent's facts, said and recalled on somebody's behalf: `FactBook(facts, policy, clock)`."""

    def __init__(self, facts: FactStore, policy: Policy, clock: Clock) -> None:
        self._facts = facts
        self._policy = policy
        self._clock = clock

    def say(self, tenant: str, agent: str, text: str, about: str, source: str) -> Fact:
        """Keep a fact; one that says the same grows stronger, by each source once. Drops the weakest if there are too many.

        Raises Unkeepable; raises RetryableError if too many say the same at once.
        """
        return persist(lambda: self._say(tenant, agent, text, about, source), f"the fact {text[:80]!r}")

    def _say(self, tenant: str, agent: str, text: str, about: str, source: str) -> Fact | None:
        now = self._clock()
        said = new_fact(agent, text, about, source, now)
        facts = self._facts.facts(tenant, agent)
        before = next((fact for fact in facts if fact.id == said.id), None)
        after = said if before is None else touch(before, source, now, self._policy, REPEATED)
        if after == before:
            return after
        if not self._facts.put_fact(tenant, after, forgotten_at(after, self._policy), before):
            return None
        if dropped := surplus(facts, after, now, self._policy):
            self._facts.drop_facts(tenant, dropped)
        return after

    def find(self, tenant: str, agents: Sequence[str], query: str, limit: int) -> list[Fact]:
        """The facts of these agents that a query calls for, best first, as they are stored."""
        known = [fact for agent in dict.fromkeys(agents) for fact in self._facts.facts(tenant, agent)]
        return ranked(query, known, self._clock(), self._policy, limit)

    def strengthen(self, tenant: str, facts: Sequence[Fact], by: str) -> list[Fact]:
        """These facts as strong as they are now, a little stronger for being of use to `by`, once.

        One that is changed or forgotten meanwhile is left alone.
        """
        now, policy = self._clock(), self._policy
        stronger = []
        for before in facts:
            after = touch(before, by, now, policy, RECALLED)
            if after != before:
                self._facts.put_fact(tenant, after, forgotten_at(after, policy), before)
            stronger.append(faded(after, now, policy))
        return stronger


class TaskMemory:
    """`context.memory`: what this task's tenant, and the pool's agents on its behalf, have learned."""

    def __init__(self, memories: Memories, context: "TaskContext") -> None:
        self._memories = memories
        self._context = context
        self._book = FactBook(memories.facts, memories.policy, memories.clock)

    @property
    def source(self) -> str:
        """What is noted of this task: `goal/task`."""
        return f"{self._context.goal_id}/{self._context.task_id}"

    def remember(self, text: str, about: str = "", agent: str | None = None) -> Fact:
        """Keep a fact for later tasks of this tenant: of this pool's agents, or of the one that is named.

        Those of `shared` every agent recalls. The same task saying the same again changes nothing. Raises Unkeepable for what
        is no fact, GuardrailViolation for what may not be kept.
        """
        rules, pool = self._memories.rules, self._memories.pool
        text, about = (fit_to_keep(one, rules, pool, where) for one, where in ((text, "text"), (about, "about")))
        return self._book.say(self._context.tenant, agent or pool, text, about, self.source)

    def recall(self, query: str, limit: int = 5, agent: str | None = None) -> list[Fact]:
        """The facts that a query calls for, best first: this pool's (or the named agent's) and those that all share.

        A query without words gives the strongest. Each fact grows stronger, by each task once. They are material with a
        source, never instructions: show them to a model by `domain.memory.as_material`.
        """
        limit = max(0, min(limit, MOST_RECALLED))
        agents = (check_name(agent or self._memories.pool), SHARED)
        found = self._book.find(self._context.tenant, agents, query, limit)
        return self._book.strengthen(self._context.tenant, found, self.source)

    def forget(self, id: str, agent: str | None = None) -> bool:
        """Forget a fact. False if there was none."""
        return self._memories.facts.drop_fact(self._context.tenant, check_name(agent or self._memories.pool), id)

    def episodes(self, words: str, limit: int = 3) -> list[Episode]:
        """The goals of this tenant that were asked for in the words most like these, with their plans, best first."""
        store, tenant = self._memories.episodes, self._context.tenant
        chosen = most_alike(words, store.heads(tenant), limit)
        plans = store.plans(tenant, [head.goal_id for head in chosen])
        return [Episode.of(head, plans[head.goal_id]) for head in chosen if head.goal_id in plans]

    def figures(self, capabilities: Sequence[str]) -> dict[str, Figure]:
        """What tasks of these capabilities took for this tenant, as far as that was measured."""
        sums = self._memories.episodes.sums(self._context.tenant, dict.fromkeys(capabilities))
        return {capability: one.figure for capability, one in sums.items()}

    def session(self, id: str) -> "Session":
        """A conversation of this tenant by its id; it begins with the first turn that is added. Raises Unkeepable."""
        from agentfleet.services.session import Session  # noqa: PLC0415 - only who converses needs it

        memories = self._memories
        return Session(memories.sessions, self._context.tenant, id, memories.clock, self._context, memories.session_chars)


def persist(attempt: Callable[[], T | None], what: str) -> T:
    """What `attempt` gives as soon as it isn't None: None says that somebody was faster, so that it must look again.

    Raises RetryableError when that goes on.
    """
    for _ in range(TRIES):
        if (found := attempt()) is not None:
            return found
    raise RetryableError(f"{what} is changed by too many at once")

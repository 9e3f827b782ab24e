"""What the API shows and takes of what agents remember."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from agentfleet.domain import memory as rules
from agentfleet.domain.episode import Episode, EpisodeHead, Figure
from agentfleet.domain.memory import Fact
from agentfleet.domain.session import MOST_MESSAGES, SessionHead
from agentfleet.services.views import Order, View

AgentName = Annotated[str, StringConstraints(pattern=rf"^{rules.NAME.pattern}$")]


class FactView(View):
    """One thing that agents remember."""

    id: str
    agent: str
    """Whose memory it is in; `shared`: of all of them."""
    text: str
    about: str
    source: str
    """The task that said it first (`goal/task`), or who did."""
    when: datetime
    """It was first said."""
    strength: float
    """Now: it halves with time, and grows when the fact is recalled or said again."""

    @classmethod
    def of(cls, fact: Fact) -> Self:
        """The view of a fact, as strong as it is now."""
        return cls(
            id=fact.id,
            agent=fact.agent,
            text=fact.text,
            about=fact.about,
            source=fact.source,
            when=fact.when,
            strength=round(fact.strength, 4),
        )


class FactList(View):
    """Facts: the strongest first, or those that answer a query best."""

    facts: tuple[FactView, ...]


class FactOrder(Order):
    """A fact to remember."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=rules.MOST_CHARS)]
    about: Annotated[str, StringConstraints(strip_whitespace=True, max_length=rules.MOST_ABOUT)] = ""
    agent: AgentName = rules.SHARED
    """Whose memory it goes into: a pool's name, or another that its agents use; `shared`: all agents'."""


class SessionView(View):
    """A conversation without its turns."""

    id: str
    started: datetime
    updated: datetime
    turns: int
    """How many were ever added."""
    summarised: int
    """How many of them are only in the summary."""
    bytes: int
    """Of the others."""
    summary: str
    how: str | None = None
    """`model` or `quotations`: how the summary came about."""
    model: str | None = None

    @classmethod
    def of(cls, head: SessionHead) -> Self:
        """The view of a session."""
        return cls(
            id=head.id,
            started=head.started,
            updated=head.updated,
            turns=head.turns,
            summarised=head.folded,
            bytes=head.size,
            summary=head.summary,
            how=head.how,
            model=head.model,
        )


class SessionPage(View):
    """Conversations by id. Give `cursor` back for more; null: there is none."""

    sessions: tuple[SessionView, ...]
    cursor: str | None = None


class SessionDetail(SessionView):
    """A conversation as an agent goes on from it."""

    messages: tuple[dict[str, Any], ...]
    """In the shape of Amazon Bedrock's Converse; a summary stands in the first."""


class TurnOrder(Order):
    """Messages to add to a conversation, in the shape of Amazon Bedrock's Converse."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    """Together one turn: a conversation is never cut inside it."""


class EpisodeView(View):
    """What became of a goal that was asked for in words."""

    goal: str
    """Its id."""
    words: str
    succeeded: bool
    seconds: float
    dollars: float
    """Of models and whatever else its outputs name."""
    tasks: int
    when: datetime
    """It ended."""

    @classmethod
    def of(cls, head: EpisodeHead) -> Self:
        """The view of an episode."""
        return cls(
            goal=head.goal_id,
            words=head.goal,
            succeeded=head.succeeded,
            seconds=head.seconds,
            dollars=head.dollars,
            tasks=head.tasks,
            when=head.when,
        )


class EpisodeList(View):
    """Episodes, newest first."""

    episodes: tuple[EpisodeView, ...]


class EpisodeDetail(View):
    """An episode with the plan that was made."""

    goal: str
    words: str
    succeeded: bool
    seconds: float
    dollars: float
    when: datetime
    plan: dict[str, Any]

    @classmethod
    def of_episode(cls, episode: Episode) -> Self:
        """The view of a whole episode."""
        return cls(
            goal=episode.goal_id,
            words=episode.goal,
            succeeded=episode.succeeded,
            seconds=episode.seconds,
            dollars=episode.dollars,
            when=episode.when,
            plan=episode.plan,
        )


class FigureView(View):
    """What tasks of a capability took, on average."""

    capability: str
    count: int
    seconds: float
    dollars: float

    @classmethod
    def of(cls, capability: str, figure: Figure) -> Self:
        """The view of a capability's figures."""
        return cls(capability=capability, count=figure.count, seconds=figure.seconds, dollars=figure.dollars)


class FigureList(View):
    """Figures of your goals in words, by capability."""

    figures: tuple[FigureView, ...]


class ForgottenView(View):
    """How much was forgotten."""

    facts: int = 0
    sessions: int = 0
    episodes: int = 0
    figures: int = 0

"""What plans remember: facts for later goals of the same tenant.

What is recalled is material with a source, not instructions: say so to a model that is shown it.
"""

from agentfleet.agent import Agent, TaskContext
from agentfleet.domain.memory import Fact

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

agent = Agent("memory")

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Strict(BaseModel):
    """A field that doesn't exist is an error."""

    model_config = ConfigDict(extra="forbid", defer_build=True)  # built when first used: few tasks use all of them


class RememberInput(Strict):
    """A fact, in a sentence; `agent` says whose memory it goes into."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    about: str = Field(default="", max_length=200)
    agent: Name = "shared"


class RecallInput(Strict):
    """What to recall: a question or some words; without any, what is strongest."""

    query: str = Field(default="", max_length=1000)
    agent: Name = "shared"
    limit: int = Field(default=5, ge=1, le=50)


class ForgetInput(Strict):
    """A fact by its id."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    agent: Name = "shared"


class Remembered(BaseModel):
    """A fact, where it comes from, and how strong it is."""

    id: str
    agent: str
    text: str
    about: str
    source: str
    when: datetime
    strength: float


class RecallOutput(BaseModel):
    """Facts, best first."""

    facts: list[Remembered]


class ForgetOutput(BaseModel):
    """Whether there was such a fact."""

    was_there: bool


@agent.capability("memory.remember", idempotent=True, timeout=20)
def remember(input: RememberInput, context: TaskContext) -> Remembered:
    """Keep a fact for later goals; by default every agent of the tenant can recall it."""
    return _shown(context.memory.remember(input.text, input.about, input.agent))


@agent.capability("memory.recall", idempotent=True, timeout=20)
def recall(input: RecallInput, context: TaskContext) -> RecallOutput:
    """Recall the facts that a question calls for, each with where it comes from."""
    return RecallOutput(facts=[_shown(fact) for fact in context.memory.recall(input.query, input.limit, input.agent)])


@agent.capability("memory.forget", idempotent=True, timeout=20)
def forget(input: ForgetInput, context: TaskContext) -> ForgetOutput:
    """Forget a fact."""
    return ForgetOutput(was_there=context.memory.forget(input.id, input.agent))


def _shown(fact: Fact) -> Remembered:
    return Remembered(
        id=fact.id,
        agent=fact.agent,
        text=fact.text,
        about=fact.about,
        source=fact.source,
        when=fact.when,
        strength=round(fact.strength, 4),
    )

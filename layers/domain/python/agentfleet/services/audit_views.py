"""What the API shows of a goal's past: its history, whether that holds, and what the goal cost."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.history import Break, Event, EventKind, Verdict
from agentfleet.domain.model_use import ModelUse
from agentfleet.services.views import View


class EventView(View):
    """Something that happened to a goal, or to the kill switch."""

    number: int
    """Its place in the history, from 1."""
    at: datetime
    """When it was written, to the second."""
    kind: EventKind
    tasks: tuple[str, ...] = ()
    """The tasks whose result it is, or about which somebody was asked."""
    facts: dict[str, Any]
    """What was recorded: state, agent, seconds, a decision and by whom, write units, and the digest of the item as it was."""
    hash: str
    """SHA-256 of the event and the hash of the one before."""

    @classmethod
    def of(cls, event: Event, tasks: tuple[str, ...]) -> Self:
        """The view of an event."""
        return cls(number=event.number, at=event.at, kind=event.kind, tasks=tasks, facts=dict(event.facts), hash=event.hash)


class HistoryPage(View):
    """Events in the order in which they were recorded. Give `cursor` back for more; null: there are none yet."""

    events: tuple[EventView, ...]
    cursor: str | None = None


class BreakView(View):
    """Where a history does not hold."""

    number: int
    """Of the event."""
    fault: Literal["changed", "missing", "misplaced", "unreadable"]
    message: str

    @classmethod
    def of(cls, broken: Break) -> Self:
        """The view of a break."""
        return cls(number=broken.number, fault=broken.fault, message=broken.message)


class KillHistory(View):
    """What was stopped and lifted in a week, by whom and why, in its order."""

    week: str
    """Of ISO 8601, in UTC."""
    events: tuple[EventView, ...]
    """`KillThrown`, `KillLifted`; `KillChanged`, `KillRemoved` if somebody changed the table by hand. Up to where it holds."""
    broken: BreakView | None = None
    """Where it is not as it was recorded; null: it is."""


class VerdictView(View):
    """Whether a goal's history is as it was recorded."""

    goal: str
    holds: bool
    events: int
    """Those that hold, up to the break if there is one."""
    recorded: int
    """Events that there must be: those that hold, or more if the head of the chain knows of more."""
    hash: str
    """Of the last event that holds. Kept elsewhere it proves later that the whole history was not written anew."""
    broken: BreakView | None = None
    tasks_recorded: int
    """Tasks whose results are in the history."""
    tasks_ended: int
    """Tasks that the goal counted at its end (0 before). If fewer are recorded, the stream is behind or has lost some."""

    @classmethod
    def of(cls, goal: Goal, recorded: int, verdict: Verdict, tasks_recorded: int, tasks_ended: int) -> Self:
        """The view of a verdict."""
        broken = verdict.broken
        return cls(
            goal=goal.id,
            holds=broken is None,
            events=verdict.count,
            recorded=max(recorded, verdict.count),
            hash=verdict.hash,
            broken=BreakView.of(broken) if broken else None,
            tasks_recorded=tasks_recorded,
            tasks_ended=tasks_ended,
        )


class ReceiptLine(View):
    """One thing that AWS bills."""

    service: str
    what: str
    quantity: float
    unit: str
    dollars: float
    basis: Literal["counted", "estimated"]
    how: str
    """Where the number is from."""


class ModelUseView(View):
    """What calls of one language model took."""

    model: str
    calls: int
    unknown: int = 0
    """Of them, calls of which nobody knows what they took: they count with the most that it can be."""
    input_tokens: int
    """That were neither read from nor written to a prompt cache."""
    output_tokens: int
    cached_tokens: int
    """Read from a prompt cache, at a lower price."""
    cache_write_tokens: int
    dollars: float

    @classmethod
    def of(cls, use: ModelUse) -> Self:
        """The view of a use."""
        return cls(
            model=use.model,
            calls=use.calls,
            unknown=use.unknown,
            input_tokens=use.input,
            output_tokens=use.output,
            cached_tokens=use.cache_read,
            cache_write_tokens=use.cache_write,
            dollars=use.dollars,
        )


class ReceiptView(View):
    """What a goal cost, at list prices."""

    goal: str
    state: GoalState
    tasks: int
    lines: tuple[ReceiptLine, ...]
    dollars: float
    counted_dollars: float
    """The part of it that rests on counted numbers."""
    dollars_per_million_tasks: float
    tokens: int = 0
    """Of language models, sub-plans included."""
    models: tuple[ModelUseView, ...] = ()
    """By model, sub-plans included."""
    is_complete: bool
    """Are all tasks that ended in the history? If not, results that it lacks
    are taken from the work table, and their sizes are estimated."""
    prices: Mapping[str, str]
    """Region, day and source of the prices."""
    not_included: tuple[str, ...]

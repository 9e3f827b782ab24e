"""What the API shows of incidents and dead letters."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import StringConstraints

from agentfleet.domain.dead_letters import Action, Cause, LetterRecord
from agentfleet.domain.healing import Incident, IncidentKind
from agentfleet.services.dead_letters import Examined, Lot
from agentfleet.services.heal import HealReport
from agentfleet.services.incidents import HealthSummary
from agentfleet.services.views import Order, View

Key = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class HealView(View):
    """What one run of the healer did."""

    looked: int
    """Living goals that it looked at."""
    repaired: int
    """Goals that it set going again."""
    healed: int
    """Goals that were repaired before and have moved since."""
    still_open: int
    """Goals that were repaired and have not moved yet."""
    sent: int
    """Tasks whose messages were sent again."""
    letters: dict[Action, int]
    """Dead letters, by what was done about them."""
    failed: int
    """Repairs that were not possible; the healer's log says why."""
    complete: bool
    """Were all living goals looked at? If not, the next run goes on from there."""

    @classmethod
    def of(cls, report: HealReport) -> Self:
        """The view of a run."""
        return cls(
            looked=report.looked,
            repaired=len(report.repaired),
            healed=len(report.healed),
            still_open=report.still_open,
            sent=report.sent,
            letters=dict(report.letters),
            failed=len(report.errors),
            complete=report.complete,
        )


class IncidentView(View):
    """A goal that stood still."""

    goal: str
    kind: IncidentKind
    began: datetime
    """The goal's last progress before it."""
    found: datetime
    repairs: int
    sent: int
    """Tasks whose messages were sent again."""
    by_person: bool
    """Did somebody ask for one of the repairs?"""
    healed: datetime | None = None
    """When the goal moved again."""
    seconds: float | None = None
    """Time to heal."""

    @classmethod
    def of(cls, incident: Incident) -> Self:
        """The view of an incident."""
        return cls(
            goal=incident.goal_id,
            kind=incident.kind,
            began=incident.began,
            found=incident.found,
            repairs=incident.repairs,
            sent=incident.sent,
            by_person=incident.by_person,
            healed=incident.healed,
            seconds=incident.seconds,
        )


class IncidentSummary(View):
    """Your goals that stood still, the newest first."""

    open: tuple[IncidentView, ...]
    healed: tuple[IncidentView, ...]
    without_person: int
    """How many of the healed ones nobody had to help with."""
    median_seconds: float | None
    """Time to heal."""
    longest_seconds: float | None

    @classmethod
    def of(cls, summary: HealthSummary) -> Self:
        """The view of a summary."""
        return cls(
            open=tuple(map(IncidentView.of, summary.open)),
            healed=tuple(map(IncidentView.of, summary.healed)),
            without_person=summary.without_person,
            median_seconds=summary.median_seconds,
            longest_seconds=summary.longest_seconds,
        )


class DeadLetterView(View):
    """A message that its queue has given up."""

    pool: str
    key: str
    """Goal and unit, with a dot between; a submitted event's id; the message's id if it can't be read."""
    cause: Cause
    """Why it is there."""
    next: Action
    """What the healer does about it by itself."""
    body: str
    goal: str | None = None
    """The task's; of an event that was sent again, the one that came of it: none if it was rejected."""
    tasks: tuple[str, ...] = ()
    """Ids of the tasks that it carries, at most ten."""
    receives: int
    """How often it has been received, looks at it included."""
    redrives: int = 0
    """How often its task was sent again already."""
    first_sent: datetime

    @classmethod
    def of(cls, one: Examined) -> Self:
        """The view of a letter with its diagnosis."""
        return cls(
            pool=one.pool,
            key=one.key,
            cause=one.cause,
            next=one.action,
            body=one.letter.body[:4000],
            goal=one.pointer.goal_id if one.pointer else one.goal and one.goal.id,
            tasks=tuple(task.id for task in one.unit.tasks[:10]) if one.unit else (),
            receives=one.letter.receives,
            redrives=one.before.redrives if one.before else 0,
            first_sent=one.letter.first_sent,
        )


class DeadLetterList(View):
    """Dead letters by pool, those that can be read first."""

    letters: tuple[DeadLetterView, ...]
    complete: bool = True
    """Are these all? If not, ask for more, or again."""

    @classmethod
    def of(cls, lot: Lot) -> Self:
        """The view of what was found, or dealt with."""
        return cls(letters=tuple(map(DeadLetterView.of, lot.letters)), complete=lot.complete)


class LetterRecordView(View):
    """What became of a dead letter."""

    key: str
    cause: Cause
    action: Action
    reason: str
    body: str
    first_seen: datetime
    last_seen: datetime
    redrives: int
    by_person: bool

    @classmethod
    def of(cls, record: LetterRecord) -> Self:
        """The view of a record."""
        return cls(**{name: getattr(record, name) for name in cls.model_fields})


class LetterRecordList(View):
    """What became of a pool's dead letters, last seen first."""

    records: tuple[LetterRecordView, ...]


class RedriveOrder(Order):
    """Which dead letters to send again."""

    key: Key | None = None
    """One letter's; all that can run without it."""


class BurialOrder(Order):
    """A dead letter to take out of its queue."""

    key: Key
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    """Kept with it."""

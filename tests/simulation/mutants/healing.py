"""Bugs in the healer and in what becomes of dead letters."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from agentfleet.domain.dead_letters import Action, Cause, decide
from agentfleet.domain.goal import Goal
from agentfleet.domain.healing import QueueLook
from agentfleet.services import dead_letters, heal
from agentfleet.services.dead_letters import DeadLetterOffice
from agentfleet.services.heal import Healer
from agentfleet.services.incidents import IncidentLog
from agentfleet.services.run import TaskRunner
from agentfleet.services.saga import Saga
from tests.simulation.mutants.mutant import Mutant


def _look_away(self: Healer, goal: Goal, view: Any, tally: Any) -> None:
    """Repairs nothing."""


def _lost_at_once(quiet_since: datetime, horizons: Iterable[datetime], wait: timedelta) -> bool:
    return True


def _blind_horizon(look: QueueLook, emptied: datetime | None, now: datetime, lag: timedelta = timedelta()) -> datetime:
    return now


def _throw_away(cause: Cause, redrives: int, age: timedelta) -> Action:
    return Action.BURY if cause is Cause.KILLED else decide(cause, redrives, age)


def _send_for_ever(cause: Cause, redrives: int, age: timedelta) -> Action:
    return Action.REDRIVE if cause is Cause.KILLED else decide(cause, redrives, age)


def _fail_unstored(self: DeadLetterOffice, goal: Goal, plan: Any, unit: Any, one: Any) -> None:
    """Says that the task failed, and stores nothing."""


HEALING: Final = (
    Mutant("what is sent again is not noted", TaskRunner, "_note_resent", lambda self, work: None, first=263),
    Mutant("the healer repairs nothing", Healer, "_heal", _look_away),
    Mutant("the healer waits for nothing", heal, "is_lost", _lost_at_once),
    Mutant("the healer looks into no queue", heal, "horizon", _blind_horizon),
    Mutant("the healer starts no saga", Saga, "mend", lambda self, goal: False, first=1075),
    Mutant("incidents stay open", IncidentLog, "_moved", lambda self, incident, goal: None),
    Mutant("what kills its agents is thrown away", dead_letters, "decide", _throw_away),
    Mutant("what kills its agents is sent for ever", dead_letters, "decide", _send_for_ever),
    Mutant("a dead letter's failure is not stored", DeadLetterOffice, "_fail", _fail_unstored),
)

"""Keep count of what went wrong: which goals stood still, for how long, and whether anybody had to help."""

from collections.abc import Mapping
from datetime import datetime
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from agentfleet.domain.goal import Goal
from agentfleet.domain.healing import Incident, IncidentKind
from agentfleet.ports import Clock, GoalStore, HealthStore, ResultStore

SHOWN = 200
"""Healed incidents that a summary covers."""
_READ = 100


class HealthSummary(Struct, frozen=True):
    """Incidents now and of late, the newest first."""

    open: tuple[Incident, ...]
    healed: tuple[Incident, ...]
    without_person: int
    """How many of the healed ones nobody had to help with."""
    median_seconds: float | None
    """Time to heal, from a goal's last progress before to its first after."""
    longest_seconds: float | None


class IncidentLog:
    """Opens an incident when a goal is first repaired, and closes it when the goal has moved."""

    def __init__(self, health: HealthStore, goals: GoalStore, results: ResultStore, clock: Clock) -> None:
        self._health = health
        self._goals = goals
        self._results = results
        self._clock = clock

    def note(
        self,
        goal: Goal,
        kind: IncidentKind,
        began: datetime,
        *,
        known: Mapping[str, Incident],
        sent: int = 0,
        by_person: bool = False,
    ) -> Incident:
        """A repair was made: open an incident, or add to the open one (`known`: the open ones, by goal)."""
        now = self._clock()
        incident = known.get(goal.id)
        if incident is None:
            incident = Incident(goal.id, goal.tenant, kind, began, now, now, 1, sent, by_person)
        else:
            incident = replace(
                incident,
                kind=kind,
                repaired=now,
                repairs=incident.repairs + 1,
                sent=incident.sent + sent,
                by_person=incident.by_person or by_person,
            )
        self._health.record(incident)
        return incident

    def close_healed(self) -> tuple[dict[str, Incident], list[Incident]]:
        """The incidents that are still open, by goal, and those that were found to be healed just now."""
        still, healed = self._health.open_incidents(), []
        names = sorted(still)
        for start in range(0, len(names), _READ):
            goals = self._goals.get(names[start : start + _READ])
            for name in names[start : start + _READ]:
                moved = self._moved(still[name], goals.get(name))
                if moved is not None:
                    healed.append(replace(still.pop(name), healed=moved))
                    self._health.record(healed[-1])
        return still, healed

    def _moved(self, incident: Incident, goal: Goal | None) -> datetime | None:
        """When the goal moved after the incident was found; None if it has not."""
        if goal is None:
            return self._clock()  # expired with all that it was
        if not goal.state.is_alive:
            return goal.finished or self._clock()
        finished = self._results.finished(goal.id, goal.shards).values()
        return min((one.at for one in finished if one.at >= incident.found), default=None)

    def summary(self, tenant: str | None = None) -> HealthSummary:
        """Of one tenant's goals, or of all."""
        opened = [one for one in self._health.open_incidents().values() if tenant in {None, one.tenant}]
        healed = [one for one in self._health.healed(SHOWN) if tenant in {None, one.tenant}]
        times = [one.seconds for one in healed if one.seconds is not None]
        return HealthSummary(
            open=tuple(sorted(opened, key=lambda one: one.found, reverse=True)),
            healed=tuple(healed),
            without_person=sum(not one.by_person for one in healed),
            median_seconds=median(times) if times else None,
            longest_seconds=max(times, default=None),
        )

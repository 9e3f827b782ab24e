"""The healer in a run: the real one, by its schedule, over queues whose counts lag behind; and what it may not do."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from agentfleet.domain.healing import COUNTS_LAG
from agentfleet.domain.messages import BadMessage, TaskMessage, read_task
from agentfleet.services.heal import HealReport
from tests.fakes.health import FakeHealth
from tests.simulation.queues import DEAD, Letters, Watch
from tests.simulation.tables import Watched
from tests.simulation.world import INVOCATION, Actor, Killed

if TYPE_CHECKING:
    from tests.simulation.simulate import Simulation

HEALTH: Final = ("rounds", "keep_rounds", "open_incidents", "record", "file_letter", "letter")
PERIOD: Final = 120.0
"""Seconds between two runs of the healer, as it is scheduled."""
LONGEST: Final = 32
"""While nothing at all happens, only every so many'th run is made: the others would find just what the last one found."""
PATIENCE: Final = 60
"""Runs in which nothing happens until a goal counts as never ending."""


class Keepers:
    """The schedule, the memory, and an eye on what is sent."""

    def __init__(self, simulation: "Simulation") -> None:
        world = simulation.world
        self._simulation = simulation
        self._world = world
        self.health = FakeHealth()
        self.watch = Watch(simulation.queues, tells_age=simulation.scenario.weather.tells_age)
        ports = {
            "watch": (self.watch, ("look", "last_throttled")),
            "letters": (Letters(simulation.queues), ("take", "give_back", "delete")),
            "health": (self.health, HEALTH),
        }
        watched = {name: Watched(world, name, port, methods) for name, (port, methods) in ports.items()}
        self._healing = simulation.own_platform().healing(**watched)
        simulation.queues.sending = self._sending
        skew = simulation.scenario.weather.skew
        self._healer = Actor("healer", world.order.uniform(-skew, skew) if skew else 0.0)
        self._next = PERIOD
        self._broken: list[tuple[float, float]] = []
        """From when to when runs of the healer took that broke off, at one of their goals or as a whole."""
        self._idle = 0
        self._seen = -1
        self._began = 0.0
        self.runs = 0

    def startable(self) -> list[Callable[[], None]]:
        """What can begin now."""
        is_due = self._world.now >= self._next and self._healer.strand is None
        return [self._heal] if is_due and self._is_needed() else []

    def upcoming(self) -> float | None:
        """When something can begin by itself."""
        return self._next if self._healer.strand is None and self._is_needed() else None

    def broke_off_at(self, moment: float) -> bool:
        """Was the healer in a run then that broke off? It has left no trace of what it did last."""
        return any(first <= moment <= last for first, last in self._broken)

    def has_ended(self, goal_id: str) -> bool:
        """Has the healer carried this goal to its end, perhaps?"""
        return any(one.goal_id == goal_id for one in self.health.healed(1000)) or self.broke_off_at(
            self._simulation.goals.ended_at.get(goal_id, -1.0)
        )

    def _is_needed(self) -> bool:
        simulation = self._simulation
        if self._idle >= PATIENCE:
            return False
        return (
            any(not goal.state.is_at_rest for goal in simulation.goals.goals.values())
            or any(queue and name.endswith(DEAD) and self._idle < 2 for name, queue in simulation.queues.queues.items())
            or bool(self.health.open_incidents())
        )

    def _heal(self) -> None:
        world, healer = self._world, self._healer
        self._idle = self._idle + 1 if self._seen == self._simulation.moves else 0
        self._began = began = world.now
        self.runs += 1

        def activity() -> None:
            try:
                report = self._healing.healer.run(world.clock() + timedelta(seconds=INVOCATION))
                if world.trace is not None:
                    world.note(_told(report))
                if report.repaired or report.letters or report.healed or report.errors:
                    self._idle = 0
                if report.errors:
                    self._broken.append((began, world.now))
            except (Killed, Exception) as error:
                world.note(f"healing broke off: {error!r}")
                self._broken.append((began, world.now))
                self._idle = 0
            self._seen = self._simulation.moves
            self._next = world.now + PERIOD * min(1 << self._idle, LONGEST)

        world.start(healer, activity)

    def _sending(self, messages: Sequence[TaskMessage]) -> None:
        """The healer may send only what can be in no queue any more, and what follows a dead letter (decision 0009)."""
        if self._world.current is self._healer:
            self._check(messages)
        self._simulation.stops.sending(messages)

    def _check(self, messages: Sequence[TaskMessage]) -> None:
        before = self._began - COUNTS_LAG.total_seconds()
        queues = self._simulation.queues.queues.items()
        held = {_place(one.body): one for name, queue in queues for one in queue.values() if not name.endswith(DEAD)}
        dead = {one.body for name, queue in queues for one in queue.values() if name.endswith(DEAD)}
        for message in messages:
            found, is_of_letter = held.get((message.goal_id, message.unit)), any(message.goal_id in body for body in dead)
            if not is_of_letter:
                self._simulation.stops.healing(message, self._began)
            if found is None or found.is_late or is_of_letter or self.broke_off_at(found.sent):
                continue
            if found.sent < before:
                self._world.violate(f"the healer sends unit {message.unit} of {message.goal_id}, which {found.id} holds")


def _place(body: Any) -> tuple[str, int] | None:
    """Goal and unit of a task's message; None for what is none, or is sent beside the unit's own."""
    try:
        pointer = read_task(body)
    except BadMessage:
        return None
    return None if pointer.wake else (pointer.goal_id, pointer.unit)


def _told(report: HealReport) -> str:
    repaired = [f"{one.kind} of {one.goal_id[-4:]}" for one in report.repaired]
    return f"healed: looked at {report.looked}, repaired {repaired}, sent {report.sent}, {dict(report.letters)} {report.errors}"

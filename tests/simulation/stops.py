"""The kill switch in a run: somebody throws it and lets go on later, and nothing of what is stopped may happen meanwhile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentfleet.domain.errors import NotFound
from agentfleet.domain.kill import Kill, Scope
from agentfleet.domain.messages import BadMessage, TaskMessage, TaskPointer, read_task
from agentfleet.services.capability import TaskContext
from agentfleet.services.kill import FRESH, KillDesk, LocalKills
from tests.simulation.scenario import StopCase
from tests.simulation.tables import Watched
from tests.simulation.work import CATALOG, TENANT
from tests.simulation.world import Actor, Killed, World

if TYPE_CHECKING:
    from tests.simulation.simulate import Environment, Simulation

AGAIN: Final = 5.0
"""Seconds until somebody who was not heard tries again."""
FOR_EVER: Final = float("inf")


@dataclass(slots=True)
class _Held:
    """A scope that is stopped, or was."""

    scope: Scope
    since: float
    until: float = FOR_EVER


class StopBook(LocalKills):
    """A KillStore that keeps a diary."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.diary: list[_Held] = []

    def put(self, kill: Kill) -> None:
        held = next((one for one in self.diary if one.scope == kill.scope and one.until == FOR_EVER), None)
        if held is None and kill.lifted is None:
            self.diary.append(_Held(kill.scope, self._world.now))
        elif held is not None and kill.lifted is not None:
            held.until = self._world.now
        super().put(kill)

    def holds(self, pool: str, since: float) -> bool:
        """Is this pool's work stopped now, and was it so at that moment already?"""
        return any(
            one.until == FOR_EVER
            and one.since < since
            and (one.scope.kind, one.scope.name) in {("all", ""), ("tenant", TENANT), ("pool", pool)}
            for one in self.diary
        )


class Stops:
    """Whoever throws the switch, and an eye on what is stopped."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._world = simulation.world
        self._orders = list(simulation.scenario.stops)
        self._lifts: list[tuple[float, Scope]] = []
        """(when somebody lets go on, what)."""
        self._sent: set[tuple[str, int]] = set()
        """(goal, unit) of what was sent at least once."""
        self.is_on = bool(self._orders)
        self.book = StopBook(self._world)
        watched: Any = Watched(self._world, "kills", self.book, ("put", "get"))
        watched.read = self.book.read  # that a switch which can't be read stays as it was has tests of its own
        self.store = watched

    def startable(self) -> list[Callable[[], None]]:
        """What can begin now."""
        found: list[Callable[[], None]] = [partial(self._throw, one) for one in self._orders if self._world.steps >= one.at]
        return found + [partial(self._lift, one) for one in self._lifts if one[0] <= self._world.now]

    def upcoming(self) -> float | None:
        """When somebody lets go on."""
        return min((moment for moment, _ in self._lifts), default=None)

    def _throw(self, order: StopCase) -> None:
        self._orders.remove(order)
        scope = Scope(order.kind, order.name)

        def act(desk: KillDesk) -> None:
            try:
                desk.kill(scope, "as told", TENANT)
            finally:  # whoever was not heard may have been
                self._lifts.append((self._world.now + order.seconds, scope))

        self._does("stopper", act)

    def _lift(self, entry: tuple[float, Scope]) -> None:
        self._lifts.remove(entry)

        def act(desk: KillDesk) -> None:
            try:
                desk.lift(entry[1], "acme")
            except NotFound:
                self._world.note(f"{entry[1]} is not stopped any more")
            except BaseException:
                self._lifts.append((self._world.now + AGAIN, entry[1]))
                raise

        self._does("lifter", act)

    def _does(self, name: str, act: Callable[[KillDesk], None]) -> None:
        self._simulation.moves += 1

        def activity() -> None:
            try:
                act(KillDesk(self.store, CATALOG, self._world.clock))
            except (Killed, Exception) as error:
                self._world.note(f"the {name} broke off: {error!r}")

        self._world.start(Actor(name), activity)

    # What is judged.

    def _is_known(self, pool: str, moment: float) -> bool:
        """Is this pool's work stopped, and did every environment know so at that moment?"""
        return self.book.holds(pool, moment - FRESH.total_seconds())

    def starting(self, context: TaskContext) -> None:
        """A task is about to run."""
        me: Any = self._world.current
        if self.is_on and self._is_known(me.pool, me.started_at):
            self._world.violate(f"task {context.task_id} of {context.goal_id} runs, although {me.pool} is stopped")

    def going_on(self, context: TaskContext) -> None:
        """A task that is under way asks whether it may go on. Raises Stopped, GoalEnded."""
        if not self.is_on:
            return
        me: Any = self._world.current
        was_known = self._is_known(me.pool, self._world.now)
        context.raise_if_stopped()
        if was_known and self._is_known(me.pool, self._world.now):
            self._world.violate(f"task {context.task_id} of {context.goal_id} goes on, although {me.pool} is stopped")

    def sending(self, messages: Sequence[TaskMessage]) -> None:
        """Messages are about to be sent: what goes round does so at the expense of nobody's attempts."""
        from tests.simulation.simulate import Environment

        me = self._world.current
        for message in messages if self.is_on else ():
            self._sent.add((message.goal_id, message.unit))
            if isinstance(me, Environment) and message.postponed + message.failed:
                may = [(pointer.failed, receives - 1 + pointer.spent) for pointer, receives in _received(me, message)]
                if not self._is_known(me.pool, me.started_at):
                    may += [(failed + 1, spent + 1) for failed, spent in may]
                if (message.failed, message.spent) not in may:
                    self._world.violate(
                        f"unit {message.unit} of {message.goal_id} is sent again as failed {message.failed} times in "
                        f"{message.spent} attempts, not {may}"
                    )

    def returning(self, environment: "Environment", returned: set[str], faults: int) -> None:
        """An invocation has ended and leaves these messages to be received again, which counts as an attempt of their tasks.

        `faults` is how many had struck when it began: with one of them a queue may have refused what was to go round.
        """
        if not self.is_on or len(self._world.faults) > faults:
            return
        if self._is_known(environment.pool, environment.started_at):
            for identity, _, body, _ in environment.taken:
                if identity in returned and _pointer(body):
                    self._world.violate(f"{body} is given back, although {environment.pool} is stopped")

    def healing(self, message: TaskMessage, began: float) -> None:
        """The healer, in a run that began then, is about to send a message."""
        if self.is_on and (message.goal_id, message.unit) in self._sent and self._is_known(message.pool, began):
            self._world.violate(
                f"the healer sends unit {message.unit} of {message.goal_id} again to {message.pool}, which is stopped"
            )

    def check(self) -> None:
        """What was stopped goes on in the end."""
        for one in self.book.diary:
            if one.until == FOR_EVER:
                self._world.violate(f"{one.scope} is still stopped")


def _pointer(body: Any) -> TaskPointer | None:
    try:
        return read_task(body)
    except BadMessage:
        return None  # a saga's


def _received(environment: "Environment", message: TaskMessage) -> list[tuple[TaskPointer, int]]:
    """What an environment is at that is about the same unit, and how often each was received."""
    pointers = [(_pointer(body), receives) for _, _, body, receives in environment.taken]
    return [(one, receives) for one, receives in pointers if one and (one.goal_id, one.unit) == (message.goal_id, message.unit)]

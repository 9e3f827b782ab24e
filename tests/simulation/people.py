"""The people of a run: they cancel, pause, resume and approve, and see to goals that even the healer gave up."""

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from agentfleet.domain.approval import Approval, Decision
from agentfleet.domain.errors import IllegalTransition
from tests.simulation.scenario import GoalCase
from tests.simulation.work import TENANT
from tests.simulation.world import Actor, Killed

if TYPE_CHECKING:
    from tests.simulation.simulate import Simulation

SEEN: Final = 120.0
"""Seconds until somebody sees to a goal that was left to a person."""
IN_HAND: Final = float("inf")
AGAIN: Final = 5.0
"""Seconds until somebody who was not heard tries again."""


class People:
    """All who take a hand in goals."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._world = simulation.world
        self.cancelled: dict[str, str] = {}
        """Goal id → "asked", "yes" (a cancellation was confirmed) or "late" (it was refused: the goal had ended)."""
        self._cancels: list[tuple[int, str]] = []
        """(step, goal id)."""
        self._pauses: list[tuple[int, str, float]] = []
        """(step, goal id, seconds until it is to go on)."""
        self._resumes: dict[str, float] = {}
        """Goal id → when somebody lets it go on."""
        self._desk = simulation.platform.governance().approvals
        self._is_asked = simulation.scenario.asks
        self._decided: set[tuple[str, int]] = set()
        """(goal, unit) of what somebody decides about now, or has."""
        self._parked: dict[str, float] = {}
        """Goals that are left to a person, and since when."""

    def expect(self, goal_id: str, case: GoalCase) -> None:
        """A goal is going to be submitted."""
        if case.cancel_at is not None:
            self._cancels.append((case.cancel_at, goal_id))
        self._pauses.extend((step, goal_id, seconds) for step, seconds in case.pauses)

    def startable(self) -> list[Callable[[], None]]:
        """What can begin now."""
        now, steps = self._world.now, self._world.steps
        found: list[Callable[[], None]] = [partial(self._cancel, one) for one in self._cancels if steps >= one[0]]
        found.extend(partial(self._pause, one) for one in self._pauses if steps >= one[0])
        found.extend(partial(self._resume, one) for one, due in self._resumes.items() if now >= due)
        if self._is_asked:
            waiting = self._simulation.approvals.waiting(TENANT, 1000, None).items
            found.extend(partial(self._decide, one) for one in waiting if (one.goal_id, one.unit) not in self._decided)
        found.extend(partial(self._unpark, one) for one, since in self._left().items() if now >= since + SEEN)
        return found

    def upcoming(self) -> float | None:
        """When somebody does something by himself."""
        return min([*self._resumes.values(), *(since + SEEN for since in self._left().values())], default=None)

    def _does(self, name: str, act: Callable[[], None], what: str) -> None:
        self._simulation.moves += 1

        def activity() -> None:
            try:
                act()
            except (Killed, Exception) as error:
                self._world.note(f"{what} broke off: {error!r}")

        self._world.start(Actor(name), activity)

    def _cancel(self, entry: tuple[int, str]) -> None:
        self._cancels.remove(entry)
        goal_id = entry[1]

        def act() -> None:
            self.cancelled.setdefault(goal_id, "asked")
            try:
                goal = self._simulation.watched_goals.get([goal_id]).get(goal_id)
                if goal is None:
                    self._world.note("nothing to cancel yet")
                    return
                self._simulation.platform.finisher.cancel(goal)
                self.cancelled[goal_id] = "yes"
            except IllegalTransition:
                if self.cancelled[goal_id] != "yes":
                    self.cancelled[goal_id] = "late"

        self._does("user", act, "cancelling")

    def _pause(self, entry: tuple[int, str, float]) -> None:
        """Whether or not he was heard, he lets it go on later."""
        self._pauses.remove(entry)
        _, goal_id, seconds = entry
        if goal_id not in self._simulation.goals.goals:
            return

        def act() -> None:
            try:
                self._simulation.platform.control.pause(goal_id, TENANT)
            finally:
                self._resumes[goal_id] = self._world.now + seconds

        self._does("pauser", act, "pausing")

    def _resume(self, goal_id: str) -> None:
        """Until he is sure to have been heard, or it is over."""
        self._resumes[goal_id] = IN_HAND

        def act() -> None:
            try:
                self._simulation.platform.control.resume(goal_id, TENANT)
            except IllegalTransition:
                self._world.note(f"goal {goal_id} does not go on any more")
            except BaseException:
                self._resumes[goal_id] = self._world.now + AGAIN
                raise
            if self._resumes[goal_id] == IN_HAND:  # else it was paused again meanwhile
                del self._resumes[goal_id]

        self._does("resumer", act, "resuming")

    def _decide(self, request: Approval) -> None:
        """As the task's input says. Whoever can't be sure to have been heard says it again."""
        self._decided.add((request.goal_id, request.unit))
        decision = Decision.APPROVED if json.loads(request.input)["ask"] == "yes" else Decision.REJECTED

        def act() -> None:
            while True:
                try:
                    self._desk.decide(TENANT, request.ref, decision, "as told")
                except IllegalTransition:
                    self._world.note(f"{request.ref} needs no decision any more")
                except (Killed, Exception) as error:
                    self._world.note(f"deciding about {request.ref} broke off: {error!r}")
                    self._world.current.is_dead = False
                    continue
                return

        self._does("approver", act, "deciding")

    def _left(self) -> dict[str, float]:
        parked = self._simulation.goals.parked
        if parked or self._parked:
            self._parked = {name: self._parked.get(name, self._world.now) for name in sorted(parked)}
        return self._parked

    def _unpark(self, goal_id: str) -> None:
        self._parked[goal_id] = self._world.now
        self._does("person", lambda: _ignore(self._simulation.platform.saga.resume(goal_id, TENANT)), "going on with undoing")


def _ignore(_: object) -> None:
    """What the services answer is looked up in the tables."""

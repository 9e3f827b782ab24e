"""Bugs in forking goals."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from agentfleet.domain.goal import Goal
from agentfleet.domain.plan import CompiledPlan
from agentfleet.domain.result import Result
from agentfleet.services import control
from agentfleet.services.control import Controller
from agentfleet.services.saga import Saga
from tests.simulation.mutants.mutant import Mutant

_kept = Controller._kept
_copy = Controller._copy
_start = Controller._start


def _forget_one(self: Controller, source: Goal, fork_id: str, units: Sequence[int]) -> dict[int, Result]:
    return _copy(self, source, fork_id, units[:-1])


def _start_over(self: Controller, fork: Goal, plan: CompiledPlan, done: Mapping[int, Result], *, ended: bool) -> Goal:
    """Copies what is kept, and sends it too."""
    return _start(self, fork, plan, {}, ended=ended)


def _copy_by_another_hand(self: Controller, source: Goal, fork_id: str, units: Sequence[int]) -> dict[int, Result]:
    found = self._results.get(source.id, source.shards, units)
    copies = [replace(one, goal_id=fork_id, agent="fork", attempt=1) for one in found.values()]
    return {one.unit: one for one in self._results.put(source.shards, copies)}


def _keep_what_is_asked_for(self: Controller, source: Goal, plan: CompiledPlan, keep: Any, changed: Any) -> list[int]:
    """Whatever of it came before, or was changed."""
    units = [unit.number for unit in plan.units if all(control._is_named(task.id, keep) for task in unit.tasks)]
    found = self._results.get(source.id, source.shards, units, outputs=False)
    return [number for number, one in sorted(found.items()) if control._is_good(one)]


FORKS: Final = (
    Mutant("a fork forgets a kept result", Controller, "_copy", _forget_one),
    Mutant("a fork runs what was kept again", Controller, "_start", _start_over),
    Mutant("a fork keeps another result than there was", Controller, "_copy", _copy_by_another_hand),
    Mutant("a fork keeps what follows from what runs again", Controller, "_kept", _keep_what_is_asked_for),
    Mutant("a fork keeps failures", control, "_is_good", lambda result: True, first=303),
    Mutant("a fork keeps what was undone", Controller, "_is_taken_back", lambda self, unit, result: False, first=47),
    Mutant("a fork undoes what it kept", Saga, "_done_here", lambda self, goal, units: units, first=67),
    Mutant("a fork changes nothing", control, "_changed", lambda plan, changes: plan),
)

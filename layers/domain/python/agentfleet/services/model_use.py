"""Keep account of what goals use of language models, whether or not a budget limits it."""

import logging
from collections.abc import Sequence
from threading import Lock
from typing import Final

from agentfleet.domain.model_use import ModelUse
from agentfleet.ports import GoalStore
from agentfleet.ports_model import Purpose, UseStore

KNOWN: Final = 1000

_log: Final = logging.getLogger(__name__)


class LocalUses:
    """A UseStore in this process's memory."""

    def __init__(self) -> None:
        self._uses: dict[str, dict[str, ModelUse]] = {}
        self._mutex = Lock()

    def add(self, goals: Sequence[str], use: ModelUse) -> None:
        """Count calls of a model for each of these goals."""
        with self._mutex:
            for goal in goals:
                known = self._uses.setdefault(goal, {})
                known[use.model] = known.get(use.model, ModelUse(use.model)) + use

    def read(self, goal: str) -> Sequence[ModelUse]:
        """What a goal has used, a row per model by name."""
        with self._mutex:
            return [use for _, use in sorted(self._uses.get(goal, {}).items())]


class UseRecorder:
    """Counts every call for the goal that it was made for and for all goals that this one is part of.

    `UseRecorder(store, goals)`; calling it never raises: a call that was made is not undone because it can't be counted.
    """

    def __init__(self, store: UseStore, goals: GoalStore) -> None:
        self._store = store
        self._goals = goals
        self._above: dict[str, tuple[str, ...]] = {}
        self._mutex = Lock()

    def __call__(self, purpose: Purpose, use: ModelUse) -> None:
        """Count this use."""
        try:
            self._store.add((purpose.goal_id, *self._ancestors(purpose.goal_id)), use)
        except Exception as error:
            _log.warning("what task %s/%s used is not counted: %r", purpose.goal_id, purpose.task_id, error)

    def _ancestors(self, goal_id: str) -> tuple[str, ...]:
        """The goals above one, which never change."""
        with self._mutex:
            known = self._above.get(goal_id)
        if known is None:
            goal = self._goals.get([goal_id])[goal_id]
            known = goal.parent.ancestors if goal.parent else ()
            with self._mutex:
                if len(self._above) >= KNOWN:
                    self._above.clear()
                self._above[goal_id] = known
        return known

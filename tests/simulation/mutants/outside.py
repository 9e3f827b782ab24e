"""Bugs in what the services stand on: adapters that do less than the ports promise."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from agentfleet.domain.goal import Goal
from agentfleet.domain.result import Claim, Result
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.tables import Claims, Goals, Joins, Results

_add = Joins.add
_claim = Claims.claim


def _overwrite(self: Results, result: Result) -> Result:
    self.results[result.goal_id, result.unit] = result
    return result


def _count(self: Joins, goal_id: str, shards: int, join: int, slots: Sequence[int]) -> int:
    members = self.joins.setdefault((goal_id, join), set())
    for slot in slots:
        members.add(slot if slot not in members else 1000 + len(members))
    return len(members)


def _always_full(self: Joins, goal_id: str, shards: int, join: int, slots: Sequence[int]) -> int:
    _add(self, goal_id, shards, join, slots)
    return 1 << 20


def _never_refuse(self: Claims, goal_id: str, shards: int, unit: int, owner: str, now: datetime, lease: timedelta) -> Any:
    held = self.claims.pop((goal_id, unit), None)
    taken = Claim(goal_id, unit, owner, (held.fence if held else 0) + 1, now + lease)
    self.claims[goal_id, unit] = taken
    self.granted[goal_id, unit, taken.fence] = taken
    return taken


def _one_fence(self: Claims, goal_id: str, shards: int, unit: int, owner: str, now: datetime, lease: timedelta) -> Any:
    self.claims.pop((goal_id, unit), None) if (goal_id, unit) in self.claims else None
    return _claim(self, goal_id, shards, unit, owner, now, lease)


def _any_state(current: Goal, before: Goal) -> bool:
    return True


OUTSIDE: Final = (
    Mutant("a later result replaces the first", Results, "store", _overwrite),
    Mutant("joins count instead of uniting", Joins, "add", _count),
    Mutant("joins are never too small", Joins, "add", _always_full),
    Mutant("claims are never refused", Claims, "claim", _never_refuse, first=165),
    Mutant("every claim has the same fence", Claims, "claim", _one_fence),
    Mutant("goals are replaced whatever their state", Goals, "matches", staticmethod(_any_state)),
)

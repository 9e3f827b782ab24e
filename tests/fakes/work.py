"""The work table in memory: goals, plans, results, joins, claims; the same conditions and errors as the real one.

What is stored goes through the JSON codec, so that a value which the real store would refuse (NaN) is refused here, and one
that it would change (a tuple) comes back changed.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from msgspec.structs import replace

from agentfleet.adapters.cursor import from_cursor, to_cursor
from agentfleet.domain.codec import EncodedPlan, SegmentedPlan, dumps
from agentfleet.domain.errors import NotFound
from agentfleet.domain.goal import Goal, GoalState, Width
from agentfleet.domain.healing import Finished
from agentfleet.domain.result import Claim, Result, TaskState
from agentfleet.ports import Page

LARGE_OUTPUT_BYTES = 4096
"""As `agentfleet.adapters.outputs.INLINE_BYTES`, which a contract test holds equal."""


def through_json(value: Any) -> Any:
    """What a JSON store gives back for a value. Raises ValueError or TypeError for what isn't JSON."""
    return json.loads(dumps(value))


class FakeGoals:
    """A GoalStore."""

    def __init__(self) -> None:
        self.goals: dict[str, Goal] = {}
        self._lock = Lock()

    def create(self, goal: Goal) -> bool:
        stored = self._stored(goal)
        with self._lock:
            return self.goals.setdefault(goal.id, stored) is stored

    def get(self, goal_ids: Sequence[str]) -> dict[str, Goal]:
        return {goal_id: self._stored(self.goals[goal_id]) for goal_id in goal_ids if goal_id in self.goals}

    def replace(self, before: Goal, after: Goal) -> bool:
        stored = self._stored(after)
        with self._lock:
            current = self.goals.get(before.id)
            if current is None or current.state != before.state:
                return False
            self.goals[before.id] = stored
            return True

    def list(self, tenant: str, state: GoalState | None, limit: int, cursor: str | None) -> Page[Goal]:
        start = from_cursor(cursor) if cursor is not None else None
        rows = sorted(
            ((f"{goal.created.isoformat(timespec='microseconds')}#{goal.id}", goal) for goal in list(self.goals.values())),
            key=lambda row: row[0],
            reverse=True,
        )
        found = [
            (listed, replace(goal, output=None))
            for listed, goal in rows
            if goal.tenant == tenant
            and goal.parent is None
            and (state is None or goal.state == state)
            and (start is None or listed < start)
        ]
        page = found[:limit]
        more = len(found) > limit
        return Page(tuple(goal for _, goal in page), to_cursor(page[-1][0]) if more else None)

    def alive(self, tenant: str, limit: int) -> Sequence[Width]:
        mine = [goal for goal in self.goals.values() if goal.tenant == tenant and not goal.parent and goal.state.is_alive]
        found = sorted(mine, key=lambda goal: (goal.created, goal.id), reverse=True)[:limit]
        return [Width(goal.id, goal.tasks) for goal in found]

    def living(self, limit: int, cursor: str | None) -> Page[str]:
        found = sorted(name for name, goal in self.goals.items() if not goal.state.is_final and name > (cursor or ""))
        return Page(tuple(found[:limit]), found[limit - 1] if len(found) > limit else None)

    @staticmethod
    def _stored(goal: Goal) -> Goal:
        return replace(goal, output=through_json(goal.output), labels=dict(goal.labels), counts=dict(goal.counts))


class FakePlans:
    """A PlanStore. `reads` counts how often each goal's parts were fetched."""

    def __init__(self) -> None:
        self.plans: dict[str, EncodedPlan] = {}
        self.reads: Counter[str] = Counter()
        self._readers: dict[str, SegmentedPlan] = {}
        self._lock = Lock()

    def put(self, goal_id: str, plan: EncodedPlan) -> bool:
        with self._lock:
            is_first = goal_id not in self.plans
            self.plans.setdefault(goal_id, plan)
        return is_first

    def read(self, goal_id: str) -> SegmentedPlan:
        plan = self.plans.get(goal_id)
        if plan is None:
            raise NotFound(f"there is no plan of goal {goal_id}")

        def fetch(part: str) -> bytes:
            self.reads[goal_id] += 1
            return plan.parts[part]

        if goal_id not in self._readers:
            self._readers[goal_id] = SegmentedPlan(fetch)
        return self._readers[goal_id]


class FakeResults:
    """A ResultStore."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, int], Result] = {}
        self._lock = Lock()

    def put(self, shards: int, results: Sequence[Result]) -> Sequence[Result]:
        standing = []
        for result in results:
            stored = self._stored(result)
            with self._lock:
                first = self.results.setdefault((result.goal_id, result.unit), stored)
            standing.append(result if first is stored else self._stored(first))
        return standing

    def get(self, goal_id: str, shards: int, units: Iterable[int], *, outputs: bool = True) -> dict[int, Result]:
        found = {unit: self.results[goal_id, unit] for unit in dict.fromkeys(units) if (goal_id, unit) in self.results}
        return {
            unit: self._stored(result) if outputs or not self._is_large(result) else _bare(result)
            for unit, result in found.items()
        }

    def tally(self, goal_id: str, shards: int) -> dict[TaskState, int]:
        mine = [result for (goal, _), result in list(self.results.items()) if goal == goal_id]
        return dict(Counter(outcome.state for result in mine for outcome in result.outcomes))

    def finished(self, goal_id: str, shards: int) -> dict[int, Finished]:
        return {
            unit: Finished(
                result.started + timedelta(seconds=result.duration),
                any(outcome.state is TaskState.FAILED for outcome in result.outcomes),
            )
            for (goal, unit), result in list(self.results.items())
            if goal == goal_id
        }

    @staticmethod
    def _stored(result: Result) -> Result:
        return replace(result, outcomes=tuple(replace(one, output=through_json(one.output)) for one in result.outcomes))

    @staticmethod
    def _is_large(result: Result) -> bool:
        return len(dumps([outcome.output for outcome in result.outcomes]).encode()) > LARGE_OUTPUT_BYTES


def _bare(result: Result) -> Result:
    return replace(result, outcomes=tuple(replace(outcome, output=None) for outcome in result.outcomes))


class FakeJoins:
    """A JoinStore."""

    def __init__(self) -> None:
        self.joins: dict[tuple[str, int], set[int]] = {}
        self._lock = Lock()

    def add(self, goal_id: str, shards: int, join: int, slots: Sequence[int]) -> int:
        if not slots:
            raise ValueError("a join needs at least one slot to add")
        with self._lock:
            members = self.joins.setdefault((goal_id, join), set())
            members.update(slots)
            return len(members)


class FakeClaims:
    """A ClaimStore."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, int], Claim] = {}
        self._lock = Lock()

    def claim(self, goal_id: str, shards: int, unit: int, owner: str, now: datetime, lease: timedelta) -> Claim | None:
        with self._lock:
            held = self.claims.get((goal_id, unit))
            if held is not None and held.owner != owner and held.until > now:
                return None
            taken = Claim(goal_id, unit, owner, (held.fence if held else 0) + 1, now + lease)
            self.claims[goal_id, unit] = taken
            return taken

    def release(self, claim: Claim, shards: int, now: datetime) -> None:
        with self._lock:
            held = self.claims.get((claim.goal_id, claim.unit))
            if held is not None and held.fence == claim.fence:
                self.claims[claim.goal_id, claim.unit] = replace(held, until=now)

    def held(self, goal_id: str, shards: int, units: Iterable[int]) -> dict[int, Claim]:
        return {unit: self.claims[goal_id, unit] for unit in units if (goal_id, unit) in self.claims}

    def claim_each(
        self, goal_id: str, shards: int, units: Iterable[int], owner: str, now: datetime, lease: timedelta
    ) -> dict[int, Claim]:
        taken = [self.claim(goal_id, shards, unit, owner, now, lease) for unit in units]
        return {claim.unit: claim for claim in taken if claim}

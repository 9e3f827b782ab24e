"""Remember what became of goals that were asked for in words: events of their ends, from the bus by a queue."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agentfleet.domain import ids
from agentfleet.domain.budget import NANODOLLARS
from agentfleet.domain.codec import dumps
from agentfleet.domain.episode import (
    MOST_EPISODES,
    MOST_PLAN_BYTES,
    MOST_PLAN_TASKS,
    EpisodeHead,
    Measured,
    dollars_of,
    plan_as_written,
    summed,
)
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.messages import BadMessage
from agentfleet.domain.result import Result, TaskState
from agentfleet.ports import GoalStore, PlanStore, ResultStore
from agentfleet.ports_governance import BudgetStore
from agentfleet.ports_memory import EpisodeStore
from agentfleet.services.finish import EVENTS

OUTCOMES: Final = (EVENTS[GoalState.SUCCEEDED], EVENTS[GoalState.FAILED])
"""What is worth remembering: a goal that somebody cancelled says nothing about its plan."""
MOST_UNITS: Final = 1_000
"""Measured of one goal and of what it delegated."""
PART: Final = 100


class Rememberer:
    """Keeps episodes and sums: `Rememberer(goals, plans, results, budgets, episodes)`."""

    def __init__(
        self, goals: GoalStore, plans: PlanStore, results: ResultStore, budgets: BudgetStore, episodes: EpisodeStore
    ) -> None:
        self._goals = goals
        self._plans = plans
        self._results = results
        self._budgets = budgets
        self._episodes = episodes

    def __call__(self, body: str) -> EpisodeHead | None:
        """Remember the goal of one event (EventBridge's JSON), once however often the event comes.

        None if there is nothing to remember: no words, no plan that came of them, a goal that is gone or was remembered. What
        counts is the goal, not what the event says of it. Raises BadMessage for what isn't such an event.
        """
        goal = self._goal(_goal_id(body))
        if goal is None or not goal.words or goal.state not in {GoalState.SUCCEEDED, GoalState.FAILED}:
            return None
        planned = self._planned(goal)
        if planned is None:
            return None
        measured = list(self._measure(planned))
        head = self._head(goal, planned, measured)
        plan = self._plan(planned)
        if not self._episodes.keep(goal.tenant, head, plan, summed(measured)):
            return None
        self._episodes.drop_episodes(goal.tenant, self._episodes.heads(goal.tenant)[MOST_EPISODES:])
        return head

    def _goal(self, goal_id: str) -> Goal | None:
        return self._goals.get([goal_id]).get(goal_id)

    def _planned(self, goal: Goal) -> Goal | None:
        """The goal that carries out the plan that was made; none if the planner never came to one."""
        return self._goal(ids.child_goal_id(goal.id, 0, 0))

    def _head(self, goal: Goal, planned: Goal, measured: Sequence[tuple[str, Measured]]) -> EpisodeHead:
        """Dollars: what the goal's account says was spent, failed attempts included; without one what its outputs name."""
        account = f"goal {goal.id}"
        spent = self._budgets.read([account]).get(account) if goal.budget and goal.budget.limits else None
        named = sum(one.nanodollars for _, one in measured)
        return EpisodeHead(
            goal_id=goal.id,
            goal=goal.words,
            succeeded=goal.state is GoalState.SUCCEEDED,
            seconds=goal.duration or 0.0,
            dollars=max(named, spent.spent.nanodollars if spent else 0) / NANODOLLARS,
            when=goal.finished or goal.created,
            tasks=planned.tasks,
        )

    def _plan(self, planned: Goal) -> dict[str, Any] | None:
        """The plan as an example; None if it is too large to be one."""
        if planned.tasks > MOST_PLAN_TASKS:
            return None
        written = plan_as_written(self._plans.read(planned.id).whole())
        return written if len(dumps(written).encode()) <= MOST_PLAN_BYTES else None

    def _measure(self, planned: Goal) -> Iterator[tuple[str, Measured]]:
        """(capability, what it took) of every task that succeeded, and of those that it delegated.

        A task that delegated took as long as its sub-plan; what that cost is counted where it was spent.
        """
        left, goals = MOST_UNITS, deque([planned])
        while goals and left:
            goal = goals.popleft()
            plan = self._plans.read(goal.id)
            units = range(min(plan.header.units, left))
            left -= len(units)
            for start in range(0, len(units), PART):
                part = units[start : start + PART]
                for result in self._results.get(goal.id, goal.shards, part).values():
                    yield from _took(plan.unit(result.unit).capability, result)
                goals.extend(self._children(goal, part))

    def _children(self, goal: Goal, units: Sequence[int]) -> list[Goal]:
        """The goals that carry out what these units delegated."""
        return list(self._goals.get([ids.child_goal_id(goal.id, number, 0) for number in units]).values())


def _took(capability: str, result: Result) -> Iterator[tuple[str, Measured]]:
    delegated = result.agent == f"goal:{ids.child_goal_id(result.goal_id, result.unit, 0)}"
    for outcome in result.outcomes:
        if outcome.state is TaskState.SUCCEEDED:
            dollars = 0.0 if delegated else dollars_of(outcome.output)
            yield capability, Measured.of(result.duration / len(result.outcomes), dollars)


def _goal_id(body: str) -> str:
    try:
        event = json.loads(body)
    except ValueError as error:
        raise BadMessage(f"not JSON: {body[:200]}") from error
    match event:
        case {"detail-type": str(kind), "detail": {"goal": str(goal_id)}} if kind in OUTCOMES and goal_id:
            return goal_id
    raise BadMessage(f"not an event of a goal's end ({', '.join(OUTCOMES)}): {body[:200]}")

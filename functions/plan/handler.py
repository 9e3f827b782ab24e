"""Plans: for goals in words, and for tasks that failed. With a language model where there is one, by rules where there is none.

Settings of the pool: `without_undo` and `hidden` (lists of capabilities, names or patterns), `max_tasks` (of a model's plan,
default 8), `allowance` (how many times its estimate a plan may use up, default 10; 0: as much as its goal), `repair` (rules for
`plan.repair`).
"""

from agentfleet.agent import Agent, PermanentError, RetryableError, SubPlan, TaskContext
from agentfleet.bootstrap import planner

import asyncio
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

agent = Agent("plan")

MOST_TASKS: Final = 8
"""Of a model's plan, unless the pool's settings or the task say otherwise."""


class Strict(BaseModel):
    """An input: a field that it does not know is a mistake, said at once."""

    model_config = ConfigDict(extra="forbid", defer_build=True)  # built when first used: few tasks use all of them


class MakeInput(Strict):
    """What is wanted, in words."""

    goal: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]
    dry_run: bool = False
    """Give the plan and what it will take, and don't run it."""
    max_tasks: int | None = Field(default=None, ge=1, le=20)
    """Of a plan that a model makes."""


class Alternative(Strict):
    """Another way."""

    capability: str = Field(min_length=1)
    input: dict[str, Any] = Field(default_factory=dict)
    """What differs from the failed task's input."""


class FailedTask(Strict):
    """What failed for good, and why."""

    task: str
    capability: str
    input: dict[str, Any]
    error: str
    message: str
    attempts: int
    alternatives: list[Alternative] = Field(default_factory=list)


class RepairInput(Strict):
    """What a planner is asked when a task with `on_failure = "replan"` has failed."""

    failed: FailedTask


@agent.capability("plan.make", idempotent=True, timeout=280)
async def make(input: MakeInput, context: TaskContext) -> SubPlan | dict[str, Any]:
    """Plan what a goal in words asks for, and carry the plan out; or only show it with what it will take.

    With `dry_run` gives a Draft (agentfleet.services.planning_views). Raises PermanentError if it can't be planned, PlanTooDear
    if it may cost more than the budget has left.
    """
    from agentfleet.services.planner import PlanTooDear, afford  # noqa: PLC0415 - what plans is loaded by the first task
    from agentfleet.services.planning_views import Draft  # noqa: PLC0415

    most = input.max_tasks or int(context.settings.get("max_tasks", MOST_TASKS))
    planned = await planner().make(input.goal, context, most)
    left = await asyncio.to_thread(context.budget.left)
    dear, budget = afford(planned, left), planner().allowance(planned, left, context)
    draft = Draft.of(input.goal, planned, dear, budget)
    if input.dry_run:
        return draft.model_dump(mode="json")
    if dear:
        raise PlanTooDear(dear)
    body = draft.model_dump_json().encode()
    await asyncio.to_thread(context.blobs.put, "plan.json", body, "application/json")
    return SubPlan(tasks=draft.plan["tasks"], output=draft.plan.get("output"), budget=budget)


@agent.capability("plan.repair", idempotent=True, timeout=280)
async def repair(input: RepairInput, context: TaskContext) -> SubPlan:
    """Find another way to do a failed task: its own alternatives, then the pool's rules, then a model's plan.

    A rule in the settings is `[[pools.plan.settings.repair]]` with `capability` (a glob), optionally `error` (a glob of the
    error's name), and `use`: a list of alternatives. What has failed is not tried again.

    Raises PermanentError if nothing helps.
    """
    failed = input.failed
    ways = [*failed.alternatives, *_ruled(failed, context.settings.get("repair", []))]
    if not ways:
        return await _by_model(failed, context)
    way, *rest = ways
    task = {
        "id": failed.task,
        "capability": way.capability,
        "input": {**failed.input, **way.input},
        "alternatives": [one.model_dump() for one in rest],
        "on_failure": "replan" if rest else "fail",
    }
    return SubPlan(tasks=[task], output={"$from": failed.task})


def _ruled(failed: FailedTask, rules: list[dict[str, Any]]) -> Iterator[Alternative]:
    """What the pool's rules offer for this failure, without what the task names itself."""
    known = {failed.capability, *(one.capability for one in failed.alternatives)}
    for rule in rules:
        if fnmatchcase(failed.capability, rule["capability"]) and fnmatchcase(failed.error, rule.get("error", "*")):
            yield from (way for one in rule["use"] if (way := Alternative.model_validate(one)).capability not in known)


async def _by_model(failed: FailedTask, context: TaskContext) -> SubPlan:
    said = f"no other way is known to do {failed.capability}, which failed: {failed.error}: {failed.message}"
    if context.models is None:
        raise PermanentError(said)
    from agentfleet.services.planner import PlanTooDear, afford  # noqa: PLC0415

    try:
        planned = await planner().mend(failed.model_dump(exclude={"alternatives"}), context)
    except RetryableError:
        raise
    except PermanentError as error:
        raise PermanentError(f"{said}; a model found none either: {error}") from error
    left = await asyncio.to_thread(context.budget.left)
    if dear := afford(planned, left):
        raise PlanTooDear(f"{said}; a model found one, but {dear}")
    plan = planned.plan_json
    budget = planner().allowance(planned, left, context)
    return SubPlan(tasks=plan["tasks"], output=plan.get("output"), budget=budget)

"""Goals, results and plans to store."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier
from typing import Any, TypeVar

from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.plan import CompiledPlan
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from agentfleet.domain.task import PlanSpec
from tests.fakes import START

T = TypeVar("T")
AWKWARD = {"text": "Grüße 🚀 'quoted' \"twice\" \\ \u2028 ? {}", "": [], "deep": [{"a": [None, True, 1, -0.5, 1e300]}]}
"""JSON that clumsy storage would change."""


def goal(goal_id: str, tenant: str = "acme", created: datetime = START, **changes: Any) -> Goal:
    """A goal that has just been accepted."""
    base: dict[str, Any] = {"name": "a goal", "state": GoalState.PLANNING, "tasks": 3, "shards": 1}
    return Goal(id=goal_id, tenant=tenant, created=created, **base | changes)


def succeeded(*outputs: Any) -> tuple[TaskOutcome, ...]:
    """Outcomes of a unit whose tasks all succeeded."""
    return tuple(TaskOutcome(TaskState.SUCCEEDED, output) for output in outputs)


def result(goal_id: str, unit: int, *outputs: Any, **changes: Any) -> Result:
    """A unit's result: success with these outputs (one null output if none is given)."""
    base: dict[str, Any] = {"agent": "data-1", "started": START, "duration": 0.25}
    return Result(goal_id, unit, changes.pop("outcomes", None) or succeeded(*(outputs or (None,))), **base | changes)


def compiled(tasks: int, text: str = "") -> CompiledPlan:
    """A plan of a first task, `tasks` in parallel and a last one; each input holds a number and some text."""
    capability = CapabilitySpec(name="data.do", pool="data", idempotent=True)
    catalog = Catalog(fleet="contract", pools={"data": PoolSpec(name="data", capabilities=(capability,))})
    middle = [
        {"id": f"t.{n}", "capability": "data.do", "input": {"n": n, "text": text}, "depends_on": ["first"]}
        for n in range(tasks)
    ]
    first = {"id": "first", "capability": "data.do"}
    last = {"id": "last", "capability": "data.do", "depends_on": ["t.*"]}
    return compile_plan(PlanSpec.model_validate({"tasks": [first, *middle, last]}), catalog)


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at the same moment, each in a thread of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(timeout=10)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))

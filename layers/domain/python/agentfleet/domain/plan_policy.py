"""What a planner may plan, whoever made the plan: allowed capabilities, and a way back from every side effect.

These are decisions over a finished plan. What a goal, a document or a model says changes nothing about them.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain import references
from agentfleet.domain.catalog import CapabilitySpec, Catalog
from agentfleet.domain.errors import Problem
from agentfleet.domain.task import Compensation, PlanSpec, TaskSpec
from agentfleet.domain.tool_policy import ToolPolicy

PLANNERS: Final = ("plan.make", "plan.repair")
"""Never part of a plan: a plan that plans would have no end that anybody could see."""
DELEGATES: Final = "capability"
"""The input field by which a task names what other tasks shall do, as `flow.map` does."""


class PlanPolicy(Struct, frozen=True):
    """What plans may hold."""

    tools: ToolPolicy
    """Of the planner's pool: the capabilities that it may plan with."""
    without_undo: tuple[str, ...] = ()
    """Names and patterns of capabilities with side effects that may be planned without a compensation."""

    def plannable(self, catalog: Catalog) -> dict[str, CapabilitySpec]:
        """What may be planned, by name."""
        return {
            name: specs[0]
            for name, specs in catalog.capabilities.items()
            if name not in PLANNERS and self.tools.allows(name) and self._needs(specs[0], catalog) is None
        }

    def problems(self, plan: PlanSpec, catalog: Catalog) -> Iterator[Problem]:
        """Everything in a plan that is not allowed. Unknown capabilities are left to compile_plan."""
        for task in plan.tasks:
            where = f"tasks[{task.id}]"
            undo = task.compensation.capability if task.compensation else None
            yield from self._use_problems(task.capability, f"{where}.capability", catalog, task.input, undo)
            if undo and undo not in {spec.undone_by for spec in catalog.capabilities.get(task.capability, ())}:
                yield from self._allowed_problems(undo, f"{where}.compensation.capability")
            for place, other in enumerate(task.alternatives):
                field = f"{where}.alternatives[{place}]"
                yield from self._use_problems(other.capability, f"{field}.capability", catalog, None, None)
                yield from self._delegation_problems({**task.input, **other.input}, f"{field}.input", catalog)
            yield from self._delegation_problems(task.input, f"{where}.input", catalog)

    def _allowed_problems(self, name: str, where: str) -> Iterator[Problem]:
        if name in PLANNERS:
            yield Problem(where, f"{name} can't be part of a plan")
        elif not self.tools.allows(name):
            listed = ", ".join(self.tools.allowed) or "none"
            yield Problem(where, f"plans may not hold {name!r}; allowed are {listed}")

    def _use_problems(
        self, name: str, where: str, catalog: Catalog, given: Mapping[str, Any] | None, undo: str | None
    ) -> Iterator[Problem]:
        yield from self._allowed_problems(name, where)
        specs = catalog.capabilities.get(name, ())
        if undo is None and specs and (why := self._needs(specs[0], catalog, given, planned=True)):
            yield Problem(where, why)

    def _delegation_problems(self, given: Mapping[str, Any], where: str, catalog: Catalog) -> Iterator[Problem]:
        """What a task has others do is planned too: it must be said outright, and be harmless."""
        if DELEGATES not in given:
            return
        name = given[DELEGATES]
        if not isinstance(name, str) or name not in catalog.capabilities:
            yield Problem(f"{where}.{DELEGATES}", f"must name a capability outright, not {name!r:.80}")
            return
        yield from self._use_problems(name, f"{where}.{DELEGATES}", catalog, None, None)
        spec = catalog.capabilities[name][0]
        if spec.undone_by:
            yield Problem(f"{where}.{DELEGATES}", f"{name} needs a compensation for each of its tasks: plan them one by one")
        if DELEGATES in spec.input.get("properties", {DELEGATES: {}}):
            yield Problem(f"{where}.{DELEGATES}", f"{name} may have others do work itself: plan it as a task of its own")

    def _needs(
        self, spec: CapabilitySpec, catalog: Catalog, given: Mapping[str, Any] | None = None, *, planned: bool = False
    ) -> str | None:
        """Why a task without a compensation can't be; None if it can. Unless `planned`, one may still be added."""
        if spec.undone_by and not planned:
            return None
        if (spec.idempotent and not spec.undone_by) or any(fnmatchcase(spec.name, one) for one in self.without_undo):
            return None
        if needs_approval(spec, catalog, given):
            return None
        return (
            f"{spec.name} has side effects and no compensation: declare undone_by, have it approved, or list it in the "
            "setting without_undo"
        )


def needs_approval(spec: CapabilitySpec, catalog: Catalog, given: Mapping[str, Any] | None = None) -> bool:
    """Will a person certainly be asked before such a task runs? `given` is its input, if that is known already."""
    if spec.approval == "required":
        return True
    is_literal = given is not None and not any(True for _ in references.find(given))
    return any(
        rule.covers(spec.name) and (rule.when is None or (is_literal and rule.holds(given))) for rule in catalog.approvals
    )


def with_undoing(plan: PlanSpec, catalog: Catalog) -> tuple[PlanSpec, list[Problem]]:
    """The plan with a compensation for every task whose capability says what undoes it, and what that lacks.

    The compensation's input is filled by the names of its fields: from the task's own input, else from its output. If one
    task of a plan has a compensation, a failure of any task undoes what was done, unless the task says otherwise.
    """
    problems: list[Problem] = []
    tasks = tuple(_undoable(task, catalog, problems) for task in plan.tasks)
    if any(task.compensation for task in tasks):
        tasks = tuple(task.model_copy(update={"on_failure": task.on_failure or "compensate"}) for task in tasks)
    return plan.model_copy(update={"tasks": tasks}), problems


def _undoable(task: TaskSpec, catalog: Catalog, problems: list[Problem]) -> TaskSpec:
    specs = catalog.capabilities.get(task.capability)
    if task.compensation or not specs or not specs[0].undone_by:
        return task
    if specs[0].undone_by not in catalog.capabilities:
        message = f"no pool offers {specs[0].undone_by}, which undoes {task.capability}"
        problems.append(Problem(f"tasks[{task.id}].compensation.capability", message))
        return task
    undo = catalog.capabilities[specs[0].undone_by][0]
    outputs = specs[0].output.get("properties", {})
    filled: dict[str, Any] = {}
    for name in undo.input.get("properties", {}):
        if name in task.input:
            filled[name] = task.input[name]
        elif name in outputs:
            filled[name] = {references.KEY: task.id, "path": name}
        elif name in undo.input.get("required", ()):
            message = f"{undo.name} needs {name!r}, which is in neither the input nor the output of {task.capability}"
            problems.append(Problem(f"tasks[{task.id}].compensation.input.{name}", message))
    return task.model_copy(update={"compensation": Compensation(capability=undo.name, input=filled)})

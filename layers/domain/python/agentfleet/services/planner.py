"""Make plans from words: with a model where there is one, by rules where there is none.

Whoever made a plan, it is compiled, its inputs are checked, side effects get their compensations, and it must be within policy
and budget before any of it runs.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct, field

from agentfleet.domain.catalog import CapabilitySpec, Catalog
from agentfleet.domain.errors import (
    InvalidRequest,
    ModelAnswerInvalid,
    ModelFailed,
    ModelInputTooLong,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    PermanentError,
)
from agentfleet.domain.estimate import Estimate, Measured, estimate_plan
from agentfleet.domain.model import Tool
from agentfleet.domain.plan_draft import Drafted, checked, draft_schema, read_draft, write_draft
from agentfleet.domain.plan_policy import DELEGATES, PlanPolicy, needs_approval
from agentfleet.domain.plan_prompt import (
    EXAMPLE_CHARS,
    EXAMPLES,
    MATERIAL,
    OR_A_PLAYBOOK,
    PLAYBOOKS,
    SYSTEM,
    near_playbooks,
    pair_example,
    prompt,
    relevant,
)
from agentfleet.domain.plan_rules import Fit, nearest, ranked
from agentfleet.domain.playbook import Playbook
from agentfleet.domain.task import PlanSpec
from agentfleet.domain.tool_policy import ToolPolicy
from agentfleet.services.capability import TaskContext
from agentfleet.services.structured import Shape, ShapeError, Structured

TOOL: Final = "make_plan"
ROUNDS: Final = 3
ANSWER_TOKENS: Final = 1_000
ALLOWANCE: Final = 10.0
"""Times the most that a plan's calls of models should take, it may use up: calls set aside more than they cost."""
SHOWN_PROBLEMS: Final = 5
SHOWN_INPUT: Final = 1_500
"""Characters of a failed task's input that a model is shown."""


class PlanTooDear(PermanentError):
    """A plan may cost more than the goal has left; nothing of it has run."""


class Episode(Protocol):
    """What was done for a goal that was planned from words before."""

    @property
    def goal(self) -> str: ...
    @property
    def plan(self) -> Mapping[str, Any]: ...
    @property
    def succeeded(self) -> bool: ...


class PlannerMemory(Protocol):
    """What a planner remembers: `context.memory`, where the pool has one."""

    def episodes(self, words: str, limit: int = 3) -> Sequence[Episode]: ...
    def figures(self, capabilities: Sequence[str]) -> Mapping[str, Measured]: ...


class Planned(Struct, frozen=True):
    """A plan that may run, and how it came about."""

    drafted: Drafted
    """Its plan is the one that was checked."""
    estimate: Estimate
    warnings: tuple[str, ...]
    why: str = ""
    """Why not by a model; empty if it was."""
    asked: Structured[Drafted] | None = None
    """The model's answer, if it was by one."""

    @property
    def plan_json(self) -> dict[str, Any]:
        """The plan as it would be submitted."""
        return self.drafted.plan.model_dump(mode="json", exclude_defaults=True)


class _Room(Struct, frozen=True):
    """What a model may choose from."""

    capabilities: Mapping[str, CapabilitySpec]
    playbooks: Mapping[str, Playbook] = field(default_factory=dict)
    examples: Sequence[tuple[str, Mapping[str, Any]]] = ()
    likely: str | None = None
    """The playbook that the rules would take."""
    refused: Mapping[str, Any] | None = None
    """A task that is not to be planned again: its capability and input."""


class Planner:
    """Plans with the capabilities that its pool's list of tools allows, and with the deployed playbooks."""

    def __init__(self, catalog: Catalog, playbooks: Mapping[str, Playbook], tools: ToolPolicy) -> None:
        self._catalog = catalog
        self._playbooks = playbooks
        self._tools = tools

    async def make(self, goal: str, context: TaskContext, most: int) -> Planned:
        """A plan of at most `most` tasks (a playbook's may be more) for a goal in words.

        Raises PermanentError saying what is missing if there is neither a model's plan nor a playbook that fits; and what
        keeps a model from being asked now (ModelBusy, ModelTimeout).
        """
        policy = self._policy(context)
        memory = _memory_of(context)
        asked: Structured[Drafted] | None = None
        try:
            room = await asyncio.to_thread(self._room, goal, policy, memory, context)
            asked = await self._ask(goal, room, policy, context, most)
            drafted, why = asked.value, ""
        except (ModelUnavailable, ModelAnswerInvalid, ModelRefused, ModelInputTooLong) as error:
            why = str(error)[:500]
            drafted = self._by_rules(goal, policy, why)
        except (ModelTimeout, ModelFailed) as error:
            if context.attempt == 1:
                raise
            why = str(error)[:500]
            drafted = self._by_rules(goal, policy, why)
        return await asyncio.to_thread(self._planned, drafted, why, asked, memory)

    async def mend(self, failed: Mapping[str, Any], context: TaskContext, most: int = 3) -> Planned:
        """Another way to do a task that failed for good, by a model. Raises what keeps one from being found."""
        policy = self._policy(context)
        description = next((one.description for one in self._catalog.capabilities.get(failed["capability"], ())), "")
        given = json.dumps(failed["input"], ensure_ascii=False)[:SHOWN_INPUT]
        words = (
            f"Do this in another way. The task {failed['capability']} ({description}) with the input {given} failed: "
            f"{failed['error']}: {failed['message'][:500]}. Give what it should have given; don't do the same again."
        )
        capabilities = self._offered(words, policy, context)
        room = _Room(capabilities, refused={"capability": failed["capability"], "input": failed["input"]})
        asked = await self._ask(words, room, policy, context, most)
        return self._planned(asked.value, "", asked, None)

    def allowance(self, planned: Planned, left: Mapping[str, float], context: TaskContext) -> dict[str, Any] | None:
        """What a plan may use up: some times its estimate, within what is left; None: as much as its goal."""
        return allowance(planned, self._catalog, left, float(context.settings.get("allowance", ALLOWANCE)))

    def _policy(self, context: TaskContext) -> PlanPolicy:
        return PlanPolicy(self._tools, tuple(context.settings.get("without_undo", ())))

    def _offered(self, goal: str, policy: PlanPolicy, context: TaskContext) -> dict[str, CapabilitySpec]:
        hidden = ToolPolicy("", tuple(context.settings.get("hidden", ())))
        known = {name: one for name, one in policy.plannable(self._catalog).items() if not hidden.allows(name)}
        return {name: known[name] for name in relevant(goal, known)}

    def _room(self, goal: str, policy: PlanPolicy, memory: PlannerMemory | None, context: TaskContext) -> _Room:
        if context.models is None:
            raise ModelUnavailable("no model was asked: there is none here")
        capabilities = self._offered(goal, policy, context)
        sure = next((fit for fit in ranked(goal, self._playbooks)[:1] if fit.is_near and not fit.missing), None)
        names = dict.fromkeys([*([sure.playbook] if sure else []), *near_playbooks(goal, self._playbooks)])
        playbooks = {name: self._playbooks[name] for name in list(names)[:PLAYBOOKS]}
        return _Room(capabilities, playbooks, self._examples(goal, capabilities, memory, sure), sure.playbook if sure else None)

    def _examples(
        self, goal: str, capabilities: Mapping[str, CapabilitySpec], memory: PlannerMemory | None, sure: Fit | None
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """What the rules would do, if they are sure; what worked for similar goals; playbooks; a pair of tasks.

        Only what is offered is shown: a model repeats what it sees.
        """
        found: list[tuple[str, Mapping[str, Any]]] = []
        if sure:
            taken = {"plan": {"playbook": sure.playbook, "parameters": dict(sure.parameters)}}
            found.append((self._playbooks[sure.playbook].description[:300], taken))
        past = [one for one in memory.episodes(goal, EXAMPLES) if one.succeeded] if memory else []
        known = [(one.goal, one.plan.get("tasks", [])) for one in past]
        known += [
            (self._playbooks[one].description, self._playbooks[one].plan.tasks) for one in near_playbooks(goal, self._playbooks)
        ]
        for words, tasks in known:
            draft = write_draft(tasks) if all(task.get("capability") in capabilities for task in tasks) else None
            if draft and len(json.dumps(draft, ensure_ascii=False)) <= EXAMPLE_CHARS:
                found.append((words[:300], draft))
        if len(found) < EXAMPLES and (pair := pair_example(capabilities.values())):
            found.append(pair)
        return found[:EXAMPLES]

    async def _ask(self, goal: str, room: _Room, policy: PlanPolicy, context: TaskContext, most: int) -> Structured[Drafted]:
        if not room.capabilities and not room.playbooks:
            raise PermanentError("there is nothing to plan with: [pools.plan] tools allows no capability that plans may hold")

        def check(value: Any) -> Drafted:
            try:
                drafted = read_draft(value, list(room.capabilities), room.playbooks, most)
                plan = checked(drafted.plan, self._catalog, policy)
            except InvalidRequest as error:
                raise ShapeError("; ".join(map(str, error.problems[:SHOWN_PROBLEMS]))) from error
            if room.refused and any(_is_same(task.capability, task.input, room.refused) for task in plan.tasks):
                raise ShapeError(f"{room.refused['capability']} with that input is what failed: do something else")
            return Drafted(plan, drafted.playbook, drafted.parameters)

        schema = draft_schema(list(room.capabilities.values()), list(room.playbooks.values()), most)
        tool = Tool(name=TOOL, description="The plan.", input_schema=schema)
        shown = prompt(goal, list(room.capabilities.values()), list(room.playbooks.values()), room.examples, room.likely)
        system = SYSTEM + (OR_A_PLAYBOOK if room.playbooks else "") + MATERIAL
        return await context.model.shaped(
            Shape(tool, check), shown, system=system, max_tokens=ANSWER_TOKENS, rounds=ROUNDS, cache_prompt=True
        )

    def _by_rules(self, goal: str, policy: PlanPolicy, why: str) -> Drafted:
        """The playbook that fits best. Raises PermanentError naming what is missing and what would be near."""
        fits = ranked(goal, self._playbooks)
        near = [fit for fit in fits if fit.is_near]
        if not near:
            there = ", ".join(nearest(fits)) or ", ".join(sorted(self._playbooks)) or "none"
            raise PermanentError(f"no playbook fits; the nearest are {there}. By rules, since {why}")
        best = near[0]
        if best.missing:
            missing = ", ".join(best.missing)
            others = f"; near are also {', '.join(nearest(near[1:]))}" if near[1:] else ""
            raise PermanentError(
                f"playbook {best.playbook} fits, but the goal does not say its {missing}{others}. By rules, since {why}"
            )
        try:
            plan = self._playbooks[best.playbook].instantiate(dict(best.parameters))
            return Drafted(checked(plan, self._catalog, policy), best.playbook, best.parameters)
        except InvalidRequest as error:
            raise PermanentError(
                f"playbook {best.playbook} fits, but can't be planned: {error}. By rules, since {why}"
            ) from error

    def _planned(self, drafted: Drafted, why: str, asked: Structured[Drafted] | None, memory: PlannerMemory | None) -> Planned:
        names = sorted({task.capability for task in drafted.plan.tasks})
        figures = memory.figures(names) if memory else {}
        estimate = estimate_plan(drafted.plan, self._catalog, figures)
        return Planned(drafted, estimate, tuple(self._warnings(drafted.plan, estimate)), why, asked)

    def _warnings(self, plan: PlanSpec, estimate: Estimate) -> list[str]:
        found = []
        for task in plan.tasks:
            spec = self._catalog.capabilities[task.capability][0]
            if needs_approval(spec, self._catalog, task.input):
                found.append(f"{task.id} waits until a person approves it")
            if not spec.idempotent and not task.compensation:
                found.append(f"{task.id} has a side effect that nothing undoes")
            if DELEGATES in task.input:
                found.append(f"{task.id} makes tasks of its own, which the estimate does not count")
        unknown = sorted({task.capability for task in estimate.tasks if not task.measured})
        if unknown:
            found.append(f"nothing was measured yet of {', '.join(unknown)}: their times are the most that they may take")
        return found[:20]


def afford(planned: Planned, left: Mapping[str, float]) -> str | None:
    """Why a plan is too dear for what is left, by measure, of each that is limited; None if it is not."""
    estimate, tasks = planned.estimate, planned.estimate.tasks
    asks = estimate.asks
    wanted = {
        "dollars": (asks.dollars, f"${asks.dollars:.4f}", "${:.4f}"),
        "tokens": (asks.tokens, f"{asks.tokens:,} tokens", "{:,.0f} tokens"),
        "seconds": (asks.seconds, f"{asks.seconds:g} seconds", "{:g} seconds"),
    }
    short = [(said, shown.format(left[name])) for name, (most, said, shown) in wanted.items() if most > left.get(name, most)]
    if short:
        asking = sum(one.asks.calls > 0 for one in tasks)
        times = f", {asks.calls} times at most" if asks.calls > asking else ""
        return (
            f"the plan may cost {' and '.join(said for said, _ in short)} for models ({asking} of its {len(tasks)} tasks ask "
            f"one{times}), and {' and '.join(there for _, there in short)} are left in the budget: allow more, or ask for less"
        )
    if estimate.depth > left.get("depth", estimate.depth):
        return (
            f"the plan has sub-plans {estimate.depth} deep, and the budget allows a depth of {left['depth']:g}: allow more, "
            "or ask for less"
        )
    return None


def allowance(planned: Planned, catalog: Catalog, left: Mapping[str, float], factor: float) -> dict[str, Any] | None:
    """The budget of a plan: so many times what its calls of models take at most, within what is left.

    None where that can't be said beforehand: tasks that have others made, tasks with side effects, which may cost whatever
    they do; and where nothing asks a model.
    """
    tasks, most = planned.drafted.plan.tasks, planned.estimate.most
    known = all(catalog.capabilities[task.capability][0].idempotent and DELEGATES not in task.input for task in tasks)
    if not known or not most.calls or not factor:
        return None
    wanted = {"dollars": factor * most.dollars, "tokens": float(factor * most.tokens), "seconds": factor * most.seconds}
    within = {name: min(amount, max(0.0, left.get(name, amount))) for name, amount in wanted.items() if amount}
    return {name: int(amount) if name == "tokens" else round(amount, 6) for name, amount in within.items()}


def _memory_of(context: TaskContext) -> PlannerMemory | None:
    return context.memory if context.has_memory else None


def _is_same(capability: str, given: Mapping[str, Any], refused: Mapping[str, Any]) -> bool:
    return (capability, given) == (refused["capability"], refused["input"])

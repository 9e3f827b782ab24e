"""Take a hand in goals: cancel, pause, resume, and fork one from what it has reached."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from agentfleet.domain import ids
from agentfleet.domain.codec import dumps, encode
from agentfleet.domain.errors import IllegalTransition, InvalidRequest, NotFound, Problem
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.plan import MAX_INPUT_BYTES, CompiledPlan, Unit, frontier, leading_to, reachable, to_ranges
from agentfleet.domain.result import Result, TaskState
from agentfleet.ports import Clock, GoalStore, PlanStore, ResultStore
from agentfleet.services.finish import Finisher
from agentfleet.services.kill import KillSwitch
from agentfleet.services.release import Releaser

PART: Final = 500
"""Results copied at a time."""
SUB_GOAL: Final = "goal:"
"""How the agent of a result is called that a sub-plan gave, before the sub-plan's id."""

Changes = Mapping[str, Mapping[str, Any]]
"""Task id → dotted path inside its input → new value."""


class Controller:
    """What a goal's owner may do to it while it lives, and after."""

    def __init__(
        self,
        goals: GoalStore,
        plans: PlanStore,
        results: ResultStore,
        finisher: Finisher,
        releaser: Releaser,
        clock: Clock,
        random_bits: Callable[[int], int],
        switch: KillSwitch,
    ) -> None:
        self._goals = goals
        self._plans = plans
        self._results = results
        self._finisher = finisher
        self._releaser = releaser
        self._clock = clock
        self._random_bits = random_bits
        self._switch = switch

    def own(self, goal_id: str, tenant: str) -> Goal:
        """A tenant's goal as it is stored. Raises NotFound, also for one that is somebody else's."""
        goal = self._goals.get([goal_id]).get(goal_id)
        if goal is None or goal.tenant != tenant:
            raise NotFound(f"there is no goal {goal_id}")
        return goal

    def cancel(self, goal_id: str, tenant: str) -> Goal:
        """The cancelled goal; cancelling it again is fine. Raises NotFound, IllegalTransition if it ended otherwise."""
        return self._finisher.cancel(self.own(goal_id, tenant))

    def pause(self, goal_id: str, tenant: str) -> Goal:
        """Hold a running goal's tasks back: agents drop its messages within about a second; what runs is finished.

        Pausing again is fine. Raises NotFound, IllegalTransition for a goal that isn't running.
        """
        goal = self.own(goal_id, tenant)
        if goal.paused:
            return goal
        return self._mark(goal, replace(goal, paused=self._clock()), "paused")

    def resume(self, goal_id: str, tenant: str) -> Goal:
        """Let a paused goal go on: sends whatever may run now. Resuming a goal that isn't paused changes nothing.

        Raises NotFound, IllegalTransition for a goal that has ended, DeliveryFailed (resume again).
        """
        goal = self.own(goal_id, tenant)
        if not goal.paused:
            return goal
        running = self._mark(goal, replace(goal, paused=None, resumed=self._clock()), "resumed")
        try:
            self._run_frontier(running)
        except Exception:
            self._goals.replace(running, goal)  # still paused: the caller may try again
            raise
        return running

    def _mark(self, before: Goal, after: Goal, word: str) -> Goal:
        if before.state is not GoalState.RUNNING or not self._goals.replace(before, after):
            raise IllegalTransition(f"goal {before.id} is {before.state}; only a running one can be {word}")
        return after

    def _run_frontier(self, goal: Goal) -> None:
        """Send every unit that may run; where one was delegated, those of its sub-plan. Ends what has failed meanwhile."""
        plan = self._plans.read(goal.id).whole()
        done = self._results.get(goal.id, goal.shards, range(len(plan.units)), outputs=False)
        failed = [
            result.unit for result in done.values() if result.first_failure and plan.unit(result.unit).on_failure != "skip"
        ]
        if failed:  # whoever had that result died, or was held back, before the goal ended with it
            results = self._results.get(goal.id, goal.shards, failed[:1])
            self._finisher.advance(goal, plan, list(results.values()), repeated=True)
            return
        ready = frontier(plan, done.keys())
        children: dict[str, Goal] = {}
        names = {ids.child_goal_id(goal.id, number, 0): number for number in ready}
        for start in range(0, len(names), 100):
            children |= self._goals.get(list(names)[start : start + 100])
        for child in children.values():
            if child.state.is_alive:
                self._run_frontier(child)
        delegated = {names[name] for name in children}
        self._releaser.release(goal, plan, to_ranges(number for number in ready if number not in delegated))

    def fork(self, goal_id: str, tenant: str, keep: Sequence[str], changes: Changes, key: str | None = None) -> Goal:
        """A new goal with this one's plan and those of its results that are kept; everything else runs again.

        `keep` are patterns of task ids (`*` and `?`) whose successful results are taken over, with those that they came of.
        What is changed, failed or was undone runs again, and so does all that waits for it. The same `key` gives the same
        fork once, and goes on where a call that never answered stopped. The goal is stored when all that it keeps is:
        whoever finds one that is still PLANNING, as the healer may, can set it going without running what was to be kept.
        Raises NotFound, InvalidRequest naming the task or path or a key that asked for another fork, Forbidden while the
        tenant is stopped, DeliveryFailed (fork again with the key).
        """
        source = self.own(goal_id, tenant)
        now = self._clock()
        fork_id = ids.derived_goal_id(tenant, f"fork:{goal_id}:{key}") if key else ids.new_goal_id(now, self._random_bits)
        asked = ids.digest_of([*keep, changes]) if key else None
        known = self._known(fork_id, asked)
        if known and known.state is not GoalState.PLANNING:
            if known.state is GoalState.SUCCEEDED:
                self._finisher.announce(known)  # where all was kept, whoever made it may have died before telling
            return known
        self._switch.refuse(tenant)
        old = self._plans.read(source.id).whole()
        plan = _changed(old, changes)
        done: dict[int, Result] = {}
        if not self._plans.put(fork_id, encode(plan)):  # an earlier call of this key came so far: its plan stands
            plan = self._plans.read(fork_id).whole()
            done = self._standing(fork_id, plan)
        fork = known or replace(_forked(source, fork_id, now), asked=asked)
        if known is None:
            kept = self._kept(source, plan, keep, changes.keys() | _differing(old, plan))
            done |= self._copy(source, fork_id, [number for number in kept if number not in done])
        ended = self._finisher.fill(fork, plan, list(done.values()))
        if known is None and not self._goals.create(fork):
            fork = self._goals.get([fork_id])[fork_id]  # another call of this key was quicker
        elif known is None:  # or it was not, but has copied what the goal has reached since this one looked
            more = {number: one for number, one in self._standing(fork_id, plan).items() if number not in done}
            done |= more
            ended = self._finisher.fill(fork, plan, list(more.values())) or ended
        return self._start(fork, plan, done, ended=ended) if fork.state is GoalState.PLANNING else fork

    def _known(self, fork_id: str, asked: str | None) -> Goal | None:
        known = self._goals.get([fork_id]).get(fork_id)
        if known and asked:
            known.refuse_other(asked)
        return known

    def _standing(self, fork_id: str, plan: CompiledPlan) -> dict[int, Result]:
        """What a fork has by now, whoever stored it. Not what failed: nothing follows from that but by its own message."""
        found = self._results.get(fork_id, plan.header.shards, range(len(plan.units)), outputs=False)
        return {number: one for number, one in found.items() if _is_good(one)}

    def _copy(self, source: Goal, fork_id: str, units: Sequence[int]) -> dict[int, Result]:
        """Take these results over; gives those that stand."""
        standing: dict[int, Result] = {}
        for start in range(0, len(units), PART):
            part = self._results.get(source.id, source.shards, units[start : start + PART])
            copies = [replace(one, goal_id=fork_id, origin=one.origin or source.id) for one in part.values()]
            standing |= {one.unit: one for one in self._results.put(source.shards, copies)}
        return standing

    def _start(self, fork: Goal, plan: CompiledPlan, done: Mapping[int, Result], *, ended: bool) -> Goal:
        self._finisher.tell_accepted(fork)
        self._releaser.release(fork, plan, to_ranges(frontier(plan, done.keys())))
        running = fork.move(GoalState.RUNNING)
        if not self._goals.replace(fork, running):
            return self._goals.get([fork.id])[fork.id]
        return self._finisher.end(running, GoalState.SUCCEEDED) if ended else running

    def _kept(self, source: Goal, plan: CompiledPlan, keep: Sequence[str], changed: AbstractSet[str]) -> list[int]:
        """The units whose results are taken over: all of their tasks match, or something that does came of them, and neither
        they nor anything before them runs again. Without the latter a fork could end before all of it is done."""
        found = self._results.get(source.id, source.shards, range(len(plan.units)), outputs=False)
        again = {
            unit.number
            for unit in plan.units
            if unit.number not in found
            or not _is_good(found[unit.number])
            or any(task.id in changed for task in unit.tasks)
            or (source.undoing and self._is_taken_back(unit, found[unit.number]))
        }
        sound = reachable(plan, again)
        wanted = {number for number in sound if all(_is_named(task.id, keep) for task in plan.unit(number).tasks)}
        return sorted(wanted | leading_to(plan, wanted))

    def _is_taken_back(self, unit: Unit, result: Result) -> bool:
        """Does undoing its goal undo what a unit did, or anything that the sub-plan did which it stands for?"""
        if result.outcomes[0].state is TaskState.SKIPPED:
            return False
        if unit.tasks[0].compensation:
            return True
        if not result.agent.startswith(SUB_GOAL):
            return False
        child = result.agent.removeprefix(SUB_GOAL)
        plan = self._plans.read(child).whole()
        below = self._results.get(child, plan.header.shards, range(len(plan.units)), outputs=False)
        return any(self._is_taken_back(plan.unit(number), one) for number, one in below.items())


def _forked(source: Goal, fork_id: str, now: datetime) -> Goal:
    return Goal(
        id=fork_id,
        tenant=source.tenant,
        name=source.name,
        state=GoalState.PLANNING,
        created=now,
        tasks=source.tasks,
        shards=source.shards,
        priority=source.priority,
        on_failure=source.on_failure,
        labels=source.labels,
        words=source.words,
        origin=source.id,
        budget=source.budget and replace(source.budget, above=()),
        bounds=source.bounds,
    )


def _differing(old: CompiledPlan, new: CompiledPlan) -> set[str]:
    """Ids of the tasks whose input is not the same in both."""
    inputs = {task.id: task.input for unit in old.units for task in unit.tasks}
    return {task.id for unit in new.units for task in unit.tasks if task.input != inputs[task.id]}


def _is_named(task: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(task, one) for one in patterns)


def _is_good(result: Result) -> bool:
    return all(outcome.state in {TaskState.SUCCEEDED, TaskState.SKIPPED} for outcome in result.outcomes)


def _changed(plan: CompiledPlan, changes: Changes) -> CompiledPlan:
    """The plan with other inputs. Raises InvalidRequest."""
    if not changes:
        return plan
    left = dict(changes)
    problems: list[Problem] = []
    units: list[Unit] = []
    for unit in plan.units:
        tasks = unit.tasks
        for slot, task in enumerate(tasks):
            if task.id in left:
                value = _set(task.id, task.input, left.pop(task.id), problems)
                tasks = (*tasks[:slot], replace(task, input=value), *tasks[slot + 1 :])
        units.append(replace(unit, tasks=tasks))
    problems += [Problem(f"set[{name}]", "the plan has no task by that id") for name in left]
    if problems:
        raise InvalidRequest(problems)
    return replace(plan, units=tuple(units))


def _set(task: str, value: dict[str, Any], paths: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    copy: dict[str, Any] = {**value}
    for path, new in paths.items():
        here: Any = copy
        steps = path.split(".")
        for step in steps[:-1]:
            inner = here.get(step)
            here[step] = {**inner} if isinstance(inner, dict) else None
            here = here[step]
            if here is None:
                break
        if here is None or not steps[-1]:
            problems.append(Problem(f"set[{task}].{path}", "leads through something that is not an object of the task's input"))
            return value
        here[steps[-1]] = new
    if len(dumps(copy).encode()) > MAX_INPUT_BYTES:
        problems.append(Problem(f"set[{task}]", f"makes the input larger than {MAX_INPUT_BYTES:,} bytes"))
    return copy

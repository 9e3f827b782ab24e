"""Run one seed: the real platform in a simulated world, from the first submission to rest."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final
from unittest.mock import patch

from msgspec import structs

from agentfleet.composition import Outside, Platform
from agentfleet.composition_pools import pool_runner
from agentfleet.domain import compile as compiling
from agentfleet.domain import ids, names
from agentfleet.domain.approval import Approval, Decision
from agentfleet.domain.errors import IllegalTransition
from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import Claim
from agentfleet.domain.saga import SagaStatus
from agentfleet.domain.task import GoalRequest, parse_request
from agentfleet.ports import GoalStore
from agentfleet.services import accept, release
from agentfleet.services.approval import LocalApprovals
from agentfleet.services.breaker import LocalBreakers
from agentfleet.services.budget import LocalBudgets
from agentfleet.services.capability import TaskContext
from agentfleet.services.journal import LocalJournals
from agentfleet.services.kill import GOAL_FRESH, LocalKills
from agentfleet.services.routing import LocalRouting
from agentfleet.services.run import TaskRunner
from agentfleet.services.work import Delivery
from tests.fakes.sagas import Execution, SagaMachine
from tests.simulation import tables
from tests.simulation.chronicle import Chronicle
from tests.simulation.reference import Expected, expect
from tests.simulation.scenario import GoalCase, Scenario, scenario_of
from tests.simulation.strands import Strands
from tests.simulation.work import CAPABILITIES, CATALOG, POOLS, REFUNDED, STAGE
from tests.simulation.world import INVOCATION, Actor, Killed, World

TENANT: Final = "acme"
HEALED: Final = 120.0
"""Seconds until somebody notices that nobody undoes a goal."""
SUBMISSIONS: Final = names.submissions_queue("fleet")
STRANDS: Final = Strands()
PORTS: Final = {
    "goals": ("create", "get", "replace", "alive"),
    "plans": ("put", "read"),
    "results": ("put", "get", "tally"),
    "joins": ("add",),
    "claims": ("claim", "held"),
    "queues": ("send_tasks", "send_releases", "hide"),
    "bus": ("publish",),
    "agents": ("put",),
    "approvals": ("ask", "get", "of_goal", "decide"),
    "sagas": ("start", "status"),
    "answers": ("succeeded", "failed", "beat"),
}


@dataclass(slots=True)
class Report:
    """What became of a seed."""

    scenario: Scenario
    violations: list[str]
    faults: tuple[tuple[int, str], ...]
    steps: int
    trace: list[str] = field(default_factory=list)


class Environment(Actor):
    """An execution environment of a pool: it may die, and another with nothing in memory takes its place."""

    def __init__(self, pool: str, number: int, skew: float) -> None:
        super().__init__(f"{pool}-{number}", skew)
        self.pool = pool
        self.runner: TaskRunner | None = None


class Simulation:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, trace: list[str] | None = None) -> None:
        self.scenario = scenario
        self.world = world = World(scenario.seed, scenario.weather, STRANDS, trace)
        self.chronicle = Chronicle()
        self.goals, self.results = tables.Goals(world, self.chronicle), tables.Results(world, self.chronicle)
        self.plans = tables.Plans(world)
        self.joins, self.claims = tables.Joins(world), tables.Claims(world)
        self.queues, self.bus, self.agents = tables.Queues(world), tables.Bus(world), tables.Agents(world)
        self.approvals = LocalApprovals()
        self.sagas = self.answers = SagaMachine(lambda: world.now, self.queues.put)
        watched: Any = {name: tables.Watched(world, name, getattr(self, name), methods) for name, methods in PORTS.items()}
        bits = iter(range(1, 1 << 30))
        self.platform = Platform(
            Outside(
                **watched,
                blobs=None,  # type: ignore[arg-type]  # no task here has files
                clock=world.clock,
                breakers=LocalBreakers(),
                budgets=LocalBudgets(),
                kills=LocalKills(),
                routing=LocalRouting(),
                journals=LocalJournals(),
            ),
            structs.replace(CATALOG, tenant_window=scenario.weather.window),
            {},
            random_bits=lambda _: next(bits),
            fraction=world.order.random,
        )
        self.watched_goals: GoalStore = watched["goals"]
        self.expected: dict[str, Expected] = {}
        """By goal id, of the goals that were submitted."""
        self.cancelled: dict[str, str] = {}
        """Goal id → "asked", "yes" (a cancellation was confirmed) or "late" (it was refused: the goal had ended)."""
        self._desk = self.platform.governance().approvals
        self._decided: set[tuple[str, int]] = set()
        """(goal, unit) of what somebody decides about now, or has."""
        self._requests: dict[str, GoalRequest] = {}
        self._cancels: list[tuple[int, GoalCase]] = []
        self._places: dict[tuple[str, str], int] = {}
        self._environments = self._make_environments()
        world.startable = self._startable
        self._unwatched: dict[str, float] = {}
        """Since when goals that are to be undone have nobody who does."""
        world.upcoming = self._upcoming
        world.duplicate, world.wake_hidden = self.queues.duplicate, self.queues.wake_hidden
        self._submit_all()

    def _make_environments(self) -> dict[str, list[Actor]]:
        weather, order = self.scenario.weather, self.world.order

        def skew() -> float:
            return order.uniform(-weather.skew, weather.skew) if weather.skew else 0.0

        pools: dict[str, list[Actor]] = {
            pool: [Environment(pool, number, skew()) for number in range(1, weather.environments + 1)] for pool in POOLS
        }
        pools["release"] = [Actor("release-1", skew()), Actor("release-2", skew())]
        pools["submissions"] = [Actor("accept-1", skew()), Actor("accept-2", skew())]
        return pools

    def _submit_all(self) -> None:
        for case in self.scenario.goals:
            goal_id = ids.derived_goal_id(TENANT, case.key)
            self.expected[goal_id] = expect(case.plan, case.on_failure, self.scenario.subplans)
            self._requests[case.key] = parse_request(
                {"plan": case.plan, "on_failure": case.on_failure, "priority": case.priority}
            )
            for delay in case.submissions:
                self.queues.put(SUBMISSIONS, case.key, delay or 1e-9)
            if case.cancel_at is not None:
                self._cancels.append((case.cancel_at, case))

    def run(self) -> None:
        """To rest."""
        STAGE.world, STAGE.subplans = self.world, self.scenario.subplans
        STAGE.starting, STAGE.claim_of, STAGE.delete = self._starting, self._claim_of, self.queues.delete
        STAGE.ledger, STAGE.fences, STAGE.at_work = {}, set(), {}
        STAGE.undone, STAGE.late, STAGE.undoing = {}, set(), self._undoing
        _narrow(self.scenario, self.plans)
        self.world.run()
        for actors in self._environments.values():
            for actor in actors:
                actor.bury()

    # What can begin now.

    def _startable(self) -> list[Callable[[], None]]:
        found = self._cancellable() if self._cancels else []
        found += self._decidable()
        execution = self.sagas.due()  # first: it may send messages
        if execution is not None:
            found.append(partial(self._look, execution))
        for queue in self.queues.ready():
            pool = queue.removeprefix("fleet-")
            if pool not in self._environments:
                pool = pool.rpartition("-")[0]
            idle = next((one for one in self._environments[pool] if one.strand is None), None)
            if idle is not None:
                found.append(partial(self._invoke, idle, queue))
        found.extend(partial(self._mend, one) for one, since in self._stuck().items() if self.world.now >= since + HEALED)
        return found

    # Those who see to it that a goal is undone: the state machine, the healer, and a person where that was given up.

    def _look(self, execution: Execution) -> None:
        execution.calling = True

        def activity() -> None:
            try:
                self.sagas.call(execution, self.platform.saga)
            except (Killed, Exception) as error:
                self.world.note(f"the saga's function broke off: {error!r}")

        self.world.start(Actor("saga"), activity)

    def _stuck(self) -> dict[str, float]:
        """Goals that nobody undoes, and since when."""
        found = {}
        for goal in self.goals.goals.values():
            if goal.undoing and (
                goal.state is GoalState.COMPENSATION_FAILED
                or (
                    goal.state is GoalState.COMPENSATING
                    and self.sagas.status(goal.id, goal.undoing.attempt) is not SagaStatus.RUNNING
                )
            ):
                found[goal.id] = self._unwatched.get(goal.id, self.world.now)
        self._unwatched = found
        return found

    def _mend(self, goal_id: str) -> None:
        self._unwatched[goal_id] = self.world.now

        def activity() -> None:
            try:
                self.platform.saga.resume(goal_id, TENANT)
            except (Killed, Exception) as error:
                self.world.note(f"mending broke off: {error!r}")

        self.world.start(Actor("healer"), activity)

    def _upcoming(self) -> float | None:
        times = [self.queues.next_visible(), self.sagas.upcoming(), *(since + HEALED for since in self._stuck().values())]
        return min((one for one in times if one is not None), default=None)

    def _cancellable(self) -> list[Callable[[], None]]:
        due = [one for one in self._cancels if self.world.steps >= one[0]]
        return [partial(self._cancel, one) for one in due]

    def _cancel(self, entry: tuple[int, GoalCase]) -> None:
        self._cancels.remove(entry)
        case = entry[1]
        goal_id = ids.derived_goal_id(TENANT, case.key)

        def activity() -> None:
            self.cancelled.setdefault(goal_id, "asked")
            try:
                goal = self.watched_goals.get([goal_id]).get(goal_id)
                if goal is None:
                    self.world.note("nothing to cancel yet")
                    return
                self.platform.finisher.cancel(goal)
                self.cancelled[goal_id] = "yes"
            except IllegalTransition:
                if self.cancelled[goal_id] != "yes":
                    self.cancelled[goal_id] = "late"
            except (Killed, Exception) as error:
                self.world.note(f"cancelling broke off: {error!r}")

        self.world.start(Actor("user"), activity)

    def _decidable(self) -> list[Callable[[], None]]:
        waiting = self.approvals.waiting(TENANT, 1000, None).items
        return [partial(self._decide, one) for one in waiting if (one.goal_id, one.unit) not in self._decided]

    def _decide(self, request: Approval) -> None:
        """As the task's input says. Whoever can't be sure to have been heard says it again."""
        self._decided.add((request.goal_id, request.unit))
        decision = Decision.APPROVED if json.loads(request.input)["ask"] == "yes" else Decision.REJECTED

        def activity() -> None:
            while True:
                try:
                    self._desk.decide(TENANT, request.ref, decision, "as told")
                except IllegalTransition:
                    self.world.note(f"{request.ref} needs no decision any more")
                except (Killed, Exception) as error:
                    self.world.note(f"deciding about {request.ref} broke off: {error!r}")
                    self.world.current.is_dead = False
                    continue
                return

        self.world.start(Actor("approver"), activity)

    # Invocations.

    def _invoke(self, actor: Actor, queue: str) -> None:
        world = self.world
        size = self.scenario.weather.batch
        messages = self.queues.take(queue, 1 + int(world.order.random() * size))
        taken = [(one.id, one.receipt, one.body, one.receives) for one in messages]

        def activity() -> None:
            actor.cut_off = world.now + INVOCATION
            if world.trace is not None:
                world.note(f"receives {', '.join(f'{one[0]}#{one[3]} {one[2]}' for one in taken)} from {queue}")
            try:
                returned = self._handle(actor, queue, taken)
            except Killed:
                world.note("dies")
                actor.bury()
                if isinstance(actor, Environment):
                    actor.runner = None
                return
            except Exception as error:
                world.note(f"fails as a whole: {error!r}")
                return
            for identity, receipt, _, _ in taken:
                if identity not in returned:
                    self.queues.delete(queue, receipt)
            world.note(f"done, returns {sorted(returned)}")

        world.start(actor, activity)

    def _handle(self, actor: Actor, queue: str, taken: list[tuple[str, str, Any, int]]) -> set[str]:
        if isinstance(actor, Environment):
            if actor.runner is None:
                actor.runner = pool_runner(self.platform, actor.pool, actor.name, CAPABILITIES[actor.pool])
            deliveries = [Delivery(identity, receipt, body, count, queue) for identity, receipt, body, count in taken]
            batch = actor.drive(actor.runner.run(deliveries, self.world.clock() + timedelta(seconds=INVOCATION)))
            return set(batch.returned)
        returned = set()
        for identity, _, body, _ in taken:
            try:
                if queue == SUBMISSIONS:
                    self.platform.accepter.accept(self._requests[body], TENANT, body)
                else:
                    self.platform.release_part(body)
            except Exception as error:
                self.world.note(f"returned: {error!r}")
                returned.add(identity)
        return returned

    # What is watched while tasks run.

    def _unit_of(self, goal_id: str, task_id: str) -> int:
        if (goal_id, task_id) not in self._places:
            plan = self.plans.plans[goal_id]
            for number in range(plan.header.units):
                for task in plan.unit(number).tasks:
                    self._places[goal_id, task.id] = number
        return self._places[goal_id, task_id]

    def _claim_of(self, goal_id: str, task_id: str, fence: int) -> Claim:
        return self.claims.granted[goal_id, self._unit_of(goal_id, task_id), fence]

    def _starting(self, context: TaskContext, value: dict[str, Any]) -> None:
        """A task is about to run: may it, and does all that it waits for have a result?"""
        violate, name = self.world.violate, f"task {context.task_id} of {context.goal_id}"
        started = self.world.current.started_at
        expected = self._expected_of(context.goal_id)
        if context.task_id not in expected.outcomes:
            violate(f"{name} runs although it may not")
            return
        if value.get("ask"):
            request = self.approvals.get(context.goal_id, self._unit_of(context.goal_id, context.task_id))
            if request is None or request.decision is not Decision.APPROVED:
                violate(f"{name} runs although nobody has approved it")
        for needed in expected.needs[context.task_id]:
            if (context.goal_id, self._unit_of(context.goal_id, needed)) not in self.results.results:
                violate(f"{name} runs before {needed} has a result")
        first = self.results.first.get((context.goal_id, self._unit_of(context.goal_id, context.task_id)))
        if first is not None and first[0] < started and (context.attempt > 1 or context.fence is not None):
            violate(f"{name} runs again, although its result was there when its message was received")
        parent = self.goals.goals[context.goal_id].parent
        for goal_id in (context.goal_id, *(parent.ancestors if parent else ())):
            if self.goals.ended_at.get(goal_id, started) < started - GOAL_FRESH.total_seconds():
                violate(f"{name} runs although goal {goal_id} had ended before its message was received")

    def _undoing(self, context: TaskContext) -> None:
        """A compensation is about to run: is it its turn, and is it not done already?"""
        violate, goal_id, task = self.world.violate, context.goal_id, context.task_id
        first = self.results.first.get((ids.undo_id(goal_id), self._unit_of(goal_id, task)))
        if first is not None and first[0] < self.world.current.started_at:
            violate(f"task {task} of {goal_id} is undone again, although that was done when its message was received")
        expected = self._expected_of(goal_id)
        for key, entry in STAGE.ledger.items():
            later = self._task_in(goal_id, entry.goal_id, entry.task_id)
            if (
                later is not None
                and STAGE.undone.get(key, 0) < REFUNDED
                and entry.task_id in self._expected_of(entry.goal_id).refundable
                and expected.comes_after(later, task)
            ):
                violate(f"task {task} of {goal_id} is undone before {entry.task_id} of {entry.goal_id}, which came after it")

    def _task_in(self, goal_id: str, below: str, task_id: str) -> str | None:
        """The task of a goal that a task is part of, itself or in a sub-plan."""
        while below != goal_id:
            parent = self.goals.goals[below].parent
            if parent is None:
                return None
            below, task_id = parent.goal_id, self.plans.plans[parent.goal_id].unit(parent.unit).tasks[parent.slot].id
        return task_id

    def _expected_of(self, goal_id: str) -> Expected:
        """What is expected of a goal, found through its parents if it is a sub-plan's."""
        if goal_id in self.expected:
            return self.expected[goal_id]
        parent = self.goals.goals[goal_id].parent
        assert parent is not None
        task = self.plans.plans[parent.goal_id].unit(parent.unit).tasks[parent.slot]
        found = self.expected[goal_id] = self._expected_of(parent.goal_id).children[task.id]
        return found


def _narrow(scenario: Scenario, plans: tables.Plans) -> None:
    """Limits made small enough for small plans to pass them: wide releases and trees of joins; the codec often left out."""
    for module, name, value in (
        (release, "FAN_OUT", scenario.weather.fan_out),
        (compiling, "JOIN_ARITY", scenario.weather.arity),
        (accept, "encode", plans.encode),
    ):
        setattr(module, name, value)


@contextmanager
def restored() -> Iterator[None]:
    """Afterwards the services are as they were: around any number of runs."""
    with patch.object(release, "FAN_OUT"), patch.object(compiling, "JOIN_ARITY"), patch.object(accept, "encode"):
        yield


def run(scenario: Scenario, *, traced: bool = False) -> Report:
    """Run a scenario and check what it left behind."""
    from tests.simulation.check import check

    trace: list[str] | None = [] if traced else None
    simulation = Simulation(scenario, trace)
    simulation.run()
    check(simulation)
    world = simulation.world
    return Report(scenario, world.violations, tuple(world.faults), world.steps, trace or [])


def run_seed(seed: int, *, traced: bool = False, lost_sends: bool = False) -> Report:
    """Run what a seed stands for."""
    return run(scenario_of(seed, lost_sends=lost_sends), traced=traced)

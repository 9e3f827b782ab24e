"""Run one seed: the real platform in a simulated world, from the first submission to rest."""

import logging
from collections import Counter
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
from agentfleet.domain.approval import Decision
from agentfleet.domain.catalog import BudgetDefaults, Catalog
from agentfleet.domain.result import Claim
from agentfleet.domain.task import GoalRequest, parse_request
from agentfleet.ports import GoalStore
from agentfleet.services import accept, control, release
from agentfleet.services.approval import LocalApprovals
from agentfleet.services.breaker import LocalBreakers
from agentfleet.services.capability import TaskContext
from agentfleet.services.journal import LocalJournals
from agentfleet.services.kill import GOAL_FRESH
from agentfleet.services.routing import LocalRouting
from agentfleet.services.run import TaskRunner
from agentfleet.services.work import Delivery
from tests.fakes.clock import START
from tests.fakes.sagas import Execution, SagaMachine
from tests.simulation import tables
from tests.simulation.accounts import Accounts, Meter
from tests.simulation.chronicle import Chronicle
from tests.simulation.expectations import Expectations
from tests.simulation.forks import Forks
from tests.simulation.keepers import Keepers
from tests.simulation.people import People
from tests.simulation.queues import FLEET, RELEASE, SUBMISSIONS, Queues
from tests.simulation.scenario import Scenario, scenario_of
from tests.simulation.stops import Stops
from tests.simulation.strands import Strands
from tests.simulation.work import CAPABILITIES, CATALOG, POOLS, PRICE, REFUNDED, STAGE, TENANT
from tests.simulation.world import INVOCATION, Actor, Killed, World

STRANDS: Final = Strands()
PORTS: Final = {
    "goals": ("create", "get", "replace", "alive", "living"),
    "plans": ("put", "read"),
    "results": ("put", "get", "tally", "finished"),
    "joins": ("add",),
    "claims": ("claim", "claim_each", "release", "held"),
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
        self.taken: list[tuple[str, str, Any, int]] = []
        """Id, receipt, body and number of receives of each message that it is at."""


class Simulation:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, trace: list[str] | None = None) -> None:
        self.scenario = scenario
        self.world = world = World(scenario.seed, scenario.weather, STRANDS, trace)
        self.chronicle = Chronicle()
        self.goals, self.results = tables.Goals(world, self.chronicle), tables.Results(world, self.chronicle)
        self.plans = tables.Plans(world)
        self.joins, self.claims = tables.Joins(world), tables.Claims(world)
        self.queues, self.bus, self.agents = Queues(world), tables.Bus(world), tables.Agents(world)
        self.approvals, self.accounts = LocalApprovals(), Accounts(world)
        self.sagas = self.answers = SagaMachine(lambda: world.now, self.queues.put)
        watched: Any = {name: tables.Watched(world, name, getattr(self, name), methods) for name, methods in PORTS.items()}
        bits = iter(range(1, 1 << 30))
        self.stops = Stops(self)
        self._outside = Outside(
            **watched,
            blobs=None,  # type: ignore[arg-type]  # no task here has files
            clock=world.clock,
            breakers=LocalBreakers(),
            budgets=self.accounts,
            kills=self.stops.store,
            routing=LocalRouting(),
            journals=LocalJournals(),
        )
        self._random_bits: Callable[[int], int] = lambda _: next(bits)
        self.platform = self._new_platform()
        self.watched_goals: GoalStore = watched["goals"]
        self.people = People(self)
        self.forks = Forks(self)
        self.goals.made = self.forks.made
        self.expected = Expectations(self)
        self.results.stands = self.expected.stored
        self.meter = Meter(self)
        self._requests: dict[str, GoalRequest] = {}
        self._places: dict[tuple[str, str], int] = {}
        self._environments = self._make_environments()
        self._at = {
            RELEASE: self._environments["release"],
            SUBMISSIONS: self._environments["submissions"],
            **{names.task_queue(FLEET, pool, one): self._environments[pool] for pool in POOLS for one in names.PRIORITIES},
        }
        """Who receives from each queue."""
        self.moves = 0
        """Invocations, calls and what people did so far: all that somebody else than the healer did."""
        self.keepers = Keepers(self)
        world.startable = self._startable
        world.upcoming = self._upcoming
        world.duplicate, world.wake_hidden = self.queues.duplicate, self.queues.wake_hidden
        self._submit_all()

    def _new_platform(self) -> Platform:
        catalog = _catalog(self.scenario)
        return Platform(self._outside, catalog, {}, random_bits=self._random_bits, fraction=self.world.order.random)

    def own_platform(self) -> Platform:
        """For an environment that has just begun: what it knows of the kill switch is nobody else's. Where there is nothing to
        know, all share one."""
        return self._new_platform() if self.stops.is_on else self.platform

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
            self.expected.add(goal_id, case)
            asked: dict[str, Any] = {"plan": case.plan, "on_failure": case.on_failure, "priority": case.priority}
            if case.tokens is not None:
                asked["budget"] = {"tokens": case.tokens}
            for delay in case.submissions:
                self.queues.put(SUBMISSIONS, case.key, delay)
            if case.deadline is not None:
                asked["deadline"] = case.deadline
            self._requests[case.key] = parse_request(asked)
            self.people.expect(goal_id, case)
            self.forks.expect(goal_id, case)

    def run(self) -> None:
        """To rest."""
        STAGE.world, STAGE.subplans = self.world, self.scenario.subplans
        STAGE.starting, STAGE.claim_of, STAGE.delete = self._starting, self._claim_of, self.queues.delete
        STAGE.going_on = self.stops.going_on
        STAGE.ledger, STAGE.fences, STAGE.at_work = {}, set(), {}
        STAGE.undone, STAGE.late, STAGE.undoing = {}, set(), self._undoing
        STAGE.kills, STAGE.failures, STAGE.using = Counter(), Counter(), self.meter.use
        _narrow(self.scenario, self.plans)
        self.world.run()
        for actors in self._environments.values():
            for actor in actors:
                actor.bury()

    # What can begin now.

    def _startable(self) -> list[Callable[[], None]]:
        found = self.people.startable() + self.forks.startable() + self.stops.startable()
        execution = self.sagas.due()  # first: it may send messages
        if execution is not None:
            found.append(partial(self._look, execution))
        for queue in self.queues.ready():
            for one in self._at[queue]:
                if one.strand is None:
                    found.append(partial(self._invoke, one, queue))
                    break
        return found + self.keepers.startable()

    def _look(self, execution: Execution) -> None:
        execution.calling = True
        self.moves += 1

        def activity() -> None:
            try:
                self.sagas.call(execution, self.platform.saga)
            except (Killed, Exception) as error:
                self.world.note(f"the saga's function broke off: {error!r}")

        self.world.start(Actor("saga"), activity)

    def _upcoming(self) -> float | None:
        times = [
            self.queues.next_visible(),
            self.sagas.upcoming(),
            self.keepers.upcoming(),
            self.people.upcoming(),
            self.forks.upcoming(),
            self.stops.upcoming(),
        ]
        return min((one for one in times if one is not None), default=None)

    # Invocations.

    def _invoke(self, actor: Actor, queue: str) -> None:
        world = self.world
        self.moves += 1
        size = self.scenario.weather.batch
        messages = self.queues.take(queue, 1 + int(world.order.random() * size))
        if not messages:
            return  # all that was there has been given up
        taken = [(one.id, one.receipt, one.body, one.receives) for one in messages]
        refusals = self.scenario.weather.refusals
        if refusals and isinstance(actor, Environment) and world.luck.random() < refusals:
            world.note(f"{actor.name} is refused {', '.join(f'{one[0]}#{one[3]}' for one in taken)}")
            self.keepers.watch.note_refused(actor.pool)
            return

        def activity() -> None:
            actor.cut_off = world.now + INVOCATION
            actor.since = min(one.received for one in messages)
            faults = len(world.faults)
            if world.trace is not None:
                world.note(f"receives {', '.join(f'{one[0]}#{one[3]} {one[2]}' for one in taken)} from {queue}")
            try:
                returned = self._handle(actor, queue, taken)
            except Killed:
                world.note("dies")
                actor.bury()
                if isinstance(actor, Environment):
                    actor.runner = None
                    self.keepers.watch.note_in_vain(actor.pool)
                return
            except Exception as error:
                world.note(f"fails as a whole: {error!r}")
                if isinstance(actor, Environment):
                    self.keepers.watch.note_in_vain(actor.pool)
                return
            if isinstance(actor, Environment):
                self.stops.returning(actor, returned, faults)
            for identity, receipt, _, _ in taken:
                if identity not in returned:
                    self.queues.delete(queue, receipt)
            world.note(f"done, returns {sorted(returned)}")

        world.start(actor, activity)

    def _handle(self, actor: Actor, queue: str, taken: list[tuple[str, str, Any, int]]) -> set[str]:
        if isinstance(actor, Environment):
            if actor.runner is None:
                actor.runner = pool_runner(self.own_platform(), actor.pool, actor.name, CAPABILITIES[actor.pool])
            actor.taken = taken
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
        self.stops.starting(context)
        violate, name = self.world.violate, f"task {context.task_id} of {context.goal_id}"
        started = self.world.current.started_at
        expected = self.expected.of(context.goal_id)
        if context.task_id not in expected.outcomes:
            violate(f"{name} runs although it may not")
            return
        if self.forks.is_kept(context.goal_id, context.task_id):
            violate(f"{name} runs although its result was kept")
        if value.get("ask"):
            request = self.approvals.get(context.goal_id, self._unit_of(context.goal_id, context.task_id))
            if request is None or request.decision is not Decision.APPROVED:
                violate(f"{name} runs although nobody has approved it")
        for needed in expected.needs[context.task_id]:
            if (context.goal_id, self._unit_of(context.goal_id, needed)) not in self.results.results:
                violate(f"{name} runs before {needed} has a result")
        unit = self._unit_of(context.goal_id, context.task_id)
        first = self.results.first.get((context.goal_id, unit))
        if first is None or self.forks.payer(context.goal_id, unit) != context.goal_id:
            pass  # the second of two calls at once may copy what a running goal has reached since the first made the fork
        elif first[0] < started and (context.attempt > 1 or context.fence is not None):
            violate(f"{name} runs again, although its result was there when its message was received")
        parent = self.goals.goals[context.goal_id].parent
        for goal_id in (context.goal_id, *(parent.ancestors if parent else ())):
            if self.goals.ended_at.get(goal_id, started) < started - GOAL_FRESH.total_seconds():
                violate(f"{name} runs although goal {goal_id} had ended before its message was received")
            if self.goals.paused_at.get(goal_id, started) < started - GOAL_FRESH.total_seconds():
                violate(f"{name} runs although goal {goal_id} had been paused before its message was received")
        deadline = self.goals.goals[context.goal_id].deadline
        if deadline is not None and deadline <= START + timedelta(seconds=started + self.world.current.skew):
            violate(f"{name} runs although its deadline had passed when its message was received")

    def _undoing(self, context: TaskContext) -> None:
        """A compensation is about to run: is it its turn, and is it not done already?"""
        violate, goal_id, task = self.world.violate, context.goal_id, context.task_id
        if self.forks.is_kept(goal_id, task):
            violate(f"task {task} of {goal_id} is undone, although it was done by the goal that this one was forked from")
        first = self.results.first.get((ids.undo_id(goal_id), self._unit_of(goal_id, task)))
        if first is not None and first[0] < self.world.current.started_at:
            violate(f"task {task} of {goal_id} is undone again, although that was done when its message was received")
        expected = self.expected.of(goal_id)
        for key, entry in STAGE.ledger.items():
            later = self._task_in(goal_id, entry.goal_id, entry.task_id)
            if (
                later is not None
                and STAGE.undone.get(key, 0) < REFUNDED
                and entry.task_id in self.expected.of(entry.goal_id).refundable
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


def _catalog(scenario: Scenario) -> Catalog:
    weather = scenario.weather
    dollars = None if weather.tokens_a_day is None else weather.tokens_a_day * PRICE
    budget = BudgetDefaults(tenant_dollars_per_day=dollars)
    rules = CATALOG.approvals if scenario.asks else ()
    return structs.replace(CATALOG, tenant_window=weather.window, budget=budget, approvals=rules)


def _narrow(scenario: Scenario, plans: tables.Plans) -> None:
    """Limits made small enough for small plans to pass them: wide releases and trees of joins; the codec often left out."""
    for module, name, value in (
        (release, "FAN_OUT", scenario.weather.fan_out),
        (compiling, "JOIN_ARITY", scenario.weather.arity),
        (accept, "encode", plans.encode),
        (control, "encode", plans.encode),
    ):
        setattr(module, name, value)


@contextmanager
def restored() -> Iterator[None]:
    """Afterwards the services are as they were: around any number of runs. What they would log is not told: it is meant."""
    level = logging.getLogger("agentfleet").level
    logging.getLogger("agentfleet").setLevel(logging.ERROR)
    with (
        patch.object(release, "FAN_OUT"),
        patch.object(compiling, "JOIN_ARITY"),
        patch.object(accept, "encode"),
        patch.object(control, "encode"),
    ):
        yield
    logging.getLogger("agentfleet").setLevel(level)


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

"""The whole platform in one process: real services over fakes, with environments that can be killed at any call."""

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from agentfleet.agent import Agent, read_deliveries
from agentfleet.composition import Outside, Platform
from agentfleet.composition_pools import Bench, pool_runner
from agentfleet.domain import names
from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.goal import Goal
from agentfleet.domain.playbook import Playbook
from agentfleet.domain.result import Result
from agentfleet.domain.task import parse_request
from agentfleet.ports_agents import ToolServer
from agentfleet.services.approval import LocalApprovals
from agentfleet.services.breaker import LocalBreakers
from agentfleet.services.budget import LocalBudgets
from agentfleet.services.cache import CacheManager
from agentfleet.services.capability import MemorySource, ModelSource, TaskContext
from agentfleet.services.guardrail import Guard
from agentfleet.services.heal import HealReport
from agentfleet.services.journal import LocalJournals
from agentfleet.services.kill import LocalKills
from agentfleet.services.routing import LocalRouting
from agentfleet.services.run import TaskRunner
from tests.fakes.blobs import FakeBlobs
from tests.fakes.bus import FakeBus
from tests.fakes.clock import FixedClock
from tests.fakes.health import FakeDeadLetters, FakeHealth, FakeQueueWatch
from tests.fakes.queues import FakeQueues
from tests.fakes.registry import FakeAgents
from tests.fakes.sagas import SagaMachine
from tests.fakes.work import FakeClaims, FakeGoals, FakeJoins, FakePlans, FakeResults

INVOCATION = timedelta(seconds=60)
READS = frozenset(
    {"goals.get", "plans.read", "results.get", "journals.read", "claims.held", "approvals.get", "approvals.of_goal"}
    | {"kills.read", "breakers.read"}
)
"""Calls that change nothing."""
NOWHERE = -1
"""The place of a call that is not counted."""


class Killed(BaseException):
    """The environment died: nothing in it runs on, and no `except Exception` notices."""


class Faults:
    """Kills at the n-th call that leaves the process: before it takes effect, or after."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.kill_at: int | None = None
        self.before = False
        self.stays_dead = False
        self.left_out: Container[str] = ()
        self._is_dead = False
        self._mutex = Lock()

    def arm(self, call: int | None, *, before: bool = False, stays_dead: bool = False, left_out: Container[str] = ()) -> None:
        """Count from zero again and kill at this call (None: never).

        `stays_dead`: whatever else the environment still tries dies too, until it is started again, as with several calls
        under way at once. `left_out`: calls that are not counted.
        """
        self.calls, self.kill_at, self.before, self.stays_dead = [], call, before, stays_dead
        self.left_out, self._is_dead = left_out, False

    def die(self) -> None:
        """The environment is dead from now on, until another takes over."""
        self._is_dead = True

    def revive(self) -> None:
        """Another environment takes over."""
        self._is_dead = False

    def wrap(self, port: Any, name: str) -> Any:
        """The port with every method watched."""
        return _Watched(port, name, self)

    def step(self, name: str, call: Callable[[], Any]) -> Any:
        """Make one call, or die at it."""
        with self._mutex:
            if self._is_dead:
                raise Killed(f"dead already: {name}")
            number = NOWHERE if name in self.left_out else len(self.calls)
            if number != NOWHERE:
                self.calls.append(name)
            if number == self.kill_at:
                self._is_dead = self.stays_dead
        if number == self.kill_at and self.before:
            raise Killed(f"before call {number}, {name}")
        value = call()
        if number == self.kill_at:
            raise Killed(f"after call {number}, {name}")
        return value


class _Watched:
    def __init__(self, port: Any, name: str, faults: Faults) -> None:
        self._port = port
        self._name = name
        self._faults = faults

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._faults.step(f"{self._name}.{attribute}", lambda: value(*args, **kwargs))


def catalog_of(*agents: Agent, **rest: Any) -> Catalog:
    """The catalog that synth would read from these agents' code."""
    pools = {
        agent.pool: PoolSpec(
            name=agent.pool,
            capabilities=tuple(
                CapabilitySpec(
                    name=one.name,
                    pool=agent.pool,
                    idempotent=one.idempotent,
                    timeout=one.timeout,
                    chunk=one.chunk,
                    approval=one.approval,
                    undone_by=one.undone_by,
                )
                for one in agent.capabilities.values()
            ),
        )
        for agent in agents
    }
    return Catalog(fleet="fleet", pools=pools, **rest)


async def _at_once(_: float) -> None:
    """Nobody else does anything while an agent waits."""


class InProcessFleet:
    """Agents, queues and stores; `settle` runs everything to rest, in an order that `shuffle` may choose."""

    def __init__(
        self,
        *agents: Agent,
        playbooks: Mapping[str, Playbook] | None = None,
        cache: CacheManager | None = None,
        models: ModelSource | None = None,
        memories: MemorySource | None = None,
        catalog: Catalog | None = None,
        **rest: Any,
    ) -> None:
        """`rest` are further fields of the catalog."""
        self.agents = {agent.pool: agent for agent in agents}
        self.clock = FixedClock()
        self.goals, self.plans, self.results = FakeGoals(), FakePlans(), FakeResults()
        self.joins, self.claims = FakeJoins(), FakeClaims()
        self.queues, self.bus, self.blobs, self.entries = FakeQueues(self.clock), FakeBus(), FakeBlobs(), FakeAgents()
        self.budgets, self.approvals, self.kills = LocalBudgets(), LocalApprovals(), LocalKills()
        self.breakers, self.routing = LocalBreakers(), LocalRouting()
        self.cache = cache
        self.models = models
        self.memories = memories
        self.guards: dict[str, Guard] = {}
        """By pool."""
        self.refusals: list[tuple[str, str]] = []
        """Tools that were not let through, and the error's type."""
        self.lost: dict[str, list[float]] = {}
        """By pool: which share of each invocation's attempts was lost."""
        self.journals = LocalJournals()
        self.servers: dict[str, ToolServer] = {}
        """MCP servers by name."""
        self.faults = Faults()
        self.machine = SagaMachine(lambda: self.clock().timestamp(), self.queues.put)
        watched = {
            name: self.faults.wrap(port, name)
            for name, port in {
                "goals": self.goals,
                "plans": self.plans,
                "results": self.results,
                "joins": self.joins,
                "claims": self.claims,
                "queues": self.queues,
                "bus": self.bus,
                "blobs": self.blobs,
                "agents": self.entries,
                "breakers": self.breakers,
                "budgets": self.budgets,
                "approvals": self.approvals,
                "kills": self.kills,
                "sagas": self.machine,
                "answers": self.machine,
                "routing": self.routing,
                "journals": self.journals,
            }.items()
        }
        bits = iter(range(1, 1 << 30))
        self.platform = Platform(
            Outside(**watched, clock=self.clock),
            catalog or catalog_of(*agents, **rest),
            playbooks or {},
            random_bits=lambda _: next(bits),
            fraction=lambda: 0.5,
        )
        self.health, self.watch = FakeHealth(), FakeQueueWatch(self.queues)
        self.healing = self.platform.healing(
            *(
                self.faults.wrap(port, name)
                for port, name in ((self.watch, "watch"), (FakeDeadLetters(self.queues), "letters"), (self.health, "health"))
            )
        )
        self._runners: dict[str, TaskRunner] = {}
        self._environments = 0
        self.batch = 10

    def submit(self, body: dict[str, Any], key: str | None = None, tenant: str = "acme") -> Goal:
        """Accept a goal as the API would."""
        return self.platform.accepter.accept(parse_request(body), tenant, key)[0]

    def goal(self, goal_id: str) -> Goal:
        """The goal as it stands."""
        return self.goals.get([goal_id])[goal_id]

    def result_of(self, goal_id: str, unit: int) -> Result:
        """A unit's stored result."""
        return self.results.get(goal_id, self.goal(goal_id).shards, [unit])[unit]

    def invoke(self, queue: str) -> None:
        """One invocation on a queue, as Lambda's poller makes it: what isn't returned as failed is deleted."""
        records = self.queues.take(queue, self.batch)
        if records:
            self.process(queue, records)

    def process(self, queue: str, records: list[dict[str, Any]]) -> None:
        """Carry out what was taken from a queue, and delete what need not come again."""
        if queue == names.release_queue("fleet"):
            for record in records:
                self.platform.release_part(record["body"])
            returned: set[str] = set()
        else:
            pool = queue.removeprefix("fleet-").rpartition("-")[0]
            returned = self._run(pool, records)
        self.queues.delete(queue, *(one["receiptHandle"] for one in records if one["messageId"] not in returned))

    def _run(self, pool: str, records: list[dict[str, Any]]) -> set[str]:
        if pool not in self._runners:
            self._environments += 1
            agent = self.agents[pool]
            self._runners[pool] = pool_runner(
                self.platform,
                pool,
                f"{pool}-{self._environments}",
                agent.capabilities,
                before=agent.before,
                cache=self.cache,
                models=self.models,
                memories=self.memories,
                guard=self.guards.get(pool),
                bench=Bench(self._refused, lambda: self.servers, _at_once),
            )
        deliveries = read_deliveries({"Records": records})
        batch = asyncio.run(self._runners[pool].run(deliveries, self.clock() + INVOCATION))
        self.lost.setdefault(pool, []).append(batch.lost_share)
        return set(batch.returned)

    def _refused(self, _: TaskContext, tool: str, error: Exception) -> None:
        self.refusals.append((tool, type(error).__name__))

    def kill(self) -> None:
        """All environments are gone with what they knew; what they held comes back."""
        self._runners.clear()
        self.faults.revive()
        self.queues.expire_visibility()

    def heal(self, by_person: bool = False) -> HealReport:
        """One run of the healer, as its schedule starts it."""
        return self.healing.healer.run(self.clock() + INVOCATION, by_person=by_person)

    def _next_saga(self) -> datetime | None:
        upcoming = self.machine.upcoming()
        return None if upcoming is None else datetime.fromtimestamp(upcoming, UTC)

    def step(self) -> None:
        """Let whatever is waiting now be received once, and some time pass: to the next hidden message if nothing waits."""
        busy = self.queues.busy()
        for queue in busy:
            self.invoke(queue)
        upcoming = self.queues.next_visible()
        self.clock.advance(0.05)
        if not busy and upcoming:
            self.clock.now = max(self.clock.now, upcoming)

    def settle(self, shuffle: Callable[[list[str]], Iterable[str]] = sorted, limit: int = 100_000) -> None:
        """Invoke until no queue holds anything but dead letters, letting time pass where only hidden messages are left."""
        for _ in range(limit):
            if execution := self.machine.due():
                self.machine.call(execution, self.platform.saga)
                continue
            busy = self.queues.busy()
            if not busy:
                times = [moment for moment in (self.queues.next_visible(), self._next_saga()) if moment]
                if not times:
                    return
                self.clock.now = max(self.clock.now, min(times))
                continue
            for queue in shuffle(busy):
                self.invoke(queue)
            self.clock.advance(0.05)
        raise AssertionError(f"not at rest after {limit} rounds: {self.queues.busy()}")

"""The API's function over a fleet in one process, called with HTTP API events."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from msgspec.structs import replace

from agentfleet.agent import Agent, SubPlan, TaskContext
from agentfleet.bootstrap import Api
from agentfleet.domain.approval import ApprovalRule
from agentfleet.domain.catalog import BudgetDefaults, Catalog
from agentfleet.domain.errors import PermanentError
from agentfleet.domain.fleet import Agent as AgentEntry
from agentfleet.domain.fleet import AgentState
from agentfleet.domain.memory import Policy
from agentfleet.domain.playbook import Playbook
from agentfleet.services.authorize import Caller
from agentfleet.services.discover import Discovery
from agentfleet.services.history import Historian
from agentfleet.services.inspect import Inspector
from agentfleet.services.knowledge import Knowledge
from agentfleet.services.learn import Indexes
from agentfleet.services.memory_desk import MemoryDesk
from agentfleet.services.playbooks import PlaybookShelf
from agentfleet.services.receipt import Accountant
from agentfleet.services.scale import Scaler
from agentfleet.services.upload import Uploader
from functions.serve_api import handler as function
from tests.fakes import (
    FakeDocuments,
    FakeEmbedder,
    FakeEpisodes,
    FakeFacts,
    FakeFleets,
    FakeHistory,
    FakePages,
    FakePools,
    FakeScalings,
    FakeSessions,
    FakeVectors,
    FakeWords,
)
from tests.fakes.fleet import InProcessFleet

EVENTS = Path(__file__).parents[2] / "events"
CONTEXT: Any = SimpleNamespace(function_name="fleet-serve-api", aws_request_id="test")

work = Agent("work")
web = Agent("web")


@work.capability("work.echo", idempotent=True)
async def echo(input: dict[str, Any]) -> Any:
    """What was given."""
    return input.get("value")


@work.capability("work.pay", idempotent=True)
async def pay(input: dict[str, Any], context: TaskContext) -> float:
    """Spends dollars of its budget."""
    with context.budget.reserve(dollars=input["most"]) as held:
        held.spent(dollars=input["actual"])
    return float(input["actual"])


@work.capability("work.broken", idempotent=True)
async def broken(input: dict[str, Any]) -> None:
    """Never works."""
    raise PermanentError("broken on purpose")


@work.capability("work.delegate", idempotent=True)
async def delegate(input: dict[str, Any]) -> SubPlan:
    """Delegates."""
    return SubPlan([{"id": "inner", "capability": "work.echo", "input": {"value": "deep"}}], {"$from": "inner"})


@web.capability("web.fetch", idempotent=True)
async def fetch(input: dict[str, Any]) -> str:
    """A page."""
    return "<html>"


PLAYBOOK = Playbook.model_validate(
    {
        "name": "greet",
        "description": "Says hello",
        "parameters": {"who": {"type": "string", "description": "whom"}, "times": {"type": "integer", "default": 2}},
        "plan": {"tasks": [{"id": "say", "capability": "work.echo", "input": {"value": {"$param": "who"}}}]},
    }
)


def recorded(name: str) -> dict[str, Any]:
    """A recorded event."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


@dataclass(frozen=True)
class Answer:
    """What the function answered."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def fields(self) -> list[str]:
        """The fields of the problems in an error."""
        return [problem["field"] for problem in self.body["problems"]]


class World:
    """A fleet, the services of the API over it, and its function."""

    def __init__(self, *more: Agent) -> None:
        rules = (ApprovalRule(capability="work.*", when="ask"),)
        day = BudgetDefaults(tenant_dollars_per_day=10.0)
        self.fleet = InProcessFleet(work, web, *more, playbooks={"greet": PLAYBOOK}, approvals=rules, budget=day)
        fleet, clock = self.fleet, self.fleet.clock
        pools = {name: replace(pool, max_concurrency=50) for name, pool in fleet.platform.catalog.pools.items()}
        self.catalog = Catalog(fleet="fleet", pools={**pools, "web": replace(pools["web"], max_concurrency=20)})
        self.pools, self.fleets = FakePools(self.catalog, fleet.queues), FakeFleets()
        self.scalings = FakeScalings()
        self.inspector = Inspector(
            fleet.goals,
            fleet.plans,
            fleet.results,
            fleet.entries,
            fleet.blobs,
            self.catalog,
            clock,
            fleet.platform.approvals,
        )
        bits = iter(range(1, 1 << 30))
        board = fleet.platform.board
        self.scaler = Scaler(self.pools, self.fleets, self.scalings, self.catalog, clock, lambda _: next(bits), board)
        self.history = FakeHistory()
        historian = Historian(fleet.goals, fleet.plans, self.history)
        self.api = Api(
            accept=fleet.platform.accepter.accept,
            control=fleet.platform.control,
            inspect=self.inspector,
            scale=self.scaler,
            registry=fleet.platform.registry,
            playbooks=PlaybookShelf(fleet.platform.playbooks),
            history=historian,
            account=Accountant(fleet.plans, fleet.results, historian, self.catalog),
            healing=fleet.healing,
            governance=fleet.platform.governance(),
            saga=fleet.platform.saga,
            discovery=Discovery(self.catalog, fleet.platform.router, board, fleet.platform.registry, clock),
            upload=Uploader(fleet.blobs),
        )
        self.vectors, self.words = FakeVectors(), FakeWords()
        indexes = Indexes(self.vectors, self.words, FakeEmbedder())
        self.knowledge = Knowledge(FakeDocuments(), indexes, FakePages(), clock, node="test")
        self.facts, self.sessions, self.episodes = FakeFacts(), FakeSessions(), FakeEpisodes()
        self.memory = MemoryDesk(self.facts, self.sessions, self.episodes, clock, Policy(), 2_000)

    def send(self, event: dict[str, Any]) -> Answer:
        """Let the function answer an event."""
        response = function.handler(event, CONTEXT)
        headers = {name.lower(): value for name, value in (response.get("headers") or {}).items()}
        for name, values in (response.get("multiValueHeaders") or {}).items():
            headers[name.lower()] = values[0]
        body = response.get("body")
        return Answer(response["statusCode"], headers, json.loads(body) if body else None)

    def call(
        self, method: str, path: str, body: Any = None, *, tenant: str | None = "acme", headers: Any = None, **query: Any
    ) -> Answer:
        """Send a request: `body` as JSON, or as it is if it is text. The tenant acme is an operator."""
        event = copy.deepcopy(recorded("http_api_get_goals"))
        http = event["requestContext"]["http"]
        http["method"], http["path"], event["rawPath"] = method, path, path
        event["rawQueryString"], event["queryStringParameters"] = urlencode(query), {k: str(v) for k, v in query.items()}
        event["headers"].update(headers or {})
        if tenant is None:
            del event["requestContext"]["authorizer"]
        else:
            event["requestContext"]["authorizer"]["lambda"] = Caller(tenant, tenant == "acme").as_context()
        if body is not None:
            event["headers"].setdefault("content-type", "application/json")
            event["body"] = body if isinstance(body, str) else json.dumps(body)
        return self.send(event)

    def submit(self, *tasks: dict[str, Any], **rest: Any) -> str:
        """Submit a goal of these tasks (work.echo unless they say otherwise). Gives its id."""
        plan = {"tasks": [{"capability": "work.echo", **task} for task in tasks]}
        return str(self.call("POST", "/goals", {"plan": plan, **rest}).body["id"])

    def busy(self, *tasks: str, pool: str = "work") -> None:
        """An agent that is executing these (`goal/task`)."""
        now = self.fleet.clock()
        capabilities = tuple(sorted(self.fleet.agents[pool].capabilities))
        self.fleet.entries.put(AgentEntry(f"{pool}-x", pool, capabilities, AgentState.EXECUTING, now, now, tasks))

    def step(self) -> None:
        """One invocation of every pool that has work."""
        for queue in self.fleet.queues.busy():
            self.fleet.invoke(queue)
        self.fleet.clock.advance(0.05)

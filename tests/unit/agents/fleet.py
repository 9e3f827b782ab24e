"""A fleet with agents that think, tools that do something, and a model that says what a test wrote down."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from agentfleet.agent import Agent, PermanentError, TaskContext
from agentfleet.domain.approval import Decision
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.goal import Goal
from agentfleet.domain.model import ModelRequest, Reply
from agentfleet.services.budget import GoalSpending
from functions.agents.handler import agent as agents
from functions.flow.handler import agent as flow
from tests.fakes.fleet import InProcessFleet, Killed, catalog_of
from tests.fakes.models import ScriptedModel, models_of

tools = Agent("tools")


@tools.capability("shop.price", idempotent=True)
async def price(input: dict[str, Any]) -> dict[str, Any]:
    """What a thing costs."""
    if input.get("thing") == "moon":
        raise PermanentError("nobody sells that")
    return {"thing": input.get("thing"), "price": 7, "url": "https://shop.example.com/things"}


@tools.capability("shop.buy")
def buy(input: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Buys a thing: a side effect under the task's key."""
    context.blobs.store.put(f"bought/{context.idempotency_key}", str(input.get("thing")).encode(), "text/plain")
    return {"bought": input.get("thing")}


@tools.capability("shop.refund", approval="required")
def refund(input: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Gives money back, which somebody must approve."""
    context.blobs.store.put(f"refunded/{context.idempotency_key}", b"1", "text/plain")
    return {"refunded": input.get("amount")}


@tools.capability("secret.read", idempotent=True)
async def read_secret(input: dict[str, Any]) -> str:
    """What no agent may call."""
    return "hunter2"


def catalog(
    allowed: Sequence[str] = ("shop.*",), hosts: Sequence[str] = (), pools: Sequence[Agent] = (), **rest: Any
) -> Catalog:
    """The catalog of these pools, in which agents may call these tools and reach these hosts."""
    plain = catalog_of(agents, flow, tools, *pools, **rest)
    bounded = replace(plain.pools["agents"], tools=tuple(allowed), hosts=tuple(hosts))
    return replace(plain, pools={**plain.pools, "agents": bounded})


class AgentFleet(InProcessFleet):
    """Agents, tools and a scripted model, in one process."""

    def __init__(self, script: Sequence[Reply] | Callable[[ModelRequest], Reply], *pools: Agent, **given: Any) -> None:
        self.model = ScriptedModel(script)
        self.patient = False
        super().__init__(agents, flow, tools, *pools, catalog=catalog(pools=pools, **given))
        self.models = models_of(self.faults.wrap(self.model, "model"), spending=GoalSpending(self.platform.budgets, self.goals))

    def ask(self, task: str = "Work.", *, goal: dict[str, Any] | None = None, **input: Any) -> Goal:
        """Submit a goal of one task for an agent, once, and run to rest however often environments die."""
        body = {"plan": {"tasks": [{"id": "a", "capability": "agent.work", "input": {"task": task, **input}}]}, **(goal or {})}
        try:
            goal_id = self.submit(body, key="k").id
        except Killed:
            self.kill()
            goal_id = self.submit(body, key="k").id
        return self.rest(goal_id)

    def rest(self, goal_id: str) -> Goal:
        """Run to rest; whoever is killed is started again as the platform would: by redelivery.

        A `patient` fleet is at rest, too, where nothing happens but that agents look for what a person has to decide.
        """
        while True:
            try:
                for _ in range(200):
                    self.step()
                    if not self.queues.busy() and self.queues.next_visible() is None:
                        return self.goal(goal_id)
                    if self.patient and self.approvals.waiting("acme", 10, None).items:
                        return self.goal(goal_id)
            except Killed:
                self.kill()

    def decide(self, ref: str) -> None:
        """A person approves, again if nobody said that it was done."""
        for _ in range(2):
            try:
                self.platform.governance().approvals.decide("acme", ref, Decision.APPROVED, None)
            except Killed:
                self.kill()
            else:
                return

    def files(self, prefix: str) -> list[str]:
        """What was stored under a prefix."""
        return [uri for uri, _ in self.blobs.list(prefix)]

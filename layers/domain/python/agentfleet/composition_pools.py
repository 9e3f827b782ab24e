"""How one execution environment of a pool hangs together over a platform: the wiring that production and the tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from agentfleet.composition import Platform
from agentfleet.domain.fleet import Agent, AgentState
from agentfleet.services.approval import ApprovalGate
from agentfleet.services.breaker import Breakers, read_policy
from agentfleet.services.capability import Capability, MemorySource, ModelSource
from agentfleet.services.kill import Halt, KillStage
from agentfleet.services.perform import BeforeHook, Performer
from agentfleet.services.registry import Presence
from agentfleet.services.run import Gates, Stores, TaskRunner
from agentfleet.services.undo import Undoer

if TYPE_CHECKING:
    from agentfleet.domain.goal import Goal
    from agentfleet.domain.plan import Unit
    from agentfleet.ports_agents import ToolServer
    from agentfleet.services.cache import CacheManager
    from agentfleet.services.capability import TaskContext
    from agentfleet.services.guardrail import Guard
    from agentfleet.services.reuse import ResultReuse
    from agentfleet.services.task_tools import CallHere, Refused, TaskTools, Workshop


class Bench(Struct, frozen=True):
    """What the tools of a pool's tasks reach out to."""

    refused: Refused | None = None
    """Told of every call that was not let through."""
    servers: Callable[[], Mapping[str, ToolServer]] = dict
    """MCP servers by name, made when a task first asks for its tools."""
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Let so many seconds pass."""


def pool_runner(
    platform: Platform,
    pool: str,
    agent_id: str,
    capabilities: Mapping[str, Capability],
    *,
    before: Sequence[BeforeHook] = (),
    settings: dict[str, Any] | None = None,
    cache: CacheManager | None = None,
    guard: Guard | None = None,
    models: ModelSource | None = None,
    memories: MemorySource | None = None,
    bench: Bench = Bench(),
) -> TaskRunner:
    """The runner of one execution environment of a pool; no cache: nothing is cached; no models: none is asked.

    No memories: its agents remember nothing.
    """
    outside = platform.outside
    now = outside.clock()
    entry = Agent(agent_id, pool, tuple(sorted(capabilities)), AgentState.STARTING, now, now)
    performer = Performer(
        agent_id,
        capabilities,
        outside.results,
        outside.blobs,
        lambda: platform.accepter,
        outside.clock,
        platform.fraction,
        settings=settings,
        before=before,
        reuse=None if cache is None else _reuse(cache),
        breakers=Breakers(outside.breakers, outside.clock, read_policy((settings or {}).get("breaker", {}))),
        budgets=platform.budgets,
        guard=guard,
        models=models,
        memories=memories,
        journals=outside.journals,
        workshop=_workshop(platform, pool, capabilities, guard, bench),
        halt=Halt(platform.switch, outside.goals, pool, outside.clock, platform.fraction),
    )
    stores = Stores(outside.goals, outside.plans, outside.results, outside.claims, outside.queues)
    presence = Presence(platform.registry, entry, outside.clock)
    gates = Gates(
        KillStage(platform.switch, pool, outside.clock, platform.fraction),
        ApprovalGate(platform.approval_policy, outside.approvals, outside.bus, capabilities, outside.clock),
    )
    undoer = Undoer(
        agent_id,
        outside.goals,
        outside.plans,
        outside.results,
        outside.claims,
        performer,
        outside.answers,
        outside.clock,
    )
    return TaskRunner(
        capabilities,
        stores,
        performer,
        lambda: platform.accepter,
        platform.finisher,
        presence,
        outside.clock,
        platform.fraction,
        pool,
        platform.router,
        undoer,
        gates,
    )


def _reuse(cache: CacheManager) -> ResultReuse:
    from agentfleet.services.reuse import ResultReuse

    return ResultReuse(cache)


def _workshop(
    platform: Platform, pool: str, capabilities: Mapping[str, Capability], guard: Guard | None, bench: Bench
) -> Workshop | None:
    """What makes the tools of a pool's tasks, where it has any, when a task first asks for them."""
    spec = platform.catalog.pools[pool]
    if not spec.tools and not spec.servers:
        return None

    @lru_cache(maxsize=1)
    def made() -> Workshop:
        from agentfleet.services.task_tools import ToolShop

        return ToolShop(
            spec,
            platform.catalog,
            lambda: platform.accepter,
            platform.outside.goals,
            platform.outside.clock,
            capabilities,
            platform.approval_policy,
            guard,
            bench.refused,
            bench.servers(),
            bench.pause,
        )

    def tools_of(goal: Goal, unit: Unit, call_here: CallHere, context: TaskContext) -> TaskTools:
        return made()(goal, unit, call_here, context)

    return tools_of

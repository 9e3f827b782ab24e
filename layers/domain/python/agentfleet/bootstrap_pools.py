"""What one execution environment of a pool is wired of: its runner, models, memory, tools, guardrails and cache."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from random import random
from typing import TYPE_CHECKING

from agentfleet.bootstrap import clients, compose, remembering, uses, utc_now
from agentfleet.composition import Platform
from agentfleet.composition_pools import Bench, pool_runner
from agentfleet.domain.catalog import Catalog
from agentfleet.domain.errors import FleetError
from agentfleet.services.capability import Capability, MemorySource, ModelSource, TaskContext
from agentfleet.services.perform import BeforeHook
from agentfleet.services.run import TaskRunner
from agentfleet.settings import MemorySettings, MissingSetting, PoolSettings, TraceSettings

if TYPE_CHECKING:
    from agentfleet.adapters.traces import Traces
    from agentfleet.ports_agents import ToolServer
    from agentfleet.services.cache import CacheManager
    from agentfleet.services.guardrail import Guard
    from agentfleet.services.memory import TaskMemory
    from agentfleet.services.model import TaskModel
    from agentfleet.services.remote import RemoteCaller

# What only some pools need is imported where it is wired: every other pool's cold start would pay for it.


def runner(
    pool: str,
    capabilities: Mapping[str, Capability],
    before: Sequence[BeforeHook],
    remote: "RemoteCaller | None" = None,
) -> TaskRunner:
    """For a pool's function: one runner per execution environment."""
    from agentfleet.services.remote import RemoteOrder, remote_capabilities

    settings = PoolSettings.from_env()
    fleet = compose(settings)
    if pool not in {settings.pool, fleet.catalog.pools[settings.pool].shard_of}:
        raise FleetError(f"this function belongs to pool {settings.pool!r}, but its handler says Agent({pool!r})")
    order = RemoteOrder(fleet.outside.agents, utc_now)
    capabilities = {**capabilities, **remote_capabilities(fleet.catalog, settings.pool, remote, order)}
    agent_id = f"{settings.pool}-{secrets.token_hex(4)}"
    cache = _cache(settings) if any(one.cacheable for one in capabilities.values()) else None
    models = _models(settings, cache, fleet) if settings.model else None
    return pool_runner(
        fleet,
        settings.pool,
        agent_id,
        capabilities,
        before=before,
        settings=settings.settings,
        cache=cache,
        guard=_guard(settings),
        models=models,
        memories=_memories(settings, pool) if settings.remembers else None,
        bench=_bench(settings, fleet.catalog),
    )


@lru_cache(maxsize=1)
def tracing() -> "Traces | None":
    """What sends the spans of agents that think, for every agent that is made from now on; None where no collector is named."""
    endpoint = TraceSettings.from_env().endpoint
    if not endpoint:
        return None
    from agentfleet.adapters.traces import Traces

    settings = PoolSettings.from_env()
    return Traces(f"{settings.fleet}-{settings.pool}", endpoint)


def tell_lost(share: float) -> None:
    """For a pool's function: so much of this invocation was lost to failed tasks (0 to 1)."""
    from agentfleet.adapters.attempt_signals import LossMetric

    settings = PoolSettings.from_env()
    LossMetric(settings.fleet, settings.pool, utc_now)(share)


def _memories(settings: PoolSettings, pool: str) -> MemorySource:
    """What makes the pool's memory when a task first asks for it: till then nothing of it is imported."""

    @lru_cache(maxsize=1)
    def made() -> MemorySource:
        from agentfleet.domain.guardrails import Guardrails
        from agentfleet.services.memory import Memories

        chosen = MemorySettings.from_env()
        facts, sessions, episodes, policy = remembering(chosen)
        rules = Guardrails.model_validate(settings.guardrails)
        return Memories(facts, sessions, episodes, utc_now, pool, policy, rules, chosen.session_chars)

    def source(context: TaskContext) -> "TaskMemory":
        return made()(context)

    return source


def _bench(settings: PoolSettings, catalog: Catalog) -> Bench:
    """What the tools of a pool's tasks reach out to: imported where a task asks for its tools."""

    def refused(context: TaskContext, tool: str, error: Exception) -> None:
        from agentfleet.adapters.tool_signals import RefusalMetric

        RefusalMetric(settings.fleet, settings.pool, utc_now)(context, tool, error)

    def servers() -> "Mapping[str, ToolServer]":
        specs = catalog.pools[settings.pool].servers
        if not specs:
            return {}
        from agentfleet.adapters.mcp_servers import StrandsToolServer

        return {spec.name: StrandsToolServer(spec, _token(spec.secret), utc_now) for spec in specs}

    return Bench(refused, servers)


def _token(secret: str | None) -> Callable[[], str | None]:
    """What gives a server's bearer token, read anew for each connection: it may have been rotated."""

    def read() -> str | None:
        return clients().secrets.get_secret_value(SecretId=secret)["SecretString"] if secret else None

    return read


def _guard(settings: PoolSettings) -> "Guard | None":
    if not settings.guardrails:
        return None
    from agentfleet.adapters.bedrock_guardrails import BedrockGuardrail
    from agentfleet.domain.guardrails import Guardrails
    from agentfleet.services.guardrail import Guard

    rules = Guardrails.model_validate(settings.guardrails)
    moderator = BedrockGuardrail(clients().guardrails, rules.bedrock) if rules.bedrock else None
    return Guard(settings.pool, rules, moderator)


def _models(settings: PoolSettings, cache: "CacheManager | None", fleet: Platform | None = None) -> ModelSource:
    """What makes the pool's models when a task first asks for one: till then nothing of them is imported.

    Calls are paid out of their goals' budgets, where `fleet` knows of any.
    """

    @lru_cache(maxsize=1)
    def made() -> ModelSource:
        from agentfleet.adapters.bedrock import BedrockModels
        from agentfleet.adapters.model_signals import ThrottleMetric
        from agentfleet.domain.model_choice import ModelChoice
        from agentfleet.ports_model import FreeSpending
        from agentfleet.services.budget import GoalSpending
        from agentfleet.services.model import Circumstances, Models
        from agentfleet.services.model_use import UseRecorder

        try:
            choice = ModelChoice.model_validate_json(settings.model)
        except ValueError as error:
            raise MissingSetting(f"environment variable MODEL is not what [pools.<name>.model] may say: {error}") from error
        throttled = ThrottleMetric(settings.fleet, settings.pool, utc_now)
        spending = GoalSpending(fleet.budgets, fleet.outside.goals) if fleet else FreeSpending()
        given = Circumstances(
            settings.pool,
            choice,
            random,
            spending=spending,
            cache=cache or _cache(settings),
            throttled=throttled,
            used=UseRecorder(uses(settings), fleet.outside.goals) if fleet else None,
        )
        return Models(BedrockModels(clients().bedrock), given)

    def source(context: TaskContext) -> "TaskModel":
        return made()(context)

    return source


def _cache(settings: PoolSettings) -> "CacheManager":
    """Memory, Valkey if there is one, S3. Imported here: a cold start without cacheable capabilities must not pay for it."""
    from agentfleet.adapters.memory_cache import MemoryCache
    from agentfleet.adapters.s3_cache import S3Cache
    from agentfleet.adapters.valkey_cache import IamLogin, ValkeyCache
    from agentfleet.services.cache import CacheManager, Tier

    memory = Tier("memory", MemoryCache(), longest=timedelta(minutes=5), max_bytes=256 * 1024)
    objects = Tier(
        "s3",
        S3Cache(clients().s3, settings.bucket, utc_now),
        longest=timedelta(days=7),
        max_bytes=4 * 1024 * 1024,
        least=timedelta(minutes=1),
    )
    if not settings.cache_url:
        return CacheManager([memory, objects], None, utc_now, random)
    login = IamLogin(settings.cache_group, settings.cache_user) if settings.cache_group else None
    valkey = ValkeyCache(settings.cache_url, prefix=f"{settings.fleet}:", login=login)
    shared = Tier("valkey", valkey, longest=timedelta(days=1), max_bytes=1024 * 1024)
    return CacheManager([memory, shared, objects], valkey, utc_now, random)

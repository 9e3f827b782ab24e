"""Which pools there are and what each can do: read from the code at synth, carried inside the domain layer as JSON."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

from msgspec import Struct, json

from agentfleet.domain.approval import ApprovalRule
from agentfleet.domain.budget import Limits
from agentfleet.domain.scaling import ScalingMode


class CapabilitySpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a pool's agents can do, as its decorator declares it."""

    name: str
    pool: str
    description: str = ""
    input: dict[str, Any] = {}
    """JSON Schema as far as the source tells; what it doesn't tell is allowed. The agent itself checks every input."""
    output: dict[str, Any] = {}
    """Likewise."""
    idempotent: bool = False
    """May run twice for one task without harm: needs no claim."""
    timeout: float = 60.0
    """Seconds."""
    chunk: int = 1
    """How many tasks may share one message."""
    cacheable: bool = False
    """A result may answer later tasks with the same input."""
    keep: float = 3600.0
    """For so many seconds."""
    version: str = ""
    """What made the results; empty: the content of the handler's file."""
    approval: Literal["required"] | None = None
    """Must a person approve each of its tasks before it runs?"""
    undone_by: str | None = None
    """The capability that undoes what it does: what planners give its tasks as compensation."""
    is_remote: bool = False
    """Is it done by remote agents, which the pool calls?"""


class RemoteAgent(Struct, frozen=True, forbid_unknown_fields=True):
    """An agent that others run, called over HTTP by one of the fleet's pools."""

    name: str
    url: str
    """Where tasks are posted to."""
    health_url: str
    """Where a GET is answered by a 2xx while it is well."""
    capabilities: tuple[str, ...]
    pool: str
    """Which calls it."""


class ToolServerSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """An MCP server: `[pools.<name>.mcp.<server>]`."""

    name: str
    url: str
    tools: tuple[str, ...] = ()
    """Names and patterns of its tools that may be called; none without it."""
    secret: str | None = None
    """Name of the secret that holds the bearer token; None: it asks for none."""
    timeout: float = 30.0
    """Seconds that one call may take."""


class PoolSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A pool of agents: one function, fed by one queue per priority."""

    name: str
    description: str = ""
    weight: int = 1
    concurrency: int = 10
    """Trigger concurrency of each priority's queue at deploy."""
    min_concurrency: int = 2
    max_concurrency: int = 100
    batch: int = 10
    timeout: int = 60
    """Seconds that one invocation may take."""
    memory: int = 512
    """MB of its function: what a second of an agent costs."""
    scaling: ScalingMode = "auto"
    """Who moves its concurrency: `auto` the fleet manager, `dry-run` nobody but it says what it would do, `off` nobody."""
    daily_budget: float | None = None
    """Dollars of Lambda per day (UTC) from which it is kept at its least size; None: no limit."""
    models: tuple[str, ...] = ()
    """Ids of the language models that its agents may ask, the preferred one first."""
    dependencies: tuple[str, ...] = ()
    """Names of the breakers without which it can't work: while one is open, new work goes to another pool if there is one."""
    shard_of: str | None = None
    """The pool of fleet.toml that it is a further shard of."""
    capabilities: tuple[CapabilitySpec, ...] = ()
    call_dollars: float = 0.0
    """The most that one call of its models costs, as far as that can be said beforehand (`domain.estimate.call_dollars`)."""
    call_tokens: int = 0
    """The tokens of such a call (`domain.estimate.call_tokens`)."""
    tools: tuple[str, ...] = ()
    """Names and patterns of the tools that its agents may call."""
    hosts: tuple[str, ...] = ()
    """Names and patterns of the hosts that addresses in calls of tools may lead to."""
    servers: tuple[ToolServerSpec, ...] = ()
    """MCP servers whose tools its agents may call, by name."""


class BudgetDefaults(Struct, frozen=True, forbid_unknown_fields=True):
    """`[fleet.budget]`: what may be spent where nobody says anything else. None: as much as you like."""

    goal_dollars: float | None = None
    tenant_dollars_per_day: float | None = None

    @property
    def goal(self) -> Limits:
        """Of a goal that names no dollars of its own."""
        return Limits.of(dollars=self.goal_dollars)

    @property
    def day(self) -> Limits:
        """Of a tenant's day (UTC)."""
        return Limits.of(dollars=self.tenant_dollars_per_day)


class Catalog(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Every pool of a fleet with its capabilities."""

    fleet: str
    pools: dict[str, PoolSpec]
    budget: BudgetDefaults = BudgetDefaults()
    approvals: tuple[ApprovalRule, ...] = ()
    tenant_window: int = 2_000
    """How many units of one pool and priority all goals of a tenant may have under way at once."""
    remotes: tuple[RemoteAgent, ...] = ()
    """By name."""

    @cached_property
    def capabilities(self) -> dict[str, tuple[CapabilitySpec, ...]]:
        """Capability name → its declarations, one per pool that offers it, in order of pool name."""
        found: dict[str, tuple[CapabilitySpec, ...]] = {}
        for name in sorted(self.pools):
            for capability in self.pools[name].capabilities:
                found[capability.name] = (*found.get(capability.name, ()), capability)
        return found

    def family_of(self, pool: str) -> str:
        """The pool of fleet.toml that a pool is, or is a shard of."""
        return self.pools[pool].shard_of or pool

    def shards_of(self, pool: str) -> tuple[str, ...]:
        """A pool with its further shards, or a shard alone, sorted."""
        return tuple(sorted(name for name, spec in self.pools.items() if pool in {name, spec.shard_of}))

    def pools_for(self, capabilities: Iterable[str]) -> tuple[str, ...]:
        """Names of the pools that offer any of these capabilities, sorted. Unknown ones add nothing."""
        wanted = set(capabilities)
        return tuple(sorted({spec.pool for name in wanted for spec in self.capabilities.get(name, ())}))


def read_catalog(body: bytes) -> Catalog:
    """The catalog that `write_catalog` gave this for. Raises msgspec.ValidationError, which says where it is anything else."""
    return json.decode(body, type=Catalog)


def write_catalog(catalog: Catalog) -> bytes:
    """A catalog as JSON, in an order that does not change and with a line for each value."""
    return json.format(json.encode(catalog, order="sorted"), indent=1) + b"\n"

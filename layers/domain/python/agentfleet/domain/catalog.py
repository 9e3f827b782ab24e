"""Which pools there are and what each can do: read from the code at synth, carried inside the domain layer."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from agentfleet.domain.scaling import ScalingMode


class CapabilitySpec(BaseModel):
    """One thing that a pool's agents can do, as its decorator declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class PoolSpec(BaseModel):
    """A pool of agents: one function, fed by one queue per priority."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    capabilities: tuple[CapabilitySpec, ...] = ()


class Catalog(BaseModel):
    """Every pool of a fleet with its capabilities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fleet: str
    pools: dict[str, PoolSpec]

    @cached_property
    def capabilities(self) -> dict[str, tuple[CapabilitySpec, ...]]:
        """Capability name → its declarations, one per pool that offers it, in order of pool name."""
        found: dict[str, tuple[CapabilitySpec, ...]] = {}
        for name in sorted(self.pools):
            for capability in self.pools[name].capabilities:
                found[capability.name] = (*found.get(capability.name, ()), capability)
        return found

    def pools_for(self, capabilities: Iterable[str]) -> tuple[str, ...]:
        """Names of the pools that offer any of these capabilities, sorted. Unknown ones add nothing."""
        wanted = set(capabilities)
        return tuple(sorted({spec.pool for name in wanted for spec in self.capabilities.get(name, ())}))

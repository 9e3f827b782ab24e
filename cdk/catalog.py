"""Read fleet.toml and the pools' code into one checked definition of the fleet, without importing any of that code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from msgspec import convert, structs
from pydantic import JsonValue

from agentfleet.domain.approval import ApprovalRule
from agentfleet.domain.catalog import BudgetDefaults, CapabilitySpec, Catalog, PoolSpec, RemoteAgent, ToolServerSpec
from agentfleet.domain.estimate import call_dollars, call_tokens
from agentfleet.domain.guardrails import Guardrails
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.domain.tool_policy import OWN_TOOLS, unknown_tools
from cdk.capabilities import read_capabilities
from cdk.errors import FleetError
from cdk.fleet_file import AgentBlock, FleetBlock, Grant, KnowledgeBlock, MemoryBlock, PoolBlock, read_file

CALLER: Final = "web"
"""The pool that calls remote agents."""

CALL_MARGIN: Final = 5
"""Seconds of an invocation that a call to a remote agent leaves for the rest."""


@dataclass(frozen=True)
class PoolDefinition:
    """A pool as the infrastructure needs it: its catalog entry and how to run it."""

    spec: PoolSpec
    memory: int
    """MB."""
    layers: tuple[str, ...]
    """Names of files in layers/dependencies, without core."""
    grants: frozenset[Grant]
    settings: dict[str, JsonValue]
    folder: Path
    guardrails: Guardrails
    model: ModelChoice | None = None


@dataclass(frozen=True)
class FleetDefinition:
    """Everything that fleet.toml and the pools' code say."""

    root: Path
    catalog: Catalog
    pools: dict[str, PoolDefinition]
    knowledge: KnowledgeBlock = field(default_factory=KnowledgeBlock)
    memory: MemoryBlock = field(default_factory=MemoryBlock)

    @property
    def knows(self) -> bool:
        """Does a pool work with documents? Then the API serves them too."""
        return any("knowledge" in pool.grants for pool in self.pools.values())

    @property
    def name(self) -> str:
        """Prefix of all physical names."""
        return self.catalog.fleet


def read_fleet(root: Path) -> FleetDefinition:
    """Read `root`/fleet.toml and `root`/functions/<pool>/handler.py of each pool.

    Raises FleetError, which names the file and the field or line, what is wrong and what is allowed.
    """
    file = read_file(root / "fleet.toml")
    pools: dict[str, PoolDefinition] = {}
    for name, block in sorted(file.pools.items()):
        for shard in _shard_names(name, block.shards):
            if shard != name and shard in file.pools:
                raise FleetError(f"fleet.toml: pools.{shard}: is the name of a shard of pools.{name}; take another")
            pools[shard] = _read_pool(root, name, block, file.fleet, shard)
    if file.agents:
        _lend_queues(pools, file.agents)
    rules = tuple(ApprovalRule(block.capability, block.when) for block in file.approvals)
    _check_rules(rules, pools)
    _check_tools(pools)
    _check_undoing(pools)
    pools = {name: replace(pool, spec=_approved_alone(pool.spec, rules)) for name, pool in pools.items()}
    catalog = Catalog(
        fleet=file.fleet.name,
        pools={name: pools[name].spec for name in sorted(pools)},
        budget=BudgetDefaults(**file.fleet.budget.model_dump()),
        approvals=rules,
        tenant_window=file.fleet.tenant_window,
        remotes=tuple(_remote(name, block) for name, block in sorted(file.agents.items())),
    )
    return FleetDefinition(root=root, catalog=catalog, pools=pools, knowledge=file.knowledge, memory=file.memory)


def _check_rules(rules: Sequence[ApprovalRule], pools: Mapping[str, PoolDefinition]) -> None:
    """A rule that covers nothing would let pass what somebody meant to hold back."""
    known = sorted(one.name for pool in pools.values() for one in pool.spec.capabilities)
    for number, rule in enumerate(rules):
        if not any(rule.covers(name) for name in known):
            raise FleetError(
                f"fleet.toml: approvals.{number}.capability: no capability matches {rule.capability!r}; there are "
                f"{', '.join(known)}"
            )


def _check_tools(pools: Mapping[str, PoolDefinition]) -> None:
    known = sorted(one.name for pool in pools.values() for one in pool.spec.capabilities)
    for name, pool in pools.items():
        if unknown := unknown_tools(pool.spec.tools, known):
            raise FleetError(
                f"fleet.toml: pools.{name}.tools: nothing matches {', '.join(map(repr, unknown))}; there are "
                f"{', '.join((*OWN_TOOLS, *known))}"
            )


def _check_undoing(pools: Mapping[str, PoolDefinition]) -> None:
    """What undoes something must be there when it is needed."""
    known = sorted({one.name for pool in pools.values() for one in pool.spec.capabilities})
    for name, pool in pools.items():
        for one in pool.spec.capabilities:
            if one.undone_by is not None and one.undone_by not in known:
                said = f"{one.name} is undone_by {one.undone_by!r}, which no pool offers"
                raise FleetError(f"pool {name}: {said}; there are {', '.join(known)}")


def _approved_alone(spec: PoolSpec, rules: Sequence[ApprovalRule]) -> PoolSpec:
    """Tasks that may need approval travel alone, so that each is asked about by itself."""
    alone = tuple(
        structs.replace(one, chunk=1) if any(rule.covers(one.name) for rule in rules) else one for one in spec.capabilities
    )
    return structs.replace(spec, capabilities=alone)


def _remote(name: str, block: AgentBlock) -> RemoteAgent:
    health = block.health_url or block.url.rstrip("/") + "/health"
    return RemoteAgent(name=name, url=block.url, health_url=health, capabilities=tuple(block.capabilities), pool=CALLER)


def _lend_queues(pools: dict[str, PoolDefinition], agents: dict[str, AgentBlock]) -> None:
    """Give the pool that calls remote agents their capabilities. Raises FleetError."""
    if CALLER not in pools:
        raise FleetError(f"fleet.toml: agents: remote agents are called by pool {CALLER}, which is not among the pools")
    own = {capability.name: pool for pool, found in pools.items() for capability in found.spec.capabilities}
    longest = pools[CALLER].spec.timeout - CALL_MARGIN
    lent: dict[str, CapabilitySpec] = {}
    for name, block in sorted(agents.items()):
        where = f"fleet.toml: agents.{name}"
        if block.timeout > longest:
            raise FleetError(f"{where}.timeout: {block.timeout:g} s; at most {longest} s with the timeout of pool {CALLER}")
        for capability in block.capabilities:
            if capability in own:
                raise FleetError(f"{where}.capabilities: {capability!r} is offered by pool {own[capability]} already")
            spec = CapabilitySpec(
                name=capability,
                pool=CALLER,
                description=block.description,
                idempotent=block.idempotent,
                timeout=block.timeout,
                is_remote=True,
            )
            known = lent.setdefault(capability, spec)
            if (known.idempotent, known.timeout) != (spec.idempotent, spec.timeout):
                raise FleetError(f"{where}: another agent offers {capability!r} with another timeout or idempotent")
    for pool, found in list(pools.items()):
        if CALLER in {pool, found.spec.shard_of}:
            more = tuple(structs.replace(spec, pool=pool) for spec in lent.values())
            lending = structs.replace(found.spec, capabilities=(*found.spec.capabilities, *more))
            pools[pool] = replace(found, spec=lending)


def _shard_names(pool: str, shards: int) -> list[str]:
    """A pool's first shard is the pool itself: another one takes nothing away from what is deployed."""
    return [pool, *(f"{pool}-s{number}" for number in range(2, shards + 1))]


def _read_pool(root: Path, name: str, block: PoolBlock, fleet: FleetBlock, shard: str) -> PoolDefinition:
    folder = root / "functions" / name.replace("-", "_")
    handler = folder / "handler.py"
    if not handler.is_file():
        raise FleetError(f"fleet.toml: pools.{name}: {handler.relative_to(root)} does not exist; it defines the pool's agent")
    available = sorted(path.stem for path in (root / "layers" / "dependencies").glob("*.txt") if path.stem != "core")
    for layer in block.layers:
        if layer not in available:
            raise FleetError(
                f"fleet.toml: pools.{name}.layers: no layer {layer!r}; available are {', '.join(available) or 'none'}"
            )
    shown_as = str(handler.relative_to(root))
    capabilities = read_capabilities(handler, shown_as=shown_as, pool=name, pool_timeout=block.timeout)
    capabilities = tuple(structs.replace(one, pool=shard) for one in capabilities)
    shared = block.model_dump(include=set(PoolSpec.__struct_fields__) & set(PoolBlock.model_fields))
    shared |= {"name": shard, "shard_of": None if shard == name else name, "capabilities": capabilities}
    shared["scaling"] = block.scaling or fleet.scaling
    shared["models"] = block.model.chain if block.model else ()
    shared["call_dollars"] = call_dollars(block.model) if block.model else 0.0
    shared["call_tokens"] = call_tokens(block.model) if block.model else 0
    shared["servers"] = tuple(ToolServerSpec(name=server, **one.model_dump()) for server, one in sorted(block.mcp.items()))
    return PoolDefinition(
        spec=convert(
            {"name": shard, "shard_of": None if shard == name else name, "capabilities": capabilities, **shared}, PoolSpec
        ),
        memory=block.memory,
        layers=tuple(dict.fromkeys(block.layers)),
        grants=frozenset(block.grants),
        settings=block.settings,
        folder=folder,
        guardrails=block.guardrails,
        model=block.model,
    )

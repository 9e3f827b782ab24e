"""Read fleet.toml and the pools' code into one checked definition of the fleet, without importing any of that code."""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)

from agentfleet.domain.catalog import Catalog, PoolSpec
from agentfleet.domain.scaling import ScalingMode
from cdk.capabilities import read_capabilities
from cdk.errors import FleetError

Grant = Literal["blobs:read", "blobs:write", "knowledge"]

RESERVED_POOL_NAMES: Final = frozenset(
    {
        "accept-goals",
        "authorize-request",
        "events",
        "heal-work",
        "manage-fleet",
        "registry",
        "release",
        "release-tasks",
        "serve-api",
        "serve-knowledge",
        "submissions",
        "work",
    }
)
"""Names that the fleet's own queues, functions and tables already use behind the same prefix."""

MAX_POOL_LAYERS: Final = 3
"""Lambda allows five layers; core and the domain take two (Lambda quotas)."""

MAX_SETTINGS_BYTES: Final = 2048
"""Lambda allows 4 KB for all environment variables together (Lambda quotas)."""


def _not_reserved(name: str) -> str:
    if name in RESERVED_POOL_NAMES:
        raise ValueError(f"is a name of the fleet's own; not allowed are {', '.join(sorted(RESERVED_POOL_NAMES))}")
    return name


FleetName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
PoolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,23}$"), AfterValidator(_not_reserved)]
Concurrency = Annotated[int, Field(ge=1, le=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FleetBlock(_Strict):
    """The `[fleet]` table."""

    name: FleetName
    scaling: ScalingMode = "auto"
    """For the pools that do not say their own."""


class KnowledgeBlock(_Strict):
    """The `[knowledge]` table: how texts become vectors, and where those are found."""

    embedder: Literal["minilm", "titan"] = "minilm"
    """A small model inside the functions, or Amazon Titan on Bedrock. Another one finds nothing of what was added before."""
    vectors: Literal["dynamodb", "files"] = "dynamodb"
    """DynamoDB's vector index, or files in S3 that the functions map into memory: for domains that are asked all the time."""

    @property
    def model(self) -> str:
        """The embedder's name for its vectors."""
        return f"{self.embedder}-{self.dimensions}"

    @property
    def dimensions(self) -> int:
        """Of its vectors."""
        return {"minilm": 384, "titan": 512}[self.embedder]


class PoolBlock(_Strict):
    """One `[pools.<name>]` table: what the code of a pool cannot say about itself."""

    description: str = Field(min_length=1)
    memory: int = Field(default=512, ge=128, le=10240)
    """MB."""
    timeout: int = Field(default=60, ge=1, le=900)
    """Seconds."""
    concurrency: Concurrency = 10
    """Trigger concurrency per priority queue; 1 is kept by a reserved concurrency of the function."""
    min_concurrency: Concurrency = 2
    max_concurrency: Concurrency = 100
    batch: int = Field(default=10, ge=1, le=10)
    layers: list[str] = Field(default_factory=list, max_length=MAX_POOL_LAYERS)
    weight: int = Field(default=1, ge=1, le=1000)
    scaling: ScalingMode | None = None
    """None: as `[fleet]` says."""
    daily_budget: float | None = Field(default=None, gt=0, strict=False)
    """Dollars of Lambda per day; None: no limit."""
    grants: list[Grant] = Field(default_factory=list)
    settings: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _limits_follow_concurrency(cls, block: Any) -> Any:
        if not isinstance(block, dict) or not isinstance(block.get("concurrency"), int):
            return block
        concurrency = block["concurrency"]
        return {"min_concurrency": min(2, concurrency), "max_concurrency": max(100, concurrency)} | block

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if not self.min_concurrency <= self.concurrency <= self.max_concurrency:
            raise ValueError(
                f"concurrency {self.concurrency} must lie between min_concurrency {self.min_concurrency}"
                f" and max_concurrency {self.max_concurrency}"
            )
        if "core" in self.layers:
            raise ValueError("layers: 'core' is in every pool already; list only what comes on top")
        if (size := len(json.dumps(self.settings))) > MAX_SETTINGS_BYTES:
            raise ValueError(f"settings take {size} bytes as JSON; at most {MAX_SETTINGS_BYTES} fit the environment")
        return self


class FleetFile(_Strict):
    """All of fleet.toml."""

    fleet: FleetBlock
    knowledge: KnowledgeBlock = KnowledgeBlock()
    pools: dict[PoolName, PoolBlock] = Field(min_length=1)


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


@dataclass(frozen=True)
class FleetDefinition:
    """Everything that fleet.toml and the pools' code say."""

    root: Path
    catalog: Catalog
    pools: dict[str, PoolDefinition]
    knowledge: KnowledgeBlock = field(default_factory=KnowledgeBlock)

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
    file = _read_file(root / "fleet.toml")
    pools = {name: _read_pool(root, name, block, file.fleet) for name, block in sorted(file.pools.items())}
    catalog = Catalog(fleet=file.fleet.name, pools={name: pool.spec for name, pool in pools.items()})
    return FleetDefinition(root=root, catalog=catalog, pools=pools, knowledge=file.knowledge)


def _read_file(path: Path) -> FleetFile:
    try:
        return FleetFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise FleetError(f"{path.name}: no such file in {path.parent}; it declares the fleet's pools") from error
    except tomllib.TOMLDecodeError as error:
        raise FleetError(f"{path.name}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise FleetError("\n".join(_explain(path.name, detail) for detail in error.errors())) from error


def _explain(file: str, detail: Any) -> str:
    """One line for one pydantic error: where, what is wrong, what is allowed."""
    where = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        allowed: dict[int, type[BaseModel]] = {1: FleetFile, 2: FleetBlock, 3: PoolBlock}
        fields = allowed.get(len(detail["loc"]), PoolBlock).model_fields
        return f"{file}: {where}: unknown field; allowed are {', '.join(fields)}"
    got = "" if detail["type"] in {"missing", "value_error"} else f" (got {detail['input']!r})"
    return f"{file}: {where or 'top level'}: {detail['msg'].removeprefix('Value error, ')}{got}"


def _read_pool(root: Path, name: str, block: PoolBlock, fleet: FleetBlock) -> PoolDefinition:
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
    shared = block.model_dump(include=set(PoolSpec.model_fields) & set(PoolBlock.model_fields))
    shared["scaling"] = block.scaling or fleet.scaling
    return PoolDefinition(
        spec=PoolSpec(name=name, capabilities=capabilities, **shared),
        memory=block.memory,
        layers=tuple(dict.fromkeys(block.layers)),
        grants=frozenset(block.grants),
        settings=block.settings,
        folder=folder,
    )

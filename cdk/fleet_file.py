"""What fleet.toml may say: its tables, their fields and limits, and errors in the words of whoever wrote it."""

import json
import tomllib
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
    field_validator,
    model_validator,
)

from agentfleet.domain.approval import ApprovalRule
from agentfleet.domain.guardrails import Guardrails
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.domain.model_prices import ModelPrice
from agentfleet.domain.scaling import ScalingMode
from agentfleet.domain.task import CapabilityName
from cdk.errors import FleetError

Grant = Literal["blobs:read", "blobs:write", "knowledge", "memory"]

RESERVED_POOL_NAMES: Final = frozenset(
    {
        "accept-goals",
        "archive-history",
        "authorize-request",
        "compensate-goals",
        "endings",
        "events",
        "heal-work",
        "history",
        "manage-fleet",
        "record-history",
        "registry",
        "release",
        "release-tasks",
        "remember-goals",
        "saga",
        "serve-api",
        "serve-knowledge",
        "submissions",
        "work",
    }
)
"""Names that the fleet's own queues, functions and tables already use behind the same prefix."""


MAX_POOL_LAYERS: Final = 3
"""Lambda allows five layers; core and the domain take two (Lambda quotas)."""

MAX_SHARDS: Final = 8
"""Each adds three queues to every function's policy (IAM and AWS STS quotas: 10,240 characters of inline policies)."""

MAX_SETTINGS_BYTES: Final = 2048
"""Lambda allows 4 KB for all environment variables together (Lambda quotas)."""


def _not_reserved(name: str) -> str:
    if name in RESERVED_POOL_NAMES:
        raise ValueError(f"is a name of the fleet's own; not allowed are {', '.join(sorted(RESERVED_POOL_NAMES))}")
    return name


FleetName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
PoolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,23}$"), AfterValidator(_not_reserved)]
ServerName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,15}$")]
Concurrency = Annotated[int, Field(ge=1, le=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BudgetBlock(_Strict):
    """The `[fleet.budget]` table: what may be spent where nobody says anything else."""

    goal_dollars: float | None = Field(default=None, ge=0, strict=False)
    """Of a goal that names no dollars of its own."""
    tenant_dollars_per_day: float | None = Field(default=None, ge=0, strict=False)
    """Of each tenant, per day (UTC)."""


class FleetBlock(_Strict):
    """The `[fleet]` table."""

    name: FleetName
    scaling: ScalingMode = "auto"
    """For the pools that do not say their own."""
    budget: BudgetBlock = BudgetBlock()
    tenant_window: int = Field(default=2_000, ge=1, le=1_000_000)
    """How many units of one pool and priority all goals of a tenant may have under way at once."""


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


class MemoryBlock(_Strict):
    """The `[memory]` table: how long and how much agents remember."""

    half_life_days: float = Field(default=30, ge=0.01, le=3650, strict=False)
    """In which a fact that nobody needs loses half of its strength; it is forgotten after four of them."""
    facts: int = Field(default=500, ge=1, le=1000)
    """Of one agent and tenant: the strongest."""
    session_chars: int = Field(default=24_000, ge=2_000, le=200_000)
    """Of JSON: a conversation that is longer is summarised."""


class ToolServerBlock(_Strict):
    """One `[pools.<name>.mcp.<server>]` table: an MCP server, spoken to by streamable HTTP."""

    url: str = Field(pattern=r"^https?://[^\s/@]+(/\S*)?$", max_length=500)
    tools: list[str] = Field(default_factory=list, max_length=100)
    """Names and patterns of its tools that may be called; without it none."""
    secret: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/_+=.@-]{1,512}$")] | None = None
    """Name of the secret that holds the bearer token."""
    timeout: float = Field(default=30, gt=0, le=300, strict=False)
    """Seconds that one call may take."""


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
    shards: int = Field(default=1, ge=1, le=MAX_SHARDS)
    """Over so many queue sets and functions of its own the pool's work is spread, by affinity key where a task has one."""
    dependencies: list[Annotated[str, Field(min_length=1, max_length=500)]] = Field(default_factory=list, max_length=5)
    """Breakers without which the pool can't work."""
    grants: list[Grant] = Field(default_factory=list)
    tools: list[str] = Field(default_factory=list, max_length=100)
    """Names and patterns of the tools that its agents may call; without it none."""
    hosts: list[Annotated[str, StringConstraints(pattern=r"^[a-z0-9*?.-]{1,253}$")]] = Field(
        default_factory=list, max_length=100
    )
    """Names and patterns of the hosts that addresses in its agents' calls of tools may lead to; without it none."""
    mcp: dict[ServerName, ToolServerBlock] = Field(default_factory=dict, max_length=10)
    """MCP servers whose tools its agents may call."""
    guardrails: Guardrails = Guardrails()
    model: ModelChoice | None = None
    """The language models that its agents may ask; None: none."""
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


class AgentBlock(_Strict):
    """One `[agents.<name>]` table: an agent that others run."""

    url: str = Field(pattern=r"^https?://[^\s/@]+(/\S*)?$", max_length=500)
    health_url: str | None = Field(default=None, pattern=r"^https?://[^\s/@]+(/\S*)?$", max_length=500)
    """None: `url` and `/health`."""
    capabilities: list[CapabilityName] = Field(min_length=1, max_length=50)
    description: str = Field(min_length=1)
    timeout: float = Field(default=30, gt=0, le=840, strict=False)
    """Seconds that one task may take."""
    idempotent: bool = False


class ApprovalBlock(_Strict):
    """One `[[approvals]]` table: which capabilities need approval, and for which inputs."""

    capability: str
    when: str | None = None

    @field_validator("when")
    @classmethod
    def _is_jmespath(cls, when: str | None) -> str | None:
        return ApprovalRule("*", when).when


class FleetFile(_Strict):
    """All of fleet.toml."""

    fleet: FleetBlock
    knowledge: KnowledgeBlock = KnowledgeBlock()
    memory: MemoryBlock = MemoryBlock()
    pools: dict[PoolName, PoolBlock] = Field(min_length=1)
    approvals: list[ApprovalBlock] = Field(default_factory=list, max_length=100)
    """What a person must approve before it runs, beside what says so itself."""
    agents: dict[PoolName, AgentBlock] = Field(default_factory=dict)
    """Remote agents."""


def read_file(path: Path) -> FleetFile:
    """Read fleet.toml. Raises FleetError, which names the field, what is wrong and what is allowed."""
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
        named: dict[tuple[str, int], type[BaseModel]] = {("approvals", 3): ApprovalBlock, ("fleet", 3): BudgetBlock}
        place = (detail["loc"][0], len(detail["loc"]))
        block = AgentBlock if detail["loc"][0] == "agents" else PoolBlock
        inner = block if block is AgentBlock else ModelChoice
        allowed: dict[int, type[BaseModel]] = {1: FleetFile, 2: FleetBlock, 3: block, 4: inner}
        other = block if block is AgentBlock else ModelPrice
        fields = named.get(place, allowed.get(len(detail["loc"]), other)).model_fields
        return f"{file}: {where}: unknown field; allowed are {', '.join(fields)}"
    got = "" if detail["type"] in {"missing", "value_error"} else f" (got {detail['input']!r})"
    return f"{file}: {where or 'top level'}: {detail['msg'].removeprefix('Value error, ')}{got}"

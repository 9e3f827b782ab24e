"""What differs between the stages; everything else is the same wherever the fleet runs."""

from dataclasses import dataclass
from typing import Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Node

from cdk.errors import FleetError
from cdk.layers import LayerTarget

LOCAL: Final = "local"
ELASTICACHE: Final = "elasticache"
ON: Final = "on"
OFF: Final = "off"


@dataclass(frozen=True)
class Stage:
    """A deployment stage, chosen with `-c stage=<name>`; `local` is the emulator."""

    name: str
    alarm_email: str | None = None
    """Who hears of alarms (`-c alarm_email=…`); without one there is no topic."""
    allowed_origins: tuple[str, ...] = ()
    """Web origins that may call the API from a browser (`-c allowed_origins=https://a,https://b`)."""

    cache_url: str | None = None
    """A Valkey that the agents can reach (`-c cache_url=valkey://host:port`); without one the cache is memory and S3."""

    elasticache: bool = False
    """Whether the stacks bring a Valkey of their own (`-c cache=elasticache`), which costs money while it is there."""

    history: bool = True
    """Whether a history is kept (`-c history=off` for none, and none of its costs)."""
    model_url: str | None = None
    """A server shaped like Bedrock's runtime that answers instead (`-c model_url=http://host:port`), for the local stage."""

    traces: str | None = None
    """A collector that takes OTLP over HTTP (`-c traces=http://localhost:4318`): where agents that think send their spans."""

    @classmethod
    def from_context(cls, node: Node) -> "Stage":
        """Read the stage from the app's context. Raises FleetError when a value is not text."""

        def text(key: str, default: str) -> str:
            value = node.try_get_context(key)
            if value is not None and not isinstance(value, str):
                raise FleetError(f"context {key}: must be text, got {value!r}")
            return value or default

        origins = tuple(origin.strip() for origin in text("allowed_origins", "").split(",") if origin.strip())
        cache, url = text("cache", "none"), text("cache_url", "") or None
        if cache not in {"none", ELASTICACHE}:
            raise FleetError(f"context cache: must be none or {ELASTICACHE}, got {cache!r}")
        if url and cache == ELASTICACHE:
            raise FleetError(f"context cache_url: can't be used with cache={ELASTICACHE}, which brings a Valkey of its own")
        history = text("history", ON)
        if history not in {ON, OFF}:
            raise FleetError(f"context history: must be {ON} or {OFF}, got {history!r}")
        name, model_url = text("stage", "prod"), text("model_url", "") or None
        if model_url and name != LOCAL:
            raise FleetError("context model_url: is for the local stage only; elsewhere models are Amazon Bedrock's")
        email = text("alarm_email", "") or None
        traces = text("traces", "") or None
        if traces and not traces.startswith(("http://", "https://")):
            raise FleetError(f"context traces: must be the address of a collector, http://… or https://…, got {traces!r}")
        return cls(name, email, origins, url, cache == ELASTICACHE, history == ON, model_url, traces)

    @property
    def is_local(self) -> bool:
        """True on the emulator."""
        return self.name == LOCAL

    @property
    def has_models(self) -> bool:
        """The emulator has no model of its own: it would answer with made-up text."""
        return not self.is_local or self.model_url is not None

    @property
    def removal_policy(self) -> RemovalPolicy:
        """Data outlives its stack, except on the emulator, where every run starts afresh."""
        return RemovalPolicy.DESTROY if self.is_local else RemovalPolicy.RETAIN

    @property
    def log_retention(self) -> logs.RetentionDays:
        """How long function and access logs are kept."""
        return logs.RetentionDays.ONE_WEEK if self.is_local else logs.RetentionDays.THREE_MONTHS

    @property
    def layer_target(self) -> LayerTarget:
        """The emulator runs functions on the interpreter at hand, Lambda on its own."""
        return LayerTarget.this_interpreter() if self.is_local else LayerTarget.aws()

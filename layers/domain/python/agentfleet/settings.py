"""What a function must be told, read from the environment in one place and never at import."""

import json
import os
from collections.abc import Mapping
from typing import Any, Self

from msgspec import Struct, field

from agentfleet.domain.errors import FleetError


class MissingSetting(FleetError):
    """A variable that the function needs is absent, or can't be read."""


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise MissingSetting(f"environment variable {name} is not set; the CDK stacks set it on every function of the fleet")
    return value


def _json(environment: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(environment.get(name) or "{}")
    except ValueError as error:
        raise MissingSetting(f"environment variable {name} is not JSON: {error}") from error


def _shared(environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        "fleet": _required(environment, "FLEET"),
        "work_table": _required(environment, "WORK_TABLE"),
        "registry_table": _required(environment, "REGISTRY_TABLE"),
        "bucket": _required(environment, "BUCKET"),
        "bus": _required(environment, "BUS"),
        "release_queue_url": _required(environment, "RELEASE_QUEUE_URL"),
        "saga_machine": environment.get("SAGA_MACHINE", ""),
    }


class TraceSettings(Struct, frozen=True):
    """Where traces of agents that think are sent, by OpenTelemetry's own variables."""

    endpoint: str = ""
    """The base address of a collector that takes OTLP over HTTP, as `http://localhost:4318`; none: nothing is traced."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Of OTEL_EXPORTER_OTLP_ENDPOINT."""
        given = os.environ if environment is None else environment
        return cls(given.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""))


class KnowledgeSettings(Struct, frozen=True):
    """How texts become vectors, and where those are found: `[knowledge]` of fleet.toml."""

    table: str
    embedder: str = "minilm"
    vectors: str = "dynamodb"

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises MissingSetting naming the variable."""
        given = os.environ if environment is None else environment
        try:
            chosen = json.loads(given.get("KNOWLEDGE_SETTINGS") or "{}")
        except ValueError as error:
            raise MissingSetting(f"environment variable KNOWLEDGE_SETTINGS is not JSON: {error}") from error
        return cls(_required(given, "KNOWLEDGE_TABLE"), **chosen)


class MemorySettings(Struct, frozen=True):
    """Where agents remember, how long and how much: `[memory]` of fleet.toml."""

    table: str
    half_life_days: float = 30.0
    facts: int = 500
    """Of one agent."""
    session_chars: int = 24_000

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises MissingSetting naming the variable."""
        given = os.environ if environment is None else environment
        return cls(_required(given, "MEMORY_TABLE"), **_json(given, "MEMORY_SETTINGS"))


class FleetSettings(Struct, frozen=True):
    """What every function that works on goals needs."""

    fleet: str
    work_table: str
    registry_table: str
    bucket: str
    bus: str
    release_queue_url: str
    saga_machine: str = ""
    """ARN of the state machine that undoes goals; empty for a function that can't end one."""

    @property
    def queue_url_prefix(self) -> str:
        """What stands before the name in every queue's URL, the slash included."""
        return self.release_queue_url.rpartition("/")[0] + "/"

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises MissingSetting naming the variable."""
        return cls(**cls._read(os.environ if environment is None else environment))

    @classmethod
    def _read(cls, environment: Mapping[str, str]) -> dict[str, Any]:
        return _shared(environment)


class PoolSettings(FleetSettings, frozen=True):
    """What a pool's function needs."""

    pool: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    cache_url: str = ""
    """Of Valkey (`valkey://host:port`); empty where there is none: then the cache is memory and S3."""
    cache_group: str = ""
    """ElastiCache replication group that agents sign in to by IAM; empty where Valkey asks for nothing of the sort."""
    cache_user: str = ""
    """Who they are to it."""
    guardrails: dict[str, Any] = field(default_factory=dict)
    """`[pools.<name>.guardrails]`."""
    model: str = ""
    """JSON of `[pools.<name>.model]`, a ModelChoice; empty where there is no model to ask."""
    remembers: bool = False
    """Has the pool the grant `memory`?"""

    @classmethod
    def _read(cls, environment: Mapping[str, str]) -> dict[str, Any]:
        return {**_shared(environment), "pool": _required(environment, "POOL")} | {
            "settings": _json(environment, "POOL_SETTINGS"),
            "guardrails": _json(environment, "POOL_GUARDRAILS"),
            "cache_url": environment.get("CACHE_URL", ""),
            "cache_group": environment.get("CACHE_GROUP", ""),
            "cache_user": environment.get("CACHE_USER", ""),
            "model": environment.get("MODEL", ""),
            "remembers": bool(environment.get("MEMORY_TABLE")),
        }


class ApiSettings(FleetSettings, frozen=True):
    """What the HTTP API's function needs."""

    history_table: str = ""

    @classmethod
    def _read(cls, environment: Mapping[str, str]) -> dict[str, Any]:
        return {
            **_shared(environment),
            "history_table": _required(environment, "HISTORY_TABLE"),
        }


class RecorderSettings(Struct, frozen=True):
    """What record_history needs."""

    history_table: str

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises MissingSetting naming the variable."""
        return cls(_required(os.environ if environment is None else environment, "HISTORY_TABLE"))


class ArchiverSettings(Struct, frozen=True):
    """What archive_history needs."""

    history_table: str
    history_bucket: str
    """Whose objects are locked."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises MissingSetting naming the variable."""
        found = os.environ if environment is None else environment
        return cls(_required(found, "HISTORY_TABLE"), _required(found, "HISTORY_BUCKET"))


class AuthorizerSettings(Struct, frozen=True):
    """What the HTTP API's authorizer needs."""

    api_keys_secret: str
    """ARN of the secret that holds a JSON object: tenant → key, or list of keys."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises MissingSetting naming the variable."""
        return cls(_required(os.environ if environment is None else environment, "API_KEYS_SECRET"))

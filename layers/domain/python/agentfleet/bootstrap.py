"""The only wiring: adapters into services, once per process, at the first call."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from agentfleet.adapters.approvals import DynamoApprovals
from agentfleet.adapters.blobs import S3Blobs
from agentfleet.adapters.breakers import DynamoBreakers
from agentfleet.adapters.budgets import DynamoBudgets
from agentfleet.adapters.bus import EventBridgeBus
from agentfleet.adapters.claims import DynamoClaims
from agentfleet.adapters.clients import Clients
from agentfleet.adapters.goals import DynamoGoals
from agentfleet.adapters.joins import DynamoJoins
from agentfleet.adapters.journal import DynamoJournals
from agentfleet.adapters.kills import DynamoKills
from agentfleet.adapters.outputs import S3Outputs
from agentfleet.adapters.plans import DynamoPlans
from agentfleet.adapters.queues import SqsQueues
from agentfleet.adapters.registry import DynamoAgents, DynamoFleets
from agentfleet.adapters.results import DynamoResults
from agentfleet.adapters.routing import DynamoRouting
from agentfleet.adapters.sagas import StepFunctionsAnswers, StepFunctionsSagas
from agentfleet.composition import Governance, Healing, Outside, Platform
from agentfleet.domain.catalog import Catalog, read_catalog
from agentfleet.domain.errors import FleetError
from agentfleet.domain.goal import Goal
from agentfleet.settings import (
    ApiSettings,
    ArchiverSettings,
    FleetSettings,
    KnowledgeSettings,
    MemorySettings,
    PoolSettings,
    RecorderSettings,
)

if TYPE_CHECKING:
    from agentfleet.adapters.episodes import DynamoEpisodes
    from agentfleet.adapters.memory import DynamoFacts, DynamoSessions
    from agentfleet.adapters.model_use import DynamoUses
    from agentfleet.domain.memory import Policy as MemoryPolicy
    from agentfleet.domain.playbook import Playbook
    from agentfleet.domain.task import GoalRequest
    from agentfleet.ports_knowledge import VectorIndex
    from agentfleet.services.archive import Archiver
    from agentfleet.services.control import Controller
    from agentfleet.services.discover import Discovery
    from agentfleet.services.history import Historian, Recorder
    from agentfleet.services.inspect import Inspector
    from agentfleet.services.knowledge import Knowledge
    from agentfleet.services.knowledge_views import FindingList
    from agentfleet.services.manage import Autoscaler
    from agentfleet.services.memory_desk import MemoryDesk
    from agentfleet.services.planner import Planner
    from agentfleet.services.playbooks import PlaybookShelf
    from agentfleet.services.receipt import Accountant
    from agentfleet.services.registry import Registry
    from agentfleet.services.remember import Rememberer
    from agentfleet.services.remote import RemoteWatch
    from agentfleet.services.saga import Saga
    from agentfleet.services.scale import Scaler
    from agentfleet.services.tools import ToolBox
    from agentfleet.services.upload import Uploader

# What only one function needs is imported where it is wired: every other function's cold start would pay for it.

PACKAGE: Final = Path(__file__).parent


def utc_now() -> datetime:
    """The clock of everything that is deployed."""
    return datetime.now(UTC)


@lru_cache(maxsize=1)
def clients() -> Clients:
    """AWS clients, shared by all adapters of the process."""
    return Clients()


def _catalog() -> Catalog:
    """The catalog that was deployed with the functions."""
    return read_catalog(_packaged("catalog.json"))


def _packaged(name: str) -> bytes:
    """A JSON file that synth put beside this module."""
    try:
        return (PACKAGE / name).read_bytes()
    except FileNotFoundError as error:
        raise FleetError(f"{name} is not in the domain layer: the CDK writes it there at synth") from error


def outside(settings: FleetSettings) -> Outside:
    """The adapters for these settings."""
    aws = clients()
    outputs = S3Outputs(aws.s3, settings.bucket)
    return Outside(
        goals=DynamoGoals(aws.dynamodb, settings.work_table, outputs, aws.threads),
        plans=DynamoPlans(aws.dynamodb, settings.work_table, aws.s3, settings.bucket, aws.threads, utc_now),
        results=DynamoResults(aws.dynamodb, settings.work_table, outputs, aws.threads, utc_now),
        joins=DynamoJoins(aws.dynamodb, settings.work_table, utc_now),
        claims=DynamoClaims(aws.dynamodb, settings.work_table, aws.threads),
        queues=SqsQueues(aws.sqs, settings.fleet, settings.queue_url_prefix, aws.threads),
        bus=EventBridgeBus(aws.events, aws.sqs, settings.bus),
        blobs=S3Blobs(aws.s3, settings.bucket),
        agents=DynamoAgents(aws.dynamodb, settings.registry_table, aws.threads),
        clock=utc_now,
        sagas=StepFunctionsSagas(aws, settings.saga_machine),
        answers=StepFunctionsAnswers(aws),
        breakers=DynamoBreakers(aws.dynamodb, settings.registry_table),
        budgets=DynamoBudgets(aws.dynamodb, lambda: aws.dynamodb_once, settings.registry_table, utc_now),
        approvals=DynamoApprovals(aws.dynamodb, settings.registry_table),
        kills=DynamoKills(aws.dynamodb, settings.registry_table, utc_now),
        routing=DynamoRouting(aws.dynamodb, settings.registry_table),
        journals=DynamoJournals(aws.dynamodb, settings.work_table, outputs, utc_now),
    )


def compose(settings: FleetSettings) -> Platform:
    """The services for these settings, with the catalog and the playbooks that were deployed with them."""
    catalog = _catalog()
    return Platform(outside(settings), catalog, PackagedPlaybooks())


class PackagedPlaybooks(Mapping[str, "Playbook"]):
    """The deployed playbooks, read when one is first asked for: agents never ask."""

    @property
    def _bodies(self) -> dict[str, Any]:
        return _playbook_bodies()

    def __getitem__(self, name: str) -> Playbook:
        from agentfleet.domain.playbook import Playbook

        return Playbook.model_validate(self._bodies[name])

    def __iter__(self) -> Any:
        return iter(self._bodies)

    def __len__(self) -> int:
        return len(self._bodies)


@lru_cache(maxsize=1)
def _playbook_bodies() -> dict[str, Any]:
    bodies: dict[str, Any] = json.loads(_packaged("playbooks.json"))
    return bodies


@lru_cache(maxsize=1)
def platform() -> Platform:
    """For functions that accept, release or undo: accept_goals, release_tasks, compensate_goals."""
    return compose(FleetSettings.from_env())


def remembering(chosen: MemorySettings) -> tuple[DynamoFacts, DynamoSessions, DynamoEpisodes, MemoryPolicy]:
    """Where it is remembered, and by which rules."""
    from agentfleet.adapters.episodes import DynamoEpisodes
    from agentfleet.adapters.memory import DynamoFacts, DynamoSessions
    from agentfleet.domain.memory import Policy

    aws, table = clients(), chosen.table
    return (
        DynamoFacts(aws.dynamodb, table, aws.threads),
        DynamoSessions(aws.dynamodb, table, aws.threads),
        DynamoEpisodes(aws.dynamodb, table, aws.threads),
        Policy(timedelta(days=chosen.half_life_days), chosen.facts),
    )


def uses(settings: FleetSettings) -> DynamoUses:
    from agentfleet.adapters.model_use import DynamoUses

    aws = clients()
    return DynamoUses(aws.dynamodb, lambda: aws.dynamodb_once, settings.registry_table, utc_now)


class Api(Struct, frozen=True):
    """What the HTTP API calls."""

    accept: Callable[[GoalRequest, str, str | None], tuple[Goal, bool]]
    control: Controller
    inspect: Inspector
    scale: Scaler
    registry: Registry
    playbooks: PlaybookShelf
    history: Historian
    account: Accountant
    healing: Healing
    governance: Governance
    saga: Saga
    discovery: Discovery
    upload: Uploader


@lru_cache(maxsize=1)
def archiver() -> Archiver:
    """For archive_history."""
    from agentfleet.adapters.history import DynamoHistory
    from agentfleet.adapters.vault import S3Vault
    from agentfleet.services.archive import Archiver

    settings, aws = ArchiverSettings.from_env(), clients()
    return Archiver(DynamoHistory(aws.dynamodb, settings.history_table), S3Vault(aws.s3, settings.history_bucket), utc_now)


@lru_cache(maxsize=1)
def recorder() -> Recorder:
    """For record_history."""
    from agentfleet.adapters.history import DynamoHistory
    from agentfleet.adapters.stream import read_change
    from agentfleet.services.history import Recorder

    return Recorder(DynamoHistory(clients().dynamodb, RecorderSettings.from_env().history_table), read_change, utc_now)


def _healing(fleet: Platform, settings: FleetSettings) -> Healing:
    from agentfleet.adapters.dead_letters import SqsDeadLetters
    from agentfleet.adapters.health import DynamoHealth
    from agentfleet.adapters.queue_watch import SqsQueueWatch

    aws = clients()
    watch = SqsQueueWatch(aws.sqs, aws.cloudwatch, settings.queue_url_prefix, aws.threads, utc_now)
    letters = SqsDeadLetters(aws.sqs, settings.fleet, settings.queue_url_prefix, aws.threads)
    return fleet.healing(watch, letters, DynamoHealth(aws.dynamodb, settings.registry_table))


@lru_cache(maxsize=1)
def healing() -> Healing:
    """For heal_work."""
    settings = FleetSettings.from_env()
    return _healing(compose(settings), settings)


@lru_cache(maxsize=1)
def api() -> Api:
    """For serve_api."""
    from agentfleet.adapters.history import DynamoHistory
    from agentfleet.adapters.pools import LambdaPools
    from agentfleet.adapters.scaling import DynamoScalings
    from agentfleet.services.discover import Discovery
    from agentfleet.services.history import Historian
    from agentfleet.services.inspect import Inspector
    from agentfleet.services.playbooks import PlaybookShelf
    from agentfleet.services.receipt import Accountant
    from agentfleet.services.scale import Scaler
    from agentfleet.services.upload import Uploader

    settings = ApiSettings.from_env()
    aws = clients()
    fleet = compose(settings)
    reach = fleet.outside
    pools = LambdaPools(aws.sqs, aws.functions, aws.logs, fleet.catalog, settings.queue_url_prefix, aws.threads)
    fleets = DynamoFleets(aws.dynamodb, settings.registry_table)
    history = Historian(reach.goals, reach.plans, DynamoHistory(aws.dynamodb, settings.history_table))
    scalings = DynamoScalings(aws.dynamodb, settings.registry_table)
    return Api(
        accept=fleet.accepter.accept,
        control=fleet.control,
        inspect=Inspector(
            reach.goals, reach.plans, reach.results, reach.agents, reach.blobs, fleet.catalog, utc_now, fleet.approvals
        ),
        scale=Scaler(pools, fleets, scalings, fleet.catalog, utc_now, secrets.randbits, fleet.board),
        registry=fleet.registry,
        playbooks=PlaybookShelf(fleet.playbooks),
        history=history,
        account=Accountant(reach.plans, reach.results, history, fleet.catalog, uses=uses(settings)),
        healing=_healing(fleet, settings),
        governance=fleet.governance(),
        saga=fleet.saga,
        discovery=Discovery(fleet.catalog, fleet.router, fleet.board, fleet.registry, utc_now),
        upload=Uploader(reach.blobs),
    )


def toolbox() -> ToolBox:
    """For serve_mcp."""
    from agentfleet.services.tools import ToolBox

    def find(tenant: str, query: str, domains: Sequence[str] | None, limit: int) -> FindingList:
        return knowledge().finder.find(tenant, query, domains, limit)

    catalog = _catalog()
    fleet = api()
    return ToolBox(catalog, fleet.accept, fleet.inspect, fleet.control, find, utc_now, time.sleep)


@lru_cache(maxsize=1)
def autoscaler() -> Autoscaler:
    """For manage_fleet."""
    from agentfleet.adapters.pools import LambdaPools
    from agentfleet.adapters.scaling import DynamoScalings
    from agentfleet.adapters.signals import CloudWatchSignals
    from agentfleet.services.manage import Autoscaler
    from agentfleet.services.pool_health import HealthWatch

    settings = FleetSettings.from_env()
    aws = clients()
    catalog = _catalog()
    return Autoscaler(
        LambdaPools(aws.sqs, aws.functions, aws.logs, catalog, settings.queue_url_prefix, aws.threads),
        CloudWatchSignals(aws.cloudwatch, catalog),
        DynamoFleets(aws.dynamodb, settings.registry_table),
        DynamoScalings(aws.dynamodb, settings.registry_table),
        catalog,
        utc_now,
        HealthWatch(DynamoRouting(aws.dynamodb, settings.registry_table)),
        DynamoAgents(aws.dynamodb, settings.registry_table, aws.threads),
    )


@lru_cache(maxsize=1)
def knowledge() -> Knowledge:
    """For the API's knowledge routes, the MCP server and the pool `knowledge`."""
    from agentfleet.adapters.dynamo_vectors import DynamoVectors
    from agentfleet.adapters.embedders import MiniLm, Titan
    from agentfleet.adapters.knowledge import DynamoDocuments
    from agentfleet.adapters.pdf import PdfPages
    from agentfleet.adapters.segments import Segments
    from agentfleet.adapters.vector_files import VectorFiles, join_vectors
    from agentfleet.adapters.word_files import WordFiles, join_words
    from agentfleet.services.knowledge import Knowledge
    from agentfleet.services.learn import Indexes

    fleet, settings, aws = FleetSettings.from_env(), KnowledgeSettings.from_env(), clients()
    embedder = Titan(aws.bedrock(20), aws.threads) if settings.embedder == "titan" else MiniLm()
    words = WordFiles(Segments(aws.s3, fleet.bucket, "words", utc_now, join_words))
    vectors: VectorIndex
    if settings.vectors == "files":
        vectors = VectorFiles(Segments(aws.s3, fleet.bucket, f"vectors-{embedder.name}", utc_now, join_vectors))
    else:
        vectors = DynamoVectors(aws.dynamodb, settings.table, embedder.name, aws.threads)
    documents = DynamoDocuments(aws.dynamodb, settings.table, aws.threads, utc_now)
    return Knowledge(documents, Indexes(vectors, words, embedder), PdfPages(), utc_now)


@lru_cache(maxsize=1)
def memory() -> MemoryDesk:
    """For the API's memory routes."""
    from agentfleet.services.memory_desk import MemoryDesk

    chosen = MemorySettings.from_env()
    facts, sessions, episodes, policy = remembering(chosen)
    return MemoryDesk(facts, sessions, episodes, utc_now, policy, chosen.session_chars)


@lru_cache(maxsize=1)
def rememberer() -> Rememberer:
    """For remember_goals."""
    from agentfleet.adapters.episodes import DynamoEpisodes
    from agentfleet.services.remember import Rememberer

    fleet, aws = outside(FleetSettings.from_env()), clients()
    episodes = DynamoEpisodes(aws.dynamodb, MemorySettings.from_env().table, aws.threads)
    return Rememberer(fleet.goals, fleet.plans, fleet.results, fleet.budgets, episodes)


@lru_cache(maxsize=1)
def planner() -> Planner:
    """For the pool `plan`."""
    from agentfleet.domain.tool_policy import ToolPolicy
    from agentfleet.services.planner import Planner

    pool = PoolSettings.from_env().pool
    catalog = _catalog()
    return Planner(catalog, PackagedPlaybooks(), ToolPolicy(pool, catalog.pools[pool].tools))


@lru_cache(maxsize=1)
def remote_watch() -> RemoteWatch:
    """For manage_fleet."""
    from agentfleet.adapters.remote_probe import HttpProbe
    from agentfleet.services.remote import RemoteWatch

    settings = FleetSettings.from_env()
    aws = clients()
    catalog = _catalog()
    return RemoteWatch(catalog, HttpProbe(), DynamoAgents(aws.dynamodb, settings.registry_table, aws.threads), utc_now)

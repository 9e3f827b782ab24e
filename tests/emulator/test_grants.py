"""Least privilege, shown: take any grant away from any role, and something fails.

A few are tried in each run, drawn from the date; `make grants` tries them all. `GRANTS=knowledge,agents` tries those of some
functions, `GRANTS=PutItem` those whose name holds that.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from agentfleet.adapters.clients import Clients
from cdk.catalog import FleetDefinition, read_fleet
from client.errors import FleetClientError
from client.local import REGION, LocalCloud
from tests.emulator.conftest import until
from tests.emulator.grants.checks import check_of
from tests.emulator.grants.hand import FLEET, Hand, Refused
from tests.emulator.grants.policies import NOT_SHOWN, Grant, Policies, why_not_shown
from tests.emulator.grants.thinking import remembering
from tests.emulator.scripted import serving

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "grants.json"
SAMPLE = 6
"""Grants that an ordinary run takes away."""
FAILS = (Refused, FleetClientError, ClientError)


@dataclass
class Tally:
    """What a run found of the grants that it tried."""

    needed: int = 0
    superfluous: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    """Functions that fail their check with all their grants, and how."""


@pytest.fixture(scope="module")
def fleet() -> FleetDefinition:
    """What is deployed."""
    return read_fleet(ROOT)


@pytest.fixture(scope="module")
def policies(cloud: LocalCloud, fleet: FleetDefinition) -> Iterator[Policies]:
    """The roles, with no queue and no saga that calls functions, so that only the checks do; agents that think have a model."""
    made = Policies(cloud)
    lambda_, sqs, events = (cloud.client(name) for name in ("lambda", "sqs", "events"))
    triggers = lambda_.list_event_source_mappings()["EventSourceMappings"]
    rules = [rule["Name"] for rule in events.list_rules()["Rules"] if rule.get("ScheduleExpression")]
    for trigger in triggers:
        lambda_.update_event_source_mapping(UUID=trigger["UUID"], Enabled=False)
    for rule in rules:
        events.disable_rule(Name=rule)
    made.chill("web", allow_private=True)
    chosen = fleet.pools["agents"].model
    assert chosen is not None
    with serving(remembering) as server, made.still("saga"):
        cloud.models.start(server)
        model = {
            "MODEL": chosen.model_dump_json(exclude_defaults=True),
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": cloud.models.url or "",
        }
        made.chill("agents", model)
        yield made
        cloud.models.stop()
    made.thaw()
    for url in sqs.list_queues(QueueNamePrefix=f"{FLEET}-")["QueueUrls"]:
        sqs.purge_queue(QueueUrl=url)
    for trigger in triggers:
        scaling = trigger.get("ScalingConfig", {})
        lambda_.update_event_source_mapping(UUID=trigger["UUID"], Enabled=True, ScalingConfig=scaling)
    lambda_.delete_function_concurrency(FunctionName=f"{FLEET}-flow")
    for rule in rules:
        events.enable_rule(Name=rule)
    for client in (lambda_, sqs, events):
        client.close()
    made.close()


@pytest.fixture(scope="module")
def hand(cloud: LocalCloud, fleet: FleetDefinition) -> Iterator[Hand]:
    """What the checks work with, once documents can be searched."""
    clients = Clients()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": cloud.endpoint,
        }.items():
            environment.setenv(name, value)
        made = Hand(cloud, clients, fleet.catalog)
        until(lambda: _is_searchable(clients))
        yield made
        made.close()
    clients.threads.shutdown()


def _is_searchable(clients: Clients) -> bool:
    [index] = clients.dynamodb.describe_table(TableName=f"{FLEET}-knowledge")["Table"]["VectorIndexes"]
    return bool(index["IndexStatus"] == "ACTIVE")


def drawn(found: list[Grant], pools: Mapping[str, Any]) -> tuple[str, list[Grant]]:
    """How the grants to try were drawn, and these: those that some check must need."""
    tried = [grant for grant in found if not why_not_shown(grant, is_pool=grant.function in pools)]
    wanted = os.environ.get("GRANTS", "")
    if wanted == "all":
        return wanted, tried
    if wanted:
        names = set(wanted.split(","))
        return wanted, [one for one in tried if one.function in names or any(name in str(one) for name in names)]
    seed = f"{datetime.now(UTC):%Y-%m-%d}"
    return seed, Random(seed).sample(tried, SAMPLE)


def try_out(hand: Hand, policies: Policies, grants: list[Grant]) -> Tally:
    """Check each of these grants' functions with all that it may do, then without each of them."""
    tally = Tally()
    for function in sorted({grant.function for grant in grants}):
        check = check_of(function, hand.catalog.pools)
        assert check is not None, f"{function} has no check"
        try:
            policies.chill(function)
            check(hand)
        except FAILS as error:
            tally.broken[function] = f"{function}: {type(error).__name__}: {error}"[:900]
            print(f"  BROKEN       {tally.broken[function]}", flush=True)
            continue
        for grant in (one for one in grants if one.function == function):
            with policies.without(grant):
                policies.chill(function)
                try:
                    check(hand)
                except FAILS as error:
                    tally.needed += 1
                    print(f"  needed       {grant}: {type(error).__name__}: {str(error)[:100]!r}", flush=True)
                else:
                    tally.superfluous.append(str(grant))
                    print(f"  SUPERFLUOUS  {grant}", flush=True)
    return tally


def reasons(found: list[Grant], pools: Mapping[str, Any]) -> Counter[str]:
    """Why grants can't be shown to be needed, and of how many that holds."""
    listed = (why_not_shown(grant, is_pool=grant.function in pools) for grant in found)
    return Counter(line.reason for line in listed if line)


def test_every_grant_is_needed(hand: Hand, policies: Policies) -> None:
    """With all its grants a function passes its check; without any one of them it does not."""
    pools = hand.catalog.pools
    began = datetime.now(UTC)
    found = policies.grants()
    how, grants = drawn(found, pools)
    print(f"\ngrants drawn by {how}: {len(grants)}")

    tally = try_out(hand, policies, grants)

    why = reasons(found, pools)
    roles = len(policies.owners())
    print(
        f"{roles} roles, {len(found)} grants: of {len(grants)} that were taken away {tally.needed} are needed and "
        f"{len(tally.superfluous)} superfluous; {why.total()} can't be shown here, for {len(why)} reasons"
    )
    if how == "all" and not tally.broken:
        seconds = (datetime.now(UTC) - began).total_seconds()
        told = {
            "date": began.isoformat(timespec="seconds"),
            "seconds": round(seconds),
            "roles": roles,
            "grants": len(found),
            "needed": tally.needed,
            "superfluous": tally.superfluous,
            "not_shown": why.total(),
            "reasons": dict(why.most_common()),
        }
        RESULTS.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert not tally.broken, "\n".join(tally.broken.values())
    assert not tally.superfluous


def test_every_role_has_a_check_and_every_exception_a_reason(hand: Hand, policies: Policies) -> None:
    """No role is passed over: what has no check is listed with all its grants, and what is listed is still granted."""
    pools = hand.catalog.pools
    owners = set(policies.owners().values())
    found = policies.grants()
    tried = {grant.function for grant in found if not why_not_shown(grant, is_pool=grant.function in pools)}
    stale = [
        f"{line.functions} {line.sid} {line.action}"
        for line in NOT_SHOWN
        if not any(line is why_not_shown(grant, is_pool=grant.function in pools) for grant in found)
    ]

    assert [name for name in sorted(tried) if check_of(name, pools) is None] == []
    assert owners - {grant.function for grant in found} == set()
    assert owners >= {*pools, "serve-api", "serve-knowledge", "serve-mcp", "heal-work", "record-history", "saga"}
    assert stale == []
    assert len({grant.function for grant in found} - tried) <= 1, "nothing but the saga's machine goes without a check"

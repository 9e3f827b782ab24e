"""Least privilege, shown: take any grant away from any role, and something fails.

A few are tried in each run, drawn from the date; `make grants` tries them all.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from botocore.exceptions import ClientError

from agentfleet.adapters.clients import Clients
from cdk.catalog import read_fleet
from client.errors import FleetClientError
from client.local import REGION, LocalCloud
from tests.emulator.grants.checks import check_of
from tests.emulator.grants.hand import FLEET, Hand, Refused
from tests.emulator.grants.policies import Grant, Policies, why_not_shown

ROOT = Path(__file__).parents[2]
SAMPLE = 6
"""Grants that an ordinary run takes away."""
SAMPLED = frozenset({"accept-goals", "release-tasks", "data", "web", "code", "report", "flow"})
"""From these functions; `make grants` asks of all that have a check."""
FAILS = (Refused, FleetClientError, ClientError)


@pytest.fixture(scope="module")
def policies(cloud: LocalCloud) -> Iterator[Policies]:
    """The roles, with no queue feeding any function, so that only the checks do."""
    made = Policies(cloud)
    lambda_, sqs, events = (cloud.client(name) for name in ("lambda", "sqs", "events"))
    triggers = lambda_.list_event_source_mappings()["EventSourceMappings"]
    rules = [rule["Name"] for rule in events.list_rules()["Rules"] if rule.get("ScheduleExpression")]
    for trigger in triggers:
        lambda_.update_event_source_mapping(UUID=trigger["UUID"], Enabled=False)
    for rule in rules:
        events.disable_rule(Name=rule)
    made.chill("web", allow_private=True)
    yield made
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
def hand(cloud: LocalCloud) -> Iterator[Hand]:
    """What the checks work with."""
    clients = Clients()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": cloud.endpoint,
        }.items():
            environment.setenv(name, value)
        made = Hand(cloud, clients, read_fleet(ROOT).catalog)
        yield made
        made.close()
    clients.threads.shutdown()


def drawn(policies: Policies, pools: object) -> tuple[str, list[Grant]]:
    """How the grants to try were drawn, and these: those that some check must need."""
    assert isinstance(pools, dict)
    tried = [
        grant
        for grant in policies.grants()
        if check_of(grant.function, pools) and not why_not_shown(grant, is_agent=grant.function in pools)
    ]
    wanted = os.environ.get("GRANTS", "")
    if wanted == "all":
        return "all", tried
    if wanted:
        return wanted, [grant for grant in tried if wanted in str(grant)]
    seed = f"{datetime.now(UTC):%Y-%m-%d}"
    return seed, Random(seed).sample([grant for grant in tried if grant.function in SAMPLED], SAMPLE)


def test_every_grant_is_needed(hand: Hand, policies: Policies) -> None:
    """With all its grants a function passes its check; without any one of them it does not."""
    pools = hand.catalog.pools
    how, grants = drawn(policies, pools)
    print(f"\ngrants drawn by {how}: {len(grants)}")
    superfluous: list[str] = []
    broken: dict[str, str] = {}
    for function in sorted({grant.function for grant in grants}):
        check = check_of(function, pools)
        assert check is not None
        try:
            policies.chill(function)
            check(hand)
        except FAILS as error:
            broken[function] = f"{function}: {type(error).__name__}: {error}"[:900]
            continue
        for grant in (one for one in grants if one.function == function):
            with policies.without(grant):
                policies.chill(function)
                try:
                    check(hand)
                except FAILS as error:
                    print(f"  needed       {grant}: {type(error).__name__}: {str(error)[:100]!r}", flush=True)
                else:
                    superfluous.append(str(grant))
                    print(f"  SUPERFLUOUS  {grant}", flush=True)

    assert not broken, "\n".join(broken.values())
    assert not superfluous


def test_what_cannot_be_shown_is_listed_with_its_reason(hand: Hand, policies: Policies) -> None:
    """Most grants can be; of those that cannot, each has one reason."""
    pools = hand.catalog.pools
    found = policies.grants()
    listed = [grant for grant in found if why_not_shown(grant, is_agent=grant.function in pools)]

    assert len(found) > 2 * len([grant for grant in listed if not grant.action.startswith(("kms:", "logs:"))])
    assert {grant.function for grant in found} >= {*pools, "serve-api", "heal-work"}

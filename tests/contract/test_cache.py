"""Tiers of the cache, and what is left of it when a real Valkey dies."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import boto3
import pytest
from moto import mock_aws
from valkey import Valkey

from agentfleet.adapters.memory_cache import MemoryCache
from agentfleet.adapters.s3_cache import S3Cache
from agentfleet.adapters.valkey_cache import IamLogin, ValkeyCache
from agentfleet.domain.errors import CacheUnavailable
from agentfleet.ports import CacheTier
from agentfleet.services.cache import CacheManager, CachePolicy, Loaded, Tier
from tests.contract.making import at_once
from tests.contract.valkey import valkey_server
from tests.fakes import FakeCache, FixedClock

HOUR = timedelta(hours=1)
_numbers = itertools.count(1)


@dataclass
class Kind:
    """A tier, and how its time passes."""

    tier: CacheTier
    wait: Callable[[float], object]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCache]:
    """A tier on a real server."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as (url, _):
        cache = ValkeyCache(url, "test:")
        yield cache
        cache.close()


@pytest.fixture(params=["fake", "memory", "valkey", "s3"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Each kind of tier in turn."""
    clock = FixedClock()
    match request.param:
        case "fake":
            yield Kind(FakeCache(clock), clock.advance)
        case "memory":
            yield Kind(MemoryCache(timer=lambda: clock().timestamp()), clock.advance)
        case "valkey":
            yield Kind(request.getfixturevalue("valkey"), Event().wait)
        case _:
            with mock_aws():
                s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
                s3.create_bucket(Bucket="cache-bucket")
                yield Kind(S3Cache(s3, "cache-bucket", clock), clock.advance)


@pytest.fixture
def key() -> str:
    """A key that no other test has."""
    return f"results/data.query/{next(_numbers):064x}"


def test_what_was_put_is_got(kind: Kind, key: str) -> None:
    """Text comes back as it was, replaced by what was put last; a key never put gives None."""
    assert kind.tier.get(key) is None

    kind.tier.put(key, "old", HOUR)
    kind.tier.put(key, "Grüße 🚀 \u2028", HOUR)

    assert kind.tier.get(key) == "Grüße 🚀 \u2028"


def test_what_is_over_is_gone(kind: Kind, key: str) -> None:
    """Nothing is given out after its lifetime, nor what had none."""
    kind.tier.put(key, "short", timedelta(milliseconds=50))
    kind.wait(0.1)

    assert kind.tier.get(key) is None
    kind.tier.put(key, "none", timedelta())
    assert kind.tier.get(key) is None


def test_what_was_deleted_is_gone(kind: Kind, key: str) -> None:
    """Deleting forgets, and does nothing to what isn't there."""
    kind.tier.delete(key)
    kind.tier.put(key, "text", HOUR)
    kind.tier.delete(key)

    assert kind.tier.get(key) is None


@pytest.fixture(params=["fake", "valkey"])
def lock(request: pytest.FixtureRequest) -> Any:
    """Each kind of lock in turn."""
    return FakeCache(FixedClock()) if request.param == "fake" else request.getfixturevalue("valkey")


def test_one_of_many_gets_the_lock(lock: Any, key: str) -> None:
    """Of ten at once one gets it; only that one gives it back; then it is free again."""
    got = at_once([partial(lock.acquire, key, f"owner {n}", HOUR) for n in range(10)])
    owner = f"owner {got.index(True)}"

    lock.release(key, "somebody else")

    assert sum(got) == 1
    assert not lock.acquire(key, "late", HOUR)
    lock.release(key, owner)
    assert lock.acquire(key, "late", HOUR)


def test_a_lock_ends_by_itself(valkey: ValkeyCache, key: str) -> None:
    """Its holder may have died: after the lease somebody else gets it."""
    valkey.acquire(key, "dead", timedelta(milliseconds=50))
    Event().wait(0.1)

    assert valkey.acquire(key, "next", HOUR)


def test_memory_is_bounded() -> None:
    """What was used least recently makes room; what is larger than all of it is not stored."""
    memory = MemoryCache(max_bytes=1000)
    for number in range(10):
        memory.put(f"{number}", "x" * 200, HOUR)
    memory.put("huge", "x" * 2000, HOUR)

    assert [memory.get(f"{number}") is not None for number in range(10)] == [False] * 6 + [True] * 4
    assert memory.get("huge") is None


def test_the_cache_outlives_its_valkey(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    """A server killed in between costs its entries and a counted error; every value is still got or made."""
    with valkey_server(tmp_path_factory.mktemp("killed")) as (url, kill):
        shared = ValkeyCache(url)
        cache = CacheManager([Tier("valkey", shared, HOUR, 10_000)], shared, lambda: datetime.now(UTC), lambda: 0.0)
        made: list[str] = []

        def load(name: str) -> Loaded:
            made.append(name)
            return Loaded(name)

        sources = [cache.get_or_load(key, partial(load, "before"), CachePolicy()).source for _ in range(2)]
        kill()
        after = [cache.get_or_load(key, partial(load, f"after {n}"), CachePolicy()) for n in range(3)]

        assert sources == ["load", "valkey"]
        assert [(found.value, found.source) for found in after] == [(f"after {n}", "load") for n in range(3)]
        assert made == ["before", "after 0", "after 1", "after 2"]
        assert cache.counts["valkey.errors"] == 1  # then it was left alone
        with pytest.raises(CacheUnavailable):
            shared.get(key)
        shared.close()


def test_agents_sign_in_by_iam_where_valkey_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user and a signed token are sent on each connection; a Valkey that doesn't know the user is unavailable."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    login = IamLogin("fleet-cache", "fleet-cache")
    with valkey_server(tmp_path) as (url, _):
        with closing(ValkeyCache(url, "test:", login)) as stranger, pytest.raises(CacheUnavailable, match="invalid username"):
            stranger.get("key")

        let_in(url, "fleet-cache")
        with closing(ValkeyCache(url, "test:", login)) as known:
            known.put("key", "value", HOUR)
            assert known.get("key") == "value"

    user, token = login.get_credentials()
    assert user == "fleet-cache"
    assert token.startswith("fleet-cache/?Action=connect&User=fleet-cache&X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert "%2Feu-west-1%2Felasticache%2Faws4_request" in token


def let_in(url: str, user: str) -> None:
    """Have Valkey know a user, whatever its password; signatures are for AWS to check."""
    with Valkey.from_url(url) as client:
        client.acl_setuser(user, enabled=True, nopass=True, keys=["test:*"], categories=["+@read", "+@write", "+@connection"])

"""Settings say which variable is missing or wrong."""

import pytest

from agentfleet.settings import AuthorizerSettings, FleetSettings, MemorySettings, MissingSetting, PoolSettings

ENVIRONMENT = {
    "FLEET": "fleet",
    "WORK_TABLE": "fleet-work",
    "REGISTRY_TABLE": "fleet-registry",
    "BUCKET": "bucket",
    "BUS": "fleet-events",
    "RELEASE_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/fleet-release",
}


def test_every_queue_url_follows_from_one() -> None:
    """The prefix is what stands before the release queue's name."""
    assert FleetSettings.from_env(ENVIRONMENT).queue_url_prefix == "https://sqs.eu-west-1.amazonaws.com/123456789012/"


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_missing_variable_is_named(name: str) -> None:
    """Absent and empty are the same mistake."""
    with pytest.raises(MissingSetting, match=name):
        FleetSettings.from_env({**ENVIRONMENT, name: ""})


def test_a_pools_settings_are_read_from_json() -> None:
    """What fleet.toml holds arrives whole; what isn't JSON is said to be so."""
    read = PoolSettings.from_env({**ENVIRONMENT, "POOL": "web", "POOL_SETTINGS": '{"allow": ["*.org"]}'})

    assert (read.pool, read.settings) == ("web", {"allow": ["*.org"]})
    with pytest.raises(MissingSetting, match="POOL_SETTINGS is not JSON"):
        PoolSettings.from_env({**ENVIRONMENT, "POOL": "web", "POOL_SETTINGS": "{"})
    with pytest.raises(MissingSetting, match="API_KEYS_SECRET"):
        AuthorizerSettings.from_env({})


def test_memory_is_found_by_its_table() -> None:
    """A pool with the variable remembers; what fleet.toml says of it arrives with it."""
    chosen = '{"half_life_days": 7, "facts": 10, "session_chars": 5000}'

    read = MemorySettings.from_env({"MEMORY_TABLE": "fleet-memory", "MEMORY_SETTINGS": chosen})

    assert read == MemorySettings("fleet-memory", 7, 10, 5000)
    assert MemorySettings.from_env({"MEMORY_TABLE": "fleet-memory"}) == MemorySettings("fleet-memory")
    with pytest.raises(MissingSetting, match="MEMORY_TABLE"):
        MemorySettings.from_env({})
    pools = [PoolSettings.from_env({**ENVIRONMENT, "POOL": "web", "MEMORY_TABLE": table}) for table in ("", "fleet-memory")]
    assert [pool.remembers for pool in pools] == [False, True]

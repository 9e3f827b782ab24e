"""A world with a fleet, and its API in it."""

import pytest

from agentfleet import bootstrap
from tests.unit.api.world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The API's function, wired to a fleet in this process."""
    made = World()
    monkeypatch.setattr(bootstrap, "api", lambda: made.api)
    monkeypatch.setattr(bootstrap, "knowledge", lambda: made.knowledge)
    monkeypatch.setattr(bootstrap, "memory", lambda: made.memory)
    return made

"""A world with a fleet, and its API in it."""

import pytest

from functions.serve_api import governance, handler
from tests.unit.api.world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The API's function, wired to a fleet in this process."""
    made = World()
    for module in (handler, governance):
        monkeypatch.setattr(module, "api", lambda: made.api)
    monkeypatch.setattr(handler, "knowledge", lambda: made.knowledge)
    return made

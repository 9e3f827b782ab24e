"""The commands that look back, in words and in JSON, and their exit codes."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from client.api import FleetClient
from tests.unit.api.test_audit import record
from tests.unit.api.world import World
from tests.unit.client.test_cli import fleet  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from tests.unit.client.test_cli import Fleet


def test_history_lists_events(fleet: "Fleet", world: World) -> None:  # noqa: F811
    """A row per event, with what matters of it."""
    goal = world.submit({"id": "a"})
    world.fleet.settle()
    record(world, goal)

    words = fleet("history", goal).stdout
    page = json.loads(fleet("history", goal, "--json").stdout)

    assert "ResultStored" in words
    assert "state=SUCCEEDED" in words
    assert [event["number"] for event in page["events"]] == [1, 2, 3]


def test_verify_is_exit_code_1_when_it_does_not_hold(fleet: "Fleet", world: World) -> None:  # noqa: F811
    """And names the event."""
    goal = world.submit({"id": "a"})
    world.fleet.settle()
    record(world, goal)
    assert "3 events hold" in fleet("verify", goal).stdout

    chain = world.history.stored[goal]
    chain[1] = replace(chain[1], text=chain[1].text.replace("SUCCEEDED", "FAILED"))

    assert "broken at event 3 (changed)" in fleet("verify", goal, code=1).output
    assert json.loads(fleet("verify", goal, "--json", code=1).stdout)["broken"]["number"] == 3


def test_a_receipt_adds_up(fleet: "Fleet", client: FleetClient, world: World) -> None:  # noqa: F811
    """Lines, a sum, the prices' day, and what is left out."""
    goal = world.submit({"id": "a"})
    world.fleet.settle()
    record(world, goal)

    words = fleet("receipt", goal).stdout

    assert "2026-11-22" in words
    assert "estimated" in words
    assert json.loads(fleet("receipt", goal, "--json").stdout)["dollars"] == client.receipt(goal).dollars

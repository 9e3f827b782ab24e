"""The commands that look back, in words and in JSON, and their exit codes."""

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agentfleet.domain.history import Change, Head, Segment, extend, to_text
from agentfleet.services.archive import PASSES, Archiver
from client.api import FleetClient
from tests.fakes.history import FakeVault
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


def test_a_history_written_anew_does_not_fit_its_copy(fleet: "Fleet", world: World, tmp_path: Path) -> None:  # noqa: F811
    """Its hashes hold among themselves; only what nobody can change tells."""
    goal, other = (world.submit({"id": "a"}) for _ in range(2))
    world.fleet.settle()
    for one in (goal, other):
        record(world, one)
    vault, copy = FakeVault(), tmp_path / "copy.gz"
    Archiver(world.history, vault, lambda: world.fleet.clock() + PASSES[0])()
    copy.write_bytes(next(body for body in vault.copies.values() if goal.encode() in gzip.decompress(body)))
    assert "3 events hold" in fleet("verify", goal, "--copy", str(copy)).stdout

    chain, head = world.history.stored[goal], Head(goal, world.history.heads[goal].started)
    changes = [
        Change(goal, str(number), number, head.started, "result", None, {"unit": 0, "states": "S", "forged": True})
        for number in range(3)
    ]
    events, after = extend(head, changes)
    chain[1] = Segment(1, to_text(events), after)
    world.history.heads[goal] = after

    assert "3 events hold" in fleet("verify", goal).stdout
    assert "broken at event 1 (changed)" in fleet("verify", goal, "--copy", str(copy), code=1).output
    copy.write_bytes(b"nothing")
    assert "it is no copy of histories" in fleet("verify", other, "--copy", str(copy), code=2).output

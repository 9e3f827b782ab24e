"""The routes, the client's methods and the commands that heal and deal with dead letters."""

from datetime import timedelta

import pytest

from tests.unit.api.world import World

DEAD = "fleet-work-dead"


def test_a_lost_task_is_healed_by_a_request(world: World) -> None:
    """The run says what it did; the incident says how long it took, and that somebody asked."""
    goal = world.submit({"id": "a"})
    world.fleet.queues.purge()
    world.fleet.clock.advance(timedelta(minutes=10))

    report = world.call("POST", "/heal").body
    opened = world.call("GET", "/health/incidents").body["open"]
    world.fleet.settle()
    world.call("POST", "/heal")
    summary = world.call("GET", "/health/incidents").body

    assert (report["repaired"], report["sent"], report["complete"]) == (1, 1, True)
    assert [(one["goal"], one["kind"]) for one in opened] == [(goal, "UNSENT")]
    assert (summary["open"], summary["without_person"], len(summary["healed"])) == ([], 0, 1)
    assert summary["longest_seconds"] >= 600
    assert world.call("GET", "/health/incidents", tenant="evil").body["healed"] == []
    assert world.call("GET", f"/goals/{goal}").body["state"] == "SUCCEEDED"


def test_dead_letters_are_listed_redriven_and_buried(world: World) -> None:
    """Each with its diagnosis; another tenant's are nobody's business."""
    goal = world.submit({"id": "a"})
    [body] = world.fleet.queues.bodies("fleet-work-normal")
    world.fleet.queues.purge()
    world.fleet.queues.put(DEAD, body)
    world.fleet.queues.put(DEAD, "?")

    listed = world.call("GET", "/dead-letters", pool="work").body["letters"]
    strange = next(one["key"] for one in listed if one["goal"] is None)
    theirs = world.call("GET", "/dead-letters", tenant="evil").body["letters"]
    sent = world.call("POST", "/dead-letters/work/redrive", {}).body["letters"]
    buried = world.call("POST", "/dead-letters/work/bury", {"key": strange, "reason": "mine"})
    records = world.call("GET", "/dead-letters/work/records").body["records"]

    assert {(one["key"], one["cause"], one["next"]) for one in listed} == {
        (f"{goal}.0", "RETURNED", "REDRIVE"),
        (strange, "UNREADABLE", "KEEP"),
    }
    assert theirs == []
    assert [(one["key"], one["tasks"]) for one in sent] == [(f"{goal}.0", ["a"])]
    assert buried.status == 200
    assert {one["reason"] for one in records} == {"redriven by hand", "mine"}
    assert world.call("GET", "/dead-letters").body == {"letters": [], "complete": True}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/dead-letters/nope/redrive", {}, 404),
        ("/dead-letters/work/redrive", {"key": "g.0"}, 404),
        ("/dead-letters/work/redrive", {"keys": ["g.0"]}, 422),
        ("/dead-letters/work/bury", {"key": "g.0"}, 422),
        ("/dead-letters/work/bury", {"key": "g.0", "reason": "r"}, 404),
    ],
)
def test_what_is_not_there_can_not_be_moved(world: World, path: str, body: object, status: int) -> None:
    """Named errors for unknown pools, letters and fields."""
    assert world.call("POST", path, body).status == status

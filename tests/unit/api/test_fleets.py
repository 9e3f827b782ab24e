"""Agents, pools and fleets over HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from agentfleet.domain.scaling import Action, Decision, Memory, ScalingRecord
from tests.unit.api.world import World


def size(world: World, pool: str) -> int:
    """A pool's concurrency now."""
    return int(world.call("GET", f"/pools/{pool}").body["concurrency"])


def test_agents_are_found_by_capability_and_pool(world: World) -> None:
    """Discovery by what is needed; a pool that doesn't exist is a 404."""
    world.busy("x/y")
    world.busy("x/y", pool="web")

    by_capability = world.call("GET", "/agents", capability="web.fetch").body["agents"]
    by_pool = world.call("GET", "/agents", pool="work").body["agents"]

    assert [agent["id"] for agent in by_capability] == ["web-x"]
    assert [agent["id"] for agent in by_pool] == ["work-x"]
    assert len(world.call("GET", "/agents").body["agents"]) == 2
    assert world.call("GET", "/agents", pool="nope").status == 404


def test_agents_do_not_tell_what_they_do_for_others(world: World) -> None:
    """An agent's tasks are shown as far as they belong to the tenant's own goals."""
    mine = world.submit({"id": "a"})
    theirs = world.fleet.submit({"playbook": "greet", "parameters": {"who": "x"}}, tenant="other").id
    world.busy(f"{mine}/a", f"{theirs}/say")

    [agent] = world.call("GET", "/agents").body["agents"]

    assert agent["tasks"] == [f"{mine}/a"]


def test_an_agent_whose_goals_have_ended_is_idle(world: World) -> None:
    """What an agent said last may be out of date: nobody works on a goal that has ended."""
    done, going = world.submit({"id": "a"}), world.submit({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    world.call("DELETE", f"/goals/{done}")
    world.busy(f"{done}/a")
    world.busy(f"{done}/a", f"{going}/a", pool="web")

    web, work = world.call("GET", "/agents").body["agents"]

    assert (work["state"], work["tasks"]) == ("IDLE", [])
    assert (web["state"], web["tasks"]) == ("EXECUTING", [f"{going}/a"])


def test_pools_show_their_load_and_what_they_can_do(world: World) -> None:
    """Queues, limits and capabilities of each pool, by name."""
    world.submit({"id": "a"}, {"id": "b"})

    pools = {pool["name"]: pool for pool in world.call("GET", "/pools").body["pools"]}

    assert list(pools) == ["web", "work"]
    assert pools["work"]["waiting"] == 2
    assert [one["name"] for one in pools["work"]["capabilities"]] == ["work.echo", "work.broken", "work.delegate"]


def test_pools_show_what_the_fleet_manager_decided_and_why(world: World) -> None:
    """The latest decision in the list, all that are kept for one pool; none before its first pass."""
    now = world.fleet.clock()
    up = Decision(now, Action.UP, 10, 19, "50 waiting, the oldest for 61 s", applied=True)
    hold = Decision(now, Action.HOLD, 19, 19, "nothing to do")
    world.scalings.put("work", ScalingRecord(Memory(19), (hold, up)))

    pools = {pool["name"]: pool for pool in world.call("GET", "/pools").body["pools"]}
    work = world.call("GET", "/pools/work").body

    assert [one["reason"] for one in pools["work"]["decisions"]] == ["nothing to do"]
    assert (pools["web"]["scaling"], pools["web"]["decisions"]) == ("auto", [])
    assert [(one["action"], one["before"], one["concurrency"], one["applied"]) for one in work["decisions"]] == [
        ("hold", 19, 19, False),
        ("up", 10, 19, True),
    ]


def test_a_pool_is_scaled_within_its_limit(world: World) -> None:
    """Concurrency moves at once within the pool's limit; past it the error names pool and limit."""
    assert world.call("PATCH", "/pools/work", {"concurrency": 50}).body["concurrency"] == 50

    over = world.call("PATCH", "/pools/work", {"concurrency": 51})
    assert (over.status, over.fields) == (422, ["concurrency"])
    assert "pool work takes at most 50" in over.body["message"]
    assert world.call("PATCH", "/pools/work", {"concurrency": 0}).status == 422
    assert world.call("PATCH", "/pools/work", {"size": 3}).status == 422
    assert world.call("PATCH", "/pools/nope", {"concurrency": 3}).status == 404


def test_logs_leave_out_what_belongs_to_others(world: World) -> None:
    """Lines that name another tenant are not shown; lines that name none are."""
    now = world.fleet.clock()
    world.pools.lines["work"] = [
        (now - timedelta(minutes=30), "old"),
        (now - timedelta(seconds=3), '{"tenant": "acme", "message": "mine"}'),
        (now - timedelta(seconds=2), '{"tenant": "other", "message": "theirs"}'),
        (now - timedelta(seconds=1), "START"),
    ]

    lines = world.call("GET", "/pools/work/logs").body["lines"]

    assert [line["message"] for line in lines] == ['{"tenant": "acme", "message": "mine"}', "START"]
    assert len(world.call("GET", "/pools/work/logs", minutes=60).body["lines"]) == 3
    assert world.call("GET", "/pools/nope/logs").status == 404


def test_a_fleet_sizes_pools_and_gives_them_back(world: World) -> None:
    """Spawning sets what the capabilities need, resizing moves it, releasing restores what was before."""
    spawned = world.call("POST", "/fleets", {"size": 15, "capabilities": ["work.echo"]})
    fleet = spawned.body["id"]
    assert (spawned.status, spawned.body["pools"], spawned.body["ready"]) == (201, ["work"], True)
    assert (size(world, "work"), size(world, "web")) == (15, 10)

    assert world.call("PATCH", f"/fleets/{fleet}", {"size": 20}).body["size"] == 20
    assert size(world, "work") == 20
    assert [one["id"] for one in world.call("GET", "/fleets").body["fleets"]] == [fleet]

    released = world.call("DELETE", f"/fleets/{fleet}")
    assert released.body["released"] is not None
    assert size(world, "work") == 10
    assert world.call("DELETE", f"/fleets/{fleet}").status == 200
    assert world.call("PATCH", f"/fleets/{fleet}", {"size": 5}).status == 422
    assert world.call("GET", "/fleets").body == {"fleets": []}


def test_a_fleet_is_ready_once_its_size_holds(world: World) -> None:
    """A change of concurrency takes a while; until then the fleet says that it isn't ready."""
    world.pools.is_slow = True

    fleet = world.call("POST", "/fleets", {"size": 15}).body

    assert (fleet["pools"], fleet["ready"]) == (["web", "work"], False)
    world.pools.settle()
    assert world.call("GET", f"/fleets/{fleet['id']}").body["ready"] is True


@pytest.mark.parametrize(
    ("order", "field", "words"),
    [
        ({"size": 0}, "size", "greater than or equal to 1"),
        ({"size": 1001}, "size", "less than or equal to 1000"),
        ({"size": 21}, "size", "pool web takes at most 20, not 21"),
        ({"size": 2, "capabilities": []}, "capabilities", "at least one"),
        ({"size": 2, "capabilities": ["work.ecko"]}, "capabilities[0]", "did you mean work.echo"),
        ({}, "size", "required"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(world: World, order: dict[str, Any], field: str, words: str) -> None:
    """What is wrong is named with what is allowed, and no pool is touched."""
    answer = world.call("POST", "/fleets", order)

    assert (answer.status, answer.fields) == (422, [field])
    assert words in answer.body["problems"][0]["message"].lower() or words in answer.body["problems"][0]["message"]
    assert size(world, "work") == 10


@pytest.mark.parametrize("first_out", [0, 1])
def test_overlapping_fleets_restore_what_was_before_both(world: World, first_out: int) -> None:
    """Whichever of two fleets on one pool is released first, the other keeps its size, and the last restores the pool."""
    fleets = []
    for wanted in (15, 25):
        fleets.append(world.call("POST", "/fleets", {"size": wanted, "capabilities": ["work.echo"]}).body["id"])
        world.fleet.clock.advance(1)

    world.call("DELETE", f"/fleets/{fleets[first_out]}")
    between = size(world, "work")
    world.call("DELETE", f"/fleets/{fleets[1 - first_out]}")

    assert between == (25 if first_out == 0 else 15)
    assert size(world, "work") == 10


def test_fleets_of_others_do_not_exist(world: World) -> None:
    """Another tenant's fleet is a 404 for every method."""
    fleet = world.call("POST", "/fleets", {"size": 5}).body["id"]

    assert [world.call(method, f"/fleets/{fleet}", tenant="evil").status for method in ("GET", "DELETE")] == [404, 404]
    assert world.call("PATCH", f"/fleets/{fleet}", {"size": 1}, tenant="evil").status == 404


def test_a_drained_pool_says_so_until_it_is_undrained(world: World) -> None:
    """Twice is fine; a pool that doesn't exist is a 404."""
    for _ in range(2):
        drained = world.call("POST", "/pools/web/drain")
        assert (drained.status, drained.body["health"]) == (200, "DRAINING")
    assert drained.body["health_reason"].startswith("drained since 2026")
    assert world.call("GET", "/pools").body["pools"][0]["health"] == "DRAINING"

    for _ in range(2):
        assert world.call("POST", "/pools/web/undrain").body["health"] == "HEALTHY"
    assert world.call("POST", "/pools/nope/drain").status == 404
    assert world.call("POST", "/pools/nope/undrain").status == 404


def test_who_offers_a_capability_is_told_by_health_weight_and_share(world: World) -> None:
    """With how many of its agents live; 404 for what nobody offers, with what was perhaps meant."""
    world.busy("x/y", pool="web")

    found = world.call("GET", "/capabilities/web.fetch").body

    [offer] = found["offers"]
    assert found["capability"] == "web.fetch"
    assert offer == {"pool": "web", "health": "HEALTHY", "reason": "", "weight": 1, "share": 1.0, "agents": 1}
    missing = world.call("GET", "/capabilities/web.fetsch")
    assert missing.status == 404
    assert "did you mean web.fetch?" in missing.body["message"]


def test_an_agent_tells_its_last_task_to_whom_it_belongs(world: World) -> None:
    """What it took up last, also after it has ended; nobody learns it of another tenant's goal."""
    goal = world.submit({"id": "a"})
    world.fleet.settle()

    [mine] = world.call("GET", "/agents", capability="work.echo").body["agents"]
    [theirs] = world.call("GET", "/agents", tenant="other").body["agents"]

    assert (mine["last"], theirs["last"]) == (f"{goal}/a", None)

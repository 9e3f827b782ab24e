"""Agents, pools and fleets over HTTP."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from agentfleet.domain.errors import RetryableError
from agentfleet.domain.fleet import Fleet
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


def test_an_agent_that_was_killed_at_work_is_not_shown_at_it_for_long(world: World) -> None:
    """No invocation lasts longer than its pool's timeout of a minute: after that neither agent nor task is shown as at work."""
    going = world.submit({"id": "a"})
    world.busy(f"{going}/a")

    def shown() -> tuple[str, list[str], str]:
        [agent] = world.call("GET", "/agents").body["agents"]
        [task] = world.call("GET", f"/goals/{going}/tasks").body["tasks"]
        return agent["state"], agent["tasks"], task["state"]

    world.fleet.clock.advance(60)
    assert shown() == ("EXECUTING", [f"{going}/a"], "RUNNING")
    world.fleet.clock.advance(6)
    assert shown() == ("IDLE", [], "READY")


def test_pools_show_their_load_and_what_they_can_do(world: World) -> None:
    """Queues, limits and capabilities of each pool, by name."""
    world.submit({"id": "a"}, {"id": "b"})

    pools = {pool["name"]: pool for pool in world.call("GET", "/pools").body["pools"]}

    assert list(pools) == ["web", "work"]
    assert pools["work"]["waiting"] == 2
    assert [one["name"] for one in pools["work"]["capabilities"]] == ["work.echo", "work.pay", "work.broken", "work.delegate"]


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


def test_a_size_that_came_to_a_halt_half_way_can_be_asked_for_again(world: World) -> None:
    """The largest of the queues' limits has it already; the others get it too."""
    world.pools.halting["work"] = RetryableError("in use")
    assert world.call("PATCH", "/pools/work", {"concurrency": 20}).status >= 400
    assert world.call("GET", "/pools/work").body["settled"] is False

    again = world.call("PATCH", "/pools/work", {"concurrency": 20})

    assert (again.status, again.body["concurrency"], again.body["settled"]) == (200, 20, True)


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


def spawn(world: World, wanted: int, tenant: str) -> str:
    """A fleet of the pool `work`."""
    answer = world.call("POST", "/fleets", {"size": wanted, "capabilities": ["work.echo"]}, tenant=tenant)
    assert answer.status == 201
    world.fleet.clock.advance(1)
    return str(answer.body["id"])


def test_a_tenants_fleet_never_takes_a_pool_down(world: World) -> None:
    """Neither below what it is deployed with, nor below what another tenant's fleet or the load has made of it."""
    spawn(world, 1, "other")
    assert size(world, "work") == 10

    theirs = spawn(world, 20, "third")
    mine = spawn(world, 12, "other")
    assert size(world, "work") == 20

    world.call("PATCH", f"/fleets/{theirs}", {"size": 15}, tenant="third")
    assert size(world, "work") == 15
    world.pools.set_concurrency("work", 40)  # as the fleet manager does for a backlog
    spawn(world, 16, "other")
    world.call("DELETE", f"/fleets/{theirs}", tenant="third")
    world.call("DELETE", f"/fleets/{mine}", tenant="other")
    assert size(world, "work") == 40


def test_a_tenants_fleet_has_a_share_of_the_largest_size(world: World) -> None:
    """Half of it; an operator may have all. The error says so, whether the fleet is made or resized."""
    refused = world.call("POST", "/fleets", {"size": 26, "capabilities": ["work.echo"]}, tenant="other")
    fleet = spawn(world, 25, "other")
    resized = world.call("PATCH", f"/fleets/{fleet}", {"size": 26}, tenant="other")

    for answer in (refused, resized):
        assert (answer.status, answer.fields) == (422, ["size"])
        assert "pool work takes at most 25, not 26 (tenants' fleets have 50% of" in answer.body["message"]
    assert world.call("POST", "/fleets", {"size": 50, "capabilities": ["work.echo"]}).status == 201


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_fleets_of_several_tenants_give_a_pool_back_to_those_who_are_left(world: World, order: tuple[int, ...]) -> None:
    """In whatever order they are released there is room for the largest that is left, and at last what was before."""
    sizes, tenants = (18, 25, 14), ("one", "two", "three")
    fleets = [spawn(world, wanted, tenant) for wanted, tenant in zip(sizes, tenants, strict=True)]
    left = dict(enumerate(sizes))

    for number in order:
        world.call("DELETE", f"/fleets/{fleets[number]}", tenant=tenants[number])
        del left[number]
        assert size(world, "work") == max(left.values(), default=10)


@pytest.mark.parametrize("operator_first", [True, False])
def test_an_operators_fleet_decides_alone_while_it_lasts(world: World, operator_first: bool) -> None:
    """Downwards too; its release gives the pool to the tenants' fleets."""
    if operator_first:
        fleets = [(spawn(world, 3, "acme"), "acme"), (spawn(world, 20, "other"), "other")]
    else:
        fleets = [(spawn(world, 20, "other"), "other"), (spawn(world, 3, "acme"), "acme")]
    assert size(world, "work") == 3

    (operators,) = [fleet for fleet, tenant in fleets if tenant == "acme"]
    (tenants,) = [fleet for fleet, tenant in fleets if tenant == "other"]
    world.call("DELETE", f"/fleets/{operators}")
    assert size(world, "work") == 20
    world.call("DELETE", f"/fleets/{tenants}", tenant="other")
    assert size(world, "work") == 10


@pytest.mark.parametrize("interrupted", ["one", "two"])
def test_fleets_that_are_released_at_once_leave_nothing_behind(
    world: World, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    """Each may see the other as still there while it looks; who comes last puts it right."""
    fleets = {tenant: spawn(world, wanted, tenant) for tenant, wanted in (("one", 15), ("two", 20))}
    (other,) = {"one", "two"} - {interrupted}
    put = world.fleets.put

    def overtaken(fleet: Fleet) -> None:
        """The other is released between this one's look and its own mark."""
        monkeypatch.setattr(world.fleets, "put", put)
        world.call("DELETE", f"/fleets/{fleets[other]}", tenant=other)
        put(fleet)

    monkeypatch.setattr(world.fleets, "put", overtaken)
    world.call("DELETE", f"/fleets/{fleets[interrupted]}", tenant=interrupted)

    assert size(world, "work") == 10


def test_a_fleet_that_comes_while_another_goes_has_its_size(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that goes sees the pool as its own; the one that comes knows what was before both."""
    old = spawn(world, 15, "one")
    put = world.fleets.put

    def overtaken(fleet: Fleet) -> None:
        monkeypatch.setattr(world.fleets, "put", put)
        spawn(world, 12, "two")
        put(fleet)

    monkeypatch.setattr(world.fleets, "put", overtaken)
    world.call("DELETE", f"/fleets/{old}", tenant="one")

    assert size(world, "work") == 12
    [new] = world.call("GET", "/fleets", tenant="two").body["fleets"]
    world.call("DELETE", f"/fleets/{new['id']}", tenant="two")
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

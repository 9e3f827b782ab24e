"""AgentCoordinator: the promise of three lines, and what happens around it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentfleet.domain.task import parse_request
from client.api import AsyncFleetClient
from client.coordinator import AgentCoordinator
from client.errors import GoalFailed, InvalidRequestError, WaitTimeout
from tests.unit.api.world import World

Make = Callable[[], AsyncFleetClient]


def goal(value: Any = 1, capability: str = "work.echo") -> dict[str, Any]:
    """A goal with one task."""
    return {"plan": {"tasks": [{"id": "a", "capability": capability, "input": {"value": value}}]}}


def test_goals_are_distributed_and_collected_in_order(make_async: Make, world: World) -> None:
    """Spawn, distribute, collect: the results come in the order of distribution, the pools have the size."""

    async def run() -> list[Any]:
        coordinator = AgentCoordinator(client=make_async())
        fleet = await coordinator.spawn_fleet(size=10)
        for value in ("x", "y", "z"):
            await coordinator.distribute_goal(goal(value), fleet)
        results = await coordinator.collect_results()
        assert world.pools.read(["work"])[0].concurrency == 10
        assert {result.goal.labels["fleet"] for result in results} == {fleet.id}
        assert await coordinator.collect_results() == []
        await coordinator.close()
        return [result.output for result in results]

    assert asyncio.run(run()) == ["x", "y", "z"]


def test_it_is_configured_by_mapping_environment_or_local_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping wins; without one the environment, then .fleet/ of the working directory."""
    monkeypatch.delenv("FLEET_API_URL", raising=False)
    monkeypatch.delenv("FLEET_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".fleet").mkdir()
    (tmp_path / ".fleet" / "state.json").write_text(json.dumps({"api_url": "http://localhost:1/x", "api_key": "local"}))

    assert AgentCoordinator().client.config.api_url == "http://localhost:1/x"
    monkeypatch.setenv("FLEET_API_URL", "https://env.example.test/")
    monkeypatch.setenv("FLEET_API_KEY", "k")
    assert AgentCoordinator().client.config.api_url == "https://env.example.test"
    config = {"api_url": "https://given.example.test", "api_key": "k", "timeout": 5.0}
    assert AgentCoordinator(config).client.config.timeout == 5.0


def test_goals_come_as_mapping_request_file_or_playbook(make_async: Make, tmp_path: Path) -> None:
    """Whatever form a goal has, it is submitted."""
    files = {
        "goal.json": json.dumps(goal("json")),
        "goal.toml": '[[plan.tasks]]\nid = "a"\ncapability = "work.echo"\ninput = { value = "toml" }\n',
        "goal.yaml": "plan:\n  tasks:\n  - {id: a, capability: work.echo, input: {value: yaml}}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    async def run() -> list[Any]:
        async with AgentCoordinator(client=make_async()) as coordinator:
            await coordinator.distribute_goal(goal("dict"))
            await coordinator.distribute_goal(parse_request(goal("request")))
            await coordinator.distribute_goal(tmp_path / "goal.json")
            await coordinator.distribute_goal(str(tmp_path / "goal.toml"))
            await coordinator.distribute_goal(tmp_path / "goal.yaml")
            await coordinator.distribute_goal("greet", parameters={"who": "playbook"})
            return [result.output for result in await coordinator.collect_results()]

    assert asyncio.run(run()) == ["dict", "request", "json", "toml", "yaml", "playbook"]


@pytest.mark.parametrize(("name", "text"), [("x.json", "{"), ("x.toml", "= 1"), ("x.yaml", "a: ["), ("x.json", "[1]")])
def test_a_file_that_holds_no_goal_is_named(make_async: Make, tmp_path: Path, name: str, text: str) -> None:
    """The error names the file and what is wrong with it; a missing one too."""
    (tmp_path / name).write_text(text)

    async def run(path: Path) -> None:
        async with AgentCoordinator(client=make_async()) as coordinator:
            await coordinator.distribute_goal(path)

    with pytest.raises(InvalidRequestError, match=name):
        asyncio.run(run(tmp_path / name))
    with pytest.raises(InvalidRequestError, match=r"missing\.json"):
        asyncio.run(run(tmp_path / "missing.json"))


def test_a_failed_goal_is_a_result_unless_the_caller_wants_an_exception(make_async: Make) -> None:
    """One failure doesn't hide the other results; raise_on_failure turns it into GoalFailed."""

    async def run(*, strict: bool) -> list[Any]:
        async with AgentCoordinator(client=make_async()) as coordinator:
            await coordinator.distribute_goal(goal(capability="work.broken"))
            await coordinator.distribute_goal(goal(2))
            return [
                (result.goal.state, result.output, result.goal.failure and result.goal.failure.message)
                for result in await coordinator.collect_results(raise_on_failure=strict)
            ]

    assert asyncio.run(run(strict=False)) == [("FAILED", None, "broken on purpose"), ("SUCCEEDED", 2, None)]
    with pytest.raises(GoalFailed, match="broken on purpose"):
        asyncio.run(run(strict=True))


def test_progress_tells_every_move_and_a_timeout_loses_nothing(make_async: Make, world: World) -> None:
    """The callback gets each goal when it moved; after a timeout the same goals can be collected."""
    seen: list[str] = []

    async def run() -> list[Any]:
        async with AgentCoordinator(client=make_async()) as coordinator:
            await coordinator.distribute_goal(goal(1))
            with pytest.raises(WaitTimeout, match="1 goals have not ended after 0 s"):
                await coordinator.collect_results(timeout=0)
            return await coordinator.collect_results(progress=lambda view: seen.append(view.state), timeout=60)

    assert [result.output for result in asyncio.run(run())] == [1]
    assert (seen[0], seen[-1]) == ("RUNNING", "SUCCEEDED")


def test_a_fleet_is_resized_released_and_refused_after_that(make_async: Make, world: World) -> None:
    """As a context manager it gives its pools back; a goal for a released fleet is refused."""

    async def run() -> None:
        async with AgentCoordinator(client=make_async()) as coordinator:
            async with await coordinator.spawn_fleet(size=10, capabilities=["work.echo"]) as fleet:
                await fleet.resize(20)
                assert (fleet.size, fleet.pools) == (20, ("work",))
                assert world.pools.read(["work"])[0].concurrency == 20
                assert "20 agents in each of work" in repr(fleet)
            assert fleet.is_released
            await fleet.release()
            with pytest.raises(ValueError, match="was released"):
                await coordinator.distribute_goal(goal(), fleet)

    asyncio.run(run())
    assert world.pools.read(["work"])[0].concurrency == 10


def test_a_coordinator_releases_its_fleets_at_the_end(make_async: Make, world: World) -> None:
    """Even if what was in between failed, latest fleet first."""

    async def run() -> None:
        async with AgentCoordinator(client=make_async()) as coordinator:
            await coordinator.spawn_fleet(size=12)
            await coordinator.spawn_fleet(size=15)
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError):
        asyncio.run(run())
    assert [pool.concurrency for pool in world.pools.read(["web", "work"])] == [10, 10]
    assert not world.fleets.list("acme")


def test_spawning_waits_until_the_size_holds(make_async: Make, world: World) -> None:
    """It returns once every pool has settled; if that takes too long the fleet is released again."""
    world.pools.is_slow = True

    async def run(timeout: float, *, settle: bool) -> int:
        client = make_async()

        async def pause(_: float) -> None:
            if settle:
                world.pools.settle()

        client.sleep = pause
        coordinator = AgentCoordinator(client=client)
        return (await coordinator.spawn_fleet(size=12, timeout=timeout)).size

    with pytest.raises(WaitTimeout, match="does not have its size"):
        asyncio.run(run(0, settle=False))
    assert not world.fleets.list("acme")
    assert asyncio.run(run(60, settle=True)) == 12

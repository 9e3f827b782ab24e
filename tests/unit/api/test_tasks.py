"""Tasks over HTTP: the states that follow from the plan, the results and the registry."""

from typing import Any

import pytest

from tests.unit.api.world import World


def states(world: World, goal: str, **query: Any) -> dict[str, str]:
    """Task id → state."""
    return {task["id"]: task["state"] for task in world.call("GET", f"/goals/{goal}/tasks", **query).body["tasks"]}


def chain(length: int) -> list[dict[str, object]]:
    """Tasks of which each waits for the one before it."""
    return [{"id": f"t{n}", "depends_on": [f"t{n - 1}"] if n else []} for n in range(length)]


def test_states_follow_from_plan_results_and_registry(world: World) -> None:
    """Ready in a queue, running at an agent, waiting for others, ended: none of it is stored for the task."""
    goal = world.submit({"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["a", "b"]})
    world.busy(f"{goal}/b", "gother/a")

    assert states(world, goal) == {"a": "READY", "b": "RUNNING", "c": "WAITING"}
    world.step()
    assert states(world, goal) == {"a": "SUCCEEDED", "b": "SUCCEEDED", "c": "READY"}


def test_a_running_task_names_its_agent_and_an_ended_one_its_attempt(world: World) -> None:
    """A task shows who works on it, and afterwards who did, when and how often it was tried."""
    goal = world.submit({"id": "a"})
    world.busy(f"{goal}/a")

    [running] = world.call("GET", f"/goals/{goal}/tasks").body["tasks"]
    world.fleet.settle()
    [ended] = world.call("GET", f"/goals/{goal}/tasks").body["tasks"]

    assert (running["agent"], running["pool"], running["attempt"]) == ("work-x", "work", None)
    assert (ended["agent"], ended["pool"], ended["attempt"]) == ("work-1", "work", 1)
    assert ended["started"].startswith("2026-01-02T03:04:05")
    assert ended["ref"] == f"{goal}.a"


def test_a_silent_agent_runs_nothing(world: World) -> None:
    """An agent that was last heard of longer ago than it lives doesn't count."""
    goal = world.submit({"id": "a"})
    world.busy(f"{goal}/a")
    world.fleet.clock.advance(15 * 60)

    assert states(world, goal) == {"a": "READY"}


def test_what_never_ran_keeps_waiting_when_its_goal_has_ended(world: World) -> None:
    """A failed goal's open tasks aren't ready for anything; the failure is shown where it happened."""
    goal = world.submit({"id": "a", "capability": "work.broken"}, {"id": "b", "depends_on": ["a"]})
    world.fleet.settle()

    tasks = world.call("GET", f"/goals/{goal}/tasks").body["tasks"]
    shown = world.call("GET", f"/goals/{goal}").body

    assert [task["state"] for task in tasks] == ["FAILED", "WAITING"]
    assert tasks[0]["failure"]["message"] == "broken on purpose"
    assert (shown["state"], shown["counts"]) == ("FAILED", {"FAILED": 1, "WAITING": 1})
    assert shown["failure"]["task"] == "a"


def test_a_delegated_task_points_to_its_sub_goal(world: World) -> None:
    """While its sub-plan runs the task is running, and both before and after its end the sub-goal can be looked up."""
    goal = world.submit({"id": "a", "capability": "work.delegate"})
    world.step()

    [during] = world.call("GET", f"/goals/{goal}/tasks").body["tasks"]
    counts = world.call("GET", f"/goals/{goal}").body["counts"]
    world.fleet.settle()
    [after] = world.call("GET", f"/goals/{goal}/tasks").body["tasks"]
    child = world.call("GET", f"/goals/{after['sub_goal']}").body

    assert (during["state"], counts) == ("RUNNING", {"RUNNING": 1})
    assert (after["state"], after["agent"], after["sub_goal"]) == ("SUCCEEDED", None, during["sub_goal"])
    assert (child["state"], child["parent"]) == ("SUCCEEDED", goal)


def test_one_task_comes_with_input_and_output(world: World) -> None:
    """A task by its reference shows what goes in as planned and what came out."""
    goal = world.submit({"id": "a:1.x", "input": {"value": {"n": 1}}}, {"id": "b", "input": {"value": {"$from": "a:1.x"}}})

    waiting = world.call("GET", f"/tasks/{goal}.b").body
    world.fleet.settle()
    done = world.call("GET", f"/tasks/{goal}.a:1.x").body

    assert (waiting["state"], waiting["output"], waiting["input"]) == ("WAITING", None, {"value": {"$from": "a:1.x"}})
    assert (done["state"], done["output"], done["retries"], done["priority"]) == ("SUCCEEDED", {"n": 1}, 2, "normal")
    assert world.call("GET", f"/tasks/{goal}.nope").status == 404
    assert world.call("GET", f"/tasks/{goal}").status == 404


def test_pages_of_tasks_join_up(world: World) -> None:
    """Cursors lead through all tasks in plan order, and a state narrows every page."""
    goal = world.submit(*({"id": f"part.{n}"} for n in range(450)), {"id": "end", "depends_on": ["part.*"]})
    found: list[str] = []
    cursor: str | None = None

    while True:
        query = {"cursor": cursor} if cursor else {}
        page = world.call("GET", f"/goals/{goal}/tasks", **query).body
        assert len(page["tasks"]) <= 200
        found += [task["id"] for task in page["tasks"]]
        if not (cursor := page["cursor"]):
            break

    assert found == [*(f"part.{n}" for n in range(450)), "end"]
    assert states(world, goal, state="WAITING") == {"end": "WAITING"}
    assert states(world, goal, state="FAILED") == {}


@pytest.mark.parametrize("cursor", ["x", "1", "-1.0", "1.2.3"])
def test_a_bad_cursor_is_refused(world: World, cursor: str) -> None:
    """A cursor that no page gave is a 422, not an empty page."""
    goal = world.submit({"id": "a"})

    answer = world.call("GET", f"/goals/{goal}/tasks", cursor=cursor)

    assert (answer.status, answer.fields) == (422, ["cursor"])


def test_a_huge_goal_reads_only_its_page(world: World) -> None:
    """Of 20,000 tasks, a page fetches the header and its own segment, and the progress fetches none of the plan."""
    tasks = [{"id": f"p.{n}"} for n in range(19_999)]
    goal = world.submit(*tasks, {"id": "end", "depends_on": ["p.19998"]})
    world.fleet.plans.reads.clear()

    shown = world.call("GET", f"/goals/{goal}").body
    assert world.fleet.plans.reads[goal] == 0
    page = world.call("GET", f"/goals/{goal}/tasks", limit=50, cursor="4100.0").body

    assert world.fleet.plans.reads[goal] <= 3
    assert shown["counts"] == {"WAITING": 20_000}
    assert [page["tasks"][0]["id"], page["tasks"][0]["state"], page["cursor"]] == ["p.4100", "WAITING", "4150.0"]


def test_a_huge_goal_knows_readiness_from_references(world: World) -> None:
    """Above the exact limit a task is ready if it is a root or everything that it refers to is there."""
    tasks = [{"id": f"p.{n}"} for n in range(2_100)]
    goal = world.submit(
        *tasks, {"id": "x", "input": {"value": {"$from": "p.0"}}}, {"id": "y", "input": {"value": {"$from": "x"}}}
    )
    world.step()  # the release queue hands the wide fan-out to the pool's
    world.step()

    page = world.call("GET", f"/goals/{goal}/tasks", cursor="2100.0").body
    counts = world.call("GET", f"/goals/{goal}").body["counts"]
    ended = states(world, goal, state="SUCCEEDED")

    assert [(task["id"], task["state"]) for task in page["tasks"]] == [("x", "READY"), ("y", "WAITING")]
    assert counts["SUCCEEDED"] == len(ended) == 10
    assert sum(counts.values()) == 2_102


def test_a_huge_goals_results_are_counted_anew_after_some_seconds(world: World) -> None:
    """Whoever asks meanwhile sees the last count: counting reads every result."""
    goal = world.submit(*({"id": f"p.{n}"} for n in range(10_000)))
    world.step()
    world.step()
    first = world.call("GET", f"/goals/{goal}").body["counts"]
    world.step()

    second = world.call("GET", f"/goals/{goal}").body["counts"]
    world.fleet.clock.advance(2)
    third = world.call("GET", f"/goals/{goal}").body["counts"]

    assert [counts["SUCCEEDED"] for counts in (first, second, third)] == [10, 10, 20]


def test_progress_of_a_running_goal_reads_each_result_once(world: World) -> None:
    """Results never change, so that looking at a goal again reads only what is new."""
    goal = world.submit(*chain(3))
    world.step()
    world.call("GET", f"/goals/{goal}")
    asked: list[int] = []
    read = world.fleet.results.get

    def spy(goal_id: str, shards: int, units: list[int], *, outputs: bool = True) -> object:
        asked.extend(units)
        return read(goal_id, shards, units, outputs=outputs)

    world.fleet.results.get = spy  # type: ignore[assignment, method-assign]
    counts = world.call("GET", f"/goals/{goal}").body["counts"]

    assert counts == {"SUCCEEDED": 1, "READY": 1, "WAITING": 1}
    assert asked == [1, 2]

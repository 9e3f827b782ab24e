"""Pause, resume, deadline, fork: an owner's hand in goals."""

import json
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import Agent, PermanentError, SubPlan
from agentfleet.domain.bounds import Bounds
from agentfleet.domain.errors import IllegalTransition, InvalidRequest, NotFound
from agentfleet.domain.goal import Failure, GoalState
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from tests.fakes.fleet import InProcessFleet, Killed

pool = Agent("work")
done: list[str] = []


@pool.capability("work.echo", idempotent=True)
async def echo(input: dict[str, Any]) -> Any:
    """What was given; remembered."""
    done.append(input.get("name", ""))
    return input.get("value")


broken: set[int] = set()


@pool.capability("work.fragile", idempotent=True)
async def fragile(input: dict[str, Any]) -> Any:
    """A number, unless it is broken; remembered."""
    done.append(str(input["n"]))
    if input["n"] in broken:
        raise PermanentError("broken")
    return input["n"]


@pool.capability("work.broken", idempotent=True)
async def hopeless(input: dict[str, Any]) -> Any:
    """Fails for good."""
    raise PermanentError("as told")


@pool.capability("work.chunked", idempotent=True, chunk=10)
async def chunked(input: dict[str, Any]) -> Any:
    """As above, ten to a message."""
    done.append(input.get("name", ""))
    return input.get("value")


@pool.capability("work.split", idempotent=True)
async def split(input: dict[str, Any]) -> SubPlan:
    """Delegates to a chain of two."""
    steps = [step("x", 1), step("y", {"$from": "x"})]
    return SubPlan(steps, {"$from": "y"})


def step(name: str, value: Any = None, **rest: Any) -> dict[str, Any]:
    """A task that echoes and is remembered by its name."""
    return {"id": name, "capability": "work.echo", "input": {"name": name, "value": value}, **rest}


CHAIN = {"plan": {"tasks": [step("a", 1), step("b", {"$from": "a"}), step("c", [{"$from": "b"}, {"$from": "a"}])]}}


@pytest.fixture
def fleet() -> InProcessFleet:
    """A fleet, and nothing remembered."""
    done.clear()
    return InProcessFleet(pool)


def test_a_paused_goal_waits_without_messages_and_goes_on_where_it_was(fleet: InProcessFleet) -> None:
    """Nothing runs and nothing is queued while it is paused; each task runs once in the end."""
    control = fleet.platform.control
    goal = fleet.submit(CHAIN)
    fleet.invoke("fleet-work-normal")
    control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()

    assert (done, fleet.goal(goal.id).state, fleet.queues.busy()) == (["a"], GoalState.RUNNING, [])

    control.resume(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()

    assert (done, fleet.goal(goal.id).output) == (["a", "b", "c"], [1, 1])


PLANS = [
    pytest.param(CHAIN, id="chain"),
    pytest.param({"plan": {"tasks": [{"id": "s", "capability": "work.split"}, step("end", {"$from": "s"})]}}, id="sub-plan"),
]


@pytest.mark.parametrize("plan", PLANS)
def test_the_healer_leaves_a_paused_goal_alone(fleet: InProcessFleet, plan: dict[str, Any]) -> None:
    """However long it stands still: nothing is sent, and that is no incident."""
    goal = fleet.submit(plan)
    fleet.invoke("fleet-work-normal")
    fleet.platform.control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()
    fleet.clock.advance(3600)

    report = fleet.heal()

    assert (report.repaired, report.sent, report.errors) == ((), 0, ())
    assert fleet.queues.busy() == []


@pytest.mark.parametrize("plan", PLANS)
def test_the_healer_sends_nothing_twice_that_resuming_has_just_sent(fleet: InProcessFleet, plan: dict[str, Any]) -> None:
    """The goal's last result is an hour old, but its messages are not."""
    control = fleet.platform.control
    goal = fleet.submit(plan)
    fleet.invoke("fleet-work-normal")
    control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()
    fleet.clock.advance(3600)
    control.resume(goal.id, "acme")
    fleet.clock.advance(1)

    report = fleet.heal()

    assert (report.repaired, report.sent) == ((), 0)
    assert len(fleet.queues.bodies("fleet-work-normal")) == 1


def test_a_resuming_that_died_half_way_is_made_up_for(fleet: InProcessFleet) -> None:
    """Marked as running again, but nothing was sent: the healer does it."""
    control = fleet.platform.control
    goal = fleet.submit(CHAIN)
    fleet.invoke("fleet-work-normal")
    control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()
    fleet.faults.arm(1)  # the first call reads the goal, the second marks it
    with pytest.raises(Killed):
        control.resume(goal.id, "acme")
    fleet.faults.arm(None)
    fleet.clock.advance(600)

    report = fleet.heal()
    fleet.settle()

    assert report.sent == 1
    assert fleet.goal(goal.id).output == [1, 1]


def kill_at(fleet: InProcessFleet, plan: dict[str, Any], call: str) -> None:
    """Whoever takes up the goal's first message dies before such a call, with its result stored."""
    quiet = InProcessFleet(pool)
    quiet.batch = fleet.batch
    quiet.submit(plan)
    quiet.faults.arm(None)
    quiet.invoke("fleet-work-normal")
    fleet.faults.arm(quiet.faults.calls.index(call), before=True)
    with pytest.raises(Killed):
        fleet.invoke("fleet-work-normal")
    fleet.faults.arm(None)
    done.clear()


BROKEN = {"plan": {"tasks": [{"id": "a", "capability": "work.broken"}, step("b", 1, depends_on=["a"])]}}
JOINED = {"plan": {"tasks": [step("a", 1), step("b", 2), step("c", [{"$from": "a"}, {"$from": "b"}])]}}


def test_a_result_whose_agent_died_still_counts_while_its_goal_is_paused(fleet: InProcessFleet) -> None:
    """Its joins are made up for when its message comes again, or whatever waits for both would never be released."""
    control = fleet.platform.control
    fleet.batch = 1
    goal = fleet.submit(JOINED)
    kill_at(fleet, JOINED, "joins.add")
    control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()  # what died comes again meanwhile

    control.resume(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()

    assert (fleet.goal(goal.id).state, fleet.goal(goal.id).output) == (GoalState.SUCCEEDED, [1, 2])


@pytest.mark.parametrize("comes_again", [True, False], ids=["redelivered while paused", "still hidden"])
def test_resuming_releases_nothing_past_a_failure(fleet: InProcessFleet, comes_again: bool) -> None:
    """The agent died with its task's failure stored: the goal fails, and nothing that waited for the task runs."""
    control = fleet.platform.control
    goal = fleet.submit(BROKEN)
    kill_at(fleet, BROKEN, "goals.replace")
    control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    if comes_again:
        fleet.settle()
    else:
        control.resume(goal.id, "acme")

    assert fleet.goal(goal.id).state is GoalState.FAILED
    fleet.settle()
    assert done == []


def test_sub_plans_pause_and_go_on_with_their_goal(fleet: InProcessFleet) -> None:
    """What was delegated is held back too, and resumed inside, not delegated anew."""
    control = fleet.platform.control
    goal = fleet.submit({"plan": {"tasks": [{"id": "s", "capability": "work.split"}, step("end", {"$from": "s"})]}})
    fleet.invoke("fleet-work-normal")
    control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()
    assert done == []

    control.resume(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.settle()

    assert (done, fleet.goal(goal.id).output) == (["x", "y", "end"], 1)


def test_only_running_goals_of_ones_own_can_be_paused(fleet: InProcessFleet) -> None:
    """Pausing twice is fine; an ended goal and another tenant's are refused."""
    control = fleet.platform.control
    goal = fleet.submit(CHAIN)
    with pytest.raises(NotFound):
        control.pause(goal.id, "rival")
    assert control.pause(goal.id, "acme") == control.pause(goal.id, "acme")
    control.resume(goal.id, "acme")
    assert control.resume(goal.id, "acme").paused is None
    fleet.clock.advance(2)
    fleet.settle()

    with pytest.raises(IllegalTransition, match="only a running one can be paused"):
        control.pause(goal.id, "acme")


def test_a_goal_past_its_deadline_fails(fleet: InProcessFleet) -> None:
    """Whatever was still to come does not run."""
    goal = fleet.submit({**CHAIN, "deadline": 60})
    fleet.invoke("fleet-work-normal")
    fleet.clock.advance(61)

    fleet.settle()

    ended = fleet.goal(goal.id)
    assert (ended.state, done) == (GoalState.FAILED, ["a"])
    assert ended.failure is not None
    assert ended.failure.error == "DeadlineExceeded"


def test_the_end_of_a_late_goal_is_told_by_whoever_takes_over(fleet: InProcessFleet) -> None:
    """The one that found it late died with its end stored; its message comes again to another."""
    goal = fleet.submit({**CHAIN, "deadline": 60})
    fleet.clock.advance(61)
    fleet.faults.arm(None)
    calls = InProcessFleet(pool)
    calls.submit({**CHAIN, "deadline": 60})
    calls.clock.advance(61)
    calls.faults.arm(None)
    calls.invoke("fleet-work-normal")
    fleet.faults.arm(calls.faults.calls.index("goals.replace"))
    with pytest.raises(Killed):
        fleet.invoke("fleet-work-normal")
    fleet.faults.arm(None)
    assert fleet.goal(goal.id).state is GoalState.FAILED

    fleet.kill()
    fleet.settle()

    assert [topic for topic, _ in fleet.bus.published] == ["GoalAccepted", "GoalFailed"]


def test_a_fork_keeps_what_it_is_told_and_runs_the_rest(fleet: InProcessFleet) -> None:
    """Kept results count as they are; the fork is a goal of its own that says where it comes from."""
    goal = fleet.submit(CHAIN)
    fleet.settle()
    done.clear()

    fork = fleet.platform.control.fork(goal.id, "acme", ["a"], {})
    fleet.settle()

    ended = fleet.goal(fork.id)
    assert (done, ended.state, ended.output, ended.origin) == (["b", "c"], GoalState.SUCCEEDED, [1, 1], goal.id)
    assert ended.counts == {"SUCCEEDED": 3}


def test_a_changed_input_runs_its_task_and_all_that_follow_again(fleet: InProcessFleet) -> None:
    """Even where everything is to be kept."""
    goal = fleet.submit(CHAIN)
    fleet.settle()
    done.clear()

    fork = fleet.platform.control.fork(goal.id, "acme", ["*"], {"b": {"value": 7}})
    fleet.settle()

    assert (done, fleet.goal(fork.id).output) == (["b", "c"], [7, 1])
    assert fleet.goal(goal.id).output == [1, 1]


def test_what_a_kept_result_came_of_is_kept_with_it(fleet: InProcessFleet) -> None:
    """Nobody needs the first task again, and the fork could end before it was done."""
    goal = fleet.submit(CHAIN)
    fleet.settle()
    done.clear()

    fork = fleet.platform.control.fork(goal.id, "acme", ["b"], {})
    fleet.settle()

    assert (done, fleet.goal(fork.id).counts) == (["c"], {"SUCCEEDED": 3})


def test_what_waited_for_a_task_that_failed_runs_again_with_it(fleet: InProcessFleet) -> None:
    """Where a goal went on without it, what followed did not see its output."""
    broken.add(1)
    tasks = [{"id": "a", "capability": "work.fragile", "input": {"n": 1}}, step("b", {"$from": "a"})]
    goal = fleet.submit({"plan": {"tasks": tasks}, "on_failure": "skip"})
    fleet.settle()
    broken.clear()
    done.clear()

    fork = fleet.platform.control.fork(goal.id, "acme", ["*"], {})
    fleet.settle()

    assert (fleet.goal(goal.id).output, fleet.goal(fork.id).counts) == (None, {"SUCCEEDED": 2})
    assert done[-1] == "b"


def test_a_repeated_call_releases_nothing_behind_what_failed_meanwhile(fleet: InProcessFleet) -> None:
    """The first call died before it let the fork go; what of it has failed by now is sent again, and nothing after that."""
    goal = fleet.submit(CHAIN)
    fleet.settle()
    control = fleet.platform.control
    fleet.faults.arm(None)
    control.fork(goal.id, "acme", [], {}, "quiet")
    fleet.settle()
    fleet.faults.arm(fleet.faults.calls.index("queues.send_tasks"), before=True, stays_dead=True)
    with pytest.raises(Killed):
        control.fork(goal.id, "acme", [], {}, "k")
    fleet.faults.arm(None)
    [fork_id] = [one.id for one in fleet.goals.goals.values() if one.state is GoalState.PLANNING]
    failed = TaskOutcome(TaskState.FAILED, None, Failure("Broken", "on purpose"))
    fleet.results.put(goal.shards, [Result(fork_id, 0, (failed,), "work-1", fleet.clock(), 0.0)])

    control.fork(goal.id, "acme", [], {}, "k")

    sent = [json.loads(body) for queue in fleet.queues.busy() for body in fleet.queues.bodies(queue)]
    assert [one["unit"] for one in sent] == [0]
    fleet.settle()
    assert fleet.goal(fork_id).state is GoalState.FAILED


def test_a_fork_that_keeps_everything_has_ended_already(fleet: InProcessFleet) -> None:
    """There is nothing left to run."""
    goal = fleet.submit(CHAIN)
    fleet.settle()

    fork = fleet.platform.control.fork(goal.id, "acme", ["*"], {})

    assert (fork.state, fork.output) == (GoalState.SUCCEEDED, [1, 1])


def test_a_wide_fork_fills_joins_and_chunks(fleet: InProcessFleet) -> None:
    """Fan-in over kept and new results, in chunks and singles, over several joins."""
    parts = [{"id": f"p.{n}", "capability": "work.chunked", "input": {"name": f"p{n}", "value": n}} for n in range(40)]
    parts += [step(f"q.{n}", n) for n in range(600)]
    goal = fleet.submit({"plan": {"tasks": [*parts, step("end", "all", depends_on=["p.*", "q.*"])]}})
    fleet.settle()
    done.clear()

    fork = fleet.platform.control.fork(goal.id, "acme", ["p.*", "q.*"], {"q.5": {"value": "new"}})
    fleet.settle()

    assert sorted(done) == ["end", "q.5"]
    assert fleet.goal(fork.id).state is GoalState.SUCCEEDED
    assert fleet.goal(fork.id).counts == {"SUCCEEDED": 641}


def test_the_same_key_forks_once_and_mistakes_are_named(fleet: InProcessFleet) -> None:
    """An unknown task, a path through a number, another tenant's goal."""
    control = fleet.platform.control
    goal = fleet.submit(CHAIN)
    fleet.settle()

    assert control.fork(goal.id, "acme", ["a"], {}, "k").id == control.fork(goal.id, "acme", ["a"], {}, "k").id
    with pytest.raises(InvalidRequest) as caught:
        control.fork(goal.id, "acme", ["*"], {"z": {"value": 1}, "a": {"value.x": 1}})
    assert [problem.field for problem in caught.value.problems] == ["set[a].value.x", "set[z]"]
    with pytest.raises(NotFound):
        control.fork(goal.id, "rival", ["*"], {})


FORK_CALLS = 40
"""More than a fork makes."""


def kill_forking(fleet: InProcessFleet, call: int, *, before: bool) -> tuple[str, bool]:
    """Run the chain, and die at this call of a fork with a key that keeps `a`. Gives the goal, and whether it died."""
    goal = fleet.submit(CHAIN)
    fleet.settle()
    done.clear()
    fleet.faults.arm(call, before=before)
    try:
        fleet.platform.control.fork(goal.id, "acme", ["a"], {"c": {"value": 5}}, "k")
    except Killed:
        return goal.id, True
    finally:
        fleet.faults.arm(None)
    return goal.id, False


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_fork_that_dies_is_finished_by_its_repetition(before: bool) -> None:
    """Killed at any of its calls, forking again with the key ends right, and what was to be kept does not run."""
    for call in range(FORK_CALLS):
        done.clear()
        fleet = InProcessFleet(pool)
        goal_id, died = kill_forking(fleet, call, before=before)

        fork = fleet.platform.control.fork(goal_id, "acme", ["a"], {"c": {"value": 5}}, "k")
        fleet.settle()

        ended = fleet.goal(fork.id)
        assert (ended.state, ended.output, set(done)) == (GoalState.SUCCEEDED, 5, {"b", "c"})
        if not died:
            return
    pytest.fail("the fork never came to its end")


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_fork_that_dies_and_is_healed_keeps_what_it_was_told_to_keep(before: bool) -> None:
    """Nobody repeats it: what the healer sets going has all kept results; what it never heard of does not exist."""
    for call in range(FORK_CALLS):
        done.clear()
        fleet = InProcessFleet(pool)
        goal_id, died = kill_forking(fleet, call, before=before)
        forks = [goal.id for goal in fleet.goals.goals.values() if goal.origin == goal_id]

        for _ in range(3):
            fleet.clock.advance(timedelta(hours=1))
            fleet.heal()
            fleet.settle()

        assert "a" not in done
        for name in forks:
            assert (fleet.goal(name).state, fleet.goal(name).output) == (GoalState.SUCCEEDED, 5)
        if not died:
            assert forks
            return
    pytest.fail("the fork never came to its end")


def test_a_repeated_fork_goes_on_with_the_plan_and_the_copies_of_its_first_call(fleet: InProcessFleet) -> None:
    """Even where the repetition asks for another change: what the first call changed runs, and nothing is copied twice."""
    fleet.faults.arm(None)
    goal = fleet.submit(CHAIN)
    fleet.settle()
    done.clear()
    fleet.faults.arm(None)
    fleet.platform.control.fork(goal.id, "acme", ["*"], {"b": {"value": 7}}, "quiet")
    stored = fleet.faults.calls.index("goals.create")
    again = InProcessFleet(pool)
    goal = again.submit(CHAIN)
    again.settle()
    done.clear()
    again.faults.arm(stored, before=True)
    with pytest.raises(Killed):
        again.platform.control.fork(goal.id, "acme", ["*"], {"b": {"value": 7}}, "k")
    again.faults.arm(None)

    fork = again.platform.control.fork(goal.id, "acme", ["*"], {}, "k")
    copies = again.faults.calls.count("results.put")
    again.settle()

    assert (again.goal(fork.id).output, sorted(done), copies) == ([7, 1], ["b", "c"], 0)


def test_a_forks_key_that_comes_with_another_order_is_refused(fleet: InProcessFleet) -> None:
    """Once the fork is there: until then nobody has been told of any."""
    goal = fleet.submit(CHAIN)
    fleet.settle()
    fork = fleet.platform.control.fork(goal.id, "acme", ["a"], {}, "k")

    with pytest.raises(InvalidRequest, match=f"another request, which made goal {fork.id}"):
        fleet.platform.control.fork(goal.id, "acme", ["b"], {}, "k")


def test_a_forks_results_say_who_did_them(fleet: InProcessFleet) -> None:
    """Also where a fork is forked: the goal that did it has paid for it, and stands for what it brought about."""
    goal = fleet.submit(CHAIN)
    fleet.settle()
    fork = fleet.platform.control.fork(goal.id, "acme", ["a"], {})
    fleet.settle()

    again = fleet.platform.control.fork(fork.id, "acme", ["b"], {})

    assert [fleet.result_of(fork.id, unit).origin for unit in range(3)] == [goal.id, None, None]
    assert [fleet.result_of(again.id, unit).origin for unit in range(2)] == [goal.id, fork.id]


def test_a_fork_is_held_within_the_bounds_of_its_goal(fleet: InProcessFleet) -> None:
    """What an agent's model set going may not reach further by being forked."""
    goal = fleet.submit(CHAIN)
    bounds = Bounds(tools=(("work.*",),), hosts=(("example.com",),))
    fleet.goals.goals[goal.id] = replace(fleet.goal(goal.id), bounds=bounds)

    assert fleet.platform.control.fork(goal.id, "acme", [], {}).bounds == bounds


@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_a_region_of_tasks_that_fails_is_run_again_by_a_fork(fleet: InProcessFleet, policy: str) -> None:
    """The goal ends once however many fail; a fork runs what failed or never ran, and keeps the rest."""
    broken.update(range(20, 50))
    parts = [{"id": f"p.{n}", "capability": "work.fragile", "input": {"n": n}} for n in range(60)]
    goal = fleet.submit({"plan": {"tasks": parts, "output": {"$from": "p.*"}}, "on_failure": policy})
    fleet.settle()
    broken.clear()
    ended, succeeded = fleet.goal(goal.id), sum(int(n) not in range(20, 50) for n in done)
    done.clear()

    fork = fleet.platform.control.fork(goal.id, "acme", ["*"], {})
    fleet.settle()

    assert ended.state is (GoalState.SUCCEEDED if policy == "skip" else GoalState.FAILED)
    assert [topic for topic in fleet.bus.topics() if topic == "GoalFailed"] == ["GoalFailed"] * (policy == "fail")
    assert (ended.counts["SUCCEEDED"], ended.counts["FAILED"]) == ((30, 30) if policy == "skip" else (20, 10))
    assert (len(done), fleet.goal(fork.id).output) == (60 - succeeded, list(range(60)))


def test_a_goal_that_is_resumed_within_the_second_goes_on(fleet: InProcessFleet) -> None:
    """Agents that have just seen it paused look again: resuming sends each message only once."""
    control = fleet.platform.control
    goal = fleet.submit(CHAIN)
    control.pause(goal.id, "acme")
    fleet.clock.advance(2)
    fleet.invoke("fleet-work-normal")

    control.resume(goal.id, "acme")
    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED

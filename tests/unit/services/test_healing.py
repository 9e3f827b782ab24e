"""Whatever is lost, the healer brings a goal to its right end; what is only waiting, it leaves alone."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import Agent
from agentfleet.domain import names
from agentfleet.domain.goal import GoalState
from agentfleet.domain.healing import IncidentKind
from agentfleet.domain.plan import JOIN_ARITY
from agentfleet.ports import Page
from agentfleet.services.heal import HealReport
from tests.fakes import FakeQueueWatch
from tests.fakes.fleet import InProcessFleet, Killed, catalog_of
from tests.unit.services.test_kills import GOAL, pool

crowd = Agent("work")
WAIT = timedelta(minutes=10)
"""Longer than the healer's patience with a goal that was never repaired."""


@crowd.capability("work.one", idempotent=True)
async def one(input: dict[str, Any]) -> int:
    """A task."""
    return 1


def fan(width: int) -> dict[str, Any]:
    """A goal of so many tasks after one, and one after all of them."""
    parts = [{"id": f"t.{n}", "capability": "work.one", "depends_on": ["root"]} for n in range(width)]
    end = {"id": "end", "capability": "work.one", "depends_on": ["t.*"]}
    return {"plan": {"tasks": [{"id": "root", "capability": "work.one"}, *parts, end]}}


def run_to_rest(fleet: InProcessFleet) -> None:
    """Until no queue holds anything; whoever is killed comes back by redelivery."""
    while True:
        try:
            fleet.settle()
        except Killed:
            fleet.kill()
        else:
            return


def tend(fleet: InProcessFleet, goal_id: str, rounds: int = 12) -> list[HealReport]:
    """Run, and heal whatever stands still, until the goal has ended."""
    reports: list[HealReport] = []
    run_to_rest(fleet)
    while fleet.goal(goal_id).state.is_alive:
        assert len(reports) < rounds, fleet.goal(goal_id)
        fleet.clock.advance(WAIT * 2 ** len(reports))
        reports.append(fleet.heal())
        assert not reports[-1].errors
        run_to_rest(fleet)
    return reports


def messages_of_a_quiet_run() -> int:
    """How many messages the goal needs when none is lost."""
    fleet = InProcessFleet(pool)
    fleet.submit(GOAL)
    fleet.settle()
    return fleet.queues.sent


MESSAGES = messages_of_a_quiet_run()


@pytest.mark.parametrize("lost", range(MESSAGES))
def test_any_lost_message_is_sent_again(lost: int) -> None:
    """One repair, one incident, healed by nobody; every task has one result and each payment was made once."""
    fleet = InProcessFleet(pool)
    fleet.queues.lose = {lost}
    goal_id = fleet.submit(GOAL).id

    reports = tend(fleet, goal_id)
    fleet.clock.advance(WAIT)
    last = fleet.heal()

    ended = fleet.goal(goal_id)
    assert (ended.state, ended.output, ended.counts) == (GoalState.SUCCEEDED, ["a", 1], {"SUCCEEDED": 5})
    assert [report.sent for report in reports] == [1]
    assert len(fleet.blobs.list("payments/")) == 2
    assert {goal.state for goal in fleet.goals.goals.values()} == {GoalState.SUCCEEDED}
    summary = fleet.healing.incidents.summary("acme")
    assert (last.still_open, summary.open, summary.without_person, len(summary.healed)) == (0, (), 1, 1)
    assert summary.longest_seconds is not None
    assert summary.longest_seconds > WAIT.total_seconds()


@pytest.mark.parametrize("lost", range(MESSAGES))
def test_all_messages_lost_from_any_one_on(lost: int) -> None:
    """A queue that swallows everything for a while costs time, nothing else."""
    fleet = InProcessFleet(pool)
    fleet.queues.lose = set(range(lost, lost + 3))
    goal_id = fleet.submit(GOAL).id

    tend(fleet, goal_id)

    assert fleet.goal(goal_id).output == ["a", 1]
    assert len(fleet.blobs.list("payments/")) == 2


def calls_of_a_quiet_run() -> int:
    """How many calls leave the process when nothing goes wrong."""
    fleet = InProcessFleet(pool)
    fleet.faults.arm(None)
    fleet.submit(GOAL, key="k")
    fleet.settle()
    return len(fleet.faults.calls)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("call", range(calls_of_a_quiet_run()))
def test_killed_at_any_call_with_everything_in_the_queues_lost(call: int, before: bool) -> None:
    """The plan and the results are enough: no message of the time before the crash is left, and the goal ends right."""
    fleet = InProcessFleet(pool)
    fleet.faults.arm(call, before=before)
    try:
        goal_id = fleet.submit(GOAL, key="k").id
        fleet.settle()
    except Killed:
        fleet.queues.purge()
        fleet.kill()
        goal_id = fleet.submit(GOAL, key="k").id if not fleet.goals.goals else next(iter(fleet.goals.goals))
    fleet.faults.arm(None)

    tend(fleet, goal_id)

    ended = fleet.goal(goal_id)
    assert (ended.state, ended.output, ended.counts) == (GoalState.SUCCEEDED, ["a", 1], {"SUCCEEDED": 5})
    assert len(fleet.blobs.list("payments/")) == 2
    assert {goal.state for goal in fleet.goals.goals.values()} == {GoalState.SUCCEEDED}


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_healer_that_is_killed_is_followed_by_one_that_is_not(before: bool) -> None:
    """At whichever of its calls it dies, the next run makes up for it."""
    for call in range(200):
        fleet = InProcessFleet(pool)
        fleet.queues.lose = {1, 2, 3}
        goal_id = fleet.submit(GOAL).id
        fleet.settle()
        fleet.clock.advance(WAIT)
        fleet.faults.arm(call, before=before)
        try:
            fleet.heal()
            is_over = True
        except Killed:
            is_over = False
        fleet.faults.arm(None)

        tend(fleet, goal_id)

        assert fleet.goal(goal_id).output == ["a", 1]
        if is_over:
            return
    pytest.fail("the healer never came to its end")


def test_fifty_thousand_waiting_tasks_are_left_alone() -> None:
    """However long they wait, and whether or not their age is known: they are in a queue, so nothing is sent again."""
    fleet = InProcessFleet(crowd, catalog=replace(catalog_of(crowd), tenant_window=100_000))
    fleet.submit(fan(50_000))
    fleet.invoke("fleet-work-normal")
    while fleet.queues.depth(names.release_queue("fleet"))[0]:
        fleet.invoke(names.release_queue("fleet"))
    sent = fleet.queues.sent
    assert fleet.queues.depth("fleet-work-normal") == (50_000, 0)

    for fleet.watch.tells_age in (True, False):
        fleet.clock.advance(timedelta(hours=1))
        report = fleet.heal()
        fleet.invoke("fleet-work-normal")
        assert (report.looked, report.sent, report.repaired) == (1, 0, ())

    assert fleet.queues.sent == sent


def test_a_message_that_is_being_worked_on_is_left_alone() -> None:
    """What was received and not deleted is in flight, so it is not lost."""
    fleet = InProcessFleet(crowd)
    fleet.submit(fan(3))
    fleet.clock.advance(WAIT)
    fleet.queues.take("fleet-work-normal")

    assert fleet.heal().sent == 0


def test_a_lost_message_behind_a_backlog_waits_for_it() -> None:
    """A busy queue may still hold it; once all that is older has gone, it can't."""
    fleet = InProcessFleet(crowd)
    lost = fleet.submit(fan(2)).id
    fleet.queues.purge()
    fleet.clock.advance(-60)
    fleet.submit(fan(1))
    fleet.clock.advance(WAIT + timedelta(seconds=60))

    behind = fleet.heal()
    fleet.settle()
    fleet.clock.advance(WAIT)
    fleet.submit(fan(1))
    after = fleet.heal()

    assert (behind.sent, after.sent) == (0, 1)
    fleet.settle()
    assert fleet.goal(lost).state is GoalState.SUCCEEDED


def test_where_nobody_measures_ages_having_been_empty_is_enough() -> None:
    """A queue that was seen empty after a goal's last progress can't hold its messages, however full it is now."""
    fleet = InProcessFleet(crowd)
    fleet.watch.tells_age = False
    lost = fleet.submit(fan(2)).id
    fleet.queues.purge()
    fleet.clock.advance(45)
    fleet.heal()
    fleet.clock.advance(WAIT)
    fleet.submit(fan(1))

    unsure = fleet.heal()
    fleet.settle()
    fleet.clock.advance(5)
    sure = fleet.heal()

    assert (unsure.sent, sure.sent) == (0, 1)
    assert [one.goal_id for one in sure.repaired] == [lost]


def test_a_wide_join_with_lost_members_completes() -> None:
    """Agents that died between a result and its join, with their messages lost: the union is made up for, tree and all."""
    width = JOIN_ARITY + 50
    fleet = InProcessFleet(crowd)
    goal_id = fleet.submit(fan(width)).id
    fleet.settle(limit=1_000)
    assert fleet.goal(goal_id).state is GoalState.SUCCEEDED
    again = InProcessFleet(crowd)
    goal_id = again.submit(fan(width)).id
    real, skipped = again.joins.add, Counter[str]()

    def forgetful(goal: str, shards: int, join: int, slots: Any) -> int:
        if len(skipped) < 3 and 5 in slots:
            skipped[f"{join}"] += 1
            return 0
        return real(goal, shards, join, slots)

    again.joins.add = forgetful  # type: ignore[method-assign,assignment]
    reports = tend(again, goal_id)

    assert again.goal(goal_id).counts == {"SUCCEEDED": width + 2}
    assert [report.sent for report in reports] == [1]


def calls_before_sending() -> int:
    """How many calls a first task makes before it sends what it was holding back."""
    fleet = InProcessFleet(crowd)
    fleet.submit(fan(1))
    fleet.faults.arm(None)
    fleet.invoke("fleet-work-normal")
    return fleet.faults.calls.index("queues.send_tasks")


CALLS_BEFORE_SENDING = calls_before_sending()


def test_who_takes_up_what_another_died_of_has_time_of_its_own() -> None:
    """The first dies with its result stored; what the second sends, a visibility timeout later, is not sent once more."""
    fleet = InProcessFleet(crowd)
    goal_id = fleet.submit(fan(1)).id
    queue = "fleet-work-normal"
    fleet.faults.arm(CALLS_BEFORE_SENDING, before=True)
    with pytest.raises(Killed):
        fleet.invoke(queue)
    fleet.faults.arm(None)
    fleet.clock.advance(fleet.queues.visibility + timedelta(seconds=30))
    fleet.invoke(queue)
    fleet.clock.advance(120)

    report = fleet.heal()

    assert (report.sent, report.repaired) == (0, ())
    assert len(fleet.queues.bodies(queue)) == 1
    assert fleet.goal(goal_id).state.is_alive


def stuck_in_planning() -> InProcessFleet:
    """A fleet whose one goal was stored, but not told of, when whoever accepted it died."""
    fleet = InProcessFleet(crowd)
    fleet.faults.arm(None)
    fleet.submit(fan(1), key="quiet")
    tell = fleet.faults.calls.index("bus.publish")
    stuck = InProcessFleet(crowd)
    stuck.faults.arm(tell, before=True)
    with pytest.raises(Killed):
        stuck.submit(fan(1), key="k")
    stuck.faults.arm(None)
    stuck.clock.advance(WAIT)
    return stuck


def calls_of_a_repair() -> int:
    """How many calls leave the process when the healer sets such a goal going."""
    fleet = stuck_in_planning()
    fleet.heal()
    return len(fleet.faults.calls)


@pytest.mark.parametrize("call", range(calls_of_a_repair()))
def test_nothing_of_a_goal_runs_before_it_was_told_of(call: int) -> None:
    """Wherever the healer dies that sets a half accepted goal going: whoever follows the bus hears of it first."""
    fleet = stuck_in_planning()
    fleet.faults.arm(call)
    with pytest.raises(Killed):
        fleet.heal()
    fleet.faults.arm(None)

    run_to_rest(fleet)

    told = [topic for topic, _ in fleet.bus.published]
    assert told in ([], ["GoalAccepted"], ["GoalAccepted", "GoalSucceeded"])


def test_a_goal_stuck_in_planning_is_set_running() -> None:
    """Its roots are sent and its state says so."""
    fleet = InProcessFleet(crowd)
    fleet.faults.arm(None)
    fleet.submit(fan(1), key="quiet")
    release = fleet.faults.calls.index("queues.send_tasks")
    stuck = InProcessFleet(crowd)
    stuck.faults.arm(release, before=True)
    with pytest.raises(Killed):
        stuck.submit(fan(1), key="k")
    stuck.faults.arm(None)
    stuck.clock.advance(WAIT)

    report = stuck.heal()

    [incident] = report.repaired
    assert incident.kind is IncidentKind.STUCK_PLANNING
    assert stuck.goal(incident.goal_id).state is GoalState.RUNNING
    stuck.settle()
    assert stuck.goal(incident.goal_id).state is GoalState.SUCCEEDED


def test_a_goal_that_repairs_do_not_help_is_repaired_ever_less_often() -> None:
    """Ten minutes of runs a minute apart send a handful of messages, not ten."""
    fleet = InProcessFleet(crowd)
    fleet.submit(fan(1))
    fleet.queues.purge()
    fleet.queues.lose = set(range(1000))

    sent = 0
    for _ in range(60):
        fleet.clock.advance(60)
        sent += fleet.heal().sent

    assert 2 <= sent <= 5
    [incident] = fleet.healing.incidents.summary().open
    assert incident.repairs == sent


def test_a_sub_goal_of_an_ended_goal_is_ended() -> None:
    """Nobody waits for it any more."""
    fleet = InProcessFleet(pool)
    goal_id = fleet.submit(GOAL).id
    while len(fleet.goals.goals) == 1:
        fleet.invoke("fleet-work-normal")
    fleet.platform.finisher.cancel(fleet.goal(goal_id))
    fleet.queues.purge()

    report = fleet.heal()

    assert [one.kind for one in report.repaired] == [IncidentKind.ORPHANED]
    assert {goal.state for goal in fleet.goals.goals.values()} == {GoalState.CANCELLED}


def test_one_goal_that_cannot_be_repaired_does_not_keep_the_others() -> None:
    """It is reported by name, and everybody else is healed."""
    fleet = InProcessFleet(crowd)
    broken, fine = fleet.submit(fan(1)).id, fleet.submit(fan(2)).id
    fleet.queues.purge()
    del fleet.plans.plans[broken]
    fleet.plans._readers.clear()
    fleet.clock.advance(WAIT)

    report = fleet.heal()

    assert [one.goal_id for one in report.repaired] == [fine]
    assert len(report.errors) == 1
    assert broken in report.errors[0]


def test_a_run_whose_time_is_over_goes_on_next_time() -> None:
    """Where it stopped, so that no goal is never looked at."""
    fleet = InProcessFleet(crowd)
    for _ in range(130):
        fleet.submit(fan(1))
    fleet.queues.purge()
    fleet.clock.advance(WAIT)
    real = fleet.goals.living

    def slow(limit: int, cursor: str | None) -> Page[str]:
        fleet.clock.advance(40)
        return real(limit, cursor)

    fleet.goals.living = slow  # type: ignore[method-assign]
    first, second = fleet.heal(), fleet.heal()

    assert (first.complete, first.looked, second.complete, second.looked) == (False, 100, True, 30)
    assert first.sent + second.sent == 130


def test_an_incident_a_person_asked_to_repair_does_not_count_as_healed_alone() -> None:
    """The summary tells the two apart."""
    fleet = InProcessFleet(crowd)
    goal_id = fleet.submit(fan(1)).id
    fleet.queues.purge()
    fleet.clock.advance(WAIT)

    fleet.heal(by_person=True)
    fleet.settle()
    fleet.heal()

    summary = fleet.healing.incidents.summary()
    assert fleet.goal(goal_id).state is GoalState.SUCCEEDED
    assert (len(summary.healed), summary.without_person) == (1, 0)


def received_often(fleet: InProcessFleet) -> None:
    """Every invocation on the pool's queue is refused, until its messages have been received three times."""
    for _ in range(3):
        fleet.queues.take("fleet-work-normal", 100)
        fleet.queues.expire_visibility()
        fleet.clock.advance(60)


@pytest.mark.parametrize("is_told", [True, False])
def test_nothing_is_sent_again_while_throttled_messages_wait(is_told: bool) -> None:
    """SQS leaves messages received three times out of the age, so that a backlog of them looks like one of what came later."""
    fleet = InProcessFleet(crowd)
    fleet.submit(fan(1))
    received_often(fleet)
    if is_told:
        fleet.watch.troubled["fleet-work"] = fleet.clock()
    else:
        fleet.watch.tells_age = False
    fleet.clock.advance(WAIT)
    later = fleet.submit(fan(1)).id

    report = fleet.heal()

    assert (report.sent, fleet.queues.depth("fleet-work-normal")) == (0, (2, 0))
    assert fleet.goal(later).state is GoalState.RUNNING


def test_a_goal_younger_than_the_throttles_is_healed_behind_a_backlog() -> None:
    """None of its messages can have been refused so often: the age tells of all that it has sent."""
    fleet = InProcessFleet(crowd)
    received_often(fleet)
    fleet.watch.troubled["fleet-work"] = fleet.clock()
    fleet.clock.advance(60)
    lost = fleet.submit(fan(1)).id
    fleet.queues.purge()
    fleet.clock.advance(WAIT)
    fleet.submit(fan(1))

    report = fleet.heal()

    assert [(one.goal_id, one.sent) for one in report.repaired] == [(lost, 1)]


def test_what_a_queue_was_emptied_of_is_gone_however_often_it_was_received() -> None:
    """Having been empty since the throttles is proof as it is where nobody measures ages."""
    fleet = InProcessFleet(crowd)
    lost = fleet.submit(fan(1)).id
    fleet.queues.purge()
    fleet.queues.put("fleet-release", "of another goal, which may hold something of any")
    fleet.clock.advance(WAIT)
    before = fleet.heal()
    fleet.queues.purge()
    fleet.submit(fan(1))
    received_often(fleet)
    fleet.watch.troubled["fleet-work"] = fleet.clock()

    report = fleet.heal()

    assert before.sent == 0
    assert [(one.goal_id, one.sent) for one in report.repaired] == [(lost, 1)]


def test_ages_are_bounds_that_the_fake_tells_as_the_real_watch_does() -> None:
    """An unknown age of a queue that isn't empty leaves only what was seen before."""
    fleet = InProcessFleet(crowd)
    fleet.submit(fan(1))

    queue = {"fleet-work-normal": "fleet-work"}
    told = FakeQueueWatch(fleet.queues).look(queue)["fleet-work-normal"]
    untold = FakeQueueWatch(fleet.queues, tells_age=False).look(queue)["fleet-work-normal"]

    assert (told.oldest_sent, untold.oldest_sent) == (fleet.clock(), None)
    assert not told.is_empty

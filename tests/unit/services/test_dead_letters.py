"""Dead letters: each is diagnosed, what can run is sent again once, what can't fails by its goal's policy."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import Agent
from agentfleet.domain import names
from agentfleet.domain.dead_letters import KEPT_UNREADABLE, Action, Cause, Circumstances, decide, diagnose
from agentfleet.domain.errors import DeliveryFailed, InvalidRequest, NotFound, Unfinished
from agentfleet.domain.goal import GoalState
from agentfleet.domain.messages import TaskPointer
from agentfleet.domain.result import TaskState
from agentfleet.services.authorize import Caller
from tests.contract.making import goal
from tests.fakes.fleet import INVOCATION, InProcessFleet

work = Agent("work")
DEAD = "fleet-work-dead"
DAY = timedelta(days=1)
ACME = Caller("acme", is_operator=True)


@work.capability("work.one", idempotent=True)
async def one(input: dict[str, Any]) -> int:
    """A task."""
    return 1


TWO = {"plan": {"tasks": [{"id": "a", "capability": "work.one"}, {"id": "b", "capability": "work.one", "depends_on": ["a"]}]}}
FIT = Circumstances(
    pointer=TaskPointer("g", 0, "acme"),
    goal=goal("g", state=GoalState.RUNNING),
    has_unit=True,
    has_result=False,
    has_sub_plan=False,
    pool="work",
    routed_to="work",
    lived=100.0,
    visibility=360.0,
)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"pointer": None}, Cause.UNREADABLE),
        ({"goal": None}, Cause.GOAL_UNKNOWN),
        ({"has_unit": False}, Cause.GOAL_UNKNOWN),
        ({"goal": goal("g", state=GoalState.CANCELLED)}, Cause.GOAL_ENDED),
        ({"has_result": True}, Cause.RESULT_STORED),
        ({"has_sub_plan": True}, Cause.DELEGATED),
        ({"routed_to": None}, Cause.CAPABILITY_GONE),
        ({"routed_to": "web"}, Cause.CAPABILITY_MOVED),
        ({"lived": 1799.0}, Cause.RETURNED),
        ({"lived": 1800.0}, Cause.KILLED),
        ({"lived": 1800.0, "was_throttled": True}, Cause.THROTTLED),
        ({"lived": 1799.0, "was_throttled": True}, Cause.RETURNED),
    ],
)
def test_a_diagnosis_follows_from_the_circumstances(changes: dict[str, Any], cause: Cause) -> None:
    """The first cause that fits, from the message itself outwards."""
    assert diagnose(replace(FIT, **changes)) is cause


@pytest.mark.parametrize("cause", Cause)
def test_the_policy_knows_every_cause_and_sends_nothing_again_for_ever(cause: Cause) -> None:
    """What nobody can judge stays for a person, for some days; what has been sent again once is not any more."""
    first, later, late = decide(cause, 0, DAY), decide(cause, 1, DAY), decide(cause, 1, 4 * DAY)

    assert (first is Action.KEEP) == (cause in {Cause.UNREADABLE, Cause.GOAL_UNKNOWN, Cause.NOT_ACCEPTED})
    assert late is (Action.BURY if cause in {Cause.UNREADABLE, Cause.GOAL_UNKNOWN} else later)
    assert later is not Action.REDRIVE
    assert first is later or (first, later) == (Action.REDRIVE, Action.FAIL)


def die(fleet: InProcessFleet, after: timedelta) -> None:
    """Let agents receive every message of the pool's queue and never delete it, until it is a dead letter."""
    while fleet.queues.bodies("fleet-work-normal"):
        fleet.queues.take("fleet-work-normal")
        fleet.clock.advance(after / fleet.queues.max_receives)
        fleet.queues.expire_visibility()


def die_slowly(fleet: InProcessFleet) -> None:
    """As when its environments die: hidden for the whole visibility timeout each time."""
    die(fleet, timedelta(hours=1))


def die_quickly(fleet: InProcessFleet) -> None:
    """As when every agent gives it back at once."""
    die(fleet, timedelta(minutes=2))


def test_a_task_that_kills_its_agents_fails_its_goal() -> None:
    """By the normal path: a FAILED result that names the attempts, then the goal's policy."""
    fleet = InProcessFleet(work)
    goal_id = fleet.submit(TWO).id
    die_slowly(fleet)

    report = fleet.heal()

    ended = fleet.goal(goal_id)
    assert report.letters == {Action.FAIL: 1}
    assert ended.state is GoalState.FAILED
    assert ended.failure is not None
    assert (ended.failure.error, ended.failure.task) == ("AgentDied", "a")
    assert "in all of 10 attempts" in ended.failure.message
    assert fleet.bus.topics().count("GoalFailed") == 1
    assert fleet.queues.bodies(DEAD) == []


def test_a_task_that_may_be_skipped_is_skipped() -> None:
    """The goal goes on with the rest of its plan."""
    fleet = InProcessFleet(work)
    goal_id = fleet.submit({**TWO, "on_failure": "skip"}).id
    die_slowly(fleet)

    fleet.heal()
    fleet.settle()

    assert fleet.goal(goal_id).state is GoalState.SUCCEEDED
    assert fleet.goal(goal_id).counts == {TaskState.FAILED: 1, TaskState.SUCCEEDED: 1}


def test_what_agents_gave_back_is_sent_again_once_and_then_fails() -> None:
    """An outage costs a redrive; a second round of it is the task's end."""
    fleet = InProcessFleet(work)
    goal_id = fleet.submit(TWO).id
    die_quickly(fleet)
    first = fleet.heal()
    assert fleet.goal(goal_id).state is GoalState.RUNNING
    die_quickly(fleet)

    second = fleet.heal()

    assert (first.letters, second.letters) == ({Action.REDRIVE: 1}, {Action.FAIL: 1})
    failure = fleet.goal(goal_id).failure
    assert failure is not None
    assert "in all of 20 attempts" in failure.message


def test_a_letter_of_a_throttled_pool_is_no_proof_that_agents_died() -> None:
    """It is sent again once, with a diagnosis of its own; the second time its task fails, and says why."""
    fleet = InProcessFleet(work)
    goal_id = fleet.submit(TWO).id
    die_slowly(fleet)
    fleet.watch.throttled["fleet-work"] = fleet.clock() - timedelta(minutes=30)

    [seen] = fleet.healing.office.lying(ACME, "work", 10).letters
    first = fleet.heal()
    die_slowly(fleet)
    fleet.watch.throttled["fleet-work"] = fleet.clock()
    second = fleet.heal()

    assert (seen.cause, seen.action) == (Cause.THROTTLED, Action.REDRIVE)
    assert (first.letters, second.letters) == ({Action.REDRIVE: 1}, {Action.FAIL: 1})
    failure = fleet.goal(goal_id).failure
    assert failure is not None
    assert failure.error == "PoolThrottled"
    assert "throttled while its message was received 20 times" in failure.message


def test_throttles_from_before_a_letter_was_sent_excuse_nothing() -> None:
    """Its agents died all the same."""
    fleet = InProcessFleet(work)
    fleet.watch.throttled["fleet-work"] = fleet.clock() - timedelta(minutes=1)
    fleet.submit(TWO)
    die_slowly(fleet)

    assert fleet.heal().letters == {Action.FAIL: 1}


def test_an_outage_that_passes_ends_well() -> None:
    """The redriven task runs, and the incident is healed without anybody."""
    fleet = InProcessFleet(work)
    goal_id = fleet.submit(TWO).id
    die_quickly(fleet)

    fleet.heal()
    fleet.settle()
    fleet.heal()

    assert fleet.goal(goal_id).state is GoalState.SUCCEEDED
    assert fleet.healing.incidents.summary("acme").without_person == 1


def test_letters_of_ended_goals_are_buried_and_strangers_stay() -> None:
    """A record is kept of the one; the others wait for a person, visible."""
    fleet = InProcessFleet(work)
    goal_id = fleet.submit(TWO).id
    fleet.queues.put("fleet-work-normal", "no message of ours")
    fleet.queues.put("fleet-work-normal", TASK_OF_NOBODY)
    die_slowly(fleet)
    fleet.platform.finisher.cancel(fleet.goal(goal_id))

    report = fleet.heal()

    assert report.letters == {Action.BURY: 1, Action.KEEP: 2}
    assert fleet.queues.depth(DEAD) == (2, 0)
    [record] = fleet.health.letters("work", 10)
    assert (record.cause, record.key, record.action) == (Cause.GOAL_ENDED, f"{goal_id}.0", Action.BURY)


def test_a_stored_result_is_carried_on() -> None:
    """The task was done; only what follows from it had not happened."""
    fleet = InProcessFleet(work)
    goal_id = fleet.submit(TWO).id
    die_slowly(fleet)
    fleet.submit(TWO)
    fleet.invoke("fleet-work-normal")
    [other] = [name for name in fleet.goals.goals if name != goal_id]
    fleet.results.put(1, [replace(fleet.result_of(other, 0), goal_id=goal_id)])

    report = fleet.heal()
    fleet.settle()

    assert report.letters == {Action.ADVANCE: 1}
    assert fleet.goal(goal_id).state is GoalState.SUCCEEDED


def test_a_capability_that_is_gone_fails_its_tasks() -> None:
    """No pool will ever do it."""
    fleet = InProcessFleet(work)
    goal_id = fleet.submit(TWO).id
    die_quickly(fleet)
    fleet.healing.office._router._homes.clear()

    fleet.heal()

    failure = fleet.goal(goal_id).failure
    assert failure is not None
    assert failure.error == "CapabilityGone"


def test_a_letter_in_the_dead_queue_is_not_sent_again_beside_it() -> None:
    """While there are more letters than one visit takes, the frontier leaves that pool's units alone."""
    fleet = InProcessFleet(work)
    fleet.submit({"plan": {"tasks": [{"id": f"t.{n}", "capability": "work.one"} for n in range(300)]}})
    die_quickly(fleet)
    fleet.clock.advance(timedelta(hours=2))
    slow_letters(fleet, timedelta(seconds=10))
    sent = fleet.queues.sent

    report = fleet.heal()

    assert 0 < sum(report.letters.values()) < 300
    assert fleet.queues.sent == sent + report.letters.get(Action.REDRIVE, 0)


def slow_letters(fleet: InProcessFleet, delay: timedelta) -> None:
    """Let every receive from the dead-letter queues take so long."""
    real = fleet.queues.take

    def take(queue: str, n: int = 10) -> list[dict[str, Any]]:
        if queue.endswith("-dead"):
            fleet.clock.advance(delay)
        return real(queue, n)

    fleet.queues.take = take  # type: ignore[method-assign]


def test_dead_letters_leave_half_of_the_time_to_living_goals() -> None:
    """However many there are: the rest of the run looks at goals, and what was not dealt with is visible again."""
    fleet = InProcessFleet(work)
    for number in range(1000):
        fleet.queues.put(DEAD, f"poison {number}")
    fleet.submit(TWO)
    slow_letters(fleet, timedelta(seconds=5))
    start = fleet.clock()

    report = fleet.heal()

    assert (report.complete, report.looked) == (True, 1)
    assert fleet.clock() - start < INVOCATION / 2 + timedelta(seconds=10)
    assert fleet.queues.depth(DEAD) == (1000, 0)


TASK_OF_NOBODY = '{"goal":"gnobody","unit":0,"tenant":"acme"}'


def test_a_person_lists_redrives_and_buries() -> None:
    """A tenant what is its own, an operator all; what can't run is refused with the way out."""
    fleet = InProcessFleet(work)
    office = fleet.healing.office
    goal_id = fleet.submit(TWO).id
    fleet.submit(TWO, tenant="other")
    fleet.queues.put("fleet-work-normal", "?")
    die_quickly(fleet)

    listed = office.lying(ACME, None, 10).letters
    [strange] = [letter for letter in listed if letter.pointer is None]
    with pytest.raises(InvalidRequest, match="bury it with a reason"):
        office.redrive(ACME, "work", strange.key)
    with pytest.raises(NotFound, match="no dead letter"):
        office.redrive(ACME, "work", "nothing.0")
    with pytest.raises(NotFound, match="there is no pool"):
        office.lying(ACME, "wrok", 10)
    buried = office.bury(ACME, "work", strange.key, "a test of ours")
    redriven = office.redrive(Caller("acme"), "work", None).letters

    assert {letter.cause for letter in listed} == {Cause.UNREADABLE, Cause.RETURNED}
    assert buried.cause is Cause.UNREADABLE
    assert [letter.key for letter in redriven] == [f"{goal_id}.0"]
    assert {record.reason for record in office.records(ACME, "work", 10)} == {"a test of ours", "redriven by hand"}
    assert fleet.queues.depth(DEAD) == (1, 0)
    fleet.settle()
    assert fleet.goal(goal_id).state is GoalState.SUCCEEDED


def test_a_flood_that_nobody_can_read_does_not_keep_lost_messages_from_being_sent_again() -> None:
    """Letters that stay for a person would otherwise stand before those that may be the lost task's."""
    fleet = InProcessFleet(work)
    goal = fleet.submit(TWO)
    fleet.queues.purge()
    for number in range(300):
        fleet.queues.put(DEAD, f"poison {number}")

    fleet.clock.advance(timedelta(hours=1))
    fleet.heal()
    fleet.settle()

    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED


def flooded(letters: int = 1) -> tuple[InProcessFleet, list[str]]:
    """A fleet with so many dead letters of goals of its own behind 250 that nobody can read; gives their keys."""
    fleet = InProcessFleet(work)
    for number in range(250):
        fleet.queues.put(DEAD, f"poison {number}")
    keys = [f"{fleet.submit(TWO).id}.0" for _ in range(letters)]
    die_quickly(fleet)
    return fleet, keys


@pytest.mark.parametrize("caller", [ACME, Caller("acme")], ids=["operator", "tenant"])
def test_a_person_finds_a_letter_behind_a_flood_that_nobody_can_read(caller: Caller) -> None:
    """Listed first, shown by its key, sent again."""
    fleet, [key] = flooded()
    office = fleet.healing.office

    listed = office.lying(caller, "work", 20)
    shown = office.lying(caller, "work", 1, key)
    sent = office.redrive(caller, "work", key)

    assert listed.letters[0].key == key
    assert listed.complete is not caller.is_operator
    assert [one.key for one in (*shown.letters, *sent.letters)] == [key, key]
    assert fleet.queues.depth(DEAD) == (250, 0)
    fleet.settle()
    assert fleet.goal(key.removesuffix(".0")).state is GoalState.SUCCEEDED


def test_a_letter_behind_a_flood_can_be_buried_with_all_its_copies() -> None:
    """The task's letters are gone, the flood is as it was."""
    fleet, [key] = flooded()
    fleet.queues.put(DEAD, fleet.queues.bodies(DEAD)[-1])

    buried = fleet.healing.office.bury(ACME, "work", key, "of no use")

    assert buried.key == key
    assert fleet.queues.depth(DEAD) == (250, 0)


def test_all_that_can_run_is_sent_again_however_many_letters_there_are() -> None:
    """Not only what is among the first two hundred."""
    fleet, keys = flooded(letters=230)

    sent = fleet.healing.office.redrive(ACME, "work", None)

    assert (sorted(one.key for one in sent.letters), sent.complete) == (sorted(keys), True)


def test_an_order_that_runs_out_of_time_says_so() -> None:
    """Nothing is said to be absent that was not looked for, and what was looked at is visible again."""
    fleet, _ = flooded()
    office = fleet.healing.office
    slow_letters(fleet, timedelta(seconds=10))

    listed, sent = office.lying(ACME, None, 200), office.redrive(ACME, "work", None)
    with pytest.raises(Unfinished, match="that there was time to look at"):
        office.redrive(ACME, "work", "gnobody.0")

    assert (listed.complete, sent.complete, sent.letters) == (False, False, ())
    assert fleet.queues.depth(DEAD) == (251, 0)


def test_of_a_flood_that_nobody_can_read_a_part_is_left_for_a_person() -> None:
    """The rest is buried, so that every letter that can be read is seen; after three days all of it, with a record each."""
    fleet = InProcessFleet(work)
    for number in range(3 * KEPT_UNREADABLE):
        fleet.queues.put(DEAD, f"poison {number}")
    goal = fleet.submit(TWO)
    die_quickly(fleet)

    first = fleet.heal()
    fleet.settle()
    fleet.clock.advance(timedelta(days=3))
    later = fleet.heal()

    assert first.letters == {Action.KEEP: KEPT_UNREADABLE, Action.BURY: 2 * KEPT_UNREADABLE, Action.REDRIVE: 1}
    assert fleet.goal(goal.id).state is GoalState.SUCCEEDED
    assert later.letters == {Action.BURY: KEPT_UNREADABLE}
    records = fleet.health.letters("work", 10_000)
    assert Counter(record.reason for record in records if record.cause is Cause.UNREADABLE) == {
        "one of more than 1,000 that nobody can read": 2 * KEPT_UNREADABLE,
        "UNREADABLE": KEPT_UNREADABLE,
    }


SUBMITTED = "fleet-submissions-dead"


def unaccepted(fleet: InProcessFleet, identity: str, detail: dict[str, Any]) -> None:
    """Put an event's message among those that accept_goals could not deal with."""
    event = {"version": "0", "id": identity, "detail-type": "GoalSubmitted", "source": "shop", "detail": detail}
    fleet.queues.put(SUBMITTED, json.dumps(event))


def test_goals_of_events_that_were_not_accepted_are_listed_and_submitted_again() -> None:
    """Under the event's key, so that it stays one goal; one that is rejected is told so; the healer leaves them all."""
    fleet = InProcessFleet(work)
    office = fleet.healing.office
    assert names.dead_letters(names.submissions_queue("fleet")) == names.pool_dead_letters("fleet", names.SUBMISSIONS)
    unaccepted(fleet, "e1", {**TWO, "tenant": "acme"})
    unaccepted(fleet, "e2", {"plan": {"tasks": []}})
    fleet.queues.put(SUBMITTED, "no event")
    fleet.queues.put(DEAD, TASK_OF_NOBODY)

    healed = fleet.heal()
    listed = office.lying(ACME, None, 10).letters
    mine = office.lying(Caller("acme"), "submissions", 10).letters
    shown = office.lying(ACME, "submissions", 1, "e2").letters
    sent = office.redrive(ACME, "submissions", None).letters
    again = fleet.platform.intake(json.dumps({"id": "e1", "detail": {**TWO, "tenant": "acme"}}))

    assert healed.letters == {Action.KEEP: 1}
    assert [(one.pool, one.cause, one.action) for one in listed] == [
        ("submissions", Cause.NOT_ACCEPTED, Action.KEEP),
        ("submissions", Cause.NOT_ACCEPTED, Action.KEEP),
        ("submissions", Cause.UNREADABLE, Action.KEEP),
        ("work", Cause.GOAL_UNKNOWN, Action.KEEP),
    ]
    assert ([one.key for one in mine], [one.key for one in shown]) == (["e1"], ["e2"])
    accepted, rejected = sorted(sent, key=lambda one: one.key)
    assert accepted.goal is not None
    assert again is not None
    assert (accepted.goal.id, accepted.goal.tenant, rejected.goal) == (again.id, "acme", None)
    assert fleet.bus.topics() == ["GoalAccepted", "GoalRejected"]
    assert fleet.queues.bodies(SUBMITTED) == ["no event"]
    assert [record.key for record in office.records(Caller("acme"), "submissions", 10)] == ["e1"]
    fleet.settle()
    assert fleet.goal(accepted.goal.id).state is GoalState.SUCCEEDED


def test_an_event_that_still_can_not_be_accepted_stays() -> None:
    """A queue that takes no tasks is no reason to lose the goal; an event that can't be read is buried by a person."""
    fleet = InProcessFleet(work)
    office = fleet.healing.office
    unaccepted(fleet, "e1", TWO)
    fleet.queues.put(SUBMITTED, "no event")
    fleet.queues.fail_sends("fleet-work-normal", 1)

    with pytest.raises(DeliveryFailed):
        office.redrive(ACME, "submissions", "e1")
    assert fleet.queues.depth(SUBMITTED) == (2, 0)
    [strange] = [one for one in office.lying(ACME, "submissions", 10).letters if one.cause is Cause.UNREADABLE]
    with pytest.raises(InvalidRequest, match="bury it with a reason"):
        office.redrive(ACME, "submissions", strange.key)
    office.bury(ACME, "submissions", strange.key, "nobody's")
    office.redrive(ACME, "submissions", "e1")

    assert fleet.queues.bodies(SUBMITTED) == []

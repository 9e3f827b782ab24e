"""History, verification and receipts over HTTP."""

from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.adapters.stream import read_change
from agentfleet.domain.history import event_of, verify
from agentfleet.services.history import Recorder
from tests.unit.api.world import World


def record(world: World, goal: str) -> None:
    """Record a goal as the stream would tell it: accepted, started, a result per unit, ended."""
    recorder = Recorder(world.history, read_change, world.fleet.clock)
    shards = world.fleet.goal(goal).shards
    records = [stream_record(goal, "GOAL", 1, None, {"state": {"S": "RUNNING"}, "listed": {"S": "x"}})]
    units = world.fleet.plans.read(goal).header.units
    for unit, result in sorted(world.fleet.results.get(goal, shards, range(units)).items()):
        started = int(result.started.timestamp() * 1_000_000)
        image = {"a": {"S": result.agent}, "t": {"N": str(started)}, "d": {"N": "0.5"}}
        records.append(stream_record(f"{goal}#{unit % shards}", f"R{unit:06d}", 10 + unit, None, image))
    ended = {"state": {"S": "SUCCEEDED"}, "listed": {"S": "x"}}
    records.append(stream_record(goal, "GOAL", 2, {"state": {"S": "RUNNING"}}, ended))
    done = recorder(records)
    assert not done.failures
    assert done.events == len(records)


def stream_record(
    pk: str, sk: str, sequence: int, old: dict[str, Any] | None, new: dict[str, Any] | None, **rest: Any
) -> dict[str, Any]:
    """A record as Lambda hands it over."""
    keys = {"pk": {"S": pk}, "sk": {"S": sk}}
    images = {name: {**keys, **image} for name, image in (("OldImage", old), ("NewImage", new)) if image is not None}
    stream = {"Keys": keys, "SequenceNumber": str(sequence), "ApproximateCreationDateTime": 1_795_347_000, **images}
    return {"eventID": f"e{sequence}", "dynamodb": stream, **rest}


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ({}, {"paused": {"N": "1"}}, "GoalPaused"),
        ({"paused": {"N": "1"}}, {"resumed": {"N": "2"}}, "GoalResumed"),
        ({"undoing": {"S": '{"attempt":1}'}}, {"undoing": {"S": '{"attempt":2}'}}, "CompensationRestarted"),
        ({"undoing": {"S": '{"attempt":2}'}}, {"undoing": {"S": '{"attempt":1}'}}, "GoalChanged"),
        ({"tasks": {"N": "1"}}, {"tasks": {"N": "2"}, "paused": {"N": "1"}}, "GoalChanged"),
        ({}, {"expires": {"N": "1"}}, "GoalChanged"),
    ],
)
def test_a_goal_that_stays_in_its_state_tells_what_was_done_to_it(
    before: dict[str, Any], after: dict[str, Any], kind: str
) -> None:
    """By its own doing; anything else is a change by hand."""
    stands = {"state": {"S": "RUNNING"}, "living": {"S": "1"}}
    change = read_change(stream_record("g1", "GOAL", 2, {**stands, **before}, {**stands, **after, "write": {"S": "x"}}))

    assert change is not None
    event = event_of(change, 2)

    assert event is not None
    assert event.kind == kind


def test_a_goals_history_comes_in_pages_with_its_tasks(world: World) -> None:
    """Events in order, results with the ids of their tasks."""
    goal = world.submit({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    world.fleet.settle()
    record(world, goal)

    first = world.call("GET", f"/goals/{goal}/history", limit=2).body
    rest = world.call("GET", f"/goals/{goal}/history", cursor=first["cursor"]).body

    events = first["events"] + rest["events"]
    assert [event["kind"] for event in events] == ["GoalAccepted", "ResultStored", "ResultStored", "GoalMoved"]
    assert [event["tasks"] for event in events] == [[], ["a"], ["b"], []]
    assert rest["cursor"] is None
    assert world.call("GET", f"/goals/{goal}/history", cursor="x").status == 422


def test_a_tampered_history_is_told(world: World) -> None:
    """A verdict with the event, still a 200: the request was answered."""
    goal = world.submit({"id": "a"})
    world.fleet.settle()
    before = world.call("GET", f"/goals/{goal}/verify").body
    record(world, goal)
    good = world.call("GET", f"/goals/{goal}/verify").body
    chain = world.history.stored[goal]
    chain[1] = replace(chain[1], text=chain[1].text.replace('"seconds":0.5', '"seconds":0.4'))

    bad = world.call("GET", f"/goals/{goal}/verify").body

    assert (before["holds"], before["events"], before["tasks_ended"]) == (True, 0, 1)
    assert (good["holds"], good["events"], good["tasks_recorded"], good["tasks_ended"]) == (True, 3, 1, 1)
    assert (bad["holds"], bad["broken"]["number"], bad["broken"]["fault"]) == (False, 2, "changed")


def test_a_receipt_says_what_is_counted(world: World) -> None:
    """Lines add up; write units of goal and results are those of their items."""
    goal = world.submit(*({"id": f"t{number}"} for number in range(20)))
    world.fleet.settle()
    early = world.call("GET", f"/goals/{goal}/receipt").body
    record(world, goal)

    bill = world.call("GET", f"/goals/{goal}/receipt").body

    assert (early["is_complete"], bill["is_complete"]) == (False, True)
    assert early["lines"][0]["basis"] == "estimated"  # the results themselves stand in for their events
    assert early["lines"][0]["quantity"] == 20
    lines = {(line["service"], line["what"]): line for line in bill["lines"]}
    written = lines["DynamoDB", "goal and results"]
    assert (written["quantity"], written["basis"]) == (20 + 2 * 2, "counted")
    assert lines["Lambda", "invocations"]["basis"] == "estimated"
    assert lines["Lambda", "invocations"]["quantity"] == 3
    assert lines["SQS", "messages sent"]["quantity"] == 2
    assert bill["dollars"] == sum(line["dollars"] for line in bill["lines"])
    assert 0 < bill["counted_dollars"] < bill["dollars"]
    assert bill["tokens"] == 0


def test_a_receipt_needs_a_history_of_very_many_results(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A goal may be as large as it likes; only what its history lacks must be few enough to be read one by one."""
    monkeypatch.setattr("agentfleet.services.receipt.MAX_MISSING", 10)
    goal = world.submit(*({"id": f"t{number}"} for number in range(20)))
    world.fleet.settle()

    early = world.call("GET", f"/goals/{goal}/receipt")
    record(world, goal)
    late = world.call("GET", f"/goals/{goal}/receipt")

    assert (early.status, late.status) == (422, 200)
    assert "20 of its results are not in its history" in early.body["message"]


REQUEST = {
    "decision": {"S": "PENDING"},
    "capability": {"S": "work.echo"},
    "why": {"S": "rule work.* when ask"},
    "input": {"S": "{}"},
}
APPROVED = {**REQUEST, "decision": {"S": "APPROVED"}, "who": {"S": "acme"}, "note": {"S": "fine"}}


def test_who_was_asked_and_what_was_decided_is_in_the_goals_history(world: World) -> None:
    """With the task, sealed like all else, told twice or not; the head moves, and the receipt has it on a line of its own."""
    goal = world.submit({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    world.fleet.settle()
    record(world, goal)
    before = world.call("GET", f"/goals/{goal}/receipt").body
    recorder = Recorder(world.history, read_change, world.fleet.clock)
    asked = stream_record(f"APPROVAL#{goal}", "000001", 1, None, REQUEST)
    decided = stream_record(f"APPROVAL#{goal}", "000001", 2, REQUEST, APPROVED)
    beside = stream_record(f"APPROVAL#{goal}", "000009", 3, None, APPROVED)

    made = [recorder(records).events for records in ([asked], [asked, decided], [beside])]

    events = world.call("GET", f"/goals/{goal}/history").body["events"][4:]
    told = [(event["kind"], event["tasks"], event["facts"].get("by"), event["facts"].get("note")) for event in events]
    assert made == [1, 1, 1]
    assert told == [
        ("ApprovalAsked", ["b"], None, None),
        ("ApprovalDecided", ["b"], "acme", "fine"),
        ("ApprovalChanged", [], "acme", "fine"),
    ]
    assert world.history.heads[goal].count == 7
    verdict = world.call("GET", f"/goals/{goal}/verify").body
    assert (verdict["holds"], verdict["events"], verdict["tasks_recorded"]) == (True, 7, 2)
    after = world.call("GET", f"/goals/{goal}/receipt").body
    lines = [{line["what"]: line["quantity"] for line in bill["lines"]} for bill in (before, after)]
    assert lines[1].pop("approvals") == 8
    assert {name for name in lines[0] if lines[0][name] != lines[1][name]} == {"history", "history, read"}


def test_what_was_stopped_and_lifted_can_be_read_a_week_later(world: World) -> None:
    """By operators; up to where it is as it was recorded."""
    recorder = Recorder(world.history, read_change, world.fleet.clock)
    killed = {"reason": {"S": "runs wild"}, "who": {"S": "acme"}, "since": {"N": "1"}}
    lifted = {**killed, "lifted": {"N": "2"}, "lifted_by": {"S": "ops"}}
    for number, images in enumerate([(None, killed), (killed, lifted)]):
        assert not recorder([stream_record("KILL", "pool#work", number, *images)]).failures

    whole = world.call("GET", "/kills/history", week="2026-W47").body
    other = world.call("GET", "/kills/history", week="2026-W46").body
    chain = world.history.stored["kills-2026-W47"]
    chain[2] = replace(chain[2], text=chain[2].text.replace("ops", "acme"))
    broken = world.call("GET", "/kills/history", week="2026-W47").body

    assert [(one["kind"], one["facts"].get("lifted_by")) for one in whole["events"]] == [
        ("KillThrown", None),
        ("KillLifted", "ops"),
    ]
    assert (whole["week"], whole["broken"], other["events"], other["broken"]) == ("2026-W47", None, [], None)
    assert ([one["number"] for one in broken["events"]], broken["broken"]["number"]) == ([1], 2)
    assert world.call("GET", "/kills/history").status == 200
    assert world.call("GET", "/kills/history", week="2026-47").status == 422
    assert world.call("GET", "/kills/history", tenant="guest").status == 403


def test_the_past_of_others_does_not_exist(world: World) -> None:
    """Another tenant's goal is a 404 here too."""
    goal = world.submit({"id": "a"})

    for path in ("history", "verify", "receipt"):
        assert world.call("GET", f"/goals/{goal}/{path}", tenant="evil").status == 404


def test_a_record_that_cannot_be_read_fails_alone(world: World) -> None:
    """Its sequence number is returned; its neighbours and other goals are recorded. Expiry is nothing that happened."""
    recorder = Recorder(world.history, read_change, world.fleet.clock)
    good = stream_record("g1", "GOAL", 1, None, {"state": {"S": "RUNNING"}})
    poison = stream_record("g2", "GOAL", 2, None, {})
    join = stream_record("g1#0", "J000001", 3, None, {"d": {"NS": ["1"]}})
    expired = stream_record(
        "g1", "GOAL", 4, {"state": {"S": "RUNNING"}}, None, userIdentity={"principalId": "dynamodb.amazonaws.com"}
    )
    removed = stream_record("g1", "GOAL", 5, {"state": {"S": "RUNNING"}}, None)

    done = recorder([good, poison, join, expired, removed])

    assert (done.events, [failure.sequence for failure in done.failures]) == (2, ["2"])
    assert isinstance(done.failures[0].error, KeyError)


def test_the_head_follows_at_the_goals_end(world: World) -> None:
    """And after what nobody may do; a unit for each result would be too much. One that was left behind is caught up with."""
    recorder = Recorder(world.history, read_change, world.fleet.clock)
    alive = {"state": {"S": "RUNNING"}, "living": {"S": "1"}, "living_order": {"S": "x"}}
    result = {"a": {"S": "x"}, "t": {"N": "1"}, "d": {"N": "0.5"}}
    ended = {"state": {"S": "SUCCEEDED"}}

    counts = []
    for record in (
        stream_record("g1", "GOAL", 1, None, alive),
        stream_record("g1#0", "R000000", 2, None, result),
        stream_record("g1", "GOAL", 3, alive, ended),
        stream_record("g1#0", "R000001", 4, None, result),
        stream_record("g1#0", "R000001", 5, result, {**result, "a": {"S": "forged"}}),
        stream_record("g1#0", "R000002", 6, None, result),
        stream_record("g1#0", "R000002", 6, None, result),
    ):
        assert not recorder([record]).failures
        counts.append(world.history.heads["g1"].count)

    assert counts == [0, 0, 3, 3, 5, 5, 6]
    head = world.history.heads["g1"]
    assert verify(head, world.history.segments(head)).count == 6


def test_what_a_goals_indexes_cost_is_counted(world: World) -> None:
    """The listing holds the goal whole and is written with it; the index of living goals when one is made and when it ends."""
    made = {"state": {"S": "PLANNING"}, "listed": {"S": "x"}, "living": {"S": "1"}, "living_order": {"S": "x"}}
    running = {**made, "state": {"S": "RUNNING"}}
    ended = {"state": {"S": "FAILED"}, "listed": {"S": "x"}}
    images = [(None, made), (made, running), (running, ended)]

    changes = [read_change(stream_record("g1", "GOAL", number, old, new)) for number, (old, new) in enumerate(images)]

    assert [change.after["writes"] for change in changes if change and change.after] == [3, 2, 3]

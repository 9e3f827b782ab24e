"""What people order, as the registry table holds it and its stream tells it: requests, decisions and kills as events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.adapters.approvals import DynamoApprovals
from agentfleet.adapters.kills import DynamoKills
from agentfleet.adapters.stream import read_change
from agentfleet.domain.approval import Approval, Decision
from agentfleet.domain.history import Change, Event, EventKind, digest, event_of, kills_chain
from agentfleet.domain.kill import Kill, Scope
from tests.unit.api.test_audit import stream_record

ASKED = datetime(2026, 11, 22, 11, 30, tzinfo=UTC)
REQUEST = Approval("g1", 7, "acme", ("pay",), "bank.pay", '{"amount":5}', "rule bank.*", ASKED)
APPROVED = replace(REQUEST, decision=Decision.APPROVED, decided=ASKED + timedelta(hours=1), by="acme", note="checked")
KILL = Kill(Scope("pool", "web"), "runs wild", "acme", ASKED)
LIFTED = replace(KILL, lifted=ASKED + timedelta(hours=1), lifted_by="ops")
EXPIRY: dict[str, Any] = {"userIdentity": {"principalId": "dynamodb.amazonaws.com"}}


class Written:
    """Keeps what an adapter would write."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    def transact_write_items(self, **request: Any) -> None:
        self.items += [step["Put"]["Item"] for step in request["TransactItems"] if "Put" in step]

    def put_item(self, **request: Any) -> None:
        self.items.append(request["Item"])


def stored(order: Approval | Kill) -> list[dict[str, Any]]:
    """The items that an order is written as, the one that is the order first."""
    written: Any = Written()
    if isinstance(order, Kill):
        DynamoKills(written, "registry", lambda: ASKED).put(order)
    elif order.decision is Decision.PENDING:
        DynamoApprovals(written, "registry").ask(order)
    else:
        DynamoApprovals(written, "registry").decide(order)
    items: list[dict[str, Any]] = written.items
    return items


def read(old: dict[str, Any] | None, new: dict[str, Any] | None, **rest: Any) -> Change | None:
    """What the stream's record of a change says."""
    keys = old or new or {}
    return read_change(stream_record(keys["pk"]["S"], keys["sk"]["S"], 5, old, new, **rest))


def told(old: dict[str, Any] | None, new: dict[str, Any] | None, **rest: Any) -> Event:
    """What the history says of a change."""
    change = read(old, new, **rest)
    assert change is not None
    event = event_of(change, 1)
    assert event is not None
    return event


def test_asking_and_deciding_are_told_with_who_and_why() -> None:
    """In the goal's chain, as a part of its own; the copy in the tenant's list is not told of."""
    (asked, copy), (decided,) = stored(REQUEST), stored(APPROVED)

    change, first, second = read(None, asked), told(None, asked), told(asked, decided)

    assert change is not None
    assert (change.goal_id, change.part) == ("g1", "approval")
    assert (first.kind, second.kind) == (EventKind.ASKED, EventKind.DECIDED)
    said = {"unit": 7, "capability": "bank.pay", "why": "rule bank.*", "request": first.facts["request"]}
    assert first.facts == {**said, "decision": "PENDING", "digest": digest(asked)[:32], "writes": 4}
    news = {"decision": "APPROVED", "by": "acme", "note": "checked", "digest": digest(decided)[:32], "writes": 4}
    assert second.facts == {**said, **news}
    assert not copy["pk"]["S"].startswith("APPROVAL#")
    assert read(None, copy) is None


def test_a_note_too_long_to_be_kept_is_told_by_its_digest() -> None:
    """And its beginning."""
    note = "ä" * 1000

    facts = told(stored(REQUEST)[0], stored(replace(APPROVED, note=note))[0]).facts

    assert (facts["note"], facts["note_digest"]) == ("ä" * 500, digest(note))


@pytest.mark.parametrize(
    "change",
    [
        {"input": {"S": '{"amount":500}'}},
        {"decision": {"S": "APPROVED"}},
        {"decision": {"S": "APPROVED"}, "who": {"S": "acme"}, "input": {"S": '{"amount":500}'}},
        {"decision": {"NULL": True}},
    ],
)
def test_a_request_that_is_changed_by_hand_is_told_so(change: dict[str, Any]) -> None:
    """Also a decision that nobody's key made, and one about something else than was asked."""
    (asked, _) = stored(REQUEST)

    event = told(asked, {**asked, **change})

    assert event.kind is EventKind.APPROVAL_CHANGED
    assert event.facts["before"] == digest(asked)[:32]


def test_a_decision_stands() -> None:
    """One that is turned, taken back, put there without a question or removed is told as what it is."""
    (asked, _), (approved,) = stored(REQUEST), stored(APPROVED)
    (rejected,) = stored(replace(APPROVED, decision=Decision.REJECTED))

    assert told(asked, rejected).kind is EventKind.DECIDED
    assert told(approved, rejected).kind is EventKind.APPROVAL_CHANGED
    assert told(approved, asked).kind is EventKind.APPROVAL_CHANGED
    assert told(None, approved).kind is EventKind.APPROVAL_CHANGED
    assert told(approved, None).kind is EventKind.APPROVAL_REMOVED


def test_a_request_expires_if_nobody_decided() -> None:
    """What was decided expires as all else does, which is nothing that happened."""
    (asked, _), (approved,) = stored(REQUEST), stored(APPROVED)

    assert told(asked, None, **EXPIRY).kind is EventKind.EXPIRED
    assert read(approved, None, **EXPIRY) is None


def test_kills_are_told_week_by_week() -> None:
    """Who stopped what and why, and who lifted it; stopping once more is one more order, and a lifted one stays lifted."""
    (killed,), (lifted,) = stored(KILL), stored(LIFTED)
    (again,) = stored(replace(KILL, reason="still wild", by="ops"))

    change, first, last = read(None, killed), told(None, killed), told(killed, lifted)

    assert change is not None
    assert change.goal_id == kills_chain(change.at) == "kills-2026-W47"
    since = int(ASKED.timestamp() * 1_000_000)
    said = {"scope": "pool", "name": "web", "reason": "runs wild", "by": "acme", "since": since}
    assert first.facts == {**said, "digest": digest(killed)[:32]}
    assert last.facts == {**said, "lifted": since + 3_600_000_000, "lifted_by": "ops", "digest": digest(lifted)[:32]}
    kinds = [told(*images).kind for images in ((None, killed), (killed, again), (again, lifted), (lifted, killed))]
    assert kinds == [EventKind.KILLED, EventKind.KILLED, EventKind.LIFTED, EventKind.KILLED]
    nobody = {**killed, "lifted": {"N": "1"}}
    by_hand = [(lifted, {**lifted, "who": {"S": "x"}}), (None, lifted), (killed, nobody), (killed, None)]
    assert [told(*images).kind for images in by_hand] == [EventKind.KILL_CHANGED] * 3 + [EventKind.KILL_REMOVED]
    assert read(lifted, None, **EXPIRY) is None

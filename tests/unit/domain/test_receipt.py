"""Receipts: what is counted, what follows from the plan and the times, and who pays for what."""

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.history import Event, EventKind
from agentfleet.domain.plan import CompiledPlan
from agentfleet.domain.prices import PRICES
from agentfleet.domain.receipt import OVERHEAD, Line, Sizes, find_batches, price_goal
from agentfleet.domain.task import parse_plan

START = datetime(2026, 11, 22, 11, tzinfo=UTC)
CATALOG = Catalog(
    fleet="fleet",
    pools={"work": PoolSpec(name="work", batch=3, memory=1024, capabilities=(CapabilitySpec(name="work.do", pool="work"),))},
)
SIZES = Sizes(plan=900, plan_is_inline=True, plan_parts=1, goal=600)


def plan(count: int) -> CompiledPlan:
    """So many tasks, each after the one before."""
    tasks: list[dict[str, Any]] = [{"id": f"t{number}", "capability": "work.do"} for number in range(count)]
    for number in range(1, count):
        tasks[number]["depends_on"] = [f"t{number - 1}"]
    return compile_plan(parse_plan({"tasks": tasks}), CATALOG)


def result(unit: int, agent: str, started: float, seconds: float, **facts: Any) -> Event:
    """A stored result; times in seconds."""
    about = {"unit": unit, "states": "S", "agent": agent, "started": round(started * 1e6), "seconds": seconds, "writes": 1}
    return Event(unit + 1, START, EventKind.RESULT, about | facts)


def bill(events: list[Event], **options: Any) -> dict[tuple[str, str], Line]:
    """The lines by service and what."""
    lines = price_goal(events, [900], plan(4), SIZES, CATALOG, PRICES, **options)
    return {(line.service, line.what): line for line in lines}


def test_work_of_one_agent_at_one_time_is_one_invocation() -> None:
    """Up to the pool's batch; a pause or another agent begins another."""
    together = [result(number, "work-1", 1.0 + number * 0.001, 0.5) for number in range(4)]

    found = find_batches(together, plan(4), CATALOG)
    apart = find_batches([result(0, "work-1", 1.0, 0.5), result(1, "work-2", 1.0, 0.5)], plan(4), CATALOG)
    later = find_batches([result(0, "work-1", 1.0, 0.5), result(1, "work-1", 1.6, 0.5)], plan(4), CATALOG)

    assert (found.invocations, found.agents, found.goal_reads) == (2, 1, 1)
    assert (apart.invocations, apart.agents, apart.goal_reads) == (2, 2, 2)
    assert (later.invocations, later.agents, later.goal_reads) == (2, 1, 1)
    assert later.gb_seconds == 2 * (0.5 + OVERHEAD)


def test_what_was_written_is_counted_from_the_items() -> None:
    """Not from what a plan of that size usually writes."""
    lines = bill([result(0, "work-1", 1.0, 0.5, writes=4), result(1, "work-1", 2.0, 0.5)])

    assert (lines["DynamoDB", "goal and results"].quantity, lines["DynamoDB", "goal and results"].is_counted) == (5, True)


def test_attempts_that_failed_cost_requests() -> None:
    """As many as the stored results say that there were."""
    lines = bill([result(0, "work-1", 1.0, 0.5, attempt=3)])

    assert lines["SQS", "attempts that failed"].quantity == 6


def test_a_fork_does_not_pay_again_for_what_it_took_over() -> None:
    """That was done and paid for by the goal that it came from: here it was written, and what follows was sent."""
    own = [result(2, "work-1", 5.0, 0.5), result(3, "work-1", 6.0, 0.5)]
    taken = [result(number, "work-1", 1.0 + number, 40.0, attempt=3, origin="g1") for number in (0, 1)]

    found, lines = find_batches([*taken, *own], plan(4), CATALOG), bill([*taken, *own])
    alone = find_batches(own, plan(4), CATALOG)

    assert (found.invocations, found.gb_seconds, found.agents) == (2, 2 * (0.5 + OVERHEAD), 1)
    assert found.sends == alone.sends + 1
    assert lines["DynamoDB", "goal and results"].quantity == 4
    assert lines["DynamoDB", "joins, claims, agents"].quantity == found.joins + 2 + 1
    assert lines["SQS", "messages sent"].quantity == found.sends
    assert lines["SQS", "attempts that failed"].quantity == 0


def undone(unit: int, started: float, seconds: float = 0.5) -> Event:
    """A stored result of a compensation."""
    return replace(result(unit, "work-1", started, seconds), kind=EventKind.COMPENSATED)


def test_compensations_are_paid_for() -> None:
    """Their results as they were written; claims, messages, calls, time and transitions by the saga's rules."""
    done = [result(number, "work-1", number, 0.5) for number in range(4)]
    before = bill(done)

    after = bill([*done, undone(3, 10.0), undone(2, 11.0), undone(1, 11.1), undone(0, 12.0)], sagas=1)

    added = {key: line for key, line in after.items() if key not in before}
    assert {key: line.quantity for key, line in added.items()} == {
        ("DynamoDB", "compensations' claims"): 4,
        ("SQS", "compensations"): 12,
        ("Lambda", "compensations"): 4 + 3 + 1,
        ("Lambda", "compensations' time"): round(4 * (0.5 + OVERHEAD) + 4 * OVERHEAD, 6),
        ("Step Functions", "sagas"): 8 + 3 * 4 + 4 * 2,
    }
    assert added["Step Functions", "sagas"].dollars == 28 * 25e-6
    assert not any(line.is_counted for line in added.values())
    written = ("DynamoDB", "goal and results")
    assert after[written].quantity == before[written].quantity + 4


def test_a_saga_with_nothing_to_undo_is_paid_for_too() -> None:
    """It looked, and ended."""
    lines = bill([result(0, "work-1", 1.0, 0.5)], sagas=2)

    assert (lines["Step Functions", "sagas"].quantity, lines["Lambda", "compensations"].quantity) == (16, 2)


def test_nobody_submits_a_sub_plan() -> None:
    """It has a receipt of its own, without a request and without events; its end is its parent's result."""
    end = Event(9, START, EventKind.MOVED, {"state": "SUCCEEDED", "ended": True, "writes": 1})
    events = [result(0, "work-1", 1.0, 0.5), end]

    own, sub = bill(events), bill(events, is_sub_plan=True)

    assert [own[key].quantity for key in (("EventBridge", "goal events"), ("API Gateway", "submission"))] == [2, 1]
    assert [sub[key].quantity for key in (("EventBridge", "goal events"), ("API Gateway", "submission"))] == [0, 0]
    assert own["Lambda", "time"].quantity > sub["Lambda", "time"].quantity


def test_without_a_history_nothing_is_paid_for_one() -> None:
    """Where it is off, results stand in for their events."""
    lines = price_goal([result(0, "work-1", 1.0, 0.5)], [], plan(1), SIZES, CATALOG, PRICES, results_counted=False)

    assert {line.what: line.quantity for line in lines}["history"] == 0

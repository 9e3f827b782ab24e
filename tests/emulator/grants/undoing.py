"""Checks of what undoes goals: the function that a saga asks, and a pool's part in it."""

from typing import Any, Final

from agentfleet.domain.goal import Failure, Goal, GoalState, Undoing
from agentfleet.domain.ids import undo_id
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from agentfleet.services.saga import EVENTS
from tests.emulator.grants.hand import LARGE, Hand, Refused, noise, step, utc_now

FAILED: Final = Failure("PermanentError", "a test's")
COMPENSATE: Final = {"on_failure": "compensate"}


def undoable(name: str) -> dict[str, Any]:
    """A task that can be undone."""
    return step(name, compensation={"capability": "flow.step", "input": {"value": None}})


def set_undoing(hand: Hand, goal: Goal) -> Goal:
    """A goal that nobody undoes yet, but should."""
    return hand.set_back(goal, state=GoalState.COMPENSATING, failure=FAILED, undoing=Undoing(GoalState.FAILED))


def parts_that_end(hand: Hand, **fields: Any) -> list[Goal]:
    """Parts of two goals, as they may stand: the end of the first sets a task going, that of the second ends its goal."""
    large = hand.submit(step("x", on_failure="skip"), step("w"), step("z", noise(), depends_on=["x", "w"]))
    hand.put_result(large, "w", 1)
    last = hand.submit(step("x", on_failure="skip"), step("v"), output={"$from": "v"})
    hand.put_result(last, "v", "x" * LARGE)
    return [hand.delegate(goal, "x", undoable("a"), **fields) for goal in (large, last)]


def parents_must_go_on(hand: Hand, parts: list[Goal]) -> None:
    """Raises Refused unless the goals of `parts_that_end` did what follows."""
    for part, state in zip(parts, (GoalState.RUNNING, GoalState.SUCCEEDED), strict=True):
        assert part.parent
        found = hand.goal(part.parent.goal_id)
        if found.state is not state:
            raise Refused(f"goal {found.id} did not hear of its part's end: it is {found.state}, not {state}")


def compensate_goals(hand: Hand) -> None:
    """What is left of a goal; goals of which nothing is, parts of others among them; handed on, and left to a person."""
    undoing = {"state": GoalState.COMPENSATING, "failure": FAILED, "undoing": Undoing(GoalState.FAILED)}
    parts = parts_that_end(hand, **undoing)
    for part in parts:
        _look(hand, part, "COMPENSATED")
    parents_must_go_on(hand, parts)
    done = hand.submit(undoable("a"), step("b", depends_on=["a"]))
    hand.put_result(done, "a", 1)
    done = set_undoing(hand, done)
    _look(hand, done, "UNDO")
    hand.call("compensate-goals", {"step": "park", "goal": done.id, "attempt": 1, "failures": [{"task": "a", "error": "E"}]})
    if hand.goal(done.id).state is not GoalState.COMPENSATION_FAILED:
        raise Refused(f"{done.id} was not parked")
    long = set_undoing(hand, hand.submit(undoable("a")))
    _look(hand, long, "HANDED_ON", spent=EVENTS)


def _look(hand: Hand, goal: Goal, outcome: str, spent: int = 0) -> None:
    told = hand.call("compensate-goals", {"step": "look", "goal": goal.id, "attempt": 1, "spent": spent})
    if told["outcome"] != outcome:
        raise Refused(f"compensate-goals: {told}, not {outcome}")


def take_part(hand: Hand, pool: str, capability: str) -> None:
    """A pool: a goal that is too late is ended, hence undone; a saga's messages are answered, well and badly."""
    late = hand.submit({"id": "a", "capability": capability}, request=COMPENSATE)
    hand.set_back(late, deadline=late.created)
    hand.deliver(pool, hand.pointers(late, "a"))
    if hand.goal(late.id).undoing is None:
        raise Refused(f"{late.id} is not undone")
    undone = set_undoing(hand, hand.submit(step("a")))
    done = Result(undo_id(undone.id), 0, (TaskOutcome(TaskState.SUCCEEDED),), "by hand", utc_now(), 0.0)
    hand.platform.outside.results.put(undone.shards, [done])
    for name in (undone.id, "gnone"):
        hand.deliver(pool, [{"undo": name, "unit": 0, "tenant": undone.tenant, "saga": undone.id, "token": "nobody's"}])

"""The order of undoing, against its definition; and what compensations may refer to."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain import compile as compiling
from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.codec import SegmentedPlan, encode
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.messages import BadMessage
from agentfleet.domain.saga import UndoPointer, read_undo, unblocked, undo_message
from agentfleet.domain.task import parse_plan

CATALOG = Catalog(
    fleet="fleet",
    pools={
        "p": PoolSpec(
            name="p",
            capabilities=(
                CapabilitySpec(name="p.do", pool="p", idempotent=False, timeout=10.0, chunk=1),
                CapabilitySpec(name="p.undo", pool="p", idempotent=True, timeout=7.0, chunk=1),
            ),
        )
    },
)


@given(st.integers(0, 10_000), st.integers(1, 14), st.sampled_from([2, 256]))
def test_what_nothing_pending_depends_on_may_be_undone(seed: int, size: int, arity: int) -> None:
    """For random graphs and random sets of pending tasks, with joins of any width."""
    rng = random.Random(seed)
    needs = {n: sorted(rng.sample(range(n), rng.randint(0, min(n, 4)))) for n in range(size)}
    tasks = [{"id": f"t{n}", "capability": "p.do", "depends_on": [f"t{m}" for m in needs[n]]} for n in range(size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "JOIN_ARITY", arity)
        plan = compile_plan(parse_plan({"tasks": tasks}), CATALOG)
    number = {unit.tasks[0].id: unit.number for unit in plan.units}
    pending = {n for n in range(size) if rng.random() < 0.5}

    def after(later: int, earlier: int) -> bool:
        return any(one == earlier or after(one, earlier) for one in needs[later])

    wanted = {number[f"t{n}"] for n in pending if not any(after(other, n) for other in pending)}
    assert unblocked(plan, {number[f"t{n}"] for n in pending}) == sorted(wanted)


def plan_of(*compensations: Any) -> Any:
    """Tasks a, b … in a row, each with this compensation's input."""
    tasks = [
        {"id": name, "capability": "p.do", "compensation": {"capability": "p.undo", "input": value}}
        for name, value in zip("abc", compensations, strict=False)
    ]
    return compile_plan(parse_plan({"tasks": tasks}), CATALOG)


def test_a_compensation_may_refer_to_any_task_and_implies_no_order() -> None:
    """To its own, and to one that stands beside it; it travels through the codec with the capability's timeout."""
    plan = plan_of({"own": {"$from": "a"}, "other": {"$from": "b", "path": "x"}}, {})

    read = SegmentedPlan(encode(plan).parts.__getitem__).whole()

    assert read == plan
    assert plan.header.roots == ((0, 1),)
    compensation = plan.unit(0).tasks[0].compensation
    assert compensation is not None
    assert (compensation.sources, compensation.timeout) == ({"a": ((0, 0),), "b": ((1, 0),)}, 7.0)


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        ({"x": {"$from": "nobody"}}, "tasks[a].compensation.input.x.$from", "there is no task"),
        ({"x": {"$from": "a", "path": "["}}, "tasks[a].compensation.input.x.path", "not valid JMESPath"),
        ({"x": "y" * 70_000}, "tasks[a].compensation.input", "at most 65,536"),
    ],
)
def test_a_compensation_that_can_not_be_is_said_at_once(value: Any, field: str, message: str) -> None:
    """When the goal is submitted, not when it has failed."""
    with pytest.raises(InvalidRequest, match=message) as raised:
        plan_of(value)

    assert [problem.field for problem in raised.value.problems] == [field]


def test_messages_are_told_apart() -> None:
    """A saga's message is read, a task's is none of its, and half a one is a mistake."""
    body = '{"undo":"g","unit":3,"tenant":"acme","saga":"top","token":"t"}'

    assert read_undo(body) == UndoPointer("g", 3, "acme", "top", "t")
    assert undo_message("g", 3, "acme", "top") == {"undo": "g", "unit": 3, "tenant": "acme", "saga": "top"}
    assert read_undo('{"goal":"g","unit":3,"tenant":"acme"}') is None
    assert read_undo("not JSON") is None
    with pytest.raises(BadMessage, match="not a request to undo"):
        read_undo('{"undo":"g"}')
    with pytest.raises(BadMessage, match="not JSON"):
        read_undo('{"undo":')

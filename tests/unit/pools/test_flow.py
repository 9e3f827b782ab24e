"""The steps that shape a goal."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agentfleet.agent import PermanentError, RetryableError, SubPlan, TaskContext
from agentfleet.domain.plan import MAX_INPUT_BYTES
from agentfleet.domain.task import parse_plan
from functions.flow import handler as flow
from tests.fakes.blobs import FakeBlobs
from tests.unit.pools.conftest import MakeContext


def spread(**given: Any) -> Any:
    """The outcome of one flow.map."""
    return asyncio.run(flow.map_items(flow.MapInput(**given)))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_noop_returns_its_value(value: Any) -> None:
    """Whatever goes in comes out."""
    assert asyncio.run(flow.noop(flow.NoopInput(value=value))) == value


def test_wait_returns_its_value_after_the_time() -> None:
    """A wait takes as long as asked, and several wait at once."""

    async def three() -> tuple[list[Any], float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        values = await asyncio.gather(*(flow.wait(flow.WaitInput(seconds=0.2, value=number)) for number in range(3)))
        return values, loop.time() - began

    values, seconds = asyncio.run(three())

    assert values == [0, 1, 2]
    assert 0.19 <= seconds < 0.6


def test_approve_gives_back_what_was_shown() -> None:
    """Once somebody has approved it; who waits for that is no agent, but nobody."""
    assert flow.agent.capabilities["flow.approve"].approval == "required"
    assert asyncio.run(flow.approve(flow.ApproveInput(question="Send it?", value=[1]))) == [1]


def test_wait_is_bounded() -> None:
    """A wait that outlasts the function is refused before it starts."""
    with pytest.raises(ValidationError, match="less than or equal to 50"):
        flow.WaitInput(seconds=51)


def test_map_makes_a_task_per_item() -> None:
    """Each task's input holds its own part of the item, its number and its text."""
    plan = spread(
        items=[{"url": "a", "deep": {"n": 1}}, {"url": "b"}],
        capability="http.fetch",
        input={
            "url": {"$item": "url"},
            "n": {"$item": "deep.n", "default": 0},
            "all": [{"$item": ""}],
            "i": {"$index": True},
            "text": "{{ index }}",
        },
        on_failure="skip",
        retries=1,
    )

    assert isinstance(plan, SubPlan)
    assert [task["id"] for task in plan.tasks] == ["item.0", "item.1"]
    assert plan.tasks[1] == {
        "id": "item.1",
        "capability": "http.fetch",
        "input": {"url": "b", "n": 0, "all": [{"url": "b"}], "i": 1, "text": "1"},
        "on_failure": "skip",
        "retries": 1,
    }
    assert plan.tasks[0]["input"]["n"] == 1
    assert plan.output == {"$from": "item.*"}


def test_map_fills_texts_with_the_item() -> None:
    """`{{ item }}` is the item's text, or its JSON if it is not a text."""
    plan = spread(items=["x", 3], capability="flow.noop", input={"value": "<{{ item }}>"})

    assert [task["input"]["value"] for task in plan.tasks] == ["<x>", "<3>"]


@pytest.mark.parametrize(("collect", "expected"), [(True, []), (False, {"count": 0})])
def test_map_over_nothing_is_done_at_once(collect: bool, expected: Any) -> None:
    """No items: no sub-plan, an empty answer."""
    assert spread(items=[], capability="flow.noop", collect=collect) == expected


def test_map_without_collecting_only_counts() -> None:
    """A map for its side effects returns how many tasks it made."""
    assert spread(items=[1, 2], capability="flow.noop", collect=False).output == {"count": 2}


@pytest.mark.parametrize("path", ["a[", "]", 7])
def test_map_refuses_a_path_that_is_not_jmespath(path: Any) -> None:
    """A broken path fails the map once, not every item."""
    with pytest.raises(PermanentError, match=r"\$item"):
        spread(items=[{}], capability="flow.noop", input={"value": {"$item": path}})


@given(st.lists(st.integers(), min_size=1, max_size=50), st.integers(1, 7))
def test_parts_of_a_wide_map_are_its_items_in_order(items: list[int], width: int) -> None:
    """Splitting loses, repeats and reorders nothing, and numbers the items through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "MAP_WIDTH", width)
        plan = spread(items=items, capability="flow.noop", input={"value": {"$item": ""}, "n": {"$index": True}})
        parts = [task for task in plan.tasks if task["capability"] == "flow.map"]
        plans = [spread(**part["input"]) for part in parts] if parts else [plan]

    inputs = [task["input"] for inner in plans for task in inner.tasks]
    assert inputs == [{"value": item, "n": number} for number, item in enumerate(items)]
    assert all(len(inner.tasks) <= width for inner in plans)
    parse_plan({"tasks": plan.tasks, "output": plan.output})


def test_parts_of_a_wide_map_fit_a_task() -> None:
    """However large the items, no part's input is larger than a task's may be."""
    plan = spread(items=["é" * 500] * 2_500, capability="flow.noop")

    sizes = [len(json.dumps(task["input"], ensure_ascii=False).encode()) for task in plan.tasks]
    assert max(sizes) <= MAX_INPUT_BYTES
    assert sum(len(task["input"]["items"]) for task in plan.tasks[:-1]) == 2_500


def test_map_is_bounded() -> None:
    """More items than a plan may have tasks are refused."""
    with pytest.raises(ValidationError, match="100000"):
        flow.MapInput(items=[0] * 100_001, capability="flow.noop")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("eu", flow.Choice(branch="Dublin", matched=True)), ("mars", flow.Choice(branch="nowhere", matched=False))],
)
def test_choose_picks_the_case_or_the_default(value: str, expected: flow.Choice) -> None:
    """The value's text names the case."""
    given = flow.ChooseInput(value=value, cases={"eu": "Dublin", "us": "Ohio"}, default="nowhere")

    assert asyncio.run(flow.choose(given)) == expected


def test_choose_knows_values_that_are_not_texts() -> None:
    """True and 3 are named as JSON writes them."""
    cases = {"true": "yes", "3": "three"}

    assert asyncio.run(flow.choose(flow.ChooseInput(value=True, cases=cases))).branch == "yes"
    assert asyncio.run(flow.choose(flow.ChooseInput(value=3, cases=cases))).branch == "three"


def test_fail_fails_until_an_attempt(make_context: MakeContext) -> None:
    """A retryable failure ends at the given attempt, with the given delay before."""
    given_input = flow.FailInput(message="not yet", until_attempt=3, delay=7)

    for attempt in (1, 2):
        with pytest.raises(RetryableError, match="not yet") as raised:
            asyncio.run(flow.fail(given_input, make_context(attempt=attempt)))
        assert raised.value.delay == 7
    assert asyncio.run(flow.fail(given_input, make_context(attempt=3))) == {"attempt": 3}


def test_fail_for_good(context: TaskContext) -> None:
    """A permanent failure is one."""
    with pytest.raises(PermanentError, match="no use"):
        asyncio.run(flow.fail(flow.FailInput(message="no use", permanent=True), context))


def test_collect_counts_and_flattens_one_level() -> None:
    """Flattening opens the lists among the items, keeps nulls and goes one level deep."""
    items = [[1, None], 2, [[3]]]

    assert asyncio.run(flow.collect(flow.CollectInput(items=items))) == flow.Collection(items=items, count=3)
    flat = asyncio.run(flow.collect(flow.CollectInput(items=items, flatten=True)))
    assert flat == flow.Collection(items=[1, None, 2, [3]], count=4)


def test_record_writes_under_the_idempotency_key(make_context: MakeContext, blobs: FakeBlobs) -> None:
    """A second attempt writes the same blob again and can be told apart by its fence."""
    first = flow.record(flow.RecordInput(value="x"), make_context(fence=1))
    second = flow.record(flow.RecordInput(value="x"), make_context(fence=2, attempt=2))

    assert (first.key, first.uri) == (second.key, second.uri)
    assert (first.fence, second.fence) == (1, 2)
    assert json.loads(blobs.get(first.uri)) == {"value": "x", "key": first.key, "fence": 2, "attempt": 2}


def test_unknown_fields_are_refused() -> None:
    """A misspelt field is a mistake that is said."""
    with pytest.raises(ValidationError, match="itmes"):
        flow.CollectInput.model_validate({"itmes": []})


def test_lists_are_put_side_by_side() -> None:
    """One object per place; a shorter list leaves nulls, and empty ones give nothing."""
    found = asyncio.run(flow.zip_lists(flow.ZipInput(lists={"url": ["a", "b"], "page": [{"n": 1}]})))
    none = asyncio.run(flow.zip_lists(flow.ZipInput(lists={"url": [], "page": []})))

    assert found.items == [{"url": "a", "page": {"n": 1}}, {"url": "b", "page": None}]
    assert (found.count, none.items, none.count) == (2, [], 0)

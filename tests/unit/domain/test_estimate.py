"""What a plan will take, before it runs."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentfleet.domain.catalog import CapabilitySpec
from agentfleet.domain.estimate import call_dollars, estimate_plan, waits_for
from agentfleet.domain.model_choice import ModelChoice
from agentfleet.domain.prices import PRICES
from agentfleet.domain.task import PlanSpec, parse_plan
from tests.fakes.planning import TEXT, catalog, fields


@dataclass
class Figure:
    """What was measured."""

    count: int
    seconds: float
    dollars: float = 0.0


def plan(*tasks: dict[str, Any]) -> PlanSpec:
    """Some tasks."""
    return parse_plan({"tasks": list(tasks)})


PAGES = [{"id": f"page.{n}", "capability": "web.fetch", "input": {"url": "x"}} for n in range(3)]
SUM = {"id": "sum", "capability": "text.sum", "input": {"texts": {"$from": "page.*", "path": "[].text"}}}
LAST = {"id": "last", "capability": "text.any", "timeout": 5, "depends_on": ["sum"], "when": {"$from": "page.0"}}


def test_seconds_are_those_of_the_longest_way() -> None:
    """Declared timeouts where nothing was measured: pages side by side, then the rest."""
    found = estimate_plan(plan(*PAGES, SUM, LAST), catalog())

    assert found.seconds == 20 + 60 + 5
    assert found.path[-2:] == ("sum", "last")
    assert found.path[0].startswith("page.")
    assert not any(task.measured for task in found.tasks)
    assert found.tasks[4].after == ("page.0", "sum")


def test_what_was_measured_counts_instead() -> None:
    """Per capability; a figure of no tasks is none."""
    figures = {"web.fetch": Figure(12, 0.5), "text.sum": Figure(3, 2.0, 0.004), "text.any": Figure(0, 0.0)}

    found = estimate_plan(plan(*PAGES, SUM, LAST), catalog(), figures)

    assert found.seconds == 0.5 + 2.0 + 5
    assert found.model_dollars == pytest.approx(0.004 + 0.01)
    assert [task.measured for task in found.tasks] == [True, True, True, True, False]


def test_dollars_are_the_platforms_and_the_models() -> None:
    """A second of a gigabyte, a few requests; one call at most for each task of a pool that asks models."""
    [page] = estimate_plan(plan(PAGES[0]), catalog()).tasks
    requests = (2 * 0.625 + 3 * 0.125 + 3 * 0.4 + 0.2) / 1e6

    assert page.platform_dollars == pytest.approx(20 * PRICES.gb_second_arm + requests)
    assert page.model_dollars == 0.0
    found = estimate_plan(plan(*PAGES, SUM), catalog(call_dollars=0.02))
    assert found.model_dollars == 0.02
    assert found.dollars == pytest.approx(found.platform_dollars + 0.02)


def test_an_agent_may_ask_in_each_of_its_turns() -> None:
    """As many as its input allows, else as its capability does; where another task's output says how many, the most."""
    plain = catalog()
    field = {"type": "integer", "minimum": 1, "maximum": 100, "default": 12}
    think = CapabilitySpec(
        name="text.think", pool="text", idempotent=True, timeout=280, input=fields(("task",), task=TEXT, max_turns=field)
    )
    text = replace(plain.pools["text"], capabilities=(*plain.pools["text"].capabilities, think))
    known = replace(plain, pools={**plain.pools, "text": text})

    def turns(figures: Any = None, **given: Any) -> Any:
        tasks = [PAGES[0], {"id": "a", "capability": "text.think", "input": {"task": "x", **given}}]
        return estimate_plan(plan(*tasks), known, figures).tasks[1]

    asked = [turns(), turns(max_turns=3), turns(max_turns={"$from": "page.0", "path": "status"})]

    assert [one.asks.calls for one in asked] == [12, 3, 100]
    assert [one.model_dollars for one in asked] == [pytest.approx(0.12), pytest.approx(0.03), pytest.approx(1.0)]
    assert [one.asks.tokens for one in asked] == [1_200, 300, 10_000]
    measured = turns({"text.think": Figure(4, 20.0, 0.03)})
    assert (measured.asks.dollars, measured.asks.tokens, measured.asks.seconds) == (0.03, 300, 20.0)
    assert measured.most == asked[0].asks


def test_a_call_is_priced_by_the_dearest_model_of_the_chain() -> None:
    """At 8,600 tokens in, which may have to be written to a cache, and all that an answer may have."""
    cheap = ModelChoice(chain=("amazon.nova-micro-v1:0",), max_tokens=1000)
    both = ModelChoice(chain=("amazon.nova-micro-v1:0", "global.anthropic.claude-haiku-4-5-20251001-v1:0"), max_tokens=1000)

    assert call_dollars(cheap) == pytest.approx((8_600 * 0.035 + 1000 * 0.14) / 1e6)
    assert call_dollars(both) == pytest.approx((8_600 * 1.25 + 1000 * 5.0) / 1e6)


@given(st.lists(st.sets(st.integers(0, 9), max_size=4), min_size=1, max_size=10), st.randoms())
def test_the_longest_way_bounds_every_way(needs: list[set[int]], random: Any) -> None:
    """However tasks wait for each other, and in whatever order they are written."""
    seconds = [random.choice([1.0, 2.5, 7.0]) for _ in needs]
    tasks: list[dict[str, Any]] = [
        {"id": f"t{n}", "capability": "text.any", "timeout": seconds[n], "depends_on": [f"t{m}" for m in sorted(need) if m < n]}
        for n, need in enumerate(needs)
    ]
    random.shuffle(tasks)
    made = plan(*tasks)

    found = estimate_plan(made, catalog())

    ends: list[float] = []
    for n, need in enumerate(needs):
        ends.append(seconds[n] + max((ends[m] for m in need if m < n), default=0.0))
    assert found.seconds == pytest.approx(max(ends))
    before = waits_for(made)
    assert all(first in before[second] for first, second in zip(found.path, found.path[1:], strict=False))
    assert sum(seconds[int(name[1:])] for name in found.path) == pytest.approx(found.seconds)

"""Plans as examples, figures, and which episodes are like a goal."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.episode import EpisodeHead, Measured, dollars_of, most_alike, plan_as_written, summed
from agentfleet.domain.plan import CompiledPlan, expand
from agentfleet.domain.task import PlanSpec

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CATALOG = Catalog(
    fleet="fleet",
    pools={
        "x": PoolSpec(
            name="x",
            concurrency=5,
            capabilities=(
                CapabilitySpec(name="x.do", pool="x"),
                CapabilitySpec(name="x.undo", pool="x"),
                CapabilitySpec(name="x.many", pool="x", idempotent=True, chunk=10),
            ),
        )
    },
)


def compiled(*tasks: dict[str, Any], output: Any = None) -> CompiledPlan:
    """A plan of these tasks."""
    spec = PlanSpec.model_validate({"tasks": [{"capability": "x.do", **task} for task in tasks], "output": output})
    return compile_plan(spec, CATALOG)


def head_of(name: str, words: str, days: float = 0, *, succeeded: bool = True) -> EpisodeHead:
    """An episode."""
    return EpisodeHead(name, words, succeeded, 1.0, 0.0, NOW + timedelta(days=days))


def test_a_plan_is_written_as_it_was() -> None:
    """Capability, input with references, conditions, policies; only what differs from the usual."""
    tasks: list[dict[str, Any]] = [
        {"id": "a", "capability": "x.do", "input": {"n": 1}},
        {
            "id": "b",
            "capability": "x.do",
            "input": {"of": {"$from": "a", "path": "n"}},
            "when": {"$from": "a"},
            "retries": 0,
            "on_failure": "skip",
            "affinity": "k",
            "compensation": {"capability": "x.undo", "input": {"what": {"$from": "b"}}},
            "alternatives": [{"capability": "x.do", "input": {"n": 2}}],
        },
        {"id": "c", "capability": "x.do", "input": {}, "depends_on": ["a", "b"]},
        {"id": "d", "capability": "x.do", "input": {"all": {"$from": "c"}}, "depends_on": ["a"]},
    ]

    written = plan_as_written(compiled(*tasks, output={"$from": "d"}))

    by_id = {task["id"]: task for task in written["tasks"]}
    assert by_id["a"] == tasks[0]
    assert {**by_id["b"], "alternatives": None} == {**tasks[1], "alternatives": None}
    assert by_id["b"]["alternatives"][0]["capability"] == "x.do"
    assert by_id["c"]["depends_on"] == ["b"], "b has waited for a"
    assert "depends_on" not in by_id["d"], "c has waited for both"
    assert written["output"] == {"$from": "d"}


@st.composite
def plans(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Tasks that wait for earlier ones, by reference, by name, or both; some in chunks."""
    tasks: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 14))):
        earlier = [task["id"] for task in tasks]
        some = st.lists(st.sampled_from(earlier), max_size=3, unique=True) if earlier else st.just([])
        tasks.append(
            {
                "id": f"t{number}",
                "capability": draw(st.sampled_from(["x.do", "x.many"])),
                "input": {"of": [{"$from": one} for one in draw(some)]},
                "depends_on": draw(some),
            }
        )
    return tasks


def _befores(plan: CompiledPlan) -> dict[str, set[str]]:
    """Which tasks must be done before each task, directly or not."""
    members: dict[int, set[int]] = {join.number: set() for join in plan.joins}
    waits: dict[int, set[int]] = {unit.number: set() for unit in plan.units}
    for unit in plan.units:
        for number in expand(unit.releases):
            waits[number].add(unit.number)
        for number, _ in unit.joins:
            members[number].add(unit.number)
    for join in plan.joins:
        for number in expand(join.releases):
            waits[number] |= members[join.number]
    before: dict[str, set[str]] = {}
    for unit in plan.units:
        earlier = [task.id for number in waits[unit.number] for task in plan.unit(number).tasks]
        for task in unit.tasks:
            before[task.id] = {*earlier, *(one for name in earlier for one in before[name])}
    return before


@given(plans())
def test_a_written_plan_compiles_to_the_same_order(tasks: list[dict[str, Any]]) -> None:
    """Who takes it as an example gets the plan that ran: the same tasks, none before what it waited for, none later."""
    plan = compiled(*tasks)
    written = plan_as_written(plan)

    again = compile_plan(PlanSpec.model_validate(written), CATALOG)

    assert [(one["id"], one["capability"], one["input"]) for one in written["tasks"]] == [
        (one["id"], one["capability"], one["input"]) for one in sorted(tasks, key=lambda one: _order(written, one["id"]))
    ]
    assert _befores(again) == _befores(plan)


def _order(written: dict[str, Any], name: str) -> int:
    return [task["id"] for task in written["tasks"]].index(name)


def test_a_wide_join_is_written_back() -> None:
    """A join over more units than one item holds is a tree; what waits for it waits for all of them."""
    tasks = [{"id": f"t{number}", "input": {}} for number in range(300)]
    plan = compiled(*tasks, {"id": "end", "depends_on": [task["id"] for task in tasks]})

    written = plan_as_written(plan)

    assert sorted(written["tasks"][-1]["depends_on"]) == sorted(str(task["id"]) for task in tasks)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e5), st.floats(0, 1e3)), max_size=40))
def test_figures_are_averages(tasks: list[tuple[str, float, float]]) -> None:
    """In any order, to a millisecond and a nanodollar."""
    measured = [(name, Measured.of(seconds, dollars)) for name, seconds, dollars in tasks]

    assert summed(measured) == summed(reversed(measured))
    for name, one in summed(measured).items():
        seconds = [took for which, took, _ in tasks if which == name]
        dollars = [cost for which, _, cost in tasks if which == name]
        assert one.figure.count == len(seconds)
        assert one.figure.seconds == pytest.approx(sum(seconds) / len(seconds), abs=0.001)
        assert one.figure.dollars == pytest.approx(sum(dollars) / len(dollars), abs=1e-9)


def test_the_capabilities_with_most_tasks_are_measured() -> None:
    """No goal needs more of them than one transaction takes, and if one does the rare ones are left out."""
    tasks = [(f"x.c{number:03}", Measured.of(1, 0)) for number in range(95)]

    found = summed([*tasks, tasks[94], ("x.c093", Measured.of(1, 0))])

    assert len(found) == 90
    assert {"x.c093", "x.c094", "x.c000"} <= found.keys()
    assert Measured().figure.seconds == 0


@pytest.mark.parametrize(
    ("output", "dollars"),
    [
        ({"dollars": 0.5}, 0.5),
        ({"dollars": 2}, 2.0),
        ({"dollars": True}, 0.0),
        ({"dollars": "1"}, 0.0),
        ({"dollars": -1}, 0.0),
        ({"dollars": float("nan")}, 0.0),
        ({"dollars": 1e9}, 0.0),
        ([], 0.0),
        (None, 0.0),
    ],
)
def test_an_output_may_say_what_it_cost(output: Any, dollars: float) -> None:
    """Whatever else stands there costs nothing."""
    assert dollars_of(output) == dollars


def test_episodes_are_found_by_their_words() -> None:
    """Best first, newest among equals, one for each outcome of the same words; nothing that shares no word."""
    sales, sums = head_of("a", "Report the sales of March"), head_of("b", "Sum up sales")
    again, failed = head_of("c", "report sales of march!", 1), head_of("d", "Report the sales of March", 2, succeeded=False)
    other = head_of("e", "Translate a letter")
    known = [sales, sums, again, failed, other]

    assert most_alike("A report about the sales of March, please", known, 10) == [failed, again, sums]
    assert most_alike("sums of sales", known, 1) == [sums]
    assert most_alike("letters", known, 3) == [other]
    assert most_alike("", known, 3) == []

"""compile_plan: what it refuses and how it says so, and the shape of what it makes."""

from typing import Any

import pytest

from agentfleet.domain.codec import encode
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.plan import JOIN_ARITY, CompiledPlan, expand
from agentfleet.domain.task import parse_request
from tests.unit.domain.test_compile_properties import CATALOG


def compiled(*tasks: dict[str, Any], output: Any = None) -> CompiledPlan:
    """Tasks of capability p.single unless they name another, compiled."""
    body = {"plan": {"tasks": [{"capability": "p.single", **task} for task in tasks], "output": output}}
    plan = parse_request(body).plan
    assert plan is not None
    return compile_plan(plan, CATALOG)


@pytest.mark.parametrize(
    ("tasks", "field", "words"),
    [
        ([{"id": "a", "depends_on": ["b"]}, {"id": "b", "depends_on": ["a"]}], "tasks[a].depends_on", "cycle: a → b → a"),
        ([{"id": "a", "depends_on": ["a"]}], "tasks[a].depends_on", "can't wait for itself"),
        ([{"id": "a"}, {"id": "a"}], "tasks[a].id", "used twice"),
        ([{"id": "load"}, {"id": "b", "depends_on": ["laod"]}], "tasks[b].depends_on", "did you mean load?"),
        ([{"id": "a", "capability": "p.singel"}], "tasks[a].capability", "did you mean p.single"),
        ([{"id": "a", "input": {"x": {"$from": "nope"}}}], "tasks[a].input.x.$from", "no task 'nope'"),
        ([{"id": "a"}, {"id": "b", "input": {"x": [{"$from": "a", "path": "[["}]}}], "tasks[b].input.x[0].path", "JMESPath"),
        ([{"id": "a"}, {"id": "b", "input": {"x": {"$from": "a", "pth": "y"}}}], "tasks[b].input.x", "not 'pth'"),
        ([{"id": "a", "input": {"x": {"$from": "part.*"}}}], "tasks[a].input.x.$from", "starts with 'part.'"),
        ([{"id": "a"}, {"id": "b", "when": {"path": "x"}}], "tasks[b].when", "must be a reference"),
        ([{"id": "a", "input": {"x": "y" * 1_000_000}}], "tasks[a].input", "at most 65,536"),
        ([{"id": "a", "timeout": 100}], "tasks[a].timeout", "over the 60 s"),
        ([{"id": "a", "compensation": {"capability": "p.undo"}}], "tasks[a].compensation.capability", "no pool can do"),
        ([{"id": "ünï"}], "tasks[ünï].id", "match pattern"),
        ([{"id": "../../etc"}], "tasks[../../etc].id", "match pattern"),
        ([{"id": "a", "retries": 99}], "tasks[a].retries", "less than or equal to 6"),
        ([{"id": "a", "depends_on": "b"}], "tasks[a].depends_on", "must be a list of task ids"),
        ([{"id": "a", "color": "red"}], "tasks[a].color", "not permitted"),
        ([], "plan.tasks", "at least 1 item"),
    ],
)
def test_a_bad_plan_is_refused_with_task_field_and_reason(tasks: list[dict[str, Any]], field: str, words: str) -> None:
    """Each mistake is named by task and field, with what is wrong or allowed."""
    with pytest.raises(InvalidRequest) as caught:
        compiled(*tasks)

    problem = caught.value.problems[0]
    assert problem.field.removeprefix("plan.") == field.removeprefix("plan.")
    assert words in problem.message


def test_all_problems_are_reported_together() -> None:
    """A user mends a plan once, not once per mistake."""
    with pytest.raises(InvalidRequest) as caught:
        compiled({"id": "a", "depends_on": ["x"]}, {"id": "b", "capability": "no.such"}, {"id": "b"})

    assert [problem.field for problem in caught.value.problems] == [
        "tasks[b].id",
        "tasks[a].depends_on",
        "tasks[b].capability",
    ]


def test_a_single_dependency_needs_no_join_and_equal_sets_share_one() -> None:
    """Joins are made for distinct sets of at least two dependencies only."""
    plan = compiled(
        {"id": "a"},
        {"id": "b"},
        {"id": "c", "depends_on": ["a"]},
        {"id": "d", "depends_on": ["a", "b"]},
        {"id": "e", "depends_on": ["b", "a"]},
        {"id": "f", "depends_on": ["c", "d", "e"]},
    )

    assert [list(expand(unit.releases)) for unit in plan.units] == [[2], [], [], [], [], []]
    assert [(join.size, list(expand(join.releases))) for join in plan.joins] == [(2, [3, 4]), (3, [5])]
    assert plan.units[5].ends


def test_what_a_dependency_already_waited_for_is_not_joined_again() -> None:
    """load → clean → report(load, clean): the report waits for clean alone."""
    plan = compiled(
        {"id": "load"},
        {"id": "clean", "depends_on": ["load"]},
        {"id": "report", "input": {"a": {"$from": "load"}, "b": {"$from": "clean"}}},
    )

    assert plan.joins == ()
    assert plan.units[2].tasks[0].sources == {"load": ((0, 0),), "clean": ((1, 0),)}


def test_a_join_over_many_becomes_a_tree_whose_items_stay_small() -> None:
    """No join has more than JOIN_ARITY members, and every leaf leads up to the root that releases."""
    plan = compiled(*[{"id": f"t{n}"} for n in range(1000)], {"id": "end", "depends_on": ["t*"]})

    assert [join.size for join in plan.joins] == [JOIN_ARITY, JOIN_ARITY, JOIN_ARITY, 232, 4]
    assert [join.above for join in plan.joins] == [(4, 0), (4, 1), (4, 2), (4, 3), None]
    assert plan.joins[4].releases == ((1000, 1000),)


def test_micro_tasks_that_wait_for_the_same_share_units() -> None:
    """Twenty-five micro-tasks between a root and an end travel as three messages."""
    parts = [{"id": f"t{n}", "capability": "p.micro", "depends_on": ["root"]} for n in range(25)]
    plan = compiled({"id": "root"}, *parts, {"id": "end", "depends_on": ["t*"]})

    assert [len(unit.tasks) for unit in plan.units] == [1, 10, 10, 5, 1]
    assert plan.header.roots == ((0, 0),)
    assert plan.units[0].releases == ((1, 3),)


def test_without_an_output_template_the_last_tasks_make_the_output() -> None:
    """One last task gives its own output, several give theirs by id."""
    assert compiled({"id": "a"}, {"id": "b", "depends_on": ["a"]}).header.output == {"$from": "b"}
    assert compiled({"id": "a"}, {"id": "b"}).header.output == {"a": {"$from": "a"}, "b": {"$from": "b"}}


def test_a_large_plan_is_cut_into_segments_and_a_small_one_is_inline() -> None:
    """What doesn't fit an item goes to parts that can be read one by one."""
    small = encode(compiled({"id": "a"}))
    large = encode(compiled(*[{"id": f"t{n}", "input": {"n": n, "text": f"{n * 7919:x}"}} for n in range(5000)]))

    assert small.is_inline
    assert not large.is_inline
    assert {"header", "units-0000", "units-0009", "joins-0000"} <= set(large.parts)

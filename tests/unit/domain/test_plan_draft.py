"""Plans as models write them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain.compile import compile_plan
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.plan_draft import checked, draft_schema, read_draft, write_draft
from agentfleet.domain.plan_policy import PlanPolicy
from agentfleet.domain.task import PlanSpec
from agentfleet.domain.tool_policy import ToolPolicy
from tests.fakes.planning import catalog, playbooks

CATALOG, PLAYBOOKS = catalog(), playbooks()
POLICY = PlanPolicy(ToolPolicy("plan", ("web.*", "text.*", "flights.book", "bank.pay", "many.run")))
OFFERED = sorted(POLICY.plannable(CATALOG))


def read(value: Any, most: int = 5) -> PlanSpec:
    """The checked plan of a draft."""
    return checked(read_draft(value, OFFERED, PLAYBOOKS, most).plan, CATALOG, POLICY)


FETCH = {"capability": "web.fetch", "input": {"url": "https://example.com/"}}


def test_a_draft_becomes_a_plan() -> None:
    """Ids say what tasks do; references and lone values find their form; `after` is a dependency."""
    plan = read(
        {
            "playbook": "none",
            "t1": FETCH,
            "t2": FETCH,
            "t3": {"capability": "text.sum", "input": {"texts": "{{t1.text}}", "about": " {{ t2.links[0].title }} "}},
            "t4": {"capability": "text.any", "input": {"all": ["{{t3}}", {"$from": "t1", "path": "status"}]}, "after": ["t2"]},
        }
    )

    assert [task.id for task in plan.tasks] == ["fetch", "fetch-2", "sum", "any"]
    assert plan.tasks[2].input == {
        "texts": [{"$from": "fetch", "path": "text"}],
        "about": {"$from": "fetch-2", "path": "links[0].title"},
    }
    assert plan.tasks[3].input == {"all": [{"$from": "sum"}, {"$from": "fetch", "path": "status"}]}
    assert plan.tasks[3].depends_on == ("fetch-2",)


def test_a_draft_may_name_a_playbook() -> None:
    """Its tasks are those of the playbook then."""
    plan = read({"playbook": "digest", "parameters": {"urls": ["https://a.example/", "https://b.example/"]}})

    assert [task.id for task in plan.tasks] == ["page.0", "page.1", "sum"]


@pytest.mark.parametrize(
    ("draft", "says"),
    [
        ([], "must be an object of tasks"),
        ({}, "t1: is missing"),
        ({"t1": "fetch"}, "t1: must be an object"),
        ({"t1": {"capability": "web.fetch", "input": "x"}}, "t1: must be an object"),
        ({"t1": {"capability": "mail.send", "input": {}}}, "t1.capability: must be one of"),
        ({"t1": {**FETCH, "retries": 99}}, "t1: takes capability, input and after, not retries"),
        ({"t6": FETCH}, "t6: there may be tasks t1 to t5"),
        ({"step": FETCH}, "step: there may be tasks t1 to t5"),
        ({"t1": FETCH, "t2": {**FETCH, "after": ["t2"]}}, "t2.after: must be a list of t1"),
        ({"t1": {**FETCH, "after": "t0"}}, "t1.after: must be a list of nothing: it is the first"),
        ({"t1": {"capability": "text.any", "input": {"a": "{{t2.text}}"}}, "t2": FETCH}, "t2 is no earlier task"),
        ({"t1": FETCH, "t2": {"capability": "text.any", "input": {"a": "Of {{t1.text}}"}}}, "must be the whole value"),
        ({"t1": FETCH, "t2": {"capability": "text.any", "input": {"a": "{{t1.links[].{a: title}}}"}}}, "can't be read"),
        ({"t1": FETCH, "t2": {"capability": "text.any", "input": {"a": "{{t1.body}}"}}}, "fetch gives no 'body'"),
        ({"t1": {"capability": "web.fetch", "input": {"address": "x"}}}, "input.url: is required"),
        ({"t1": {"capability": "text.any", "input": {"a": {"$from": "nobody"}}}}, "there is no task 'nobody'"),
        (
            {"t1": {"capability": "many.run", "input": {"items": [], "capability": "mail.send"}}},
            "plans may not hold 'mail.send'",
        ),
        ({"playbook": "invented"}, "playbook: must be one of none, digest, asked, letter"),
        ({"playbook": "digest", "parameters": []}, "parameters: must be an object"),
        ({"playbook": "digest"}, "parameters.urls: is required"),
        ({"playbook": "letter"}, "plans may not hold 'mail.send'"),
    ],
)
def test_what_is_wrong_is_said(draft: Any, says: str) -> None:
    """In words that the writer can use."""
    with pytest.raises(InvalidRequest) as error:
        read(draft)

    assert any(says in str(one) for one in error.value.problems), error.value.problems


def test_a_thousand_tasks_are_too_many() -> None:
    """And the answer to it stays short."""
    with pytest.raises(InvalidRequest) as error:
        read({f"t{number}": FETCH for number in range(1, 1001)})

    assert len(error.value.problems) <= InvalidRequest.LIMIT


def test_the_schema_lets_tasks_come_after_earlier_ones_only() -> None:
    """Ids are constant and in order; without playbooks the first task must be there."""
    schema = draft_schema(["a.b"], [], 3)

    assert list(schema["properties"]) == ["t1", "t2", "t3"]
    assert "after" not in schema["properties"]["t1"]["properties"]
    assert schema["properties"]["t3"]["properties"]["after"]["items"]["enum"] == ["t1", "t2"]
    assert schema["required"] == ["t1"]
    assert draft_schema(["a.b"], ["digest"], 1)["properties"]["playbook"]["enum"] == ["none", "digest"]


def test_a_plan_can_be_shown_as_a_draft() -> None:
    """What comes out reads back as the same plan; what a draft can't say is not shown."""
    draft = {"t1": FETCH, "t2": {"capability": "text.sum", "input": {"texts": ["{{t1.text}}"]}, "after": ["t1"]}}
    plan = read_draft(draft, OFFERED, {}, 5).plan.model_dump(mode="json", exclude_defaults=True)

    assert write_draft(plan["tasks"]) == draft
    assert write_draft([{"id": "a", "capability": "b.c", "when": {"$from": "x"}}]) is None
    assert write_draft([{"id": "a", "capability": "b.c", "input": {"x": {"$from": "part.*"}}}]) is None


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["x", "{{t1.text}}", "{{t2}}", "{{t1.nope}}", "{{t3.seat}}", "mail.send", "many.run", "flights.book"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["url", "texts", "city", "sum", "items", "capability", "input", "$from", "path"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
_inputs = st.sampled_from(
    [
        {"url": "https://example.com/"},
        {"texts": ["{{t1.text}}"]},
        {"city": "Oslo"},
        {"city": "{{t1.text}}"},
        {"sum": 3},
        {"items": [1], "capability": "web.fetch"},
        {"items": [1], "capability": "flights.book"},
    ]
) | st.dictionaries(st.sampled_from(["url", "texts", "city", "sum", "items", "capability", "input", "x"]), _values, max_size=3)
_tasks = st.fixed_dictionaries(
    {"capability": st.sampled_from([*OFFERED, "mail.send", "plan.make", "flights.cancel"]), "input": _inputs},
    optional={"after": st.lists(st.sampled_from(["t1", "t2", "t9"]), max_size=2)},
)
_drafts = st.dictionaries(st.sampled_from(["t1", "t2", "t3", "t4"]), _tasks, min_size=1, max_size=4) | _values


@given(_drafts)
def test_whatever_a_model_answers_an_accepted_plan_keeps_to_the_rules(draft: Any) -> None:
    """It compiles, holds only what is allowed, and everything with a side effect can be undone or is approved."""
    try:
        plan = read(json.loads(json.dumps(draft)))
    except InvalidRequest:
        return

    compile_plan(plan, CATALOG)
    for task in plan.tasks:
        spec = CATALOG.capabilities[task.capability][0]
        assert POLICY.tools.allows(task.capability)
        assert task.capability not in {"plan.make", "plan.repair"}
        if not spec.idempotent and spec.approval is None:
            assert task.compensation is not None
            assert task.compensation.capability == spec.undone_by
            assert task.on_failure == "compensate"
        if "capability" in task.input:
            named = CATALOG.capabilities[task.input["capability"]][0]
            assert POLICY.tools.allows(named.name)
            assert named.idempotent

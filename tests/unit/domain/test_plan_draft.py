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
    """The checked plan of a draft, which may be given by its tasks alone."""
    draft = {"plan": {"tasks": value}} if isinstance(value, list) else value
    return checked(read_draft(draft, OFFERED, PLAYBOOKS, most).plan, CATALOG, POLICY)


FETCH = {"capability": "web.fetch", "input": {"url": "https://example.com/"}}


def test_a_draft_becomes_a_plan() -> None:
    """Ids say what tasks do; references and lone values find their form; `after` is a dependency."""
    plan = read(
        [
            {"id": "t1", **FETCH},
            FETCH,
            {"capability": "text.sum", "input": {"texts": "{{t1.text}}", "about": " {{ t2.links[0].title }} "}},
            {"capability": "text.any", "input": {"all": ["{{t3}}", {"$from": "t1", "path": "status"}]}, "after": ["t2"]},
        ]
    )

    assert [task.id for task in plan.tasks] == ["fetch", "fetch-2", "sum", "any"]
    assert plan.tasks[2].input == {
        "texts": [{"$from": "fetch", "path": "text"}],
        "about": {"$from": "fetch-2", "path": "links[0].title"},
    }
    assert plan.tasks[3].input == {"all": [{"$from": "sum"}, {"$from": "fetch", "path": "status"}]}
    assert plan.tasks[3].depends_on == ("fetch-2",)


def test_tasks_may_have_names_of_their_own() -> None:
    """As long as each has another one; what looks like a reference and is none is a text."""
    read_ = {"id": "read", **FETCH}
    plan = read([read_, {"id": "say", "capability": "text.any", "input": {"a": "{{read.text}}", "b": "Hello {{name}}"}}])

    assert plan.tasks[1].input == {"a": {"$from": "fetch", "path": "text"}, "b": "Hello {{name}}"}


def test_a_draft_may_name_a_playbook() -> None:
    """Its tasks are those of the playbook then."""
    plan = read({"plan": {"playbook": "digest", "parameters": {"urls": ["https://a.example/", "https://b.example/"]}}})

    assert [task.id for task in plan.tasks] == ["page.0", "page.1", "sum"]


@pytest.mark.parametrize(
    ("draft", "says"),
    [
        ("plan", "plan: must be an object with either tasks"),
        ({}, "plan: must be an object with either tasks"),
        ({"plan": {"tasks": [FETCH], "playbook": "digest"}}, "plan: must be an object with either tasks"),
        ([], "plan.tasks: must be a list of 1 to 5 tasks, not 0 of them"),
        ({"plan": {"tasks": {"t1": FETCH}}}, "plan.tasks: must be a list of 1 to 5 tasks, not dict"),
        ([FETCH] * 6, "plan.tasks: must be a list of 1 to 5 tasks, not 6 of them"),
        (["fetch"], "t1: must be an object"),
        ([{"capability": "web.fetch", "input": "x"}], "t1: must be an object"),
        ([{"capability": "mail.send", "input": {}}], "t1.capability: must be one of"),
        ([{**FETCH, "retries": 99}], "t1: takes id, capability, input and after, not retries"),
        ([{**FETCH, "id": "a"}, {**FETCH, "id": "a"}], "t2.id: must be one of its own, such as 't2', not 'a'"),
        ([{**FETCH, "id": "{{x}}"}], "t1.id: must be one of its own"),
        ([{**FETCH, "id": 1}], "t1.id: must be one of its own"),
        ([FETCH, {**FETCH, "after": ["t2"]}], "t2.after: must be a list of t1"),
        ([{**FETCH, "after": "t0"}], "t1.after: must be a list of nothing: it is the first"),
        ([{"capability": "text.any", "input": {"a": "{{t2.text}}"}}, FETCH], "t2 is no earlier task"),
        ([FETCH, {"capability": "text.any", "input": {"a": "Of {{t1.text}}"}}], "must be the whole value"),
        ([FETCH, {"capability": "text.any", "input": {"a": "{{t1.links[].{a: title}}}"}}], "can't be read"),
        ([FETCH, {"capability": "text.any", "input": {"a": "{{t1.body}}"}}], "fetch gives no 'body'"),
        ([{"capability": "web.fetch", "input": {"address": "x"}}], "input.url: is required"),
        ([{"capability": "text.any", "input": {"a": {"$from": "nobody"}}}], "there is no task 'nobody'"),
        ([{"capability": "many.run", "input": {"items": [], "capability": "mail.send"}}], "plans may not hold 'mail.send'"),
        ({"plan": {"playbook": "invented"}}, "plan.playbook: must be one of digest, asked, letter"),
        ({"plan": {"playbook": ["digest"]}}, "plan.playbook: must be one of digest, asked, letter"),
        ({"plan": {"playbook": "digest", "parameters": []}}, "plan.parameters: must be an object"),
        ({"plan": {"playbook": "digest"}}, "parameters.urls: is required"),
        ({"plan": {"playbook": "letter"}}, "plans may not hold 'mail.send'"),
    ],
)
def test_what_is_wrong_is_said(draft: Any, says: str) -> None:
    """In words that the writer can use."""
    with pytest.raises(InvalidRequest) as error:
        read(draft)

    assert any(says in str(one) for one in error.value.problems), error.value.problems


def test_what_is_wrong_a_thousand_times_is_said_shortly() -> None:
    """As every error of the platform."""
    with pytest.raises(InvalidRequest) as error:
        read([{"capability": "no.such"}] * 1000, most=1000)

    assert len(error.value.problems) <= InvalidRequest.LIMIT


def test_the_schema_is_tight() -> None:
    """One shape per capability and per playbook, with their fields; a field takes its own type or a reference, a text."""
    schema = draft_schema(
        [CATALOG.capabilities[name][0] for name in ("web.fetch", "text.sum", "text.any")], [PLAYBOOKS["digest"]], 3
    )

    playbook, own = schema["properties"]["plan"]["anyOf"]
    assert playbook["properties"]["parameters"]["properties"] == {"urls": {"type": "array"}}
    assert own["properties"]["tasks"]["maxItems"] == 3
    fetch, summarize, whatever = own["properties"]["tasks"]["items"]["anyOf"]
    assert fetch["properties"]["capability"] == {"enum": ["web.fetch"]}
    assert fetch["properties"]["input"] == {
        "type": "object",
        "properties": {"url": {"type": "string"}, "method": {"enum": ["GET", "HEAD"]}},
        "required": ["url"],
    }
    assert summarize["properties"]["input"]["properties"] == {
        "texts": {"type": "array", "items": {"type": "string"}},
        "about": {"type": "string"},
        "sentences": {"type": ["number", "string"]},
    }
    assert whatever["properties"]["input"] == {"type": "object"}
    assert "after" not in fetch["properties"]
    booking = draft_schema([CATALOG.capabilities[name][0] for name in ("web.fetch", "bank.pay")], [], 3)
    shapes = booking["properties"]["plan"]["anyOf"][0]["properties"]["tasks"]["items"]["anyOf"]
    assert all("after" in one["properties"] for one in shapes), "whoever may ask a person may need an order"
    assert len(draft_schema([], [PLAYBOOKS["digest"]], 3)["properties"]["plan"]["anyOf"]) == 1


def test_a_plan_can_be_shown_as_a_draft() -> None:
    """What comes out reads back as the same plan; what a draft can't say is not shown."""
    summed = {"id": "t2", "capability": "text.sum", "input": {"texts": ["{{t1.text}}"]}, "after": ["t1"]}
    draft = {"plan": {"tasks": [{"id": "t1", **FETCH}, summed]}}
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
_drafts = st.lists(_tasks, min_size=1, max_size=4) | _values


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

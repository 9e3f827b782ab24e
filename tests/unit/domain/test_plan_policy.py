"""What plans may hold, and how what they do can be undone."""

from typing import Any

import pytest

from agentfleet.domain.approval import ApprovalRule
from agentfleet.domain.plan_policy import PlanPolicy, with_undoing
from agentfleet.domain.task import parse_plan
from agentfleet.domain.tool_policy import ToolPolicy
from tests.fakes.planning import catalog

ALL = ToolPolicy("plan", ("*",))


def problems(*tasks: dict[str, Any], tools: ToolPolicy = ALL, free: tuple[str, ...] = (), fleet: Any = None) -> list[str]:
    """What the policy says about a plan of these tasks once its compensations are filled in."""
    known = fleet or catalog()
    plan, lacking = with_undoing(parse_plan({"tasks": [{"id": f"t{n}", **task} for n, task in enumerate(tasks)]}), known)
    return [str(one) for one in (*lacking, *PlanPolicy(tools, free).problems(plan, known))]


BOOK = {"capability": "flights.book", "input": {"city": "Oslo", "day": "Monday"}}
MAIL = {"capability": "mail.send", "input": {"text": "Hello"}}
PAY = {"capability": "bank.pay", "input": {"sum": 5}}


def test_a_compensation_is_filled_from_input_and_output() -> None:
    """By the names of its fields: the task's own input first, else its output; what need not be given is left out."""
    plan, lacking = with_undoing(
        parse_plan({"tasks": [{"id": "go", **BOOK}, {"id": "say", "capability": "text.any"}]}), catalog()
    )

    book, say = plan.tasks
    assert not lacking
    assert book.compensation
    assert book.compensation.capability == "flights.cancel"
    assert book.compensation.input == {"seat": {"$from": "go", "path": "seat"}, "city": "Oslo"}
    assert (book.on_failure, say.on_failure) == ("compensate", "compensate")


def test_a_plan_without_side_effects_stays_as_it_is() -> None:
    """No compensation, no other policy on failure."""
    plan = parse_plan({"tasks": [{"id": "say", "capability": "text.any"}]})

    assert with_undoing(plan, catalog()) == (plan, [])


def test_what_a_compensation_lacks_is_named() -> None:
    """A required field that neither the input nor the output has."""
    assert problems({"capability": "flights.book", "input": {}}) == [
        "tasks[t0].compensation.input.city: flights.cancel needs 'city', which is in neither the input nor the output of "
        "flights.book"
    ]


def test_side_effects_need_a_way_back_or_a_person() -> None:
    """A compensation, an approval by capability or rule, or the operator's word."""
    [said] = problems(MAIL)
    assert said.startswith("tasks[t0].capability: mail.send has side effects and no compensation: declare undone_by")
    assert problems(BOOK) == problems(PAY) == problems(MAIL, free=("mail.*",)) == []
    assert problems({**MAIL, "compensation": {"capability": "text.any"}}) == []
    always, sometimes = ApprovalRule(capability="mail.*"), ApprovalRule(capability="mail.*", when="text == 'Hello'")
    assert problems(MAIL, fleet=catalog(("*",), always)) == problems(MAIL, fleet=catalog(("*",), sometimes)) == []
    assert problems({**MAIL, "input": {"text": "Bye"}}, fleet=catalog(("*",), sometimes))
    unknown = {"capability": "mail.send", "input": {"text": {"$from": "t0"}}}
    assert problems({"capability": "text.any"}, unknown, fleet=catalog(("*",), sometimes)), "nobody knows whether it will ask"


def test_only_allowed_capabilities_are_planned() -> None:
    """Also as compensation, as alternative; what is declared to undo an allowed one is allowed with it. Planners never."""
    tools = ToolPolicy("plan", ("flights.book", "text.*"))

    assert problems(BOOK, tools=tools) == []
    assert problems({"capability": "web.fetch"}, tools=tools) == [
        "tasks[t0].capability: plans may not hold 'web.fetch'; allowed are flights.book, text.*"
    ]
    other = {"capability": "text.any", "compensation": {"capability": "flights.cancel"}}
    assert "compensation.capability: plans may not hold" in problems(other, tools=tools)[0]
    second = {"capability": "text.any", "on_failure": "replan", "alternatives": [{"capability": "mail.send"}]}
    assert "alternatives[0].capability: mail.send has side effects" in problems(second)[0]
    assert problems({"capability": "plan.make"}) == ["tasks[t0].capability: plan.make can't be part of a plan"]


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("mail.send", "mail.send has side effects"),
        ("flights.book", "needs a compensation for each of its tasks"),
        ("many.run", "may have others do work itself"),
        ("plan.make", "can't be part of a plan"),
        ("no.such", "must name a capability outright"),
        ({"$from": "t0"}, "must name a capability outright"),
    ],
)
def test_what_a_task_has_others_do_is_planned_too(named: Any, says: str) -> None:
    """No way around the policy by a task that makes tasks."""
    many = {"capability": "many.run", "input": {"items": [1], "capability": named, "input": {}}}

    assert any(says in one for one in problems({"capability": "text.any"}, many)), problems({"capability": "text.any"}, many)
    assert problems({"capability": "many.run", "input": {"items": [1], "capability": "web.fetch"}}) == []


def test_what_may_be_planned_is_what_a_model_is_offered() -> None:
    """Neither planners, nor what nobody could undo, nor what isn't allowed."""
    names = set(PlanPolicy(ALL).plannable(catalog()))

    assert names == {"web.fetch", "text.sum", "text.any", "flights.book", "flights.cancel", "bank.pay", "many.run"}
    assert set(PlanPolicy(ToolPolicy("plan", ("web.*", "mail.*")), ("mail.*",)).plannable(catalog())) == {
        "web.fetch",
        "mail.send",
    }
    assert PlanPolicy(ToolPolicy("plan")).plannable(catalog()) == {}

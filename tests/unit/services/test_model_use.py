"""What goals use of language models stands in their receipts, whatever became of it."""

from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import TaskContext
from agentfleet.domain.errors import ModelThrottled, ModelTimeout
from agentfleet.domain.model import ModelRequest, Reply, StopReason, Text, Usage
from agentfleet.domain.model_use import ModelUse
from agentfleet.ports_model import Purpose
from agentfleet.services.audit_views import ReceiptView
from agentfleet.services.history import Historian
from agentfleet.services.model import Models
from agentfleet.services.model_use import LocalUses, UseRecorder
from agentfleet.services.receipt import Accountant
from functions.flow import handler as flow
from functions.think import handler as think
from tests.fakes import FakeHistory
from tests.fakes.fleet import InProcessFleet
from tests.unit.model.conftest import FIRST, Environment


class Model:
    """A ModelPort that says what stands in the text: an error, a refusal, or some words."""

    def converse(self, model: str, request: ModelRequest, timeout: float) -> Reply:
        """Tokens of every kind."""
        shown = str(request.messages)
        if "throttle" in shown and model == FIRST:
            raise ModelThrottled("slow down", 600.0)
        if "late" in shown:
            raise ModelTimeout("too late")
        usage = Usage(input=100, output=10, cache_read=40, cache_write=3)
        stop = StopReason.REFUSED if "refuse" in shown else StopReason.END
        return Reply(parts=(Text(text="Words."),), stop=stop, usage=usage)

    def stream(self, model: str, request: ModelRequest, timeout: float) -> Any:
        """Nobody streams here."""
        raise NotImplementedError


class Office:
    """A fleet whose calls are counted, and its receipts."""

    def __init__(self) -> None:
        self.uses = LocalUses()
        given = Environment().models(Model()).given

        def models(context: TaskContext) -> Any:
            return Models(Model(), replace(given, used=UseRecorder(self.uses, self.fleet.goals)))(context)

        self.fleet = InProcessFleet(flow.agent, think.agent, models=models)

    def run(self, *tasks: dict[str, Any]) -> str:
        """A goal's id, at its end."""
        goal = self.fleet.submit({"plan": {"tasks": list(tasks)}})
        self.fleet.settle()
        return goal.id

    def receipt(self, goal: str) -> ReceiptView:
        """As the API shows it."""
        history = Historian(self.fleet.goals, self.fleet.plans, FakeHistory())
        catalog = self.fleet.platform.catalog
        return Accountant(self.fleet.plans, self.fleet.results, history, catalog, uses=self.uses).receipt("acme", goal)


def summarize(name: str, text: str, **rest: Any) -> dict[str, Any]:
    """A task that makes one call."""
    return {"id": name, "capability": "think.summarize", "input": {"text": text, "sentences": 1}, "retries": 0, **rest}


def test_calls_of_sub_plans_stand_in_the_receipts_of_all_goals_above() -> None:
    """In, out and cached tokens and dollars, with a line per model that adds up with the others."""
    office = Office()
    spread = {"items": ["one", "two"], "capability": "think.summarize", "input": {"text": {"$item": ""}, "sentences": 1}}

    goal = office.run(summarize("own", "three"), {"id": "m", "capability": "flow.map", "input": spread})

    [child] = [one.id for one in office.fleet.goals.goals.values() if one.parent]
    bill, part = office.receipt(goal), office.receipt(child)
    [whole], [inner] = bill.models, part.models
    assert (whole.model, whole.calls, inner.calls) == (FIRST, 3, 2)
    assert (whole.input_tokens, whole.output_tokens, whole.cached_tokens, whole.cache_write_tokens) == (300, 30, 120, 9)
    assert (bill.tokens, part.tokens) == (459, 306)
    line = bill.lines[-1]
    assert (line.service, line.what, line.quantity, line.unit, line.basis) == ("Bedrock", FIRST, 459, "tokens", "counted")
    assert line.how == "3 calls: 300 in, 30 out, 120 read from and 9 written to its prompt cache; sub-plans included"
    assert whole.dollars == pytest.approx(1.5 * inner.dollars)
    assert bill.dollars == pytest.approx(sum(one.dollars for one in bill.lines))


def test_what_was_refused_or_failed_was_paid_and_what_was_throttled_was_not() -> None:
    """A call of which nobody knows counts with the most that it can be, and the line is an estimate then."""
    office = Office()

    refused = office.receipt(office.run(summarize("a", "refuse this")))
    late = office.receipt(office.run(summarize("a", "late", on_failure="skip")))
    throttled = office.receipt(office.run(summarize("a", "throttle this")))

    assert (refused.models[0].calls, refused.tokens) == (1, 153)
    assert sum(one.unknown for one in late.models) == sum(one.calls for one in late.models) >= 1
    assert late.tokens == 0
    assert sum(one.dollars for one in late.models) > 0
    assert late.lines[-1].basis == "estimated"
    assert FIRST not in [one.model for one in throttled.models]


def test_a_goal_without_calls_has_no_such_line() -> None:
    """And what can't be counted fails nothing."""
    office = Office()
    goal = office.run({"id": "a", "capability": "flow.noop"})
    recorder = UseRecorder(office.uses, office.fleet.goals)

    recorder(Purpose("acme", "no such goal", "t", "think", FIRST), ModelUse(FIRST, calls=1))

    assert office.receipt(goal).models == ()
    assert "Bedrock" not in {line.service for line in office.receipt(goal).lines}

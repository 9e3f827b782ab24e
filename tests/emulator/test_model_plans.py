"""Goals in words on the deployed stack, planned by a model that says what a test wrote down."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.local import LocalCloud
from tests.emulator.scripted import Chat, serving

WORDS = "Measure the package json of the standard library and summarize in a sentence which Python it belongs to"
PACKAGE = {"id": "t1", "capability": "code.package", "input": {"package": "json"}}


def plan_of(field: str) -> str:
    """A plan that measures a package, and sums up one of the fields of what came out."""
    summary = {"id": "t2", "capability": "think.summarize", "input": {"text": f"{{{{t1.{field}}}}}", "sentences": 1}}
    return json.dumps({"plan": {"tasks": [PACKAGE, summary]}})


class PlanningModel:
    """Plans with a field that there isn't, then with one that there is; and sums up."""

    def __init__(self) -> None:
        self.plans: list[Chat] = []
        self.texts: list[Chat] = []

    def answer(self, chat: Chat) -> dict[str, Any]:
        """A call of a tool that must be called is asked for by its schema."""
        if "response_format" in chat:
            self.plans.append(chat)
            said = plan_of("version" if len(self.plans) == 1 else "python")
        else:
            self.texts.append(chat)
            said = "It belongs to a Python of today."
        return {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}


@pytest.fixture
def model(cloud: LocalCloud) -> Iterator[PlanningModel]:
    """The deployed fleet with that model; without it again afterwards."""
    script = PlanningModel()
    with serving(script.answer) as address:
        cloud.models.start(address)
        cloud.deploy()
        yield script
        cloud.models.stop()
        cloud.deploy()


def test_a_sentence_becomes_a_plan_that_runs_and_is_billed(client: FleetClient, model: PlanningModel) -> None:
    """What was wrong with the first plan is told to the model; the second one's result, file and bill are the goal's."""
    goal = client.submit({"goal": WORDS, "budget": {"dollars": 0.5, "tokens": 40_000}})

    result = client.wait(goal.id, timeout=120)

    assert result.goal.state is GoalState.SUCCEEDED, result.goal.failure
    told = json.dumps(model.plans[1]["messages"][-1])
    assert "package gives no 'version'; it gives " in told
    assert len(model.plans) == 2
    [text] = model.texts
    assert "Python" in json.dumps(result.output)
    assert "3." in json.dumps(text["messages"])  # the version that the first task found

    [kept] = [file for file in result.files if file.name.endswith("plan.json")]
    draft = json.loads(client.download(kept))
    assert (draft["how"], draft["rounds"], draft["model"]) == ("model", 2, "local/scripted")
    assert [task["capability"] for task in draft["plan"]["tasks"]] == ["code.package", "think.summarize"]
    assert draft["budget"]["dollars"] > draft["estimate"]["model_dollars"] > 0

    bill = client.receipt(goal.id)
    [use] = bill.models
    assert (use.model, use.calls) == ("local/scripted", 3)
    spent = next(one for one in client.budget(goal.id).accounts if one.name == f"goal {goal.id}")
    assert {one.measure: one.spent for one in spent.balances}["tokens"] == 45

"""A small real model behind the deployed fleet, end to end. It shows the plumbing: what such a model says is not looked at."""

import os
from collections.abc import Iterator

import pytest

from agentfleet.domain.goal import GoalState
from client.api import FleetClient
from client.local import LocalCloud
from client.processes import LocalCloudError

TEXT = "Bergen has a harbour. It was founded in 1070 by King Olav Kyrre. Its harbour is the busiest of Norway."


@pytest.fixture
def modelled(cloud: LocalCloud) -> Iterator[LocalCloud]:
    """The deployed fleet with the small model; without it again afterwards."""
    try:
        cloud.models.start(os.environ.get("FLEET_TEST_MODEL", "small"))
    except LocalCloudError as error:
        if "can't be had" in str(error) or "can't be installed" in str(error):
            pytest.skip(f"the small model's packages can't be fetched here: {str(error)[:300]}")
        raise
    cloud.deploy()
    yield cloud
    cloud.models.stop()
    cloud.deploy()


def test_without_a_model_the_same_tasks_quote(cloud: LocalCloud, client: FleetClient) -> None:
    """The extractive answer, and that it is one."""
    ask = {"id": "ask", "capability": "think.answer", "input": {"question": "Who founded Bergen?", "texts": [TEXT]}}

    result = client.wait(client.submit({"plan": {"tasks": [ask], "output": {"$from": "ask"}}}).id, timeout=60)

    assert result.goal.state is GoalState.SUCCEEDED
    assert result.output["how"] == "quotations"
    assert result.output["model"] is None
    assert "1070" in result.output["answer"]
    assert cloud.models.url is None


def test_tasks_are_answered_by_a_real_model(modelled: LocalCloud, client: FleetClient) -> None:
    """Ten at once: each says which model answered, how many tokens it took, and that it cost nothing."""
    asked = [
        {
            "id": f"ask.{number}",
            "capability": "think.answer",
            "input": {"question": f"Who founded Bergen? ({number})", "texts": [TEXT], "max_tokens": 16},
        }
        for number in range(5)
    ]
    told = [
        {"id": f"sum.{number}", "capability": "think.summarize", "input": {"text": f"{number}. {TEXT}", "sentences": 1}}
        for number in range(5)
    ]
    goal = client.submit({"plan": {"tasks": [*asked, *told], "output": [{"$from": "ask.*"}, {"$from": "sum.*"}]}})

    result = client.wait(goal.id, timeout=240)

    assert result.goal.state is GoalState.SUCCEEDED, result.goal.failure
    outputs = [output for family in result.output for output in family]
    assert len(outputs) == 10
    # A model this small seldom cites, and then the text's own sentences are the answer.
    assert {output["how"] for output in outputs[:5]} <= {"model", "quotations"}
    assert {output["how"] for output in outputs[5:]} == {"model"}
    for output in outputs:
        assert output["model"].startswith("local/")
        assert output["input_tokens"] > 0
        assert output["output_tokens"] > 0
        assert output["dollars"] == 0.0


def test_every_pool_that_has_a_model_asks_it_and_the_receipt_says_so(modelled: LocalCloud, client: FleetClient) -> None:
    """A table's question goes to the model, whatever it makes of it; its calls are counted, those of a sub-plan too."""
    rows = [{"shop": "ab"[number % 2], "amount": number} for number in range(6)]
    tasks = [
        {"id": "table", "capability": "data.ask", "input": {"question": "Total amount by shop?", "table": rows}},
        {
            "id": "each",
            "capability": "flow.map",
            "input": {"items": [TEXT], "capability": "think.summarize", "input": {"text": {"$item": ""}, "sentences": 1}},
        },
    ]
    goal = client.submit({"plan": {"tasks": tasks, "output": {"table": {"$from": "table"}, "each": {"$from": "each"}}}})

    result = client.wait(goal.id, timeout=300)

    assert result.goal.state is GoalState.SUCCEEDED, result.goal.failure
    assert "there is no model here" not in result.output["table"]["why"]
    assert result.output["each"][0]["how"] == "model"
    bill = client.receipt(goal.id)
    [use] = bill.models
    assert use.model.startswith("local/")
    assert use.calls >= 2
    assert bill.tokens > 0
    assert use.output_tokens > result.output["each"][0]["output_tokens"] > 0

"""Every state machine's file: valid, closed, and nothing in it that may fail or hang without a way on."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentfleet.domain.saga import Outcome
from agentfleet.services.undo import BEAT, LONGEST_AWAY
from tests.fakes import sagas

FOLDER = Path(__file__).parents[2] / "statemachines"
FILES = sorted(FOLDER.glob("*.asl.json"))
TOKEN = ".waitForTaskToken"


def machines(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The definition and the machines inside its maps and parallel branches."""
    yield definition
    for state in definition["States"].values():
        for inner in [*filter(None, [state.get("ItemProcessor")]), *state.get("Branches", ())]:
            yield from machines(inner)


def states(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every state of every machine, by name."""
    return {name: state for machine in machines(definition) for name, state in machine["States"].items()}


def following(state: dict[str, Any]) -> list[str]:
    """Where a state may lead."""
    ways = [state, *state.get("Choices", ()), *state.get("Catch", ())]
    return [way["Next"] for way in ways if "Next" in way] + ([state["Default"]] if "Default" in state else [])


@pytest.fixture(params=FILES, ids=lambda file: file.name)
def definition(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One definition."""
    read: dict[str, Any] = json.loads(request.param.read_text(encoding="utf-8"))
    return read


def test_every_way_leads_to_a_state_and_every_state_is_reached(definition: dict[str, Any]) -> None:
    """Within its own machine; whatever doesn't end goes on, and a choice has a default."""
    for machine in machines(definition):
        led = {machine["StartAt"], *(name for state in machine["States"].values() for name in following(state))}
        assert led == machine["States"].keys()
        for name, state in machine["States"].items():
            assert following(state) or state.get("End") or state["Type"] in {"Succeed", "Fail"}, name
            assert state["Type"] != "Choice" or "Default" in state, name


def test_every_task_is_bounded_retried_with_jitter_and_caught(definition: dict[str, Any]) -> None:
    """One that waits for a token wants signs of life as well, well apart from the agents' own rhythm."""
    for name, state in states(definition).items():
        if state["Type"] != "Task":
            continue
        assert state["TimeoutSeconds"] > 0, name
        assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], name
        retries = [one for one in state["Retry"] if one["MaxAttempts"]]
        assert retries, name
        assert all(one["JitterStrategy"] == "FULL" and one["BackoffRate"] > 1 for one in retries), name
        if state["Resource"].endswith(TOKEN):
            assert max(3 * BEAT, LONGEST_AWAY) + 60 <= state["HeartbeatSeconds"] < state["TimeoutSeconds"], name


def test_substitutions_and_expressions_stand_alone(definition: dict[str, Any]) -> None:
    """JSONata throughout; what the CDK fills in is inside quotes, so that the file is valid JSON before and after."""
    text = json.dumps(definition)

    assert definition["QueryLanguage"] == "JSONata"
    assert ".$" not in text
    assert all(part.startswith("%") and part.endswith("%") for part in re.findall(r'"\{(%?[^{}"]*%?)\}"', text))


def test_the_saga_knows_what_its_function_may_say() -> None:
    """UNDO and WAIT lead on; every other outcome ends the execution."""
    saga = json.loads((FOLDER / "saga.asl.json").read_text(encoding="utf-8"))
    choices = {re.findall(r"'(\w+)'", one["Condition"])[0]: one["Next"] for one in saga["States"]["What Now"]["Choices"]}

    assert choices == {Outcome.UNDO: "Undo A Wave", Outcome.WAIT: "Let Agents Finish"}
    assert saga["States"]["What Now"]["Default"] == "Nothing Is Left"


def test_the_machine_in_memory_is_as_patient_as_the_deployed_one() -> None:
    """How often it tries a compensation again for which error, after how long, and when it gives an answer up."""
    saga = json.loads((FOLDER / "saga.asl.json").read_text(encoding="utf-8"))
    state = states(saga)["Undo A Task"]
    retries = {name: one for one in state["Retry"] for name in one["ErrorEquals"]}

    assert (state["TimeoutSeconds"], state["HeartbeatSeconds"]) == (sagas.TIMEOUT, sagas.HEARTBEAT)
    assert {name: one["MaxAttempts"] for name, one in retries.items()} == sagas.RETRIES
    waits = {name: (one["IntervalSeconds"], one["MaxDelaySeconds"]) for name, one in retries.items() if one["MaxAttempts"]}
    assert waits == sagas.INTERVALS

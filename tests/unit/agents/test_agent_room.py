"""Agents whose conversation grows beyond what their model can read."""

import re

import pytest

from agentfleet.domain.conversation import LEFT_OUT
from agentfleet.domain.errors import ModelInputTooLong
from agentfleet.domain.goal import GoalState
from agentfleet.domain.model import ModelRequest, Reply, Text
from tests.fakes.models import call, say, told
from tests.unit.agents.fleet import AgentFleet

THINGS = 8
PLACES = 20
"""At so many of the first calls that leave the process, an agent is killed."""


def cramped(room: int) -> AgentFleet:
    """A model that asks for thing after thing by a name of 2,000 characters, and reads at most so many bytes."""

    def script(request: ModelRequest) -> Reply:
        if request.size > room:
            raise ModelInputTooLong("prompt is too long")
        known = re.findall(r"thing-(\d+)", told(request))
        number = int(known[-1]) + 1 if known else 0
        return say("Done.") if number == THINGS else call(("shop__price", {"thing": f"thing-{number} {'x' * 2_000}"}))

    return AgentFleet(script)


def test_an_agent_goes_on_with_a_shorter_conversation() -> None:
    """What was left out is told as material; the whole of it stays written down, and the task has the answer."""
    fleet = cramped(16_000)

    goal = fleet.ask()

    assert goal.output["answer"] == "Done."
    assert goal.output["turns"] == THINGS + 1
    assert len(goal.output["tool_calls"]) == THINGS
    assert all(request.messages[0].role == "user" for request in fleet.model.requests)
    first = fleet.model.requests[-1].messages[0].parts[0]
    assert isinstance(first, Text)
    assert first.text.startswith(LEFT_OUT)


def test_a_task_that_alone_is_too_long_fails_and_says_so() -> None:
    """Nothing can be left out of it."""
    fleet = cramped(16_000)

    goal = fleet.ask("Work. " + "y" * 18_000)

    assert goal.failure is not None
    assert (goal.failure.error, len(fleet.model.requests)) == ("ModelInputTooLong", 1)


@pytest.mark.parametrize("number", range(1, 300, 300 // PLACES))
def test_an_agent_that_is_killed_meanwhile_finds_the_same_way(number: int) -> None:
    """Its turns are there word for word; each thing was asked for once."""
    fleet = cramped(16_000)
    fleet.faults.arm(number, stays_dead=True)

    goal = fleet.ask()

    assert goal.state is GoalState.SUCCEEDED
    assert (goal.output["answer"], goal.output["turns"]) == ("Done.", THINGS + 1)
    assert len(fleet.goals.goals) == THINGS + 1

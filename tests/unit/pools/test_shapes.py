"""Several agents at one task: orchestrator and workers, debate, critic loop, by a model that says what a test wrote down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentfleet.domain.errors import ModelFailed
from agentfleet.domain.goal import Goal, GoalState
from agentfleet.domain.model import ModelRequest, ToolCall
from agentfleet.domain.result import TaskState
from agentfleet.ports_model import ModelPort
from cdk.playbooks import read_playbooks
from functions.flow import handler as flow
from functions.think import handler as think
from tests.fakes.fleet import InProcessFleet
from tests.unit.model.conftest import Environment
from tests.unit.pools.test_think import Model

PLAYBOOKS = read_playbooks(Path(__file__).parents[3])


def carry_out(
    playbook: str, says: Callable[[ModelRequest], Any] | None, **parameters: Any
) -> tuple[Goal, dict[str, TaskState]]:
    """The goal at its end, and what became of each task."""
    port: ModelPort | None = Model(says) if says else None
    fleet = InProcessFleet(flow.agent, think.agent, playbooks=PLAYBOOKS, models=Environment().models(port) if port else None)
    goal = fleet.goal(fleet.submit({"playbook": playbook, "parameters": parameters}).id)
    fleet.settle()
    units = fleet.plans.read(goal.id).whole().units
    found = fleet.results.get(goal.id, goal.shards, range(len(units)))
    states = {
        task.id: outcome.state
        for unit in units
        if unit.number in found
        for task, outcome in zip(unit.tasks, found[unit.number].outcomes, strict=True)
    }
    return fleet.goal(goal.id), states


def prompt_of(request: ModelRequest) -> str:
    """All that a model was told."""
    return request.system + "\n" + "\n".join(getattr(part, "text", "") for one in request.messages for part in one.parts)


def calling(name: str, **given: Any) -> tuple[ToolCall, ...]:
    """A tool's input."""
    return (ToolCall(id="t", name=name, input=given),)


def test_a_task_is_divided_worked_on_side_by_side_and_put_together() -> None:
    """Each worker gets its part and the whole; the editor gets all parts; one that fails is named."""
    seen: list[str] = []

    def says(request: ModelRequest) -> Any:
        prompt = prompt_of(request)
        seen.append(prompt)
        if request.tools:
            parts = [{"title": name, "task": f"Write about {name}."} for name in ("owls", "mice", "cats")]
            return calling("division", parts=parts)
        if "an editor" in prompt:
            return "Owls eat mice."
        if "Write about cats." in prompt:
            return ModelFailed("broken")
        return f"Some words on {'owls' if 'about owls' in prompt else 'mice'}."

    goal, _ = carry_out("orchestrator-workers", says, task="Write about the night.", worker="a zoologist")

    assert goal.state is GoalState.SUCCEEDED, goal.failure
    assert (goal.output["text"], goal.output["parts"], goal.output["missing"]) == ("Owls eat mice.", ["owls", "mice"], ["cats"])
    workers = [prompt for prompt in seen if "a zoologist" in prompt and "about owls" in prompt]
    assert workers
    assert "Write about the night." in workers[0]
    assert all(words in seen[-1] for words in ("Some words on owls.", "Some words on mice.", "Write about the night."))


def test_a_division_into_too_many_parts_is_told_to_the_model() -> None:
    """The limit is in the schema, not in the prompt alone."""
    counts = iter([3, 2])

    def says(request: ModelRequest) -> Any:
        if request.tools:
            return calling("division", parts=[{"title": str(n), "task": f"Do {n}."} for n in range(next(counts))])
        return "Done."

    goal, _ = carry_out("orchestrator-workers", says, task="Do it.", parts=2)

    assert goal.output["parts"] == ["0", "1"]


def test_roles_answer_read_each_other_and_are_judged() -> None:
    """Every second answer knows all first ones; each candidate is scored exactly once; the best wins."""
    seen: list[str] = []
    scores = iter([[5, 9], [5, 9, 7]])

    def says(request: ModelRequest) -> Any:
        prompt = prompt_of(request)
        seen.append(prompt)
        if request.tools:
            given = [{"candidate": n, "score": score, "reason": "so"} for n, score in enumerate(next(scores))]
            return calling("Scores", scores=given)
        role = prompt.partition("You are ")[2].partition(".")[0]
        return f"{role} {'again' if 'answer again' in prompt else 'first'}"

    goal, _ = carry_out("debate", says, question="Which way?", roles=["Ann", "Bo", "Cy"])

    assert goal.state is GoalState.SUCCEEDED, goal.failure
    assert (goal.output["answer"], goal.output["how"]) == ("Bo again", "model")
    assert [one["score"] for one in goal.output["scores"]] == [5, 9, 7]
    assert goal.output["answers"] == ["Ann again", "Bo again", "Cy again"]
    second = next(prompt for prompt in seen if "You are Cy." in prompt and "answer again" in prompt)
    assert all(f"{name} first" in second for name in ("Ann", "Bo", "Cy"))
    assert len(seen) == 8  # the judge was asked twice


@pytest.mark.parametrize(
    ("content_after", "rounds", "drafts", "text", "is_content"),
    [(0, 2, 1, "draft 0", True), (1, 3, 2, "draft 1", True), (9, 3, 4, "draft 3", False), (9, 0, 1, "draft 0", False)],
)
def test_a_text_is_revised_until_the_critic_is_content(
    content_after: int, rounds: int, drafts: int, text: str, is_content: bool
) -> None:
    """Or as often as may be; what is not needed is skipped and costs nothing."""
    written: list[str] = []
    read: list[str] = []

    def says(request: ModelRequest) -> Any:
        if request.tools:
            read.append(prompt_of(request))
            revise = len(read) <= content_after
            return calling("Critique", revise=revise, remarks=[f"remark {len(read)}"] if revise else [])
        written.append(prompt_of(request))
        return f"draft {len(written) - 1}"

    goal, states = carry_out("critic-loop", says, task="Write.", rounds=rounds)

    assert goal.state is GoalState.SUCCEEDED, goal.failure
    assert (goal.output["drafts"], goal.output["text"], goal.output["is_content"]) == (drafts, text, is_content)
    assert len(written) == drafts
    assert len(read) == min(rounds, content_after + 1)
    for number in range(1, drafts):
        assert f"draft {number - 1}" in written[number]
        assert f"remark {number}" in written[number]
    skipped = [name for name, state in states.items() if state is TaskState.SKIPPED]
    assert len(skipped) == 6 - (drafts - 1) - len(read)


@pytest.mark.parametrize(
    ("playbook", "given"),
    [("orchestrator-workers", {"task": "Write."}), ("critic-loop", {"task": "Write."}), ("debate", {"question": "Why?"})],
)
def test_without_a_model_nothing_is_made_up(playbook: str, given: dict[str, Any]) -> None:
    """The goal fails and says what is missing."""
    goal, _ = carry_out(playbook, None, **given)

    assert goal.state is GoalState.FAILED
    assert goal.failure is not None
    assert goal.failure.error == "ModelUnavailable"

"""An agent's turns at the wire: what is cut off, and what is done about it."""

import asyncio
from typing import Any

import pytest

from agentfleet.domain.errors import ModelAnswerInvalid
from agentfleet.services.agent_loop import Job, Thought, work
from agentfleet.services.tools import Tool
from tests.unit.model.conftest import SECOND, Task
from tests.unit.model.scripted import Script, calling, replying, saying

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

HM = {"text": "hm"}
CALL = {"toolUse": {"toolUseId": "t1", "name": "save", "input": {"text": "once upon"}}}


SAVE = Tool("save", "Saves a text", {"type": "object"})


def think(task: Task, **job: Any) -> Thought:
    """An agent with a tool that does nothing, by a model that can write 10,000 tokens."""
    return asyncio.run(
        work(task(chain=(SECOND,), seconds=120.0), Job("Work.", "You are a writer.", 5, hand_off_tool=SAVE, **job))
    )


def rooms(script: Script) -> list[int]:
    """How many tokens each call had."""
    return [seen.body["inferenceConfig"]["maxTokens"] for seen in script.seen]


def results(script: Script) -> list[Any]:
    """What the last call told the model of its tools."""
    return [block["toolResult"] for block in script.seen[-1].body["messages"][-1]["content"]]


def test_a_call_that_was_cut_off_is_asked_for_again_with_more_room(script: Script, task: Task) -> None:
    """Its words are no answer, and half of its input is not carried out; the turn is one, and all of it is paid."""
    script.add(replying([HM, CALL], "max_tokens"), calling("save", {"text": "once upon a time"}), saying("Saved."))

    thought = think(task)

    assert rooms(script) == [1024, 2048, 1024]
    called = script.seen[-1].body["messages"][1]["content"][0]["toolUse"]
    assert called["input"] == {"text": "once upon a time"}
    assert (thought.answer, thought.taken.turns, thought.taken.usage.output) == ("Saved.", 2, 30)


def test_a_call_that_is_cut_off_whatever_the_room_is_told_to_the_model(script: Script, task: Task) -> None:
    """It has as much as it can write, no more; nothing is called, and it may try something smaller."""
    script.add(*[replying([HM, CALL], "max_tokens")] * 3, saying("In parts, then."))

    thought = think(task, max_tokens=4_000)

    assert rooms(script) == [4_000, 8_000, 10_000, 4_000]
    [result] = results(script)
    assert result["status"] == "error"
    assert "cut off" in result["content"][0]["text"]
    assert thought.answer == "In parts, then."
    assert thought.tool_calls == ()


def test_a_turn_without_a_word_is_asked_for_again_and_fails_for_good(script: Script, task: Task) -> None:
    """Thoughts alone are no answer."""
    silent = replying([], "max_tokens")
    script.add(silent, saying("Here."), silent, silent)

    assert think(task).answer == "Here."
    with pytest.raises(ModelAnswerInvalid, match="10000 tokens"):
        think(task, max_tokens=5_000)


def test_words_that_are_cut_off_are_an_answer_that_says_so(script: Script, task: Task) -> None:
    """As many as were asked for."""
    script.add(saying("Once upon", "max_tokens"))

    thought = think(task)

    assert (thought.answer, thought.taken.is_truncated, len(script.seen)) == ("Once upon", True, 1)

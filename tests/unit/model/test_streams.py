"""Answers whose words come as they are written, at the wire."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from agentfleet.agent import TaskContext
from agentfleet.domain.errors import ModelBusy, ModelFailed, ModelTimeout, Stopped
from agentfleet.domain.model import Answer, StopReason, Tool, ToolCall
from tests.unit.model.conftest import FIRST, SECOND, Environment, Task
from tests.unit.model.scripted import Script, Turn, breaking, failing, scripted, streaming, streaming_call

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

WEATHER = Tool(name="weather", description="Tells the weather.", input_schema={"type": "object", "properties": {}})


async def read(context: TaskContext, words: list[str], **given: Any) -> Answer:
    """The answer of a stream; its words as they came are put into `words`."""
    async for piece in context.model.stream("hello", **given):
        if isinstance(piece, Answer):
            return piece
        words.append(piece)
    raise AssertionError("the stream ended without an answer")


def test_words_come_one_by_one_and_the_answer_last(script: Script, task: Task, environment: Environment) -> None:
    """The pieces add up to the answer, which is priced and settled like any other."""
    script.add(streaming("Once ", "upon ", "a time"))
    words: list[str] = []

    answer = asyncio.run(read(task(), words))

    assert words == ["Once ", "upon ", "a time"]
    assert (answer.text, answer.stop, answer.model, answer.usage.total) == ("Once upon a time", StopReason.END, FIRST, 30)
    assert answer.dollars > 0
    assert environment.ledger.settled["0"] is not None
    assert script.seen[0].operation == "ConverseStream"


def test_a_task_that_is_stopped_pays_for_no_stream(script: Script, task: Task, environment: Environment) -> None:
    """No model of the chain is asked, and nothing is set aside."""

    def stopped() -> None:
        raise Stopped("everything is stopped: r", 5.0)

    with pytest.raises(Stopped, match="everything"):
        asyncio.run(read(replace(task(), stops=stopped), []))

    assert not script.seen
    assert not environment.ledger.reserved


def test_a_tool_call_in_pieces_is_put_together(script: Script, task: Task) -> None:
    """Its input is JSON only at its end."""
    script.add(streaming_call("weather", '{"ci', 'ty": "Os', 'lo"}'))

    answer = asyncio.run(read(task(), [], tools=[WEATHER]))

    assert answer.tool_calls == (ToolCall(id="tooluse_9", name="weather", input={"city": "Oslo"}),)


def test_a_tool_call_that_is_no_json_is_asked_for_again(script: Script, task: Task) -> None:
    """Nothing was handed out yet, so the call can be repeated."""
    script.add(streaming_call("weather", '{"city": Oslo'), streaming_call("weather", "{}"))

    assert asyncio.run(read(task(), [], tools=[WEATHER])).tool_calls[0].input == {}


def test_a_tool_call_that_was_cut_off_is_left_out(script: Script, task: Task) -> None:
    """max_tokens in the middle of a call: there is nothing to carry out, and the answer says that it was cut off."""
    script.add(streaming_call("weather", '{"city": "Os', stop="max_tokens"))

    answer = asyncio.run(read(task(), [], tools=[WEATHER]))

    assert (answer.tool_calls, answer.is_truncated) == ((), True)


def test_throttled_before_the_first_word(script: Script, task: Task, environment: Environment) -> None:
    """As with a whole answer: again, then elsewhere, then later."""
    script.add(failing("ThrottlingException"), Turn(frames=[breaking("throttlingException")]), streaming("ok"))

    answer = asyncio.run(read(task(), []))

    assert (answer.model, script.models) == (SECOND, [FIRST, FIRST, SECOND])
    assert environment.throttled == [FIRST, FIRST]
    script.always = failing("ThrottlingException")
    with pytest.raises(ModelBusy):
        asyncio.run(read(task(), []))


@pytest.mark.parametrize(
    "broken",
    [
        streaming("half an ", "ans", stop=None, reset=True),
        streaming("half an ", "ans", stop=None),
        streaming("half an ", "ans", stop=None, then=[breaking("modelStreamErrorException", "the model fell over")]),
    ],
    ids=["reset", "ended", "error"],
)
def test_what_breaks_in_the_middle_is_not_begun_again(
    script: Script, task: Task, environment: Environment, broken: Turn
) -> None:
    """Words that were handed out can't be taken back: the reader is told, and the reservation counts in full."""
    script.add(broken)
    words: list[str] = []

    with pytest.raises(ModelFailed):
        asyncio.run(read(task(), words))

    assert words == ["half an ", "ans"]
    assert script.models == [FIRST]
    assert environment.ledger.settled == {"0": None}


def test_a_stream_with_a_broken_checksum_is_not_believed(script: Script, task: Task) -> None:
    """A frame whose CRC is wrong is a broken connection."""
    good = streaming("true")
    script.add(Turn(frames=[*good.frames[:1], good.frames[1][:-1] + b"\x00", *good.frames[2:]]))

    with pytest.raises(ModelFailed):
        asyncio.run(read(task(chain=(SECOND,), seconds=1.2), []))


def test_a_stream_that_stalls_times_out(environment: Environment) -> None:
    """The time without a word is bounded."""
    with scripted(read_timeout=0.2) as (script, port):
        script.always = Turn(seconds=1.0, frames=streaming("late").frames)

        with pytest.raises(ModelTimeout):
            asyncio.run(read(environment.task(environment.models(port)), []))


def test_a_reader_may_stop_listening(script: Script, task: Task, environment: Environment) -> None:
    """It is no failure of the model's; what the rest would have cost nobody knows."""
    script.add(streaming("one ", "two ", "three"))
    context = task()

    async def first_word() -> str:
        stream = context.model.stream("hello")
        try:
            async for piece in stream:
                return str(piece)
        finally:
            await stream.aclose()
        raise AssertionError("no word came")

    assert asyncio.run(first_word()) == "one "
    assert environment.ledger.settled == {"0": None}
    assert environment.breakers.read(f"model/{FIRST}")[0].failures == ()

"""What a Bedrock user sees, at the wire: each thing that a server may say, and what comes of it."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from agentfleet.agent import PermanentError, TaskContext
from agentfleet.domain.errors import (
    GoalEnded,
    ModelBusy,
    ModelFailed,
    ModelInputTooLong,
    ModelRefused,
    ModelRequestInvalid,
    ModelTimeout,
    ModelUnavailable,
    Postponed,
    Stopped,
)
from agentfleet.domain.model import Answer, Message, Reasoning, StopReason, Text, Tool, ToolCall, ToolResult, Usage
from tests.unit.model.conftest import FIRST, SECOND, Environment, Task
from tests.unit.model.scripted import (
    Script,
    Turn,
    failing,
    replying,
    saying,
    scripted,
)

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

T = TypeVar("T")


WEATHER = Tool(name="weather", description="Tells the weather.", input_schema={"type": "object", "properties": {}})


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's value."""
    return asyncio.run(coroutine)


def ask(context: TaskContext, prompt: Any = "hello", **given: Any) -> Answer:
    """One call, past the cache unless the test says otherwise."""
    return run(context.model.converse(prompt, **{"cache": False} | given))


# Answers


def test_words_tokens_and_dollars(script: Script, task: Task) -> None:
    """An answer says which model gave it and what it cost at that model's price."""
    script.add(saying("good day", usage={"inputTokens": 1000, "outputTokens": 200, "totalTokens": 1200}))

    answer = ask(task(), system="Be kind.")

    assert (answer.text, answer.stop, answer.model) == ("good day", StopReason.END, FIRST)
    assert answer.dollars == pytest.approx((1000 * 1.0 + 200 * 5.0) * 1.1 / 1e6)
    [seen] = script.seen
    assert seen.body == {
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "system": [{"text": "Be kind."}],
        "inferenceConfig": {"maxTokens": 1024, "temperature": 0.0},
    }


def test_a_whole_tool_conversation_is_sent_as_bedrock_wants_it(script: Script, task: Task) -> None:
    """Thoughts, calls, their results and errors go back in the turns in which they belong."""
    script.add(saying("rain"))
    turns = (
        Message.user("Weather in Oslo?"),
        Message(
            role="assistant",
            parts=(
                Reasoning(text="hm", signature="c2ln"),
                Text(text="I'll look."),
                ToolCall(id="t1", name="weather", input={"city": "Oslo"}),
                ToolCall(id="t2", name="weather", input={}),
            ),
        ),
        Message.results([ToolResult(id="t1", content={"sky": "rain"}), ToolResult(id="t2", content="no city", is_error=True)]),
    )

    assert ask(task(), turns, tools=[WEATHER], tool_choice="any", stop=["END"]).text == "rain"

    body = script.seen[0].body
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert body["inferenceConfig"]["stopSequences"] == ["END"]
    assert body["messages"][1]["content"][0] == {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}
    assert [block["toolResult"] for block in body["messages"][2]["content"]] == [
        {"toolUseId": "t1", "content": [{"json": {"sky": "rain"}}]},
        {"toolUseId": "t2", "content": [{"text": "no city"}], "status": "error"},
    ]


def test_a_tool_call_comes_back_with_what_was_said_before_it(script: Script, task: Task) -> None:
    """Reasoning, words and calls are parts of one turn, which can be sent back as it is."""
    content = [
        {"reasoningContent": {"reasoningText": {"text": "need a tool", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
        {"text": "Looking."},
        {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Oslo"}}},
    ]
    script.add(replying(content, "tool_use"), saying("dry"))
    context = task()

    answer = ask(context, tools=[WEATHER])
    again = [Message.user("hello"), answer.message, Message.results([ToolResult(id="t1", content="dry")])]
    ask(context, again, tools=[WEATHER])

    assert answer.stop is StopReason.TOOLS
    assert answer.tool_calls == (ToolCall(id="t1", name="weather", input={"city": "Oslo"}),)
    assert script.seen[1].body["messages"][1]["content"] == content


def test_empty_content_is_an_empty_answer(script: Script, task: Task) -> None:
    """A model may have nothing to add; that is no failure."""
    script.add(saying(""))

    answer = ask(task())

    assert (answer.text, answer.parts, answer.stop) == ("", (), StopReason.END)


def test_an_answer_that_was_cut_off_says_so(script: Script, task: Task) -> None:
    """max_tokens: the words that there are, marked."""
    script.add(saying("once upon", "max_tokens"))

    answer = ask(task(), max_tokens=2)

    assert (answer.text, answer.is_truncated) == ("once upon", True)
    assert script.seen[0].body["inferenceConfig"]["maxTokens"] == 2


@pytest.mark.parametrize(
    ("model", "temperature"),
    [
        ("global.anthropic.claude-opus-4-7", None),
        ("us.anthropic.claude-opus-4-8", None),
        ("global.anthropic.claude-opus-4-6-v1", 0.3),
        ("global.anthropic.claude-sonnet-4-6", 0.3),
    ],
)
def test_a_temperature_is_sent_to_models_that_take_one(
    script: Script, task: Task, model: str, temperature: float | None
) -> None:
    """Claude has refused it since Opus 4.7: "`temperature` is deprecated for this model"."""
    script.add(saying("hello"))

    ask(task(chain=(model,)), temperature=0.3)

    assert script.seen[0].body["inferenceConfig"].get("temperature") == temperature


def test_a_model_is_asked_for_as_much_as_it_can_write(script: Script, task: Task) -> None:
    """What suits the first of a chain is too much for the next, which would refuse the request."""
    script.add(failing("AccessDeniedException"), saying("hello"))

    ask(task(), max_tokens=20_000)

    assert [seen.body["inferenceConfig"]["maxTokens"] for seen in script.seen] == [20_000, 10_000]


def test_the_prompt_cache_is_used_where_the_model_has_one(script: Script, task: Task) -> None:
    """What precedes the last turn is marked to be kept; what is read from there costs a tenth."""
    usage = {
        "inputTokens": 10,
        "outputTokens": 0,
        "totalTokens": 3010,
        "cacheReadInputTokens": 2000,
        "cacheWriteInputTokens": 1000,
    }
    script.add(saying("x", usage=usage), saying("y"))
    turns = [Message.user("a"), Message.assistant("b"), Message.user("c")]

    answer = ask(task(), turns, system="long", cache_prompt=True)
    ask(task(chain=("meta.llama3-3-70b-instruct-v1:0",)), turns, system="long", cache_prompt=True)

    point = {"cachePoint": {"type": "default"}}
    assert script.seen[0].body["system"] == [{"text": "long"}, point]
    assert script.seen[0].body["messages"][1]["content"] == [{"text": "b"}, point]
    assert answer.usage == Usage(input=10, cache_read=2000, cache_write=1000)
    assert answer.dollars == pytest.approx((10 + 2000 * 0.1 + 1000 * 1.25) * 1.1 / 1e6)
    assert "cachePoint" not in str(script.seen[1].body)


def test_a_router_says_who_answered(script: Script, task: Task) -> None:
    """Name and price are those of the model that a prompt router chose."""
    routed = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0"
    script.add(saying("x", trace={"promptRouter": {"invokedModelId": routed}}))

    answer = ask(task())

    assert answer.model == "amazon.nova-micro-v1:0"
    assert answer.dollars == pytest.approx((20 * 0.035 + 10 * 0.14) / 1e6)


# Throttling, failing, falling back


def test_throttled_then_answered(script: Script, task: Task, environment: Environment) -> None:
    """The same model is asked again after a pause, and the fleet manager hears of it."""
    script.add(failing("ThrottlingException", "Too many requests"), saying("at last"))

    assert ask(task()).text == "at last"

    assert script.models == [FIRST, FIRST]
    assert environment.throttled == [FIRST]
    assert environment.paused == [pytest.approx(0.375)]


def test_a_server_says_how_long_to_wait(script: Script, task: Task, environment: Environment) -> None:
    """Retry-After goes before the policy's pause."""
    script.add(failing("ThrottlingException", **{"Retry-After": "3"}), saying("ok"))

    ask(task())

    assert environment.paused == [3.0]


@pytest.mark.parametrize("error", ["ThrottlingException", "ModelNotReadyException", "ServiceQuotaExceededException"])
def test_a_model_that_stays_throttled_gives_way_to_the_next(script: Script, task: Task, error: str) -> None:
    """The chain goes on, and the answer says who gave it."""
    script.add(failing(error), failing(error), saying("from the second"))

    answer = ask(task())

    assert (answer.text, answer.model, script.models) == ("from the second", SECOND, [FIRST, FIRST, SECOND])


def test_when_every_model_is_throttled_the_task_comes_again(script: Script, task: Task, environment: Environment) -> None:
    """Postponed: no attempt of the task is used up, nothing is paid."""
    script.always = failing("ThrottlingException")

    with pytest.raises(ModelBusy) as raised:
        ask(task())

    assert isinstance(raised.value, Postponed)
    assert script.models == [FIRST] * 2 + [SECOND] * 3
    assert all(cost is not None and cost.dollars == 0 for cost in environment.ledger.settled.values())
    assert len(environment.ledger.settled) == 5


@pytest.mark.parametrize("error", ["InternalServerException", "ServiceUnavailableException", "ModelErrorException"])
def test_a_model_that_fails_gives_way_to_the_next(script: Script, task: Task, error: str) -> None:
    """Server errors are tried again once, then elsewhere."""
    script.add(failing(error), failing(error), saying("ok"))

    assert ask(task()).model == SECOND


def test_an_answer_that_is_no_json_is_a_failure(script: Script, task: Task) -> None:
    """A proxy's error page is not an answer."""
    script.always = Turn(status=502, body="<html>bad gateway</html>")

    with pytest.raises(ModelFailed):
        ask(task(chain=(SECOND,)))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
        ("ResourceNotFoundException", "This model version has reached the end of its life."),
        ("ValidationException", "Invocation of model ID x with on-demand throughput isn\u2019t supported."),
    ],
)
def test_a_model_that_may_not_be_used_gives_way_at_once(script: Script, task: Task, error: str, message: str) -> None:
    """No second try; with no other model the agent is told that it has none."""
    script.add(failing(error, message), saying("ok"), failing(error, message))

    assert ask(task()).model == SECOND
    with pytest.raises(ModelUnavailable, match=error):
        ask(task(chain=(SECOND,)))
    assert script.models == [FIRST, SECOND, SECOND]


def test_a_reset_connection_is_tried_again(script: Script, task: Task, environment: Environment) -> None:
    """Whether the lost call is billed nobody knows: its whole reservation counts."""
    script.add(Turn(reset=True), saying("ok"))

    assert ask(task()).text == "ok"
    assert environment.ledger.settled["0"] is None
    assert environment.ledger.settled["1"] is not None


def test_a_slow_model_times_out_and_the_next_is_asked(environment: Environment) -> None:
    """Its time is used up, so it isn't asked again."""
    with scripted(read_timeout=0.2) as (script, port):
        script.add(Turn(seconds=1.0, body={}), saying("quick"))

        assert ask(environment.task(environment.models(port))).model == SECOND


def test_no_call_outlives_its_task(script: Script, task: Task, environment: Environment) -> None:
    """A second is left of the task: the call gets half of it, and a second call none."""
    script.always = Turn(seconds=2.0, body={})
    context = task(chain=(SECOND,), seconds=1.0)
    began = context.clock()

    with pytest.raises(ModelTimeout):
        ask(context)

    assert (context.clock() - began).total_seconds() < 1.0
    assert environment.ledger.settled == {"0": None}
    assert script.models == [SECOND]


def test_an_open_breaker_keeps_the_model_from_being_asked(script: Script, task: Task) -> None:
    """Failures count for every task of the fleet; the next model takes over until it has recovered."""
    script.add(*[failing("InternalServerException")] * 10)
    for number in range(5):
        script.turns.insert(2 + 3 * number, saying("ok"))

    answers = [ask(task()).model for _ in range(5)]
    script.add(saying("ok"))
    asked = len(script.seen)

    assert answers == [SECOND] * 5
    assert ask(task()).model == SECOND
    assert script.models[asked:] == [SECOND]


def test_a_request_that_no_model_takes_is_wrong_for_good(script: Script, task: Task) -> None:
    """Asking elsewhere would not help."""
    script.add(failing("ValidationException", "The value at toolConfig.tools.0 is malformed."))

    with pytest.raises(ModelRequestInvalid, match="malformed") as raised:
        ask(task())

    assert isinstance(raised.value, PermanentError)
    assert script.models == [FIRST]


def test_a_request_that_is_wrong_on_its_face_is_not_sent(script: Script, task: Task) -> None:
    """Field and limit are named."""
    with pytest.raises(ModelRequestInvalid, match="temperature"):
        ask(task(), temperature=1.5)

    assert not script.seen


TOO_LONG = (
    "Input is too long for requested model.",
    "prompt is too long: 213417 tokens > 200000 maximum",
    "Too many input tokens. Max input tokens: 8192, request input token count: 9000",
    "The model's context window size of 8192 tokens was passed",
    "Input length exceeds the maximum of 131072 tokens",
)


@pytest.mark.parametrize("message", TOO_LONG)
def test_a_conversation_that_is_too_long_has_an_error_of_its_own(script: Script, task: Task, message: str) -> None:
    """Every maker words it differently; the next model may have more room, else the agent can shorten it."""
    script.add(failing("ValidationException", message), saying("fits"), *[failing("ValidationException", message)] * 2)

    assert ask(task()).model == SECOND
    with pytest.raises(ModelInputTooLong):
        ask(task())


@pytest.mark.parametrize("stop", ["guardrail_intervened", "content_filtered", "refusal"])
def test_a_refusal_is_final_and_paid(script: Script, task: Task, environment: Environment, stop: str) -> None:
    """No retry, no other model: that would be a way around the guardrail."""
    script.add(saying("Sorry, I can't.", stop))

    with pytest.raises(ModelRefused, match="Sorry"):
        ask(task())

    assert script.models == [FIRST]
    spent = environment.ledger.settled["0"]
    assert spent is not None
    assert spent.dollars > 0


@pytest.mark.parametrize("stop", ["malformed_tool_use", "malformed_model_output"])
def test_an_answer_that_the_server_could_not_read_is_asked_for_again(script: Script, task: Task, stop: str) -> None:
    """The model wrote nonsense once: it is asked again."""
    script.add(saying("", stop), saying("better"))

    assert ask(task()).text == "better"
    assert script.models == [FIRST, FIRST]


# Money and cache


def test_no_call_costs_more_than_was_reserved(script: Script, task: Task, environment: Environment) -> None:
    """The reservation is for as many tokens as there are bytes, and all that may be written, before the call is made."""
    prompt = "Überraschung 🎉 " * 200
    script.add(saying("x", usage={"inputTokens": len(prompt.encode()), "outputTokens": 300, "totalTokens": 0}))

    answer = ask(task(), prompt, max_tokens=300)

    [(purpose, most)] = environment.ledger.reserved
    assert (purpose.tenant, purpose.goal_id, purpose.task_id, purpose.pool) == ("acme", "goal-1", "task-1", "think")
    assert purpose.model == FIRST
    assert answer.dollars <= most.dollars < 3 * answer.dollars
    spent = environment.ledger.settled["0"]
    assert spent is not None
    assert (spent.dollars, spent.tokens) == (answer.dollars, len(prompt.encode()) + 300)


def test_a_call_that_nobody_pays_for_is_not_made(script: Script, server: Any, environment: Environment) -> None:
    """Who reserves may refuse, for good."""

    def refuse(purpose: Any, most: Any) -> str:
        raise PermanentError("the budget of goal-1 is spent")

    environment.ledger.reserve = refuse  # type: ignore[method-assign]

    with pytest.raises(PermanentError, match="budget"):
        ask(environment.task(environment.models(server[1])))

    assert not script.seen


def test_an_equal_request_is_answered_from_the_cache(script: Script, server: Any, environment: Environment) -> None:
    """At temperature 0, for the same tenant; it costs nothing, and says where it came from."""
    models = environment.models(server[1])
    script.add(*(saying(f"answer {number}") for number in range(5)))

    first = ask(environment.task(models), cache=None)
    again = ask(environment.task(models), cache=None)
    other_tenant = ask(environment.task(models, tenant="zen"), cache=None)
    other_question = ask(environment.task(models), "goodbye", cache=None)
    warm = [ask(environment.task(models), cache=None, temperature=0.7).text for _ in range(2)]

    assert (again.text, again.dollars, again.source, again.model) == (first.text, 0.0, "memory", FIRST)
    assert len({first.text, other_tenant.text, other_question.text, *warm}) == 5
    assert len(environment.ledger.reserved) == 5


@pytest.mark.parametrize("error", [GoalEnded("goal g-1 is CANCELLED"), Stopped("tenant acme is stopped: r", 5.0)])
def test_a_task_that_may_not_go_on_asks_nobody(script: Script, task: Task, environment: Environment, error: Exception) -> None:
    """Neither the first model nor the next one, and nothing is set aside; the error is the task's own."""

    def stop() -> None:
        raise error

    with pytest.raises(type(error)):
        ask(replace(task(), stops=stop))

    assert not script.seen
    assert not environment.ledger.reserved


def test_who_waits_for_anothers_answer_is_not_stopped_with_it(script: Script, server: Any, environment: Environment) -> None:
    """Two goals ask for the same at once; the one that asks for both is cancelled."""
    models = environment.models(server[1])
    script.add(saying("mine"))

    def cancelled() -> None:
        time.sleep(0.2)  # the other one joins meanwhile
        raise GoalEnded("goal g-1 is CANCELLED")

    async def both() -> tuple[Any, Any]:
        first = asyncio.ensure_future(replace(environment.task(models), stops=cancelled).model.converse("hello"))
        await asyncio.sleep(0.05)
        return await asyncio.gather(first, environment.task(models).model.converse("hello"), return_exceptions=True)

    ended, answer = run(both())

    assert isinstance(ended, GoalEnded)
    assert answer.text == "mine"


def test_a_warm_request_is_cached_when_asked_for(script: Script, server: Any, environment: Environment) -> None:
    """`cache=True` keeps any answer, but none that was cut off."""
    models = environment.models(server[1])
    script.add(saying("once", "max_tokens"), saying("twice"))

    texts = [ask(environment.task(models), cache=True, temperature=1.0).text for _ in range(3)]

    assert texts == ["once", "twice", "twice"]


def test_ten_calls_wait_at_once(script: Script, task: Task) -> None:
    """One environment waits for all of them: none is answered before the tenth is there."""
    script.always = Turn(body=saying("slow").body, together=10)
    context = task()

    async def ten() -> None:
        await asyncio.gather(*(context.model.converse(f"question {number}") for number in range(10)))

    run(ten())

    assert len(script.seen) == script.peak == 10


def test_without_a_model_the_agent_is_told(environment: Environment) -> None:
    """For good, and with what to do about it."""
    with pytest.raises(ModelUnavailable, match="fleet up --model"):
        _ = environment.task(None).model

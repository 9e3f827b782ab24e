"""The gateway between botocore and an OpenAI-compatible server, both of them real at the wire."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from pydantic import BaseModel

from agentfleet.adapters.bedrock import BedrockModels
from agentfleet.domain.errors import ModelFailed, ModelInputTooLong, ModelThrottled
from agentfleet.domain.model import Message, ModelRequest, StopReason, Tool, ToolResult
from client.gateway.server import Gateway
from client.gateway.upstream import Upstream
from tests.unit.model.conftest import FIRST, Environment

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

TOOL = Tool(
    name="weather",
    description="Tells the weather.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
OTHER = Tool(name="time", description="Tells the time.", input_schema={"type": "object", "properties": {}})


class Chat(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that says what the test wrote down."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[dict[str, Any]]] = []
    says: ClassVar[Any] = {}
    """The next answer: a body, a status with a body, or the lines of a stream."""
    hold: ClassVar[threading.Event | None] = None

    def do_GET(self) -> None:
        self._send(200, json.dumps({"data": [{"id": "models/tiny-1b.gguf"}]}))

    def do_POST(self) -> None:
        type(self).seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.hold:
            self.hold.wait(5)
        says = type(self).says
        if isinstance(says, list):
            self._send(200, "".join(f"data: {json.dumps(line) if isinstance(line, dict) else line}\n\n" for line in says))
        elif isinstance(says, tuple):
            self._send(says[0], json.dumps(says[1]))
        else:
            self._send(200, json.dumps(says))

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """A server's URL while it runs."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def gateway() -> Iterator[str]:
    """A gateway that lets two calls through at once."""
    Chat.seen.clear()
    Chat.hold = None
    with ExitStack() as stack:
        upstream = stack.enter_context(running(ThreadingHTTPServer(("127.0.0.1", 0), Chat)))
        yield stack.enter_context(running(Gateway(("127.0.0.1", 0), Upstream(f"{upstream}/v1"), limit=2)))


@pytest.fixture
def client(gateway: str) -> Iterator[Any]:
    """What a function has: botocore, with nothing but another endpoint."""
    made = Session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=gateway,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield made
    made.close()


def said(content: str | None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion."""
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}], "usage": usage}


def delta(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk of a stream."""
    return {"choices": [{"delta": delta, "finish_reason": finish}]}


def asking(*tools: Tool, choice: str = "auto", text: str = "hello", **more: Any) -> ModelRequest:
    """A request."""
    given: dict[str, Any] = {"max_tokens": 50, "temperature": 0.0, "messages": (Message.user(text),)}
    return ModelRequest(**given | {"tools": tools, "tool_choice": choice, **more})


def test_words_usage_and_who_really_answered(client: Any) -> None:
    """The asked model isn't here: the answer names the one that is, as a prompt router's does."""
    Chat.says = said("good day")

    reply = BedrockModels(lambda _: client).converse(FIRST, asking(system="Be kind.", stop=("END",)), 5)

    assert (reply.text, reply.stop, reply.served) == ("good day", StopReason.END, "local/tiny-1b")
    assert (reply.usage.input, reply.usage.output, reply.usage.cache_read) == (4, 4, 5)
    assert Chat.seen[0] == {
        "model": "tiny-1b",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}],
        "max_tokens": 50,
        "temperature": 0.0,
        "stop": ["END"],
        "stream": False,
    }


def test_tools_that_a_model_may_call(client: Any) -> None:
    """A call and its result go there and back."""
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    Chat.says = said(None, "tool_calls", tool_calls=[call])
    port = BedrockModels(lambda _: client)

    reply = port.converse(FIRST, asking(TOOL), 5)
    Chat.says = said("rain")
    turns = (Message.user("hello"), reply.message, Message.results([ToolResult(id="c1", content={"sky": "rain"})]))
    port.converse(FIRST, asking(TOOL, messages=turns), 5)

    assert reply.stop is StopReason.TOOLS
    assert (reply.tool_calls[0].name, reply.tool_calls[0].input) == ("weather", {"city": "Oslo"})
    assert Chat.seen[0]["tools"][0]["function"]["parameters"] == TOOL.input_schema
    assert Chat.seen[1]["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "rain"}'},
    ]


@pytest.mark.parametrize(
    ("choice", "answer", "name"),
    [
        ("weather", '{"city": "Oslo"}', "weather"),
        ("any", '{"name": "weather", "arguments": {"city": "Oslo"}}', "weather"),
        ("any", '{"name": "time", "arguments": {"city": "Oslo"}}', "time"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_that_must_be_called_is_a_schema(client: Any, choice: str, answer: str, name: str, streamed: bool) -> None:
    """Small models don't obey tool_choice; they can't leave a grammar."""
    half = len(answer) // 2
    Chat.says = [delta(content=answer[:half]), delta("stop", content=answer[half:]), "[DONE]"] if streamed else said(answer)
    port = BedrockModels(lambda _: client)
    request = asking(TOOL, OTHER, choice=choice)

    reply: Any = list(port.stream(FIRST, request, 5))[-1] if streamed else port.converse(FIRST, request, 5)

    assert (reply.stop, reply.text) == (StopReason.TOOLS, "")
    assert (reply.tool_calls[0].name, reply.tool_calls[0].input) == (name, {"city": "Oslo"})
    schema = Chat.seen[0]["response_format"]["json_schema"]["schema"]
    assert schema == TOOL.input_schema if choice == "weather" else len(schema["anyOf"]) == 2


def test_a_stream_of_words_and_calls(client: Any) -> None:
    """Blocks are opened, filled and closed as ConverseStream does, in frames that botocore checks."""
    Chat.says = [
        delta(role="assistant"),
        delta(content="Let me "),
        delta(content="look."),
        delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"ci'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": 'ty": "Oslo"}'}}]),
        delta("tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
        "[DONE]",
    ]

    *words, reply = BedrockModels(lambda _: client).stream(FIRST, asking(TOOL), 5)

    assert words == ["Let me ", "look."]
    assert not isinstance(reply, str)
    assert (reply.text, reply.stop, reply.served) == ("Let me look.", StopReason.TOOLS, "local/tiny-1b")
    assert (reply.tool_calls[0].input, reply.usage.total) == ({"city": "Oslo"}, 10)


def test_a_stream_that_breaks_says_so_in_the_stream(client: Any) -> None:
    """Words, then an exception event."""
    Chat.says = [delta(content="half"), "{broken"]
    stream = BedrockModels(lambda _: client).stream(FIRST, asking(), 5)

    assert next(stream) == "half"
    with pytest.raises(ModelFailed, match="broke off"):
        next(stream)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {"error": {"message": "slow down"}}, "ThrottlingException"),
        (503, {"error": {"message": "Loading model"}}, "ServiceUnavailableException"),
        (400, {"error": {"message": "the request exceeds the available context size"}}, "ValidationException"),
        (401, {"error": "no key"}, "AccessDeniedException"),
        (404, {"error": {"message": "no such model"}}, "ResourceNotFoundException"),
        (500, {"error": {"message": "oops"}}, "ModelErrorException"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_errors_have_bedrocks_names(client: Any, status: int, body: Mapping[str, Any], kind: str, streamed: bool) -> None:
    """Whatever the server behind says, callers see Bedrock's types and statuses."""
    Chat.says = (status, body)
    call = client.converse_stream if streamed else client.converse

    with pytest.raises(ClientError) as raised:
        call(modelId=FIRST, messages=[{"role": "user", "content": [{"text": "hello"}]}])

    assert raised.value.response["Error"]["Code"] == kind
    assert isinstance(raised.value, getattr(client.exceptions, kind))


def test_what_is_too_long_there_is_too_long_here(client: Any) -> None:
    """llama.cpp's error becomes the port's."""
    Chat.says = (400, {"error": {"message": "request (9000 tokens) exceeds the available context size (4096 tokens)"}})

    with pytest.raises(ModelInputTooLong):
        BedrockModels(lambda _: client).converse(FIRST, asking(), 5)


def test_more_calls_than_it_takes_are_throttled(client: Any) -> None:
    """A quota that can be felt on a laptop."""
    Chat.says, Chat.hold = said("ok"), threading.Event()
    port = BedrockModels(lambda _: client)

    async def three() -> list[Any]:
        async def one() -> Any:
            return await asyncio.to_thread(port.converse, FIRST, asking(), 5)

        calls = [asyncio.ensure_future(one()) for _ in range(3)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert Chat.hold
        Chat.hold.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(three())

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ModelThrottled", "Reply", "Reply"]
    assert any(isinstance(outcome, ModelThrottled) for outcome in outcomes)


USER = {"role": "user", "content": [{"text": "hi"}]}
CALL = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "weather", "input": {}}}]}
RESULT = {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}}]}
SPEC = {"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": [USER], "inferenceConfig": {"maxTokens": "many"}}, "maxTokens"),
        ({"messages": [USER], "inferenceConfig": {"maxTokens": 0}}, "maxTokens"),
        ({"messages": [USER], "temperature": 1}, "temperature"),
        ({"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]}, "content"),
        ({"messages": []}, "messages field is empty"),
        ({"messages": [{"role": "assistant", "content": [{"text": "hi"}]}]}, "must start with a user message"),
        ({"messages": [USER, USER]}, "must alternate"),
        ({"messages": [{"role": "user", "content": []}]}, "is empty"),
        ({"messages": [{"role": "user", "content": [{"text": "  "}]}]}, "is blank"),
        ({"messages": [USER, CALL, RESULT]}, "toolConfig field must be defined"),
        ({"messages": [USER, CALL, USER], "toolConfig": {"tools": [SPEC]}}, "Expected toolResult blocks"),
        ({"messages": [RESULT], "toolConfig": {"tools": [SPEC]}}, "exceeds the number of toolUse blocks"),
        ({"messages": [USER], "toolConfig": {"tools": [SPEC], "toolChoice": {"tool": {"name": "x"}}}}, "not in toolConfig"),
        (
            {"messages": [USER], "toolConfig": {"tools": [{"toolSpec": {**SPEC["toolSpec"], "name": "data.query"}}]}},
            "regular expression",
        ),
        (
            {"messages": [USER], "toolConfig": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {}}}}]}},
            "inputSchema.json.type",
        ),
        ({"messages": [{"role": "user", "content": [{"document": {"name": "a", "source": {"text": "b"}}}]}]}, "text only"),
    ],
)
def test_what_bedrock_would_refuse_is_refused(gateway: str, body: Mapping[str, Any], says: str) -> None:
    """Before the model is asked: a laptop must not forgive what an account won't."""
    answer = httpx.post(f"{gateway}/model/{FIRST}/converse", json=body, trust_env=False)

    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert says in answer.json()["message"]
    assert not Chat.seen


def test_embeddings_in_titans_shape(client: Any) -> None:
    """InvokeModel, body in and out as JSON; for text it is refused."""
    Chat.says = {"data": [{"embedding": [0.5, -0.5]}], "usage": {"prompt_tokens": 3}}

    answer = client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=json.dumps({"inputText": "words"}))

    assert json.loads(answer["body"].read())["embedding"] == [0.5, -0.5]
    for model, body in (("amazon.titan-embed-text-v2:0", {"inputText": " "}), (FIRST, {"inputText": "words"})):
        with pytest.raises(ClientError, match="ValidationException"):
            client.invoke_model(modelId=model, body=json.dumps(body))


def test_nothing_behind_it_is_a_service_that_is_not_there() -> None:
    """A gateway whose server has gone says so, and isn't healthy."""
    upstream = Upstream("http://127.0.0.1:9", model="gone")
    with running(Gateway(("127.0.0.1", 0), upstream)) as url:
        answer = httpx.post(f"{url}/model/{FIRST}/converse", json={"messages": [USER]}, trust_env=False)
        missing = httpx.get(f"{url}/nothing", trust_env=False)

    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (503, "ServiceUnavailableException")
    assert missing.status_code == 404


class City(BaseModel):
    """A city."""

    name: str


def test_an_agent_sees_no_difference(client: Any, environment: Environment) -> None:
    """context.model over the gateway: structured, repaired, priced at nothing because it ran here."""
    Chat.says = said('{"name": "Oslo"}')

    task = environment.task(environment.models(BedrockModels(lambda _: client)))
    found = asyncio.run(task.model.structured(City, "Which city?"))

    assert (found.value, found.dollars, found.model) == (City(name="Oslo"), 0.0, "local/tiny-1b")
    assert environment.ledger.reserved[0][1].dollars > 0


TIMED = {"prompt_n": 4, "prompt_per_second": 61.26, "predicted_n": 4, "predicted_per_second": 18.04}
RATES = {"input_tokens": 9, "output_tokens": 4, "read_per_second": 61.3, "written_per_second": 18.0}


def test_how_fast_a_model_was_is_kept_and_logged(client: Any, gateway: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Of whole answers and of streams, the last one first; a server that does not time itself leaves nothing."""
    Chat.says = {**said("hi"), "timings": TIMED}
    BedrockModels(lambda _: client).converse(FIRST, asking(), 5.0)
    Chat.says = said("untimed")
    BedrockModels(lambda _: client).converse(FIRST, asking(), 5.0)
    streamed = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}, "timings": TIMED}
    Chat.says = [delta(content="hi"), delta("stop"), streamed, "[DONE]"]
    list(BedrockModels(lambda _: client).stream(FIRST, asking(), 5.0))

    calls = httpx.get(f"{gateway}/rates").json()["calls"]

    assert calls == [{**RATES, "input_tokens": 7, "output_tokens": 2}, RATES]
    assert "9 tokens read at 61.3/s, 4 written at 18.0/s" in capfd.readouterr().err

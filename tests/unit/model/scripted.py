"""A Bedrock that says what a test wrote down for it, byte for byte, over HTTP; it refuses what Bedrock would refuse."""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from botocore.config import Config
from botocore.session import Session

from agentfleet.adapters.bedrock import BedrockModels
from client.gateway.eventstream import encode_event, encode_exception
from client.gateway.validation import problem_of

HELD = 10.0
"""Seconds that a request waits for others."""
USAGE = {"inputTokens": 20, "outputTokens": 10, "totalTokens": 30}


@dataclass(frozen=True)
class Turn:
    """One answer of the server."""

    status: int = 200
    body: Mapping[str, Any] | str = field(default_factory=dict)
    error: str = ""
    """The type of an error, as the header says it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    frames: Sequence[bytes] = ()
    """Of a stream."""
    seconds: float = 0.0
    """Before it answers."""
    reset: bool = False
    """The connection is reset after what there is of the answer."""
    together: int = 0
    """It is held back until so many requests are under way at once."""


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    model: str
    operation: str
    body: dict[str, Any]


class Script:
    """What is said to each request in turn, or to each request for a model; and what was asked."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.always: Turn | None = None
        self.seen: list[Seen] = []
        self.problems: list[str] = []
        self.lock = threading.Lock()
        self.peak = 0
        """Most requests that were under way at once."""
        self._under_way = 0
        self._came = threading.Condition()

    def add(self, *turns: Turn) -> None:
        """Say these next."""
        self.turns += turns

    def answer(self, seen: Seen) -> Turn:
        """The answer to a request."""
        with self.lock:
            self.seen.append(seen)
            if problem := problem_of(seen.operation, seen.model, seen.body):
                self.problems.append(problem)
                return failing("ValidationException", problem)
            if self.turns:
                return self.turns.pop(0)
            assert self.always is not None, f"nobody wrote an answer to {seen}"
            return self.always

    @contextmanager
    def serving(self, turn: Turn) -> Iterator[None]:
        """While a request is under way: it is counted, and waits for the others that its answer needs."""
        with self._came:
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            self._came.notify_all()
            self._came.wait_for(lambda: self.peak >= turn.together, HELD)
        try:
            yield
        finally:
            with self._came:
                self._under_way -= 1

    @property
    def models(self) -> list[str]:
        """Which models were asked, in order."""
        return [one.model for one in self.seen]


def saying(text: str, stop: str = "end_turn", usage: Mapping[str, int] = USAGE, **more: Any) -> Turn:
    """A whole answer in words."""
    return replying([{"text": text}] if text else [], stop, usage, **more)


def calling(name: str, input: Any, stop: str = "tool_use", id: str = "tooluse_1") -> Turn:
    """A whole answer that calls a tool."""
    return replying([{"toolUse": {"toolUseId": id, "name": name, "input": input}}], stop)


def replying(content: list[Any], stop: str, usage: Mapping[str, int] = USAGE, **more: Any) -> Turn:
    """A whole answer."""
    body = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop, "usage": usage}
    return Turn(body={**body, "metrics": {"latencyMs": 12}, **more})


STATUSES = {
    "ThrottlingException": 429,
    "ValidationException": 400,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "ModelTimeoutException": 408,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
    "ServiceQuotaExceededException": 400,
}


def failing(error: str, message: str = "no", **headers: str) -> Turn:
    """A typed error, as Bedrock's front end writes it."""
    return Turn(status=STATUSES[error], body={"message": message}, error=error, headers=headers)


def streaming(*words: str, stop: str | None = "end_turn", then: Sequence[bytes] = (), **how: Any) -> Turn:
    """A stream of words."""
    frames = [encode_event("messageStart", {"role": "assistant"})]
    frames += [encode_event("contentBlockDelta", {"delta": {"text": word}, "contentBlockIndex": 0}) for word in words]
    if stop is not None:
        frames.append(encode_event("contentBlockStop", {"contentBlockIndex": 0}))
        frames += ending(stop)
    return Turn(frames=[*frames, *then], **how)


def streaming_call(name: str, *pieces: str, stop: str = "tool_use") -> Turn:
    """A stream that calls a tool with the input in pieces."""
    start = {"start": {"toolUse": {"toolUseId": "tooluse_9", "name": name}}, "contentBlockIndex": 0}
    frames = [encode_event("messageStart", {"role": "assistant"}), encode_event("contentBlockStart", start)]
    frames += [
        encode_event("contentBlockDelta", {"delta": {"toolUse": {"input": piece}}, "contentBlockIndex": 0}) for piece in pieces
    ]
    return Turn(frames=[*frames, encode_event("contentBlockStop", {"contentBlockIndex": 0}), *ending(stop)])


def ending(stop: str) -> list[bytes]:
    """The last two frames of a stream."""
    return [
        encode_event("messageStop", {"stopReason": stop}),
        encode_event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 12}}),
    ]


def breaking(name: str, message: str = "no") -> bytes:
    """An error in the middle of a stream."""
    return encode_exception(name, message)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        _, _, model, verb = self.path.split("/")
        operation = {"converse": "Converse", "converse-stream": "ConverseStream", "invoke": "InvokeModel"}[verb]
        turn = self.script.answer(Seen(unquote(model), operation, body))
        with self.script.serving(turn):
            time.sleep(turn.seconds)  # a slow model is what the test is about
            self._say(turn)

    def _say(self, turn: Turn) -> None:
        if turn.reset and not turn.frames:
            self._reset()
            return
        if turn.frames:
            self._stream(turn)
            return
        content = turn.body.encode() if isinstance(turn.body, str) else json.dumps(turn.body).encode()
        self.send_response(turn.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if turn.error:
            self.send_header("x-amzn-ErrorType", f"{turn.error}:http://internal.amazon.com/coral/com.amazon.bedrock/")
        for name, value in turn.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, turn: Turn) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for frame in turn.frames:
            self.wfile.write(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")
        if turn.reset:
            self._reset()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or that was reset, is part of the script."""


@lru_cache(maxsize=1)
def _session() -> Session:
    """One for all tests: it reads the service's model once."""
    return Session()


@contextmanager
def scripted(read_timeout: float = 20.0) -> Iterator[tuple[Script, BedrockModels]]:
    """A running server's script, and the adapter that talks to it through a real botocore client."""
    script = Script()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": script}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    config = Config(
        read_timeout=read_timeout,
        connect_timeout=2,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=64,
    )
    client: Any = _session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )
    try:
        yield script, BedrockModels(lambda seconds: client)
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()

"""The gateway's HTTP side: `POST /model/{id}/converse|converse-stream|invoke`, `GET /health` and `GET /rates`.

Any model id is answered by the one model behind it, and every answer says so in `trace.promptRouter.invokedModelId`.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote

from client.gateway.eventstream import encode_event, encode_exception
from client.gateway.rates import RateLog
from client.gateway.streams import Translation, chunks_of
from client.gateway.translate import Unsupported, forced_tools, from_chat, to_chat
from client.gateway.upstream import BedrockError, Upstream
from client.gateway.validation import problem_of

LIMIT: Final = 64
"""Calls at once; one more is throttled."""
MAX_BODY: Final = 25_000_000
OPERATIONS: Final = {"converse": "Converse", "converse-stream": "ConverseStream", "invoke": "InvokeModel"}


class Gateway(ThreadingHTTPServer):
    """`Gateway((host, port), upstream)`; `limit` calls may be under way at once. `embeddings` answers InvokeModel."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], upstream: Upstream, *, embeddings: Upstream | None = None, limit: int = LIMIT
    ) -> None:
        super().__init__(address, _Handler)
        self.upstream = upstream
        self.embeddings = embeddings or upstream
        self.free = threading.BoundedSemaphore(limit)
        self.rates = RateLog()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def server_close(self) -> None:
        """Stop listening, and let the connections to the models go."""
        super().server_close()
        self.upstream.close()
        self.embeddings.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not worth a traceback; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_GET(self) -> None:
        if self.path == "/rates":
            self._send(200, self.server.rates.recent().model_dump())
            return
        if self.path != "/health":
            self._send(404, {"message": f"there is no {self.path} here"})
            return
        try:
            self._send(200, {"status": "ok", "model": self.server.upstream.model})
        except BedrockError as error:
            self._refuse(error)

    def do_POST(self) -> None:
        try:
            operation, model, body = self._read()
            if not self.server.free.acquire(blocking=False):
                self._refuse(BedrockError("ThrottlingException", "Too many requests, please wait before trying again."))
                return
            try:
                self._answer(operation, model, body)
            finally:
                self.server.free.release()
        except BedrockError as error:
            self._refuse(error)
        except Unsupported as error:
            self._refuse(BedrockError("ValidationException", str(error)))

    def _read(self) -> tuple[str, str, dict[str, Any]]:
        """Operation, model id and body of a request that Bedrock would take. Raises BedrockError."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            self.close_connection = True
            raise BedrockError("ValidationException", f"The request has {length} bytes; at most {MAX_BODY} are allowed.")
        content = self.rfile.read(length)
        parts = self.path.split("/")
        if len(parts) != 4 or parts[1] != "model" or parts[3] not in OPERATIONS:
            raise BedrockError("ResourceNotFoundException", f"There is no operation at {self.path}.")
        operation, model = OPERATIONS[parts[3]], unquote(parts[2])
        try:
            body = json.loads(content or b"{}")
        except ValueError as error:
            raise BedrockError("ValidationException", f"The request's body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise BedrockError("ValidationException", "The request's body must be a JSON object.")
        checked = {"body": content} if operation == "InvokeModel" else body
        if problem := problem_of(operation, model, checked):
            raise BedrockError("ValidationException", problem)
        return operation, model, body

    def _answer(self, operation: str, model: str, body: Mapping[str, Any]) -> None:
        if operation == "InvokeModel":
            self._send(200, self._embed(model, body))
            return
        began = time.monotonic()
        served = f"local/{self.server.upstream.model}"
        chat = to_chat(body, stream=operation == "ConverseStream")
        if operation == "Converse":
            found = self.server.upstream.complete(chat)
            self._note(found)
            self._send(200, from_chat(found, body, served, _since(began)))
            return
        with self.server.upstream.stream(chat) as lines:
            self._stream(lines, Translation(forced_tools(body), served), began)

    def _embed(self, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Titan's shape (Amazon Titan Text Embeddings: `inputText` in, `embedding` out)."""
        if "embed" not in model:
            raise BedrockError("ValidationException", "InvokeModel is here for embeddings only; for text use Converse.")
        text = body.get("inputText")
        if not isinstance(text, str) or not text.strip():
            raise BedrockError("ValidationException", "Malformed input request: inputText must be a text that is not blank.")
        vector, tokens = self.server.embeddings.embed(text)
        return {"embedding": vector, "inputTextTokenCount": tokens, "embeddingsByType": {"float": vector}}

    def _stream(self, lines: Any, translation: Translation, began: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._write(encode_event(*translation.start()))
            for chunk in chunks_of(lines):
                for name, event in translation.add(chunk):
                    self._write(encode_event(name, event))
            self._note(translation.told)
            for name, event in translation.end(_since(began)):
                self._write(encode_event(name, event))
        except ConnectionError:
            raise
        except Exception as error:
            # The status is sent already: what goes wrong now is the stream's last event.
            self._write(encode_exception("modelStreamErrorException", f"The model's stream broke off: {error}"))
        self.wfile.write(b"0\r\n\r\n")

    def _note(self, chat: Mapping[str, Any]) -> None:
        """How fast the model was, for who asks and in the log."""
        if rates := self.server.rates.add(chat):
            self.log_message("%s", rates)

    def _write(self, frame: bytes) -> None:
        self.wfile.write(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")
        self.wfile.flush()

    def _refuse(self, error: BedrockError) -> None:
        self._send(error.status, {"message": str(error)}, {"x-amzn-ErrorType": error.kind})

    def _send(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """One line per request, on standard error: the log of the server that runs in the background."""
        sys.stderr.write(f"{self.log_date_time_string()} {format % args}\n")


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)

"""A reverse proxy that counts: put it before the emulator and ask it afterwards what went by.

`python -m bench.wire http://127.0.0.1:4566 5000` listens on 127.0.0.1:5000. `GET /_wire/tally` tells the counts as JSON,
`POST /_wire/reset` starts anew. Speaks HTTP/1.1 with keep-alive; bodies are taken whole, not streamed.
"""

import asyncio
import json
import signal
import sys
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from bench.tally import Tally, ask_for_units, name_request

OWN: Final = "/_wire/"
BODILESS: Final = frozenset({204, 304})
LINE_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response, taken whole."""

    start: str
    """The request or status line."""
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def named(self) -> dict[str, str]:
        """Headers by name in lower case."""
        return {name.lower(): value for name, value in self.headers}

    @property
    def closes(self) -> bool:
        """Does its sender close the connection after it?"""
        return self.named.get("connection", "").lower() == "close" or self.start.endswith("HTTP/1.0")

    def to_bytes(self, body: bytes | None = None) -> bytes:
        """On the wire, with its length instead of chunks."""
        content = self.body if body is None else body
        skipped = {"content-length", "transfer-encoding", "expect", "trailer"}
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers if name.lower() not in skipped)]
        length = self.named.get("content-length", "0") if not content and self.start.startswith("HTTP/") else len(content)
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode("latin-1") + content


class Wire:
    """The proxy: `Wire("127.0.0.1", 4566)`; give `serve` to asyncio.start_server."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.tally = Tally()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Forward the requests of one connection until either side closes it."""
        upstream = _Upstream(self._host, self._port)
        try:
            while request := await _read_request(reader, writer):
                method, target, _ = request.start.split(" ", 2)
                answer = self._own(method, target) if target.startswith(OWN) else await self._forward(request, upstream)
                writer.write(answer.to_bytes())
                await writer.drain()
                if request.closes:
                    break
        except (ConnectionError, IncompleteReadError):
            pass  # the client went away: there is nobody to tell
        finally:
            await upstream.close()
            await _close(writer)

    def _own(self, method: str, target: str) -> Message:
        match method, target.removeprefix(OWN):
            case "GET", "tally":
                return _reply(200, json.dumps(self.tally.to_json()))
            case "POST", "reset":
                self.tally = Tally()
                return _reply(200, "{}")
        return _reply(404, json.dumps({"message": "there are GET /_wire/tally and POST /_wire/reset"}))

    async def _forward(self, request: Message, upstream: "_Upstream") -> Message:
        method, target, _ = request.start.split(" ", 2)
        name = name_request(method, target, request.named)
        try:
            answer = await upstream.exchange(request.to_bytes(ask_for_units(name, request.body)), method)
        except (OSError, IncompleteReadError) as error:
            return _reply(502, json.dumps({"message": f"the emulator does not answer: {error}"}))
        self.tally.count(name, request.body, int(answer.start.split(" ", 2)[1]), answer.body)
        return answer


class _Upstream:
    """One connection to the emulator, opened when needed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[StreamReader, StreamWriter] | None = None

    async def exchange(self, request: bytes, method: str) -> Message:
        """Send a request and read its response. Raises OSError."""
        if self._streams is not None:
            # A connection kept alive may have been closed by the other side meanwhile; then nothing of it was read.
            with suppress(ConnectionError, _Closed):
                return await self._try(request, method)
            await self.close()
        self._streams = await asyncio.open_connection(*self._address, limit=LINE_LIMIT)
        return await self._try(request, method)

    async def _try(self, request: bytes, method: str) -> Message:
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        while True:
            head = await _read_head(reader)
            if head is None:
                raise _Closed("the emulator closed the connection before it answered")
            answer = Message(*head, b"")
            status = int(answer.start.split(" ", 2)[1])
            if status >= 200:
                break
        if method != "HEAD" and status not in BODILESS:
            answer = Message(*head, await _read_body(reader, answer, until_end=True))
        if answer.closes:
            await self.close()
        return answer

    async def close(self) -> None:
        if self._streams:
            await _close(self._streams[1])
        self._streams = None


class _Closed(OSError):
    """The connection ended where a message should begin."""


async def _close(writer: StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def _read_request(reader: StreamReader, writer: StreamWriter) -> Message | None:
    """The next request, None when there is none any more."""
    head = await _read_head(reader)
    if head is None:
        return None
    request = Message(*head, b"")
    if request.named.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    return Message(*head, await _read_body(reader, request))


async def _read_head(reader: StreamReader) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except IncompleteReadError as error:
        if error.partial:
            raise
        return None
    start, *lines = text[:-4].split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return start, tuple((name, value.strip()) for name, _, value in pairs)


async def _read_body(reader: StreamReader, message: Message, *, until_end: bool = False) -> bytes:
    headers = message.named
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read() if until_end else b""


async def _read_chunks(reader: StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readuntil(b"\r\n")) != b"\r\n":
        pass  # trailers
    return b"".join(parts)


def _reply(status: int, text: str) -> Message:
    reason = {200: "OK", 404: "Not Found", 502: "Bad Gateway"}[status]
    return Message(f"HTTP/1.1 {status} {reason}", (("Content-Type", "application/json"),), text.encode())


async def main(upstream: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    address = urlsplit(upstream)
    wire = Wire(address.hostname or "127.0.0.1", address.port or 80)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", port, limit=LINE_LIMIT)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

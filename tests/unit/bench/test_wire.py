"""The proxy over real sockets: it forwards faithfully, and counts."""

import asyncio
import json
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bench.wire import Wire

Handler = Callable[[bytes, bytes], bytes]
"""Request head and body to response."""

pytestmark = pytest.mark.enable_socket


def through_the_wire(handler: Handler, talk: Callable[[StreamReader, StreamWriter], Awaitable[None]]) -> Wire:
    """Run `talk` on a connection to a proxy before a server that answers with `handler`."""

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        while head := await read_head(reader):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            answer = handler(head, await reader.readexactly(length))
            writer.write(answer)
            await writer.drain()
            if b"connection: close" in answer.lower():
                break
        writer.close()
        await writer.wait_closed()

    async def run() -> Wire:
        async with asyncio.timeout(5), listening(serve) as upstream:
            wire = Wire(*upstream)
            async with listening(wire.serve) as proxy:
                reader, writer = await asyncio.open_connection(*proxy)
                await talk(reader, writer)
                writer.close()
                await writer.wait_closed()
        return wire

    return asyncio.run(run())


@asynccontextmanager
async def listening(serve: Callable[[StreamReader, StreamWriter], Coroutine[Any, Any, None]]) -> AsyncIterator[tuple[str, int]]:
    """A server while the block lasts, and until its connections have ended; gives its address."""
    connections: set[asyncio.Task[Any] | None] = set()

    async def tracked(reader: StreamReader, writer: StreamWriter) -> None:
        connections.add(asyncio.current_task())
        await serve(reader, writer)

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()
    server.close()
    await asyncio.gather(*(task for task in connections if task))


async def read_head(reader: StreamReader) -> bytes:
    """Up to the empty line; nothing if the connection has ended."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def ask(reader: StreamReader, writer: StreamWriter, request: bytes) -> tuple[bytes, bytes]:
    """Send a request; head and body of its response."""
    writer.write(request)
    head = await read_head(reader)
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


def dynamodb(operation: str, body: bytes) -> bytes:
    """A signed request."""
    return (
        f"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, Signature=0\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def test_requests_on_one_connection_are_counted() -> None:
    """A write is asked for its units, its answer goes back as it came, and the counts can be read and reset."""
    seen: list[bytes] = []
    answer = b'{"ConsumedCapacity": {"TableName": "work", "CapacityUnits": 3.0}}'

    def handler(head: bytes, body: bytes) -> bytes:
        seen.append(body)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        put = dynamodb("PutItem", b'{"TableName": "work", "Item": {"pk": {"S": "g"}, "sk": {"S": "PLAN"}}}')
        assert [(await ask(reader, writer, put))[1] for _ in range(2)] == [answer, answer]
        _, counted = await ask(reader, writer, b"GET /_wire/tally HTTP/1.1\r\n\r\n")
        assert json.loads(counted)["requests"] == {"dynamodb.PutItem": 2}
        assert json.loads(counted)["write_units"] == {"work PutItem PLAN": 6.0}
        await ask(reader, writer, b"POST /_wire/reset HTTP/1.1\r\nContent-Length: 0\r\n\r\n")

    wire = through_the_wire(handler, talk)

    assert json.loads(seen[0])["ReturnConsumedCapacity"] == "TOTAL"
    assert wire.tally.requests.total() == 0


def test_chunks_and_connections_that_end_are_handled() -> None:
    """A chunked answer arrives whole, and an emulator that closes after each answer is connected to again."""

    def handler(head: bytes, body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        get = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
        assert [(await ask(reader, writer, get))[1] for _ in range(2)] == [b"abcde", b"abcde"]

    wire = through_the_wire(handler, talk)

    assert wire.tally.requests == {"unsigned.GET": 2}


def test_a_client_that_waits_for_leave_to_send_gets_it() -> None:
    """`Expect: 100-continue` is answered by the proxy and not passed on."""
    heads: list[bytes] = []

    def handler(head: bytes, body: bytes) -> bytes:
        heads.append(head)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"PUT /bucket/key HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert await read_head(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await ask(reader, writer, b"blob"))[1] == b"blob"

    through_the_wire(handler, talk)

    assert b"expect" not in heads[0].lower()


def test_an_answer_to_head_has_no_body() -> None:
    """The length that HEAD tells is passed on, and not waited for."""

    def handler(head: bytes, body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"HEAD /bucket/key HTTP/1.1\r\n\r\n")
        assert b"Content-Length: 1234" in await read_head(reader)

    through_the_wire(handler, talk)


def test_an_emulator_that_is_gone_is_said() -> None:
    """Nobody behind the proxy: 502 with the reason, not a hung client."""

    async def run() -> tuple[bytes, bytes]:
        async with listening(Wire("127.0.0.1", unused_port()).serve) as proxy:
            reader, writer = await asyncio.open_connection(*proxy)
            answer = await ask(reader, writer, b"GET / HTTP/1.1\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return answer

    head, body = asyncio.run(run())

    assert head.startswith(b"HTTP/1.1 502")
    assert b"the emulator does not answer" in body


def unused_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""Unpack what a request carries: base64 and gzip, never past a limit."""

import base64
import binascii
import zlib
from typing import Any, Final

MAX_BODY_BYTES: Final = 32 * 1024 * 1024


class UnreadableBody(Exception):
    """The body can't be unpacked; `status` says it in HTTP (400, 413 or 415)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def unpack(event: dict[str, Any]) -> dict[str, Any]:
    """An HTTP API event (payload format 2.0) with its body as text, at most 32 MB of it. Raises UnreadableBody.

    The gateway hands over bodies of most types in base64, whatever they are; ours are JSON, so that is what they count as.
    """
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip"}:
        raise UnreadableBody(415, f"Content-Encoding may be gzip or identity, not {encoding[:40]!r}")
    if not event.get("body"):
        return event
    if not event.get("isBase64Encoded"):
        if encoding == "gzip":
            raise UnreadableBody(400, "the gateway took the gzipped body for text; send it as application/octet-stream")
        return event
    try:
        body = base64.b64decode(event["body"], validate=True)
        text = (_gunzip(body) if encoding == "gzip" else body).decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise UnreadableBody(400, f"the body can't be unpacked: {error}") from error
    return {**event, "headers": {**headers, "content-type": "application/json"}, "body": text, "isBase64Encoded": False}


def _gunzip(body: bytes) -> bytes:
    # Unpacked in one bounded step, so that a small body which unpacks to gigabytes stops at the limit.
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    unpacked = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    if len(unpacked) > MAX_BODY_BYTES:
        raise UnreadableBody(413, f"the body unpacks to more than {MAX_BODY_BYTES:,} bytes")
    if not unpacker.eof:
        raise UnreadableBody(400, "the body can't be unpacked: its gzip stream is cut short")
    return unpacked

"""Frames of `application/vnd.amazon.eventstream`, as ConverseStream sends them.

Layout (Amazon Transcribe Developer Guide, 'Event stream encoding'), all numbers big-endian:

    total length 4 · headers length 4 · CRC-32 of those eight bytes 4 · headers · payload · CRC-32 of all before it 4
    a header: name length 1 · name · type 1 (7: text) · value length 2 · value
"""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

_TEXT: Final = 7
_AROUND: Final = 16
"""Bytes of a frame that are neither headers nor payload."""


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame."""
    packed = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack("!II", len(packed) + len(payload) + _AROUND, len(packed))
    frame = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return frame + struct.pack("!I", zlib.crc32(frame))


def encode_event(name: str, body: Mapping[str, Any]) -> bytes:
    """An event of a stream, such as `contentBlockDelta`."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, json.dumps(body).encode())


def encode_exception(name: str, message: str) -> bytes:
    """An error in the middle of a stream, such as `throttlingException`: its last frame."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return encode_frame(headers, json.dumps({"message": message}).encode())


def _header(name: str, value: str) -> bytes:
    packed, text = name.encode(), value.encode()
    return struct.pack("!B", len(packed)) + packed + struct.pack("!BH", _TEXT, len(text)) + text

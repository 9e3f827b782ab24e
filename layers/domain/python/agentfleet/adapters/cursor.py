"""Cursors of listings: opaque to callers, and nothing but a place in an order, so that a forged one shows nothing new."""

import base64
import binascii
import re

from agentfleet.domain.errors import InvalidRequest

_LISTED = re.compile(r"\d{4}-\d\d-\d\dT[\d:.+]{15,30}#[\w-]{1,64}", re.ASCII)


def to_cursor(listed: str) -> str:
    """The cursor that stands for everything after the item listed as `<created ISO>#<id>`."""
    return base64.urlsafe_b64encode(listed.encode()).decode().rstrip("=")


def from_cursor(cursor: str) -> str:
    """The place that a cursor stands for. Raises InvalidRequest, field `cursor`."""
    try:
        listed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        listed = ""
    if not _LISTED.fullmatch(listed):
        raise InvalidRequest.of("cursor", "is not one that a listing gave; leave it out to start from the newest")
    return listed

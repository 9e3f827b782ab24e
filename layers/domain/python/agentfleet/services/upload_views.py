"""What the API takes and shows of uploaded files."""

import binascii
from base64 import b64decode
from typing import Annotated, Final

from pydantic import StringConstraints

from agentfleet.services.views import Order, View

MAX_FILE: Final = 4_000_000
"""Bytes: in Base64 what a synchronous call of a function can carry (Lambda quotas: 6 MB)."""


class UploadOrder(Order):
    """A file."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    content: Annotated[str, StringConstraints(min_length=1, max_length=4 * MAX_FILE // 3 + 4)]
    """In Base64."""

    def body(self) -> bytes:
        """The file. Raises ValueError for content that is not Base64."""
        try:
            return b64decode(self.content, validate=True)
        except binascii.Error as error:
            raise ValueError(f"is not Base64: {error}") from error


class UploadView(View):
    """A file that was taken in. Tasks of the same tenant read it by its URI, for 90 days."""

    uri: str
    name: str
    size: int
    """Bytes."""

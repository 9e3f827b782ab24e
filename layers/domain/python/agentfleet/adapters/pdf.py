"""PDF files as text, by page."""

import io
from collections.abc import Sequence
from typing import Final

from agentfleet.domain.errors import InvalidRequest

MAX_PAGES: Final = 2000


class PdfPages:
    """A PageReader."""

    def pages(self, body: bytes) -> Sequence[str]:
        """The text of each page. Raises InvalidRequest for what is not a PDF, is encrypted or has more than 2,000 pages."""
        from pypdf import PdfReader  # noqa: PLC0415 (not in the layers of functions that read none)
        from pypdf.errors import PyPdfError  # noqa: PLC0415

        try:
            reader = PdfReader(io.BytesIO(body))
            if reader.is_encrypted and not reader.decrypt(""):
                raise InvalidRequest.of("content", "is an encrypted PDF: remove its password first")
            if len(reader.pages) > MAX_PAGES:
                raise InvalidRequest.of("content", f"has {len(reader.pages):,} pages; at most {MAX_PAGES:,} are read")
            return [page.extract_text() for page in reader.pages]
        except (PyPdfError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidRequest.of("content", f"can't be read as a PDF: {error}") from error

"""Take in files that tasks are to work on."""

import hashlib
import re
from typing import Final

from agentfleet.domain.errors import InvalidRequest
from agentfleet.ports import BlobStore
from agentfleet.services.capability import blob_prefix
from agentfleet.services.upload_views import MAX_FILE, UploadView

FOLDER: Final = "uploads"
"""Beside the folders of the tenant's goals, which are named by their ids."""
_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Uploader:
    """Files of tenants: `Uploader(blobs)`."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def keep(self, tenant: str, name: str, body: bytes) -> UploadView:
        """Store a file where the tenant's tasks can read it; the same content under the same name is the same file.

        Raises InvalidRequest for an empty file, or one of more than 4 MB.
        """
        if not 0 < len(body) <= MAX_FILE:
            raise InvalidRequest.of("content", f"has {len(body):,} bytes; 1 to {MAX_FILE:,} are allowed")
        plain = _PLAIN.sub("-", name.rpartition("/")[2]).strip(".-")[:120] or "file"
        digest = hashlib.sha256(body).hexdigest()[:32]
        uri = self._blobs.put(f"{blob_prefix(tenant, FOLDER, digest)}{plain}", body, "application/octet-stream")
        return UploadView(uri=uri, name=plain, size=len(body))

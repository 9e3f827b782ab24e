"""The bucket in memory."""

from collections.abc import Sequence
from datetime import timedelta

from agentfleet.adapters.blobs import check_key, split_uri
from agentfleet.domain.errors import NotFound


class FakeBlobs:
    """A BlobStore."""

    def __init__(self, bucket: str = "fleet-bucket") -> None:
        self.bucket = bucket
        self.blobs: dict[str, tuple[bytes, str]] = {}
        """URI → body and content type."""

    def put(self, key: str, body: bytes, content_type: str) -> str:
        uri = f"s3://{self.bucket}/{check_key(key)}"
        self.blobs[uri] = (bytes(body), content_type)
        return uri

    def get(self, uri: str) -> bytes:
        split_uri(uri)
        if uri not in self.blobs:
            raise NotFound(f"there is no blob {uri}")
        return self.blobs[uri][0]

    def key_of(self, uri: str) -> str | None:
        bucket, key = split_uri(uri)
        return key if bucket == self.bucket else None

    def list(self, prefix: str) -> Sequence[tuple[str, int]]:
        start = f"s3://{self.bucket}/{prefix}"
        return [(uri, len(body)) for uri, (body, _) in sorted(self.blobs.items()) if uri.startswith(start)][:1000]

    def link(self, uri: str, lifetime: timedelta) -> str:
        bucket, key = split_uri(uri)
        return f"https://{bucket}.example.test/{key}?expires={int(lifetime.total_seconds())}"

"""Files in S3, by URI."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from agentfleet.domain.errors import NotFound, PermanentError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_KEY_BYTES: Final = 1024
"""Amazon S3 User Guide, 'Naming Amazon S3 objects'."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9!_.*'()=@:+, /-]+")
_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "404"})
_FORBIDDEN = frozenset({"AccessDenied", "403", "AllAccessDisabled"})


def check_key(key: str) -> str:
    """The key, if it is a plain relative path. Raises PermanentError saying what is wrong with it."""
    if not key or len(key) > MAX_KEY_BYTES:
        raise PermanentError(f"blob key: must have 1 to {MAX_KEY_BYTES} characters, not {len(key)}")
    if not _KEY.fullmatch(key):
        raise PermanentError(f"blob key: may hold letters, digits, spaces and !_.*'()=@:+,/- only, unlike {key[:200]!r}")
    if any(step in {"", ".", ".."} for step in key.split("/")):
        raise PermanentError(f"blob key: must be a relative path without empty, '.' and '..' steps, unlike {key[:200]!r}")
    return key


def split_uri(uri: str) -> tuple[str, str]:
    """(bucket, key) of `s3://bucket/key`. Raises PermanentError for anything else."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not _BUCKET.fullmatch(bucket) or not key:
        raise PermanentError(f"blob URI: must be s3://bucket/key, not {uri[:200]!r}")
    if len(key.encode()) > MAX_KEY_BYTES or any(step in {".", ".."} for step in key.split("/")):
        raise PermanentError(
            f"blob URI: the key must be at most {MAX_KEY_BYTES} bytes without '.' and '..', unlike {uri[:200]!r}"
        )
    return bucket, key


class S3Blobs:
    """A BlobStore: `S3Blobs(s3, bucket)`. Writes to the fleet's bucket; reads any `s3://` URI that its role may read."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def put(self, key: str, body: bytes, content_type: str) -> str:
        """Store under a key of the fleet's bucket. Gives the URI. Raises PermanentError for a bad key."""
        self._s3.put_object(Bucket=self._bucket, Key=check_key(key), Body=body, ContentType=content_type)
        return f"s3://{self._bucket}/{key}"

    def get(self, uri: str) -> bytes:
        """Raises NotFound; raises PermanentError for a URI that isn't `s3://bucket/key` or may not be read."""
        bucket, key = split_uri(uri)
        try:
            return self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _ABSENT:
                raise NotFound(f"there is no blob {uri}") from error
            if code in _FORBIDDEN:
                raise PermanentError(f"{uri} may not be read: {code}") from error
            raise

    def key_of(self, uri: str) -> str | None:
        """The key of a blob in the fleet's own bucket; None for one elsewhere."""
        bucket, key = split_uri(uri)
        return key if bucket == self._bucket else None

    def list(self, prefix: str) -> Sequence[tuple[str, int]]:
        """(URI, bytes) of at most 1,000 blobs whose key starts so."""
        answer = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=1000)
        return [(f"s3://{self._bucket}/{found['Key']}", found["Size"]) for found in answer.get("Contents", ())]

    def link(self, uri: str, lifetime: timedelta) -> str:
        """An HTTP address that gives the blob to whoever holds it, for a while (at most 7 days)."""
        bucket, key = split_uri(uri)
        parameters = {"Bucket": bucket, "Key": key}
        return self._s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=int(lifetime.total_seconds()))

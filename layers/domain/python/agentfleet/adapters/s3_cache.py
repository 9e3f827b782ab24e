"""The cache's slow and roomy tier: objects in the fleet's bucket, under a prefix that a lifecycle rule empties."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from agentfleet.domain.errors import CacheUnavailable
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX: Final = "cache/"

_ABSENT: Final = frozenset({"NoSuchKey", "404", "AccessDenied", "403"})
"""Who may not list a bucket is told "access denied" of a key that isn't there (Amazon S3: GetObject, 'Permissions')."""
_EXPIRES: Final = "expires"


class S3Cache:
    """A CacheTier: `S3Cache(s3, bucket, clock)`. An object says itself until when it holds; S3 deletes it days later."""

    def __init__(self, s3: "S3Client", bucket: str, clock: Clock) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock

    def get(self, key: str) -> str | None:
        """The text, None if it was never put or is forgotten. Raises CacheUnavailable."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=PREFIX + key)
            if float(answer["Metadata"].get(_EXPIRES, 0)) <= self._clock().timestamp():
                answer["Body"].close()
                return None
            return answer["Body"].read().decode()
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise CacheUnavailable(f"S3: {error}") from error
        except (BotoCoreError, OSError) as error:
            raise CacheUnavailable(f"S3: {error}") from error

    def put(self, key: str, text: str, lifetime: timedelta) -> None:
        """Store or replace, for at most this long. Raises CacheUnavailable."""
        expires = {_EXPIRES: repr((self._clock() + lifetime).timestamp())}
        try:
            self._s3.put_object(
                Bucket=self._bucket, Key=PREFIX + key, Body=text.encode(), ContentType="application/json", Metadata=expires
            )
        except (ClientError, BotoCoreError, OSError) as error:
            raise CacheUnavailable(f"S3: {error}") from error

    def delete(self, key: str) -> None:
        """Forget. Raises CacheUnavailable."""
        # Overwritten, not deleted: deleting would be one more permission, and the lifecycle rule removes it anyway.
        self.put(key, "", timedelta())

"""Outputs that are too large for an item: JSON objects in S3, named by what they hold.

Two attempts at one task may give two outputs, and only the first result stands. Were both stored under one name, the loser's
would replace the winner's; named by their digest, the loser's is merely never looked at, and expires with its prefix.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.domain.errors import NotFound

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

INLINE_BYTES: Final = 4096
"""Outputs up to this size stay in their item: four write units cost less than an S3 put, and no second read."""


class S3Outputs:
    """`S3Outputs(s3, bucket)`: JSON under `outputs/{goal}/{name}-{digest}.json`."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def put(self, goal_id: str, name: str, text: str) -> str:
        """Store JSON text. Gives the digest to find it by."""
        body = text.encode()
        digest = hashlib.sha256(body).hexdigest()[:16]
        key = self._key(goal_id, name, digest)
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")
        return digest

    def get(self, goal_id: str, name: str, digest: str) -> Any:
        """The JSON value. Raises NotFound if it has expired."""
        key = self._key(goal_id, name, digest)
        try:
            return json.loads(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                raise NotFound(f"the output at s3://{self._bucket}/{key} is not there any more") from error
            raise

    @staticmethod
    def _key(goal_id: str, name: str, digest: str) -> str:
        return f"outputs/{goal_id}/{name}-{digest}.json"

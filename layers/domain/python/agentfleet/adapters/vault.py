"""Copies of histories in a bucket whose objects can't be changed or deleted before their time."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX: Final = "history/"


class S3Vault:
    """A HistoryVault: `S3Vault(s3, bucket)`. How long objects are locked is the bucket's own default."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def put(self, name: str, body: bytes) -> None:
        """Store a copy. Raises ClientError."""
        self._s3.put_object(
            Bucket=self._bucket,
            Key=f"{PREFIX}{name}",
            Body=body,
            ContentType="application/gzip",
            # Asked for, since our clients send a checksum only where S3's model requires one. The model can't know of locks:
            # a bucket with a default retention refuses objects that come without (Amazon S3: Managing Object Lock).
            ChecksumAlgorithm="SHA256",
        )

"""The contract of BlobStore."""

from datetime import timedelta

import pytest

from agentfleet.domain.errors import NotFound, PermanentError
from tests.contract.world import World


@pytest.mark.parametrize("body", [b"", b"text", bytes(range(256)) * 4096])
def test_a_blob_comes_back_as_it_was_stored(world: World, body: bytes) -> None:
    """Empty, short, and a megabyte of every byte there is."""
    key = f"blobs/{world.fresh('g')}/task/some file (1).bin"

    uri = world.blobs.put(key, body, "application/octet-stream")

    assert uri.startswith("s3://")
    assert uri.endswith(f"/{key}")
    assert world.blobs.get(uri) == body


def test_a_blob_is_replaced_by_a_newer_one(world: World) -> None:
    """A repeated attempt may store its file again."""
    key = f"blobs/{world.fresh('g')}/a"
    world.blobs.put(key, b"old", "text/plain")

    assert world.blobs.get(world.blobs.put(key, b"new", "text/plain")) == b"new"


def test_a_blob_that_is_not_there_is_not_found(world: World) -> None:
    """Neither a key nor a bucket that doesn't exist."""
    uri = world.blobs.put(f"blobs/{world.fresh('g')}/a", b"", "text/plain")

    with pytest.raises(NotFound, match="absent"):
        world.blobs.get(uri + "absent")
    with pytest.raises(NotFound, match="no-such-bucket"):
        world.blobs.get("s3://no-such-bucket-anywhere/key")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "https://bucket/key",
        "file:///etc/passwd",
        "/etc/passwd",
        "s3://bucket/../other/key",
        "s3://bucket/a/./b",
        "s3://Bucket/key",
        "s3://bucket@evil/key",
        "S3://bucket/key",
        "s3://bucket/" + "k" * 1025,
    ],
)
def test_only_plain_s3_uris_are_read(world: World, uri: str) -> None:
    """Anything else fails for good, before any request."""
    with pytest.raises(PermanentError, match="blob URI"):
        world.blobs.get(uri)
    with pytest.raises(PermanentError, match="blob URI"):
        world.blobs.link(uri, timedelta(hours=1))


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/.", "a/", "a\nb", "a\\b", "ключ", "a?b", "k" * 1025]
)
def test_only_plain_keys_are_written(world: World, key: str) -> None:
    """A key is a relative path of ordinary characters."""
    with pytest.raises(PermanentError, match="blob key"):
        world.blobs.put(key, b"", "text/plain")


def test_blobs_are_listed_by_prefix(world: World) -> None:
    """URIs with sizes, in order; nothing of another prefix."""
    goal_id = world.fresh("g")
    uris = [world.blobs.put(f"blobs/{goal_id}/t/{name}", name.encode() * 3, "text/plain") for name in ("b", "aa")]
    world.blobs.put(f"blobs/{goal_id}x/t/c", b"", "text/plain")

    assert world.blobs.list(f"blobs/{goal_id}/") == [(uris[1], 6), (uris[0], 3)]
    assert world.blobs.list(f"blobs/{world.fresh('g')}/") == []


def test_a_link_leads_to_the_blob(world: World) -> None:
    """It is an HTTP address with the key in it."""
    uri = world.blobs.put(f"blobs/{world.fresh('g')}/a.txt", b"hi", "text/plain")

    link = world.blobs.link(uri, timedelta(minutes=5))

    assert link.startswith("http")
    assert uri.split("/", 3)[3] in link

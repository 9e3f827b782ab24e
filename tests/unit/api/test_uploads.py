"""Files that come in over HTTP."""

import base64

from tests.unit.api.world import World


def test_a_file_is_kept_where_its_tenants_tasks_can_read_it(world: World) -> None:
    """The same again is the same file; its name is made plain and leads nowhere."""
    order = {"name": "../My code (1).zip", "content": base64.b64encode(b"PK").decode()}

    first, again = (world.call("POST", "/uploads", order) for _ in range(2))
    other = world.call("POST", "/uploads", order, tenant="evil")

    assert (first.status, first.body) == (again.status, again.body)
    assert first.status == 201
    assert (first.body["name"], first.body["size"]) == ("My-code-1-.zip", 2)
    assert first.body["uri"].startswith("s3://fleet-bucket/blobs/acme/uploads/")
    assert other.body["uri"].startswith("s3://fleet-bucket/blobs/evil/uploads/")
    assert world.fleet.blobs.get(first.body["uri"]) == b"PK"


def test_what_is_no_file_is_refused(world: World) -> None:
    """Not Base64, nothing, too much."""
    for content, said in (("%%%", "is not Base64"), ("", "at least 1 character"), ("A" * 5_400_000, "at most 5333337")):
        answer = world.call("POST", "/uploads", {"name": "a", "content": content})
        assert answer.status == 422
        assert said in answer.body["problems"][0]["message"]

"""Checks of the functions that keep documents and search them."""

import json
from typing import Any, Final
from uuid import uuid4

from tests.emulator.grants.hand import TENANT, Hand, Refused

POOL_DOMAIN: Final = "grants-of-the-pool"
API_DOMAIN: Final = "grants-of-the-api"
TOOL_DOMAIN: Final = "grants-of-the-tools"
ONE_WAY: Final = 0.5
"""The most that a piece has which is found by meaning alone, or by words alone."""


def keep_documents(hand: Hand) -> None:
    """The pool: a file and a text kept in one domain, what was joined long ago swept, and found in both ways."""
    word = f"owl{uuid4().hex}"
    name = f"blobs/{TENANT}/uploads/{uuid4().hex}/owls.txt"
    uri = hand.platform.outside.blobs.put(name, f"Owls such as {word} hunt for mice.".encode(), "text/plain")
    _do(hand, "knowledge.add", {"domain": POOL_DOMAIN, "documents": [{"title": f"{word}.txt", "uri": uri}]})
    leave_old_file(hand, POOL_DOMAIN)
    _do(hand, "knowledge.add", {"domain": POOL_DOMAIN, "documents": [{"title": f"{word}.md", "text": f"# {word}\n\nBats."}]})
    _must_find(_do(hand, "knowledge.search", {"query": word}), POOL_DOMAIN)


def serve_knowledge(hand: Hand) -> None:
    """The API's routes: the same, then listed and deleted."""
    word = f"owl{uuid4().hex}"
    with hand.client() as client:
        kept = [client.add_document({"domain": API_DOMAIN, "title": f"{word}.txt", "text": f"Owls such as {word} hunt."})]
        leave_old_file(hand, API_DOMAIN)
        kept.append(client.add_document({"domain": API_DOMAIN, "title": f"{word}.md", "text": f"# {word}\n\nBats."}))
        if not {one.id for one in client.documents(API_DOMAIN)} >= {one.id for one in kept}:
            raise Refused("the documents are not listed")
        _must_find(client.search(word).model_dump(mode="json"), API_DOMAIN)
        for one in kept:
            client.delete_document(API_DOMAIN, one.id)


def keep_one(hand: Hand) -> str:
    """A document of the tools' domain, kept by the API. Gives a word that nothing else has."""
    word = f"owl{uuid4().hex}"
    with hand.client() as client:
        client.add_document({"domain": TOOL_DOMAIN, "title": f"{word}.txt", "text": f"Owls such as {word} hunt."})
    return word


def leave_old_file(hand: Hand, domain: str) -> None:
    """Let a domain's index of words name a file that was replaced long ago, so that the next change deletes it."""
    s3, bucket, key = hand.clients.s3, hand.cloud.outputs["Bucket"], f"knowledge/{TENANT}/{domain}/words/manifest.json"
    manifest = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    manifest["retired"]["old"] = 0.0
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(manifest).encode())


def must_find_both_ways(found: dict[str, Any]) -> None:
    """Raises Refused unless a search found something by meaning and by words."""
    if found["missing"] or not found["findings"] or found["findings"][0]["score"] <= ONE_WAY:
        raise Refused(f"found by less than meaning and words: {str(found)[:400]}")


def _must_find(found: dict[str, Any], domain: str) -> None:
    must_find_both_ways(found)
    if (place := found["findings"][0]["place"])["domain"] != domain:
        raise Refused(f"found in {place}, not in {domain}")


def _do(hand: Hand, capability: str, value: dict[str, Any]) -> dict[str, Any]:
    goal = hand.submit({"id": "k", "capability": capability, "input": value})
    hand.deliver("knowledge", hand.pointers(goal, "k"))
    output: dict[str, Any] = hand.output(goal, "k")
    return output

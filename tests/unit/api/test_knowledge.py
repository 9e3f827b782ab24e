"""Knowledge over HTTP: kept, found, answered from, forgotten; and what is refused."""

import base64
from typing import Any

import pytest

from tests.unit.api.world import World

TEXTS = {
    "lambda.md": "# Limits\n\nMemory of a function goes up to ten gigabytes.\n\n# Time\n\nA function runs fifteen minutes.",
    "queues.md": "# Queues\n\nMessages stay in a queue for fourteen days at most.",
}


def fill(world: World, tenant: str = "acme") -> None:
    """Two documents, a second apart."""
    for title, text in TEXTS.items():
        world.fleet.clock.advance(1)
        assert world.call("POST", "/knowledge", {"domain": "aws", "title": title, "text": text}, tenant=tenant).status == 201


def test_documents_are_kept_found_and_forgotten(world: World) -> None:
    """Kept once however often it is sent, found by what it says with the line where it stands, gone after deletion."""
    fill(world)
    again = world.call("POST", "/knowledge", {"domain": "aws", "title": "queues.md", "text": TEXTS["queues.md"]})

    listed = world.call("GET", "/knowledge").body["documents"]
    found = world.call("GET", "/knowledge/search", query="how long does a function run").body["findings"]
    gone = world.call("DELETE", f"/knowledge/aws/{listed[1]['id']}")

    assert again.body == listed[0]
    assert [document["title"] for document in listed] == ["queues.md", "lambda.md"]
    assert listed[1]["chunks"] == 2
    place = found[0]["place"]
    assert (place["title"], place["headings"], place["first_line"], place["last_line"]) == ("lambda.md", ["Time"], 7, 7)
    assert found[0]["score"] > found[1]["score"]
    assert (gone.status, gone.body) == (204, None)
    left = world.call("GET", "/knowledge/search", query="how long does a function run").body["findings"]
    assert {one["place"]["title"] for one in left} == {"queues.md"}
    assert world.call("DELETE", f"/knowledge/aws/{listed[1]['id']}").status == 404
    assert world.call("GET", "/knowledge", domain="cooking").body == {"documents": []}


def test_answers_cite_where_they_stand(world: World) -> None:
    """In the documents' own sentences; None where they say nothing of it."""
    fill(world)

    answer = world.call("GET", "/knowledge/ask", question="How many days do messages stay in a queue?").body
    nothing = world.call("GET", "/knowledge/ask", question="Zebra?").body

    assert answer["answer"] == "Messages stay in a queue for fourteen days at most. [1]"
    assert answer["method"] == "extractive"
    [citation] = answer["citations"]
    assert (citation["number"], citation["title"], citation["first_line"]) == (1, "queues.md", 3)
    assert (nothing["answer"], nothing["citations"]) == (None, [])


def test_nobody_sees_what_is_somebody_elses(world: World) -> None:
    """Neither listed, found, answered from nor deleted by another tenant, whatever domain they name."""
    fill(world)
    [document, *_] = world.call("GET", "/knowledge").body["documents"]

    assert world.call("GET", "/knowledge", tenant="evil").body == {"documents": []}
    assert world.call("GET", "/knowledge/search", tenant="evil", query="queue").body == {"findings": [], "missing": {}}
    assert world.call("GET", "/knowledge/search", tenant="evil", query="queue", domain="aws").body["findings"] == []
    assert world.call("GET", "/knowledge/ask", tenant="evil", question="queue?", domain="aws").body["answer"] is None
    assert world.call("DELETE", f"/knowledge/aws/{document['id']}", tenant="evil").status == 404


def test_a_domain_that_is_down_is_named_and_the_others_answer(world: World) -> None:
    """A partial answer says that it is one; if nobody answers, it is no answer."""
    fill(world)
    world.call("POST", "/knowledge", {"domain": "law", "title": "t", "text": "Messages are private."})
    world.vectors.down, world.words.down = {"law"}, {"law"}

    partial = world.call("GET", "/knowledge/search", query="messages")
    world.vectors.down, world.words.down = {"law", "aws"}, {"law", "aws"}
    nothing = world.call("GET", "/knowledge/search", query="messages")

    assert {one["place"]["domain"] for one in partial.body["findings"]} == {"aws"}
    assert partial.body["missing"] == {"law": "vectors: it is down; words: it is down"}
    assert (nothing.status, nothing.body["error"]) == (503, "unavailable")


def test_without_vectors_words_still_find(world: World) -> None:
    """An index that is being built takes nothing away from the other."""
    fill(world)
    world.vectors.down = {"aws"}

    found = world.call("GET", "/knowledge/search", query="fourteen days").body

    assert found["findings"][0]["place"]["title"] == "queues.md"
    assert found["missing"] == {"aws": "vectors: it is down"}


def test_another_text_is_a_new_version(world: World) -> None:
    """The old text is not found any more; writers that did not know of each other leave a conflict that is shown."""
    order = {"domain": "aws", "title": "t", "source": "s", "text": "The limit is five."}
    first = world.call("POST", "/knowledge", order).body
    second = world.call("POST", "/knowledge", {**order, "text": "The limit is seven."}).body
    other = world.call("POST", "/knowledge", {**order, "text": "The limit is nine.", "based_on": [first["version"]]}).body

    texts = [one["text"] for one in world.call("GET", "/knowledge/search", query="limit").body["findings"]]
    solved = world.call(
        "POST", "/knowledge", {**order, "text": "The limit is ten.", "based_on": [second["version"], other["version"]]}
    ).body

    assert first["id"] == second["id"] == other["id"]
    assert (second["conflicts"], solved["conflicts"]) == ([], [])
    assert [one["version"] for one in other["conflicts"]] == [second["version"]]
    assert texts == ["The limit is nine."]
    assert [one["text"] for one in world.call("GET", "/knowledge/search", query="limit").body["findings"]] == [
        "The limit is ten."
    ]


def test_a_pdf_comes_as_content(world: World) -> None:
    """Its chunks say on which page they stand."""
    content = base64.b64encode(b"%PDFFirst page.\fAbout badgers.").decode()

    kept = world.call("POST", "/knowledge", {"title": "b.pdf", "content": content})
    found = world.call("GET", "/knowledge/search", query="badgers").body["findings"]

    assert (kept.status, kept.body["media"]) == (201, "application/pdf")
    assert (found[0]["place"]["page"], found[0]["place"]["first_line"]) == (2, 1)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"title": "", "text": "x"}, "title"),
        ({"title": "t", "text": "x", "domain": "No Spaces"}, "domain"),
        ({"title": "t", "text": "x" * 1_500_001}, "text"),
        ({"title": "t"}, "body"),
        ({"title": "t", "text": "x", "content": "eA=="}, "body"),
        ({"title": "t.pdf", "text": "x"}, "body"),
        ({"title": "t.pdf", "content": "not base64"}, "content"),
        ({"title": "t.pdf", "content": "eA=="}, "content"),
        ({"title": "t", "text": "?!"}, "text"),
        ({"title": "t", "text": "x", "based_on": ["yesterday"]}, "body"),
        ({"title": "t", "text": "x", "media": "image/png"}, "media"),
    ],
)
def test_a_bad_document_is_refused(world: World, document: dict[str, Any], field: str) -> None:
    """Each limit names its field."""
    answer = world.call("POST", "/knowledge", document)

    assert (answer.status, answer.fields) == (422, [field])


def test_a_search_needs_a_word_and_domains_that_can_be(world: World) -> None:
    """Punctuation is no question."""
    assert world.call("GET", "/knowledge/search", query="?!").fields == ["query"]
    assert world.call("GET", "/knowledge/search").fields == ["query"]
    assert world.call("GET", "/knowledge/search", query="x", domain="a,B#c").fields == ["domain"]

"""The contract of DocumentStore."""

from msgspec.structs import replace

from agentfleet.domain.hlc import Stamp
from agentfleet.domain.knowledge import Chunk, Document, Space, chunk_key
from agentfleet.domain.record import Record, Register, Version
from tests.contract.world import World


def document(world: World, name: str, domain: str = "law") -> Document:
    """A short document with every kind of state."""
    stamps = [Stamp(int(world.clock().timestamp() * 1000) + number, number, "n-1") for number in range(3)]
    versions = frozenset(Version(stamp, f"{number:024d}", "text/plain", 7, 2) for number, stamp in enumerate(stamps[:2]))
    title, source = Register(f"Grüße 🚀 {name}", stamps[0]), Register("a/b", stamps[1])
    return Document(name, domain, Record(title, source, versions, frozenset({stamps[2]})), world.clock())


def stored(document: Document) -> Document:
    """As it comes back after it was saved once more."""
    return replace(document, changes=document.changes + 1)


def test_documents_are_listed_by_domain_and_id(world: World) -> None:
    """All of a tenant's, or those of one domain; never anybody else's."""
    tenant = world.fresh("tenant")
    documents = [document(world, "b", "art"), document(world, "a"), document(world, "c")]
    for one in reversed(documents):
        assert world.documents.save(Space(tenant, one.domain), one)
    world.documents.save(Space(world.fresh("tenant"), "law"), document(world, "d"))

    assert list(world.documents.list(tenant, None)) == list(map(stored, documents))
    assert list(world.documents.list(tenant, "law")) == list(map(stored, documents[1:]))
    assert list(world.documents.list(tenant, "la")) == []
    assert list(world.documents.domains(tenant)) == ["art", "law"]


def test_a_document_is_replaced_by_who_has_read_it(world: World) -> None:
    """A writer that has not seen the last change changes nothing."""
    space = Space(world.fresh("tenant"), "law")
    first = document(world, "a")

    assert world.documents.save(space, first)
    assert not world.documents.save(space, first)
    assert world.documents.save(space, replace(first, changes=1))
    assert not world.documents.save(space, replace(first, changes=1))
    assert world.documents.get(space, ["a", "b"]) == {"a": replace(first, changes=2)}
    assert world.documents.get(Space(space.tenant, "art"), ["a"]) == {}


def test_a_deleted_document_is_remembered_and_not_listed(world: World) -> None:
    """Who comes back late learns that it was deleted."""
    space = Space(world.fresh("tenant"), "law")
    world.documents.save(space, document(world, "a"))
    [known] = world.documents.get(space, ["a"]).values()

    assert world.documents.save(space, replace(known, record=known.record.deleted()))

    assert list(world.documents.list(space.tenant, None)) == []
    assert world.documents.get(space, ["a"])["a"].record.current is None


def test_chunks_are_kept_by_key(world: World) -> None:
    """With all that a citation needs; other spaces don't see them, forgotten ones are gone, absent ones do no harm."""
    space = Space(world.fresh("tenant"), "law")
    chunks = {
        chunk_key("d1", "0" * 24, number): Chunk(number, f"text {number}", ("One", "Two 🚀"), 3, 7, None if number else 4)
        for number in range(60)
    }
    keys = list(chunks)

    world.documents.put_chunks(space, chunks)

    assert world.documents.get_chunks(space, [*keys, "d1/x/00000"]) == chunks
    assert world.documents.get_chunks(Space(space.tenant, "art"), keys) == {}
    world.documents.delete_chunks(space, keys[1:])
    world.documents.delete_chunks(space, keys[1:])
    assert world.documents.get_chunks(space, keys) == {keys[0]: chunks[keys[0]]}


def test_many_documents_come_whole(world: World) -> None:
    """Pages of the store don't show."""
    space = Space(world.fresh("tenant"), "law")
    base = document(world, "x")
    heavy = frozenset(Stamp(1_000_000_000_000 + number, 0, "n") for number in range(4000))
    for number in range(12):
        record = replace(base.record, replaced=heavy)
        world.documents.save(space, replace(base, id=f"d{number:02d}", record=record))

    assert [one.id for one in world.documents.list(space.tenant, None)] == [f"d{number:02d}" for number in range(12)]

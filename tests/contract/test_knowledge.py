"""The contract of KnowledgeStore."""

from dataclasses import replace

from agentfleet.ports import Document
from tests.contract.world import World


def document(world: World, name: str, domain: str = "law") -> Document:
    """A short document."""
    return Document(name, domain, f"About {name}", "Grüße 🚀", world.clock())


def test_documents_are_listed_by_domain_and_id(world: World) -> None:
    """All of a tenant's, or those of one domain; never anybody else's."""
    tenant = world.fresh("tenant")
    documents = [document(world, "b", "art"), document(world, "a"), document(world, "c")]
    for one in reversed(documents):
        world.knowledge.put(tenant, one)
    world.knowledge.put(world.fresh("tenant"), document(world, "d"))

    assert list(world.knowledge.list(tenant, None)) == documents
    assert list(world.knowledge.list(tenant, "law")) == documents[1:]
    assert list(world.knowledge.list(tenant, "la")) == []


def test_a_document_is_replaced_by_its_id(world: World) -> None:
    """The newer text stands; the same id in another domain is another document."""
    tenant = world.fresh("tenant")
    world.knowledge.put(tenant, document(world, "a"))
    world.knowledge.put(tenant, document(world, "a", "art"))
    newer = replace(document(world, "a"), text="x" * 100_000)

    world.knowledge.put(tenant, newer)

    assert list(world.knowledge.list(tenant, "law")) == [newer]
    assert len(world.knowledge.list(tenant, None)) == 2


def test_names_with_separators_are_kept_apart(world: World) -> None:
    """A domain whose name begins like another's key does not see its documents."""
    tenant = world.fresh("tenant")
    names = [("a", "b#c"), ("a#b", "c"), ("a%23b", "c"), ("a/b", "ключ")]
    for domain, name in names:
        world.knowledge.put(tenant, document(world, name, domain))

    assert [(one.domain, one.id) for domain, _ in names for one in world.knowledge.list(tenant, domain)] == names


def test_a_document_can_be_deleted(world: World) -> None:
    """Once; the second time there is none."""
    tenant = world.fresh("tenant")
    world.knowledge.put(tenant, document(world, "a"))

    assert not world.knowledge.delete(tenant, "art", "a")
    assert world.knowledge.delete(tenant, "law", "a")
    assert not world.knowledge.delete(tenant, "law", "a")
    assert list(world.knowledge.list(tenant, None)) == []

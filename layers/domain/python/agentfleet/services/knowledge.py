"""The services over documents, composed once."""

import secrets

from agentfleet.ports import Clock
from agentfleet.ports_knowledge import DocumentStore, PageReader
from agentfleet.services.answer import Answerer
from agentfleet.services.find import Finder
from agentfleet.services.learn import Indexes, Librarian


class Knowledge:
    """Keep, find and answer, over one set of stores."""

    def __init__(
        self,
        documents: DocumentStore,
        indexes: Indexes,
        pages: PageReader,
        clock: Clock,
        *,
        node: str | None = None,
    ) -> None:
        """`node` names this process among all that write."""
        self.librarian = Librarian(documents, indexes, pages, clock, node or secrets.token_hex(6))
        self.finder = Finder(documents, indexes)
        self.answerer = Answerer(self.finder, indexes.embedder)

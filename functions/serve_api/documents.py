"""Routes of what the fleet knows: keep documents, find what they say, ask them, forget them."""

from agentfleet.bootstrap import utc_now
from agentfleet.domain.errors import InvalidRequest
from agentfleet.domain.hlc import Stamp
from agentfleet.domain.knowledge import DOMAIN_NAME
from agentfleet.routes import Limit, Routes
from agentfleet.services import knowledge_views as known
from agentfleet.services.learn import Draft
from agentfleet.services.openapi import answers

from datetime import timedelta
from typing import Annotated, Final

from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

LEARN_TIME: Final = timedelta(seconds=18)
"""For embedding, of the 29 that a request may take."""

routes = Routes()

DomainQuery = Annotated[str | None, Query(max_length=64, description="Only documents of this domain")]
DomainsQuery = Annotated[
    str | None, Query(max_length=2000, description="Only these domains, with commas between them; all without it")
]


@routes.get("/knowledge", tags=["knowledge"], summary="Documents, newest first", **answers())
def list_documents(domain: DomainQuery = None) -> known.DocumentList:
    """Without their texts."""
    return routes.knowledge.librarian.list(routes.tenant(), domain)


@routes.get("/knowledge/search", tags=["knowledge"], summary="Pieces of documents that match a query", **answers(503))
def search_documents(
    query: Annotated[str, Query(min_length=1, max_length=1000)], domain: DomainsQuery = None, limit: Limit = 10
) -> known.FindingList:
    """By meaning and by words, best first; `missing` names domains that did not answer."""
    return routes.knowledge.finder.find(routes.tenant(), query, _domains(domain), limit)


@routes.get("/knowledge/ask", tags=["knowledge"], summary="An answer from documents, with citations", **answers(503))
def ask_documents(
    question: Annotated[str, Query(min_length=1, max_length=1000)], domain: DomainsQuery = None
) -> known.AnswerView:
    """`answer` is null if they don't hold one; `method` says how it was made."""
    return routes.knowledge.answerer.ask(routes.tenant(), question, _domains(domain))


def _domains(domain: str | None) -> list[str] | None:
    names = [name.strip() for name in (domain or "").split(",") if name.strip()]
    for name in names:
        if not DOMAIN_NAME.fullmatch(name):
            raise InvalidRequest.of("domain", f"{name[:80]!r} is none: lower-case letters, digits and hyphens are allowed")
    return names or None


@routes.post(
    "/knowledge",
    tags=["knowledge"],
    summary="Keep a document",
    description="201 when all of it can be found. 202 if time did not suffice for a long one: send the same again to go on.",
    **answers(503, success=201, description="Kept", also={202: ("Not all of it is indexed yet", known.DocumentView)}),
)
def add_document(document: Annotated[known.DocumentOrder, Body()]) -> Response[known.DocumentView]:
    """The same document again changes nothing; another text of the same source is its new version."""
    owner = routes.tenant()
    try:
        body = document.body()
    except ValueError as error:
        raise InvalidRequest.of("content", str(error)) from error
    seen = None if document.based_on is None else tuple(map(Stamp.parse, document.based_on))
    draft = Draft(document.title, document.source, document.kind, body, seen)
    [kept] = routes.knowledge.librarian.add(owner, document.domain, [draft], utc_now() + LEARN_TIME)
    status = 201 if kept.indexed == kept.chunks else 202
    return Response(status, content_type=content_types.APPLICATION_JSON, body=kept)


@routes.delete(
    "/knowledge/<domain>/<document_id>",
    tags=["knowledge"],
    summary="Forget a document",
    **answers(404, 503, success=204, description="Forgotten"),
)
def delete_document(domain: str, document_id: str) -> Response[None]:
    """404 if there is none."""
    routes.knowledge.librarian.delete(routes.tenant(), domain, document_id)
    return Response(204)

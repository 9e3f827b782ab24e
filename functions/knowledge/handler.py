"""What the fleet knows: keep documents, find what they say, answer questions from them with citations."""

from agentfleet.agent import Agent, PermanentError, TaskContext
from agentfleet.bootstrap import knowledge
from agentfleet.domain.errors import InvalidRequest, KnowledgeUnavailable, Postponed, RetryableError
from agentfleet.domain.knowledge import Media, media_of
from agentfleet.services.knowledge_views import AnswerView, Domain, FindingList
from agentfleet.services.learn import Draft
from agentfleet.services.write_answer import ModelWriter

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

agent = Agent("knowledge")

T = TypeVar("T")

SPARE: Final = 20.0
"""Seconds that are left for storing when the time for embedding is over."""


class Strict(BaseModel):
    """A field that doesn't exist is an error."""

    model_config = ConfigDict(extra="forbid")


class DocumentInput(Strict):
    """A document: its text, or the address of a file."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    source: str = Field(default="", max_length=500)
    media: Media | None = None
    text: str | None = None
    uri: str | None = None


class AddInput(Strict):
    """Documents of one domain."""

    domain: Domain = "general"
    documents: list[DocumentInput] = Field(min_length=1, max_length=100)


class PythonDocsInput(Strict):
    """A part of the Python documentation, so that several agents can learn it at once."""

    domain: Domain = "python-docs"
    part: int = Field(default=0, ge=0)
    parts: int = Field(default=1, ge=1, le=32)
    topics: list[str] | None = None
    """Only these of its topics; all without it."""


class AddOutput(BaseModel):
    """What is known now."""

    domain: str
    documents: int
    chunks: int


class SearchInput(Strict):
    """What to look for."""

    query: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    domains: list[Domain] | None = None
    limit: int = Field(default=10, ge=1, le=50)


class AskInput(Strict):
    """A question."""

    question: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    domains: list[Domain] | None = None


class CompactInput(Strict):
    """A domain."""

    domain: Domain


@agent.capability("knowledge.add", idempotent=True, timeout=280)
def add(input: AddInput, context: TaskContext) -> AddOutput:
    """Keep documents of a domain, given as text or by the address of a file, so that they can be searched."""
    return _add(input.domain, [_draft(document, context) for document in input.documents], context)


@agent.capability("knowledge.add_python_docs", idempotent=True, timeout=280)
def add_python_docs(input: PythonDocsInput, context: TaskContext) -> AddOutput:
    """Keep the language reference that comes with Python (or a part of it) as documents."""
    try:
        from pydoc_data.topics import topics  # noqa: PLC0415 (0.5 MB that nothing else here needs)
    except ImportError as error:
        raise PermanentError(f"this Python comes without its documentation: {error}") from error
    wanted = sorted(topics) if input.topics is None else input.topics
    unknown = [name for name in wanted if name not in topics]
    if unknown:
        raise PermanentError(f"topics: {unknown[:5]} are none; there are {', '.join(sorted(topics))}")
    own = [name for number, name in enumerate(wanted) if number % input.parts == input.part]
    drafts = [Draft(name, f"pydoc_data/topics/{name}", "text/plain", topics[name].encode()) for name in own]
    return _add(input.domain, drafts, context)


@agent.capability("knowledge.search", idempotent=True, timeout=60)
def search(input: SearchInput, context: TaskContext) -> FindingList:
    """Find pieces of documents by meaning and by words, with their places, in some domains or in all."""
    return _asked(lambda: knowledge().finder.find(context.tenant, input.query, input.domains, input.limit))


@agent.capability("knowledge.ask", idempotent=True, timeout=180)
async def ask(input: AskInput, context: TaskContext) -> AnswerView:
    """Answer a question from documents, with citations by document and line; a model words it where there is one."""
    try:
        answerer = knowledge().answerer
        return await answerer.ask_model(context.tenant, input.question, input.domains, ModelWriter(context))
    except InvalidRequest as error:
        raise PermanentError(str(error)) from error
    except KnowledgeUnavailable as error:
        raise RetryableError(str(error)) from error


@agent.capability("knowledge.compact", idempotent=True, timeout=280)
def compact(input: CompactInput, context: TaskContext) -> dict[str, str]:
    """Put a domain's indexes in order after many additions and deletions."""
    _asked(lambda: knowledge().librarian.tidy(context.tenant, input.domain))
    return {"domain": input.domain}


def _draft(document: DocumentInput, context: TaskContext) -> Draft:
    if (document.text is None) == (document.uri is None):
        raise PermanentError(f"document {document.title!r}: give exactly one of text and uri")
    source = document.source or document.uri or document.title
    media = document.media or media_of(source) or media_of(document.title) or "text/plain"
    if document.text is not None and media == "application/pdf":
        raise PermanentError(f"document {document.title!r}: a PDF is given by uri")
    body = context.blobs.get(document.uri) if document.uri is not None else (document.text or "").encode("utf-8", "replace")
    return Draft(document.title, source[:500], media, body)


def _add(domain: str, drafts: list[Draft], context: TaskContext) -> AddOutput:
    if not drafts:
        return AddOutput(domain=domain, documents=0, chunks=0)
    until = datetime.now(UTC) + timedelta(seconds=max(1.0, context.remaining_seconds() - SPARE))
    kept = _asked(lambda: knowledge().librarian.add(context.tenant, domain, drafts, until))
    indexed, chunks = sum(one.indexed for one in kept), sum(one.chunks for one in kept)
    if indexed < chunks:
        raise Postponed(f"{indexed:,} of {chunks:,} chunks are indexed; the rest comes next", 1.0)
    return AddOutput(domain=domain, documents=len(kept), chunks=chunks)


def _asked(call: Callable[[], T]) -> T:
    """Wrong questions fail at once; what is not available now is tried again."""
    try:
        return call()
    except InvalidRequest as error:
        raise PermanentError(str(error)) from error
    except KnowledgeUnavailable as error:
        raise RetryableError(str(error)) from error

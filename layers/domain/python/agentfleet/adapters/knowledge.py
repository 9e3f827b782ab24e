"""Knowledge in DynamoDB: one partition per tenant, so that nobody's query can reach another's documents.

Key rule (pk, sk): TENANT#tenant, DOCUMENT#<domain, quoted>#<id, quoted>.
"""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pynamodb.attributes import UnicodeAttribute
from pynamodb.exceptions import DeleteError
from pynamodb.models import Model

from agentfleet.adapters.dynamo import MomentAttribute, bind, condition_failed
from agentfleet.ports import Document

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LISTED: Final = 1000
_DOCUMENT: Final = "DOCUMENT#"


class DocumentItem(Model):
    """A document."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    id = UnicodeAttribute()
    domain = UnicodeAttribute()
    title = UnicodeAttribute()
    text = UnicodeAttribute()
    created = MomentAttribute()


class DynamoKnowledge:
    """A KnowledgeStore: `DynamoKnowledge(dynamodb, table)`. A document may have about 400 KB."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        self._items = bind(DocumentItem, table, dynamodb)

    def put(self, tenant: str, document: Document) -> None:
        """Store or replace."""
        self._items(
            _tenant_key(tenant),
            _document_key(document.domain, document.id),
            id=document.id,
            domain=document.domain,
            title=document.title,
            text=document.text,
            created=document.created,
        ).save()

    def list(self, tenant: str, domain: str | None) -> Sequence[Document]:
        """A tenant's documents, at most 1,000, by domain and id."""
        prefix = _DOCUMENT if domain is None else _document_key(domain, "")
        found = self._items.query(_tenant_key(tenant), DocumentItem.sk.startswith(prefix), consistent_read=True)
        return [
            Document(id=item.id, domain=item.domain, title=item.title, text=item.text, created=item.created)
            for item in islice(found, LISTED)
        ]

    def delete(self, tenant: str, domain: str, document_id: str) -> bool:
        """False if there was none."""
        try:
            self._items(_tenant_key(tenant), _document_key(domain, document_id)).delete(DocumentItem.pk.exists())
        except DeleteError as error:
            if condition_failed(error):
                return False
            raise
        return True


def _tenant_key(tenant: str) -> str:
    return f"TENANT#{tenant}"


def _document_key(domain: str, document_id: str) -> str:
    """Quoted, so that no domain's name can be the beginning of another's key."""
    return f"{_DOCUMENT}{quote(domain, safe='')}#{quote(document_id, safe='')}"

"""Documents in DynamoDB. A tenant's documents are one partition, the chunks of one tenant and domain another.

Key rules (pk, sk):
  TENANT#tenant         DOMAIN#domain
  TENANT#tenant         DOCUMENT#<domain, quoted>#<id, quoted>
  SPACE#tenant#domain   CHUNK#chunk key
No tenant and no domain may hold a `#`, so no key can be the beginning of another's.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from botocore.exceptions import ClientError

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.dynamo import Item, from_micros, read_items, to_micros, to_seconds, write_items
from agentfleet.domain.codec import dumps
from agentfleet.domain.hlc import Stamp
from agentfleet.domain.knowledge import Chunk, Document, Space
from agentfleet.domain.record import REMEMBERED, Record, Register, Version
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LISTED: Final = 1000


class DynamoDocuments:
    """A DocumentStore: `DynamoDocuments(dynamodb, table, threads, clock)`."""

    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, threads: Executor, clock: Clock, backoff: Backoff | None = None
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._threads = threads
        self._clock = clock
        self._backoff = backoff or Backoff()

    def get(self, space: Space, document_ids: Sequence[str]) -> dict[str, Document]:
        """The documents that there are among these, read consistently."""
        keys = [(f"TENANT#{space.tenant}", _document_key(space.domain, name)) for name in document_ids]
        items = read_items(self._dynamodb, self._table, keys, self._threads, self._backoff)
        return {document.id: document for document in map(_document, items)}

    def save(self, space: Space, document: Document) -> bool:
        """Store it if it was changed `document.changes` times so far. False if not: nothing was changed."""
        tenant = {"S": f"TENANT#{space.tenant}"}
        if not document.changes:
            # Before the document: a domain without documents does no harm, a document of an unknown domain is never found.
            self._dynamodb.put_item(
                TableName=self._table, Item={"pk": tenant, "sk": {"S": f"DOMAIN#{space.domain}"}, "domain": {"S": space.domain}}
            )
        request: Any = {"ConditionExpression": "attribute_not_exists(pk)"}
        if document.changes:
            values = {":changes": {"N": str(document.changes)}}
            request = {"ConditionExpression": "changes = :changes", "ExpressionAttributeValues": values}
        item = self._item(space, document)
        try:
            self._dynamodb.put_item(TableName=self._table, Item={"pk": tenant, **item}, **request)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def list(self, tenant: str, domain: str | None) -> Sequence[Document]:
        """A tenant's documents, at most 1,000, by domain and id, without deleted ones."""
        prefix = "DOCUMENT#" if domain is None else _document_key(domain, "")
        found = (_document(item) for item in self._query(f"TENANT#{tenant}", prefix))
        kept: list[Document] = []
        for document in found:
            if document.record.current is not None:
                kept.append(document)
            if len(kept) == LISTED:
                break
        return kept

    def domains(self, tenant: str) -> Sequence[str]:
        """The domains that a tenant has ever had documents in, by name."""
        return [item["domain"]["S"] for item in self._query(f"TENANT#{tenant}", "DOMAIN#")]

    def put_chunks(self, space: Space, chunks: Mapping[str, Chunk]) -> None:
        """Store or replace, by key."""
        requests = ({"PutRequest": {"Item": {**_chunk_key(space, key), **_chunk_item(one)}}} for key, one in chunks.items())
        write_items(self._dynamodb, self._table, requests, self._threads, self._backoff)

    def get_chunks(self, space: Space, keys: Iterable[str]) -> dict[str, Chunk]:
        """The chunks that there are among these, read consistently."""
        wanted = [(f"SPACE#{space}", f"CHUNK#{key}") for key in keys]
        items = read_items(self._dynamodb, self._table, wanted, self._threads, self._backoff)
        return {item["sk"]["S"].removeprefix("CHUNK#"): _chunk(item) for item in items}

    def delete_chunks(self, space: Space, keys: Iterable[str]) -> None:
        """Forget; an absent one is none the worse for it."""
        requests = ({"DeleteRequest": {"Key": _chunk_key(space, key)}} for key in keys)
        write_items(self._dynamodb, self._table, requests, self._threads, self._backoff)

    def _query(self, pk: str, prefix: str) -> Iterable[Item]:
        request: Any = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ExpressionAttributeValues": {":pk": {"S": pk}, ":prefix": {"S": prefix}},
            "ConsistentRead": True,
        }
        while True:
            answer = self._dynamodb.query(**request)
            yield from answer["Items"]
            if not (after := answer.get("LastEvaluatedKey")):
                return
            request["ExclusiveStartKey"] = after

    def _item(self, space: Space, document: Document) -> dict[str, Any]:
        item: dict[str, Any] = {
            "sk": {"S": _document_key(space.domain, document.id)},
            "id": {"S": document.id},
            "domain": {"S": space.domain},
            "record": {"S": dumps(_record_json(document.record))},
            "created": {"N": str(to_micros(document.created))},
            "changes": {"N": str(document.changes + 1)},
        }
        if document.record.current is None:
            item["expires"] = {"N": to_seconds(self._clock() + REMEMBERED)}
        return item


def _document_key(domain: str, document_id: str) -> str:
    return f"DOCUMENT#{quote(domain, safe='')}#{quote(document_id, safe='')}"


def _chunk_key(space: Space, key: str) -> dict[str, Any]:
    return {"pk": {"S": f"SPACE#{space}"}, "sk": {"S": f"CHUNK#{key}"}}


def _chunk_item(chunk: Chunk) -> dict[str, Any]:
    item: dict[str, Any] = {
        "text": {"S": chunk.text},
        "headings": {"L": [{"S": heading} for heading in chunk.headings]},
        "first": {"N": str(chunk.first)},
        "last": {"N": str(chunk.last)},
    }
    return item if chunk.page is None else {**item, "page": {"N": str(chunk.page)}}


def _chunk(item: Item) -> Chunk:
    page = item.get("page")
    return Chunk(
        number=int(item["sk"]["S"].rpartition("/")[2]),
        text=item["text"]["S"],
        headings=tuple(heading["S"] for heading in item["headings"]["L"]),
        first=int(item["first"]["N"]),
        last=int(item["last"]["N"]),
        page=None if page is None else int(page["N"]),
    )


def _document(item: Item) -> Document:
    return Document(
        id=item["id"]["S"],
        domain=item["domain"]["S"],
        record=_record(json.loads(item["record"]["S"])),
        created=from_micros(item["created"]["N"]),
        changes=int(item["changes"]["N"]),
    )


def _record_json(record: Record) -> dict[str, Any]:
    return {
        "title": [record.title.value, str(record.title.stamp)],
        "source": [record.source.value, str(record.source.stamp)],
        "versions": [[str(one.stamp), one.digest, one.media, one.size, one.chunks] for one in sorted(record.versions)],
        "replaced": sorted(map(str, record.replaced)),
    }


def _record(data: Any) -> Record:
    title, source = (Register(value, Stamp.parse(stamp)) for value, stamp in (data["title"], data["source"]))
    versions = frozenset(Version(Stamp.parse(stamp), *rest) for stamp, *rest in data["versions"])
    return Record(title, source, versions, frozenset(map(Stamp.parse, data["replaced"])))

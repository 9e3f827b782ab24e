"""What the requests that passed by would have cost on AWS: how many, and their read and write units by kind of item."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.capacity import Item, UnknownStatement, inserted_item, item_size, read_units, write_units

SQS_CHUNK: Final = 65_536
"""Amazon SQS pricing: every 64 KB of payload is billed as one request."""

REPORTED: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
"""Operations whose units the emulator tells right, indexes included, when it is asked to."""

_SCOPE: Final = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")
_LETTERS: Final = re.compile(r"[A-Za-z-]+")


def name_request(method: str, target: str, headers: Mapping[str, str]) -> str:
    """`service.Operation`, such as `dynamodb.PutItem`, `s3.GET`, `http-api.POST`. Header names are in lower case."""
    operation = headers.get("x-amz-target", "").rpartition(".")[2] or method
    if scope := _SCOPE.search(headers.get("authorization", "")):
        return f"{scope[1]}.{operation}"
    service = "http-api" if target.startswith("/_aws/execute-api/") else "unsigned"
    return f"{service}.{operation}"


def ask_for_units(name: str, body: bytes) -> bytes:
    """The request's body with a wish to be told its units, where the emulator grants it."""
    service, _, operation = name.partition(".")
    if service != "dynamodb" or operation not in REPORTED:
        return body
    return json.dumps({**json.loads(body), "ReturnConsumedCapacity": "TOTAL"}).encode()


@dataclass(slots=True)
class Tally:
    """Counts since the last reset. Units are counted by `table operation kind`, kind being what the sort key starts with."""

    requests: Counter[str] = field(default_factory=Counter)
    sqs_billed: int = 0
    """SQS requests as they are billed."""
    messages: int = 0
    """Messages sent to queues."""
    write_units: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    read_units: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    uncounted: Counter[str] = field(default_factory=Counter)
    """Requests that units could not be told of, by reason: to be reported, never to be left out in silence."""
    _written: Counter[str] = field(default_factory=Counter)
    _written_bytes: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Everything counted, as plain data; the most frequent first."""
        return {
            "requests": dict(self.requests.most_common()),
            "sqs_billed": self.sqs_billed,
            "messages": self.messages,
            "write_units": _most_first(self.write_units),
            "read_units": _most_first(self.read_units),
            "uncounted": dict(self.uncounted.most_common()),
        }

    def count(self, name: str, request: bytes, status: int, response: bytes) -> None:
        """Count one exchange."""
        self.requests[name] += 1
        service, _, operation = name.partition(".")
        if service == "sqs":
            self.sqs_billed += max(1, -(-len(request) // SQS_CHUNK))
            self.messages += len(json.loads(request).get("Entries", ())) if operation == "SendMessageBatch" else 0
            self.messages += operation == "SendMessage"
        elif service == "dynamodb":
            answer = json.loads(response) if response else {}
            self._count_units(operation, json.loads(request), status, answer)

    def _count_units(self, operation: str, request: dict[str, Any], status: int, response: dict[str, Any]) -> None:
        match operation:
            case "BatchExecuteStatement":
                self._count_statements(request["Statements"])
            case _ if operation in REPORTED:
                self._count_reported(operation, request, status, response)
            case _ if status != 200:
                self.uncounted[f"{operation} answered {status}"] += 1
            case "GetItem":
                self._count_get(request, response)
            case "BatchGetItem":
                self._count_batch_get(request, response)
            case "Query" | "Scan":
                self._count_query(operation, request, response)
            case "ExecuteStatement" | "ExecuteTransaction" | "TransactGetItems":
                self.uncounted[f"{operation} is not sized"] += 1

    def _count_statements(self, statements: Iterable[Mapping[str, Any]]) -> None:
        """An INSERT that finds its key taken costs what it would have written."""
        for statement in statements:
            try:
                table, item = inserted_item(statement["Statement"], statement.get("Parameters", ()))
            except UnknownStatement as error:
                self.uncounted[str(error)] += 1
                continue
            size = self._note(table, item)
            self.write_units[f"{table} INSERT {kind_of(item)}"] += write_units(size)

    def _note(self, table: str, item: Item) -> int:
        size = item_size(item)
        self._written[table] += 1
        self._written_bytes[table] += size
        return size

    def _count_reported(self, operation: str, request: dict[str, Any], status: int, response: dict[str, Any]) -> None:
        subject = request.get("Item") or request.get("Key") or {}
        label = f"{request.get('TableName', 'several')} {operation} {kind_of(subject)}"
        if status != 200:
            # A condition that fails costs as much as the write (Developer Guide, 'Working with items and attributes').
            refused = str(response.get("__type", "")).endswith("ConditionalCheckFailedException")
            if refused:
                self.write_units[f"{label} refused"] += write_units(item_size(subject))
            else:
                self.uncounted[f"{operation} answered {status}"] += 1
            return
        consumed = response["ConsumedCapacity"]
        for one in consumed if isinstance(consumed, list) else [consumed]:
            self.write_units[label] += one["CapacityUnits"]

    def _count_get(self, request: dict[str, Any], response: dict[str, Any]) -> None:
        size = item_size(response.get("Item", {}))
        label = f"{request['TableName']} GetItem {kind_of(request['Key'])}"
        consistent = request.get("ConsistentRead", False)
        self.read_units[label] += read_units(size, consistent=consistent)

    def _count_batch_get(self, request: dict[str, Any], response: dict[str, Any]) -> None:
        for table, wanted in request["RequestItems"].items():
            found = response["Responses"].get(table, [])
            label = f"{table} BatchGetItem {kind_of(wanted['Keys'][0])}"
            sizes = [item_size(item) for item in found] + [0] * (len(wanted["Keys"]) - len(found))
            consistent = wanted.get("ConsistentRead", False)
            self.read_units[label] += sum(read_units(size, consistent=consistent) for size in sizes)

    def _count_query(self, operation: str, request: dict[str, Any], response: dict[str, Any]) -> None:
        """A projection or filter hides what was read: then the table's mean written item stands for each of those scanned."""
        table = request["TableName"]
        size = sum(map(item_size, response["Items"]))
        if ("ProjectionExpression" in request or "FilterExpression" in request) and self._written[table]:
            size = response["ScannedCount"] * self._written_bytes[table] // self._written[table]
        label = f"{table} {operation} {request.get('IndexName', '')}".strip()
        consistent = request.get("ConsistentRead", False)
        self.read_units[label] += read_units(size, consistent=consistent)


def _most_first(units: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(units.items(), key=lambda pair: -pair[1]))


def kind_of(item: Item) -> str:
    """What an item's sort key starts with: `GOAL`, `PLAN`, `R` (a result), `J` (a join) …"""
    sort_key = item.get("sk", {}).get("S", "")
    found = _LETTERS.match(sort_key)
    return found[0] if found else "other"

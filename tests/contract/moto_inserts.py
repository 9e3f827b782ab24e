"""What moto lacks for us: BatchExecuteStatement with INSERT, parameters and DuplicateItem.

moto 5.2 can't parse a parameter inside INSERT's VALUE, and overwrites an item whose key exists. This does what DynamoDB
documents (PartiQL reference, 'Insert statements'; API reference, BatchStatementError); the emulator runs the same tests on
an implementation of its own.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from moto.dynamodb.models import DynamoDBBackend

_INSERT = re.compile(r"""INSERT INTO "([\w.-]+)" VALUE \{((?:'\w+':\?,?)+)\}""")


@contextmanager
def conditional_inserts() -> Iterator[None]:
    """While this lasts, moto's batches of INSERT statements behave."""

    def execute(backend: DynamoDBBackend, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [_insert(backend, one["Statement"], one["Parameters"]) for one in statements]

    with patch.object(DynamoDBBackend, "batch_execute_statement", execute):
        yield


def _insert(backend: DynamoDBBackend, statement: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    match = _INSERT.fullmatch(statement)
    assert match, f"not an INSERT with parameters only: {statement}"
    table, names = match[1], re.findall(r"'(\w+)'", match[2])
    if table not in backend.tables:
        return {"Error": {"Code": "ResourceNotFound", "Message": "Requested resource not found"}}
    item = dict(zip(names, parameters, strict=True))
    if backend.get_item(table, {"pk": item["pk"], "sk": item["sk"]}) is not None:
        return {"TableName": table, "Error": {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"}}
    backend.put_item(table, item)
    return {"TableName": table}

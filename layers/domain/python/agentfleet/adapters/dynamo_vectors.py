"""DynamoDB's own vector index over the knowledge table.

A vector is an item of its own beside its chunk, so that reading a chunk does not read 5 KB of numbers:
pk SPACE#tenant#domain, sk VECTOR#model#chunk key, `space` (the index's HASH: no search leaves it), and the vector in the
attribute named like the model. Its width is that of the index, so that another model is another index.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.dynamo import write_items
from agentfleet.domain.errors import KnowledgeUnavailable
from agentfleet.domain.knowledge import Match, Space, Vector
from agentfleet.domain.names import vector_index

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST: Final = 100
"""TopK's limit (Amazon DynamoDB, 'Quotas': Vector indexes)."""


class DynamoVectors:
    """A VectorIndex: `DynamoVectors(dynamodb, table, model, threads)`; `model` is an embedder's name."""

    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, model: str, threads: Executor, backoff: Backoff | None = None
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._model = model
        self._threads = threads
        self._backoff = backoff or Backoff()

    def put(self, space: Space, vectors: Mapping[str, Vector]) -> None:
        """Store or replace, by chunk key. Raises KnowledgeUnavailable."""
        self._write({"PutRequest": {"Item": self._item(space, key, vector)}} for key, vector in vectors.items())

    def remove(self, space: Space, keys: Iterable[str]) -> None:
        """Forget. Raises KnowledgeUnavailable."""
        self._write({"DeleteRequest": {"Key": self._key(space, key)}} for key in keys)

    def compact(self, space: Space) -> None:
        """Nothing to do: DynamoDB keeps its index in order itself."""

    def search(self, space: Space, vector: Vector, limit: int) -> Sequence[Match]:
        """The nearest chunks, at most 100, with their cosine, best first. Raises KnowledgeUnavailable."""
        try:
            answer = self._dynamodb.search_vectors(
                TableName=self._table,
                IndexName=vector_index(self._model),
                SearchVector=_numbers(vector),
                TopK=min(limit, MOST),
                SearchConditionExpression="#space = :space",
                ExpressionAttributeNames={"#space": "space"},
                ExpressionAttributeValues={":space": {"S": str(space)}},
                ProjectionExpression="sk",
            )
        except (ClientError, BotoCoreError) as error:
            raise KnowledgeUnavailable(f"DynamoDB's vector index: {error}") from error
        prefix = len(f"VECTOR#{self._model}#")
        # The index gives the distance, from 0 (the same) to 2 (API reference, 'SearchVectors').
        return [Match(found["Item"]["sk"]["S"][prefix:], 1 - found["Score"]) for found in answer["SearchResults"]]

    def _write(self, requests: Iterable[dict[str, Any]]) -> None:
        try:
            write_items(self._dynamodb, self._table, requests, self._threads, self._backoff)
        except (ClientError, BotoCoreError) as error:
            raise KnowledgeUnavailable(f"DynamoDB's vector index: {error}") from error

    def _item(self, space: Space, key: str, vector: Vector) -> dict[str, Any]:
        return {**self._key(space, key), "space": {"S": str(space)}, self._model: {"L": _numbers(vector)}}

    def _key(self, space: Space, key: str) -> dict[str, Any]:
        return {"pk": {"S": f"SPACE#{space}"}, "sk": {"S": f"VECTOR#{self._model}#{key}"}}


def _numbers(vector: Vector) -> list[Any]:
    """Nine digits tell every 32-bit float from every other."""
    return [{"N": f"{value:.9g}"} for value in vector]

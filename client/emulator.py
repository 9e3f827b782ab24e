"""The emulator of the local cloud, started by this file in an environment of its own, with what it lacks completed.

MiniStack 1.5.33 tells a table's stream of items that PutItem wrote, and not of those that PartiQL's `INSERT` wrote; DynamoDB
tells of both (DynamoDB Developer Guide, 'Change data capture for DynamoDB Streams': every modification of items).
Results are inserted so, and the history is made from the stream.

It also hands over records as soon as there is one, whatever batching window the function's trigger asks for; Lambda waits until
the window is over or the batch is full (Lambda Developer Guide, 'Batching behavior'). What a history costs depends on that.
"""

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

_EMIT = "_emit_stream_event"
"""The function of MiniStack that PutItem calls when it has stored an item; who calls it has its name in its code."""

_WINDOW = "MaximumBatchingWindowInSeconds"

Answer = tuple[int, Mapping[str, str], bytes]


def tell_streams_of_inserts(dynamodb: Any) -> bool:
    """Let PartiQL's INSERT write the stream record that PutItem writes. False for a MiniStack that does so by itself."""
    callers = (dynamodb._partiql_insert, dynamodb._execute_statement, dynamodb._batch_execute_statement)
    if any(_EMIT in caller.__code__.co_names for caller in callers):
        return False
    insert: Callable[[Any, Any], Answer] = dynamodb._partiql_insert

    def insert_and_tell(table: Any, parsed: Any) -> Answer:
        answer = insert(table, parsed)
        if answer[0] == 200:
            item = parsed["item"]
            dynamodb._emit_stream_event(parsed["table"], "INSERT", None, item["M"] if set(item) == {"M"} else item)
        return answer

    dynamodb._partiql_insert = insert_and_tell
    return True


def gather_records(dynamodb: Any, functions: Any, now: Callable[[], float] = time.monotonic) -> bool:
    """Let stream triggers wait for their batching window. False for a MiniStack that does so by itself."""
    poll = functions._poll_dynamodb_streams.__code__
    if _WINDOW in (*poll.co_consts, *poll.co_names):
        return False
    read: Callable[..., list[Any]] = dynamodb.stream_records_since
    first_seen: dict[str, tuple[int, float]] = {}
    """By table: from where a batch is gathered, and since when."""

    def gathered(table: str, position: int, limit: int, **scope: Any) -> list[Any]:
        records = read(table, position, limit, **scope)
        window = 0 if scope else _window_of(functions, table, limit)  # only triggers ask without a scope
        if not records or not window:
            return records
        begun, since = first_seen.get(table, (-1, 0.0))
        if begun != position:
            since = now()
            first_seen[table] = (position, since)
        return records if len(records) >= limit or now() - since >= window else []

    dynamodb.stream_records_since = gathered
    return True


def _window_of(functions: Any, table: str, batch: int) -> float:
    """Seconds that the table's trigger of this batch size waits."""
    triggers = [one for _, _, one in functions._iter_all_esms() if f":table/{table}/stream/" in one.get("EventSourceArn", "")]
    return max((float(one.get(_WINDOW) or 0) for one in triggers if one.get("BatchSize") == batch), default=0.0)


def main() -> None:
    """Complete MiniStack and serve until it is ended; ports and folders come from the environment, as for `ministack`."""
    dynamodb = importlib.import_module("ministack.services.dynamodb")
    tell_streams_of_inserts(dynamodb)
    gather_records(dynamodb, importlib.import_module("ministack.services.lambda_svc"))
    importlib.import_module("ministack.app").main()


if __name__ == "__main__":
    main()

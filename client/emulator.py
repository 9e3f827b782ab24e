"""The emulator of the local cloud, started by this file in an environment of its own, with what it lacks completed.

MiniStack 1.5.33 tells a table's stream of items that PutItem wrote, and not of those that PartiQL's `INSERT` wrote; DynamoDB
tells of both (DynamoDB Developer Guide, 'Change data capture for DynamoDB Streams': every modification of items).
Results are inserted so, and the history is made from the stream.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

_EMIT = "_emit_stream_event"
"""The function of MiniStack that PutItem calls when it has stored an item; who calls it has its name in its code."""

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


def main() -> None:
    """Complete MiniStack and serve until it is ended; ports and folders come from the environment, as for `ministack`."""
    tell_streams_of_inserts(importlib.import_module("ministack.services.dynamodb"))
    importlib.import_module("ministack.app").main()


if __name__ == "__main__":
    main()

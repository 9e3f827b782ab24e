"""Celery: a chord of no-ops with late acknowledgement; every result is kept until the callback has seen them all.

Worker: `celery --app bench.peers.celery_peer worker`. The server's URL is in PEER_URL.
"""

import os
from typing import Any

from celery import Celery, chord, group

app = Celery("peer", broker=os.environ["PEER_URL"], backend=os.environ["PEER_URL"])
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True, result_expires=600)


def _noop(value: int) -> int:
    return value


def _collect(values: list[int]) -> int:
    return len(values)


noop: Any = app.task(name="noop")(_noop)
collect: Any = app.task(name="collect")(_collect)


def fan_out(count: int, timeout: float) -> None:
    """Run `count` no-ops and one callback after them all; return when the callback's result is here."""
    seen = chord(group(noop.s(number) for number in range(count)))(collect.s()).get(timeout=timeout)
    if seen != count:
        raise RuntimeError(f"the chord's callback saw {seen} results of {count}")


def lone(timeout: float) -> None:
    """Run one no-op and wait for its result."""
    noop.delay(1).get(timeout=timeout)

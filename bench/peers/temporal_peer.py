"""Temporal: a workflow that runs no-ops as activities, all at once, and ends when every one has.

Worker: `python -m bench.peers.temporal_peer`. The server's address is in PEER_URL.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

QUEUE: Final = "peer"
TASK_TIMEOUT: Final = timedelta(seconds=60)
ACTIVITIES: Final = 50
"""At once in a worker, as many as its default pool has threads for, and more than two cores can use."""


@activity.defn(name="noop")
def noop(value: int) -> int:
    """Hand the value back."""
    return value


@workflow.defn(name="fan_out", sandboxed=False)
class FanOut:
    """One activity per number, all at once."""

    @workflow.run
    async def run(self, count: int) -> int:
        """How many activities ended."""
        started = [workflow.start_activity("noop", number, start_to_close_timeout=TASK_TIMEOUT) for number in range(count)]
        return len(await asyncio.gather(*started))


async def _execute(count: int, timeout: float) -> int:
    client = await _client()
    seen: int = await client.execute_workflow(
        "fan_out",
        count,
        id=uuid4().hex,
        task_queue=QUEUE,
        execution_timeout=timedelta(seconds=timeout),
        task_timeout=TASK_TIMEOUT,
    )
    return seen


_loop: Any = asyncio.new_event_loop()
_known: list[Client] = []


async def _client() -> Client:
    if not _known:
        _known.append(await Client.connect(os.environ["PEER_URL"]))
    return _known[0]


def fan_out(count: int, timeout: float) -> None:
    """Run `count` no-ops and return when all have ended."""
    seen = _loop.run_until_complete(_execute(count, timeout))
    if seen != count:
        raise RuntimeError(f"the workflow saw {seen} results of {count}")


def lone(timeout: float) -> None:
    """Run a workflow of one no-op and wait for its result."""
    fan_out(1, timeout)


async def work() -> None:
    """Serve workflows and activities until the process is ended."""
    client = await Client.connect(os.environ["PEER_URL"])
    with ThreadPoolExecutor(ACTIVITIES) as threads:
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[FanOut],
            activities=[noop],
            activity_executor=threads,
            max_concurrent_activities=ACTIVITIES,
        )
        print("worker is ready", flush=True)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(work())

"""A blocking iterator's items, for a coroutine: a thread takes them, the loop gets them one by one."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from threading import Event
from typing import TypeVar

from agentfleet.domain.errors import ModelTimeout

T = TypeVar("T")


async def pump(threads: Executor, start: Callable[[], Iterator[T]], seconds: float, model: str) -> AsyncGenerator[T, None]:
    """`start`'s items; its errors come through as they are. Raises ModelTimeout if they take longer than `seconds`.

    Whoever stops listening makes the thread stop at its next item.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[list[T] | Exception | None] = asyncio.Queue()
    abandoned = Event()

    def say(item: list[T] | Exception | None) -> None:
        if not abandoned.is_set():
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def take() -> None:
        try:
            for item in start():
                if abandoned.is_set():
                    return
                say([item])
        except Exception as error:
            say(error)
        else:
            say(None)

    deadline = loop.time() + seconds
    threads.submit(take)
    try:
        while True:
            try:
                item = await asyncio.wait_for(queue.get(), max(0.0, deadline - loop.time()))
            except TimeoutError as error:
                raise ModelTimeout(f"{model} did not end its answer within {seconds:g} s") from error
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item[0]
    finally:
        abandoned.set()

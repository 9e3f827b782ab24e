"""The threads that plain functions run in, and what becomes of those that nobody waits for any more.

A function whose task took too long can't be cancelled. It is interrupted instead, and its thread is never used again: else a
few endless ones would take every thread of the environment, and with them all tasks that come to it later.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, get_ident
from typing import Any, Final

from agentfleet.domain.errors import Postponed

THREADS: Final = 16
"""Functions that run at the same time; those that nobody waits for any more don't count."""
PATIENCE: Final = 0.5
"""Which part of its time a task may wait for a thread: the rest is for doing it."""


class NoThread(Postponed):
    """All threads were busy for too long: the task was not tried."""


class Interrupted(BaseException):
    """Raised within a function that nobody waits for any more. Not an Exception, so that no handler of mere errors holds it."""


class Crew:
    """Runs functions in threads, sixteen at a time."""

    def __init__(self, threads: int = THREADS) -> None:
        self._size = threads
        self._threads = self._fresh()
        self._places = asyncio.Semaphore(threads)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._given_up: list[_Job] = []

    async def call(self, function: Callable[..., Any], *arguments: Any, name: str, seconds: float) -> Any:
        """The function's value, for the task of this name, which has so many seconds left.

        Raises what the function raises, and NoThread if no thread was free for half of that time. Cancelling interrupts it.
        """
        places = self._places_here()
        if places.locked():
            try:
                async with asyncio.timeout(seconds * PATIENCE):
                    await places.acquire()
            except TimeoutError as error:
                raise NoThread(f"none of the {self._size} threads was free for {seconds * PATIENCE:.1f} s", 1.0) from error
        else:
            await places.acquire()
        job = _Job(name, function, arguments)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        except asyncio.CancelledError:
            self._give_up(job)
            raise
        finally:
            places.release()

    def stuck(self) -> Sequence[str]:
        """The names of tasks whose function still runs, though nobody waits for it."""
        self._given_up = [job for job in self._given_up if job.runs]
        return [job.name for job in self._given_up]

    def _places_here(self) -> asyncio.Semaphore:
        """A semaphore belongs to the loop that somebody first waited in."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._places = loop, asyncio.Semaphore(self._size)
        return self._places

    def _give_up(self, job: "_Job") -> None:
        if not job.interrupt():
            return
        self._given_up = [*(one for one in self._given_up if one.runs), job]
        # What else these threads are at they finish; then they end. The interrupted one must not get another task, which
        # the exception might reach instead.
        self._threads.shutdown(wait=False)
        self._threads = self._fresh()

    def _fresh(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=self._size, thread_name_prefix="capability")


class _Job:
    """One call of a function, from a thread that it learns of when it begins."""

    def __init__(self, name: str, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        self.name = name
        self._function = function
        self._arguments = arguments
        self._lock = Lock()
        self._thread: int | None = None
        self._is_over = False

    @property
    def runs(self) -> bool:
        """Has it begun, and not ended?"""
        return self._thread is not None and not self._is_over

    def __call__(self) -> Any:
        with self._lock:
            if self._is_over:
                return None
            self._thread = get_ident()
        try:
            return self._function(*self._arguments)
        finally:
            self._is_over = True

    def interrupt(self) -> bool:
        """Raise Interrupted where the function is now; gives whether it was running. A call into C is left first.

        `PyThreadState_SetAsyncExc` (Python/C API, 'Initialization, Finalization, and Threads').
        """
        from ctypes import c_ulong, py_object, pythonapi  # noqa: PLC0415 - most agents never need it

        with self._lock:
            if not self.runs:
                self._is_over = True  # it must not begin any more
                return False
            assert self._thread is not None  # noqa: S101 - it runs
            pythonapi.PyThreadState_SetAsyncExc(c_ulong(self._thread), py_object(Interrupted))
            return True

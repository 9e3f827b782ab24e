"""One thing at a time: activities that hand one baton to and fro, all in one thread.

The services call their ports plainly, so an activity can only be halted inside a call: a greenlet can be, and since exactly
one holds the baton, the order of everything is decided by the scheduler alone.
"""

import asyncio
from collections.abc import Callable

from greenlet import getcurrent, greenlet


class Strand:
    """Runs one activity at a time, whenever it is given the baton."""

    def __init__(self) -> None:
        self._activity: greenlet | None = None

    @property
    def is_free(self) -> bool:
        """Has it nothing to do?"""
        return self._activity is None or self._activity.dead

    def begin(self, job: Callable[[], None]) -> None:
        """Take up an activity and run it to its first halt."""
        self._activity = greenlet(job)
        self.resume()

    def resume(self) -> None:
        """Called by the scheduler: go on until the next halt or the end. Raises what the activity let through."""
        assert self._activity is not None
        self._activity.parent = getcurrent()
        self._activity.switch()

    def halt(self) -> None:
        """Called by the activity: give the baton back and wait for it."""
        assert self._activity is not None
        assert self._activity.parent is not None
        # Which event loop runs is remembered by thread, and whoever has the baton next may run one of its own.
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        self._activity.parent.switch()
        asyncio._set_running_loop(loop)


class Strands:
    """As many as there are activities at once, kept for the next run."""

    def __init__(self) -> None:
        self._all: list[Strand] = []

    def free(self) -> Strand:
        """One that has nothing to do."""
        for strand in self._all:
            if strand.is_free:
                return strand
        self._all.append(Strand())
        return self._all[-1]

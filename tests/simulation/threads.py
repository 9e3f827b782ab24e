"""One thing at a time: activities in threads of their own that hand one baton to and fro.

The services call their ports plainly, so an activity can only be halted inside a call. A thread that waits for its lock
costs nothing, and since exactly one holds the baton, the order of everything is decided by the scheduler alone.
"""

import threading
from collections.abc import Callable


class Strand:
    """A thread that runs one activity at a time, whenever it is given the baton."""

    def __init__(self, main: threading.Lock) -> None:
        self._main = main
        self._turn = threading.Lock()
        self._turn.acquire()
        self._job: Callable[[], None] | None = None
        self.is_free = True
        self.error: BaseException | None = None
        threading.Thread(target=self._live, name="strand", daemon=True).start()

    def begin(self, job: Callable[[], None]) -> None:
        """Take up an activity and run it to its first halt."""
        self._job, self.is_free = job, False
        self.resume()

    def resume(self) -> None:
        """Called by the scheduler: go on until the next halt or the end. Raises what the activity let through."""
        self._turn.release()
        self._main.acquire()
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def halt(self) -> None:
        """Called by the activity: give the baton back and wait for it."""
        self._main.release()
        self._turn.acquire()

    def _live(self) -> None:
        while True:
            self._turn.acquire()
            job = self._job
            assert job is not None
            try:
                job()
            except BaseException as error:
                self.error = error
            self.is_free = True
            self._main.release()


class Strands:
    """As many threads as there are activities at once, kept for the next run."""

    def __init__(self) -> None:
        self._main = threading.Lock()
        self._main.acquire()
        self._all: list[Strand] = []

    def free(self) -> Strand:
        """One that has nothing to do."""
        for strand in self._all:
            if strand.is_free:
                return strand
        self._all.append(Strand(self._main))
        return self._all[-1]

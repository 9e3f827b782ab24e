"""CPU time of whole process trees, from /proc: the steady number on a machine that others use too."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class NoProc(RuntimeError):
    """This system has no /proc to read CPU times from."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds, user and system together."""

    own: float
    """Of the process itself."""
    below: float
    """Of everything it started: processes that live and those that it has waited for."""

    @property
    def total(self) -> float:
        """The whole tree."""
        return self.own + self.below

    def since(self, before: "Usage") -> "Usage":
        """What was used between two readings."""
        return Usage(self.own - before.own, self.below - before.below)


def read_usage(pid: int) -> Usage:
    """CPU seconds that a process and its descendants have used (proc_pid_stat(5): utime, stime, cutime, cstime).

    A descendant that ends is counted once its parent has waited for it. Raises NoProc where there is no /proc, and
    ProcessLookupError if the process is gone.
    """
    if not PROC.joinpath("self", "stat").exists():
        raise NoProc("CPU times are read from /proc, which this system does not have; run the benchmarks on Linux")
    stats = dict(filter(None, map(_read, PROC.glob("[0-9]*/stat"))))
    if pid not in stats:
        raise ProcessLookupError(f"process {pid} is gone: its CPU time can't be read")
    children: dict[int, list[int]] = {}
    for child, (parent, _, _) in stats.items():
        children.setdefault(parent, []).append(child)
    _, own, waited = stats[pid]
    below = waited
    pending = list(children.get(pid, ()))
    while pending:
        child = pending.pop()
        pending.extend(children.get(child, ()))
        below += stats[child][1] + stats[child][2]
    return Usage(own / _TICKS, below / _TICKS)


def _read(stat: Path) -> tuple[int, tuple[int, int, int]] | None:
    """Process id → (parent, own ticks, ticks of the children it has waited for); None if it ended meanwhile."""
    try:
        text = stat.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in brackets and may hold spaces and brackets of its own.
    fields = text.rpartition(")")[2].split()
    return int(stat.parent.name), (int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14]))

"""Programs that a benchmark runs: each is stopped when it is no longer needed, however the benchmark ends."""

import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console

from client.errors import FleetClientError
from client.processes import LocalCloudError, start_server, stop_server, wait_until_ready

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / ".fleet" / "bench"
START_SECONDS: Final = 30.0


class BenchFailed(RuntimeError):
    """A step of a benchmark did not work; the message holds what its program said."""


@contextmanager
def running(
    command: list[str],
    program: str,
    environment: Mapping[str, str],
    log: Path,
    ready: Callable[[], bool] = lambda: True,
) -> Iterator[int]:
    """Run a server while the block lasts; gives its process id. `program` is a part of its command line."""
    process = start_server(command, environment=environment, log=log)
    try:
        wait_until_ready(program, process, ready, seconds=START_SECONDS, log=log)
        yield process.pid
    finally:
        stop_server(process.pid, program)
        process.wait()


def run(command: list[str], environment: Mapping[str, str] | None = None, *, seconds: float) -> str:
    """A program's output. Raises BenchFailed with what it said when it fails or takes longer than so many seconds."""
    try:
        finished = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchFailed(f"{' '.join(command)}\ndid not end within {seconds:g} s") from error
    if finished.returncode:
        raise BenchFailed(f"{' '.join(command)}\nended with status {finished.returncode}:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def stop_on_termination() -> None:
    """Make SIGTERM end this program as Ctrl-C does, so that what it started is stopped."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def run_bench(main: Callable[[], int]) -> int:
    """What a benchmark's program ends with: 2 if it could not measure, 130 if it was broken off, else what `main` says."""
    stop_on_termination()
    try:
        return main()
    except (BenchFailed, FleetClientError, LocalCloudError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        return 130

"""Measure the peers, and this fleet in the same run: `python -m bench.peers [NAME …]`, or PEERS=celery,dbos.

Results go to bench/results/peers.json, which holds the rows of one run only: they can be compared with each other.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

from bench.peers.fleet import measure_fleet
from bench.peers.run import choose, measure_peers
from bench.programs import run_bench
from bench.report import save_rows
from bench.stack import Stack, deployed_stack


def measure(stack: Stack, say: Callable[[str], None], wanted: str) -> dict[str, dict[str, Any]]:
    """The fleet's two rows and those of the wanted peers (all, if none is named)."""
    setups = choose(wanted)
    return {**measure_fleet(stack, say), **measure_peers(setups, say)}


def main() -> int:
    """Measure and write the results."""
    console = Console()
    wanted = " ".join(sys.argv[1:]) or os.environ.get("PEERS", "")
    choose(wanted)
    with deployed_stack(console.log) as stack:
        rows = measure(stack, console.log, wanted)
    for name, row in save_rows("peers", rows).items():
        console.print(name, row)
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

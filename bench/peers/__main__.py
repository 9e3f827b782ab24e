"""Measure the peers, and this fleet in the same run: `python -m bench.peers [NAME …]`, or PEERS=celery,dbos.

Results go to bench/results/peers.json, which holds the rows of one run only: they can be compared with each other.
"""

import os
import sys

from rich.console import Console

from bench.peers.fleet import measure_fleet
from bench.peers.run import choose, measure_peers
from bench.programs import run_bench
from bench.report import save_rows
from bench.stack import deployed_stack


def main() -> int:
    """Measure and write the results."""
    console = Console()
    # First the peers, while no emulator runs.
    others = measure_peers(choose(" ".join(sys.argv[1:]) or os.environ.get("PEERS", "")), console.log)
    with deployed_stack(console.log, counted=False) as stack:
        rows = {**measure_fleet(stack, console.log), **others}
    for name, row in save_rows("peers", rows).items():
        console.print(name, row)
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

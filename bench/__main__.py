"""`python -m bench`: every benchmark, and docs/benchmarks.md from their results. Each also runs alone: `python -m bench.NAME`.

The peers come first, while no emulator runs; then one deployed fleet serves all that needs one: what is timed without the proxy
before what is counted by it. PEERS=celery,dbos measures a part of the peers.
"""

import os
import sys
import time

from rich.console import Console

from bench import cold_start, cost, fairness, flat, fleet_size, hot_path, knowledge, knowledge_quality, scale
from bench.peers.fleet import measure_fleet
from bench.peers.run import choose, measure_peers
from bench.programs import run_bench
from bench.report import save, save_rows
from bench.stack import deployed_stack
from bench.targets import misses, print_table


def main() -> int:
    """Measure everything; 1 if a target was missed."""
    console, began = Console(), time.monotonic()
    say = console.log
    others = measure_peers(choose(os.environ.get("PEERS", "")), say)
    with deployed_stack(say, counted=False) as stack:
        save_rows("peers", {**measure_fleet(stack, say), **others})
        checked = scale.check(stack, say)
        counted = save("hot_path", hot_path.measure(stack, say))
        save("flat", flat.measure(stack, say))
    print_table(console, counted)
    cost.main()
    save("scale", scale.calculate(checked, say))
    say("Measuring the size of a fleet")
    missed = fleet_size.main() + fairness.main()
    say("Measuring cold starts")
    cold_start.main()
    say("Measuring what questions find, and how fast")
    missed += knowledge.main([])
    knowledge_quality.main([])
    say(f"docs/benchmarks.md is written; that took {time.monotonic() - began:.0f} s")
    return 1 if missed or misses(counted) else 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

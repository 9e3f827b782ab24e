"""`python -m tests.chaos --seed 1`: a fleet under faults, and what it proves."""

import argparse
import json
import secrets
import sys
from collections.abc import Sequence

from tests.chaos.report import RESULTS, describe, is_proof, to_results, write_pages
from tests.chaos.run import Run, Script
from tests.chaos.stage import stage
from tests.chaos.verdict import judge


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was lost or doubled and enough was healed."""
    options = _options(arguments)
    script = Script(
        seed=options.seed,
        goals=options.goals,
        faults=options.faults,
        window=options.window,
        pace=options.pace,
        deadline=options.deadline,
    )
    print(f"seed {script.seed}: {script.faults} faults over at least {script.goals} goals", flush=True)
    with stage(_say) as deployed:
        record = Run(deployed, script, _say).to_end()
        results = to_results(record, judge(deployed, record))
    print(describe(results))
    if options.write:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        write_pages(results)
    return 0 if is_proof(results) else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="what goals and faults are drawn from")
    parser.add_argument("--goals", type=int, default=60, help="at least so many")
    parser.add_argument("--faults", type=int, default=320)
    parser.add_argument("--window", type=int, default=14, help="goals under way at once")
    parser.add_argument("--pace", type=float, default=0.4, help="seconds from a fault to the next")
    parser.add_argument("--deadline", type=float, default=1200.0, help="seconds after which what has not ended is lost")
    parser.add_argument("--write", action="store_true", help="keep the results, and the page and picture of them")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

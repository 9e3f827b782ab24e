"""How long one invocation takes whose ten tasks each wait two seconds for a model: `python -m bench.model_batch`.

The pool `think` as it is deployed, with botocore against a server on this machine that answers each call after two seconds; its
queues and tables are those of the tests, in memory. One task alone, then ten in one batch.
"""

import os
import sys
import time
from typing import Any, Final

from agentfleet.domain.model_choice import ModelChoice
from agentfleet.services.model import Circumstances, Models
from bench.programs import BenchFailed, run_bench
from bench.report import save
from functions.think.handler import agent
from tests.fakes.fleet import InProcessFleet
from tests.unit.model.scripted import Turn, saying, scripted

SECONDS: Final = 2.0
"""Of each call."""
CALLS: Final = 10
CHOICE: Final = ModelChoice(chain=("amazon.nova-micro-v1:0",))


def measure(tasks: int) -> dict[str, Any]:
    """Seconds and CPU of one invocation with so many tasks, and how many of its calls were under way at once."""
    with scripted() as (script, port):
        script.always = Turn(body=saying("Nails do.").body, seconds=SECONDS)
        fleet = InProcessFleet(agent, models=Models(port, Circumstances("think", CHOICE, fraction=lambda: 0.5)))
        questions = [{"question": f"What holds wood? ({number})", "texts": ["Nails hold wood."]} for number in range(tasks)]
        goal = fleet.submit(
            {
                "plan": {
                    "tasks": [
                        {"id": f"ask.{number}", "capability": "think.answer", "input": one}
                        for number, one in enumerate(questions)
                    ]
                }
            }
        )
        [queue] = fleet.queues.busy()
        began, used = time.perf_counter(), time.process_time()
        fleet.invoke(queue)
        took, cpu = time.perf_counter() - began, time.process_time() - used
        if len(script.seen) != tasks or fleet.goal(goal.id).state != "SUCCEEDED":
            raise BenchFailed(f"of {tasks} tasks {len(script.seen)} asked the model; the goal {fleet.goal(goal.id).state}")
        return {"seconds": round(took, 2), "cpu_seconds": round(cpu, 2), "most_at_once": script.peak}


def main() -> int:
    """Measure, show, and write the results."""
    measure(1)  # what the first call loads
    load = round(os.getloadavg()[0], 1)
    calls = {str(count): measure(count) for count in (1, CALLS)}
    result = save("model_batch", {"seconds_per_call": SECONDS, "load": load, "calls": calls})
    for count, row in result["calls"].items():
        print(f"{count} calls of {SECONDS:g} s in one invocation: {row['seconds']} s, {row['cpu_seconds']} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))

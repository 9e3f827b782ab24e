"""The one naming rule: every physical name is made from the fleet's name here and nowhere else."""

import re
from typing import Final, Literal, get_args

Priority = Literal["high", "normal", "low"]
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)

TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a tenant may be called: it is part of object keys and a message group, and stands in logs."""

PLANNER: Final = "plan.repair"
"""The capability that is asked for another way when a task with `on_failure = "replan"` fails for good."""

SUBMISSIONS: Final = "submissions"
"""Among dead letters it stands where a pool's name does; no pool may be called so."""

EVENT_SOURCE: Final = "agentfleet"
"""The `source` of every event that the platform itself puts on the bus."""


def task_queue(fleet: str, pool: str, priority: Priority) -> str:
    """Name of the queue that feeds a pool at one priority."""
    return f"{fleet}-{pool}-{priority}"


def pool_dead_letters(fleet: str, pool: str) -> str:
    """Name of the dead-letter queue that a pool's three queues share."""
    return f"{fleet}-{pool}-dead"


def release_queue(fleet: str) -> str:
    """Name of the queue that spreads a large fan-out over several workers."""
    return f"{fleet}-release"


def submissions_queue(fleet: str) -> str:
    """Name of the queue between the bus and accept_goals."""
    return f"{fleet}-{SUBMISSIONS}"


def endings_queue(fleet: str) -> str:
    """Name of the queue between the bus and remember_goals."""
    return f"{fleet}-endings"


def dead_letters(queue: str) -> str:
    """Name of the dead-letter queue of a queue that has one of its own."""
    return f"{queue}-dead"


def history_dead_letters(fleet: str) -> str:
    """Name of the queue that hears of stream records that could not be recorded."""
    return f"{fleet}-history-dead"


def work_stream_export(fleet: str) -> str:
    """Name under which the data stack exports the ARN of the work table's stream."""
    return f"{fleet}-work-stream"


def registry_stream_export(fleet: str) -> str:
    """Name under which the data stack exports the ARN of the registry table's stream."""
    return f"{fleet}-registry-stream"


def event_bus(fleet: str) -> str:
    """Name of the fleet's event bus."""
    return f"{fleet}-events"


def saga_machine(fleet: str) -> str:
    """Name of the state machine that undoes what failed goals did."""
    return f"{fleet}-saga"


def cache(fleet: str) -> str:
    """Name of the fleet's Valkey on AWS, and of the user that agents are to it."""
    return f"{fleet}-cache"


def table(fleet: str, kind: Literal["work", "registry", "knowledge", "history", "memory"]) -> str:
    """Name of one of the fleet's tables."""
    return f"{fleet}-{kind}"


def function(fleet: str, name: str) -> str:
    """Name of a Lambda function: a pool's name, or a verb-noun folder name with hyphens."""
    return f"{fleet}-{name.replace('_', '-')}"


def vector_index(model: str) -> str:
    """Name of the knowledge table's index of one embedding model's vectors; the attribute that holds them is named `model`."""
    return f"by-{model}"

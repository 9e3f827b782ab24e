"""Bulk jobs of a model: what goes in, what comes out, and how far they are."""

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from agentfleet.domain.model import ModelRequest, Reply

MIN_RECORDS: Final = 100
"""Bedrock takes no smaller job (Amazon Bedrock quotas: minimum number of records per batch inference job)."""
MAX_RECORDS: Final = 50_000
RECORD_ID: Final = re.compile(r"^[a-zA-Z0-9_.-]{1,64}$")


class BatchState(StrEnum):
    """Where a job stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    """All records that could be answered are."""
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class BatchRecord(Struct, frozen=True):
    """One request of a job, under a name of one's own that is unique within it."""

    id: str
    request: ModelRequest


class BatchStatus(Struct, frozen=True):
    """A job's state, and why it failed where it did."""

    job: str
    state: BatchState
    message: str = ""


class BatchResult(Struct, frozen=True):
    """What became of one record: a reply, or an error."""

    id: str
    reply: Reply | None = None
    error: str = ""


def problem_of(records: Sequence[BatchRecord]) -> str | None:
    """What is wrong with the records of a job; None if nothing is."""
    if not MIN_RECORDS <= len(records) <= MAX_RECORDS:
        return f"records: a job has {MIN_RECORDS:,} to {MAX_RECORDS:,}, not {len(records):,}; call the model for fewer"
    names = [record.id for record in records]
    if bad := next((name for name in names if not RECORD_ID.match(name)), None):
        return f"records: the id {bad!r} must have 1 to 64 letters, digits and _.-"
    [(name, often)] = Counter(names).most_common(1)
    return f"records: {often} have the id {name!r}" if often > 1 else None

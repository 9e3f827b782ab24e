"""Identifiers: time-ordered for goals, derived where the same thing must get the same id twice."""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

_ASKED: Final = 12
_UNDO = ".undo"
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def _base32(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(_CROCKFORD[digit])
    return "".join(reversed(digits))


def new_goal_id(now: datetime, random_bits: Callable[[int], int]) -> str:
    """`g` and 22 characters: 48 bits of milliseconds, then 60 random bits. Sorts by time of creation."""
    return f"g{_base32(int(now.timestamp() * 1000), 10)}{_base32(random_bits(60), 12)}"


def derived_goal_id(tenant: str, key: str) -> str:
    """The goal id that an idempotency key stands for: the same tenant and key always give the same goal."""
    digest = hashlib.sha256(f"{tenant}\x00{key}".encode()).digest()
    return f"g{_base32(int.from_bytes(digest[:14], 'big') >> 2, 22)}"


def digest_of(asked: Any) -> str:
    """A short digest of a request as JSON, the same in whatever order its fields come. Short, for every goal keeps one."""
    body = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()[:_ASKED]


def child_goal_id(goal_id: str, unit: int, slot: int) -> str:
    """The goal that carries the sub-plan of one task: derived, so that a redelivered task finds the one it made."""
    return derived_goal_id(goal_id, f"{unit}.{slot}")


def undo_id(goal_id: str) -> str:
    """Under what id the results and claims of a goal's compensations are kept, beside those of its tasks."""
    return f"{goal_id}{_UNDO}"


def undone_goal(name: str) -> str | None:
    """The goal whose compensations are kept under this id; None if it isn't one that `undo_id` gives.

    A goal's own id holds no full stop.
    """
    return name.removesuffix(_UNDO) if name.endswith(_UNDO) else None


def task_key(goal_id: str, task_id: str) -> str:
    """The idempotency key that a side effect gets: stable over every retry and redelivery of the task."""
    return hashlib.sha256(f"{goal_id}\x00{task_id}".encode()).hexdigest()[:32]

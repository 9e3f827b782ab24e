"""When to try again and how long to wait: one policy for both clients, and one rhythm for waiting on goals and fleets."""

from collections.abc import Iterator
from random import random
from typing import Any, Final

import httpx

from client.calls import Call

BASE: Final = 0.2
LIMIT: Final = 10.0

NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""The request did not reach anybody, so that sending it again is always right."""


def delay(attempt: int, answer: httpx.Response | None, fraction: float | None = None) -> float:
    """Seconds to wait before attempt `attempt` + 1: what the answer asks for, or else exponential with full jitter.

    After M. Brooker, 'Exponential Backoff And Jitter', AWS Architecture Blog, 2015.
    """
    asked = answer.headers.get("retry-after", "") if answer is not None else ""
    if asked.isdecimal():
        return min(LIMIT, float(asked))
    return min(LIMIT, BASE * 2.0**attempt) * (random() if fraction is None else fraction)


def may_resend(call: Call[Any], error: httpx.TransportError) -> bool:
    """Is sending it again right after this error?"""
    return call.is_repeatable or isinstance(error, NEVER_SENT)


def rhythm(first: float = 0.2, last: float = 2.0) -> Iterator[float]:
    """Seconds between two looks at something: short at first, so that quick goals seem quick, then longer."""
    pause = first
    while True:
        yield pause
        pause = min(last, pause * 1.3)

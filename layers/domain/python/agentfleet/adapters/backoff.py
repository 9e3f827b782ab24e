"""How adapters try again when a service answers 'not now' for a part of a request. Whole requests are retried by botocore."""

import random
import time
from collections.abc import Callable, Iterator

from msgspec import Struct


class Backoff(Struct, frozen=True):
    """Exponential pauses with full jitter (M. Brooker, 'Exponential Backoff And Jitter', AWS Architecture Blog, 2015)."""

    tries: int = 6
    base: float = 0.05
    """Seconds: the longest first pause."""
    limit: float = 2.0
    """Seconds: the longest pause of all."""
    sleep: Callable[[float], None] = time.sleep
    fraction: Callable[[], float] = random.random

    def rounds(self) -> Iterator[int]:
        """Numbers the tries from 0, with a pause before each but the first. Whoever is done breaks out of the loop."""
        for attempt in range(self.tries):
            if attempt:
                self.sleep(min(self.limit, self.base * 2.0 ** (attempt - 1)) * self.fraction())
            yield attempt

"""What calls of a language model have used up, in whole numbers that add up exactly."""

from typing import Final

from msgspec import Struct

from agentfleet.domain.budget import NANODOLLARS


class ModelUse(Struct, frozen=True):
    """Calls of one model. Every call counts, also one that failed after it was made; what a cache answered is none."""

    model: str
    calls: int = 0
    unknown: int = 0
    """Of them, calls of which nobody knows what they took, such as timed-out ones: their dollars are the most possible."""
    input: int = 0
    """Tokens that were neither read from nor written to a prompt cache."""
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    nanodollars: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_read + self.cache_write

    @property
    def dollars(self) -> float:
        """What they cost."""
        return self.nanodollars / NANODOLLARS

    def __add__(self, other: "ModelUse") -> "ModelUse":
        return ModelUse(self.model, *(getattr(self, name) + getattr(other, name) for name in COUNTS))


COUNTS: Final = tuple(name for name in ModelUse.__struct_fields__ if name != "model")

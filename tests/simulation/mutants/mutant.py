"""What a deliberate bug is."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch


@dataclass(frozen=True, slots=True)
class Mutant:
    """One attribute of the product, or of the simulated outside, replaced by something wrong."""

    name: str
    owner: Any
    attribute: str
    wrong: Any
    first: int = 0
    """Where to start looking, for what takes several things at once to show."""

    def planted(self) -> AbstractContextManager[Any]:
        """The bug is there inside this context."""
        return patch.object(self.owner, self.attribute, self.wrong)

"""What a person must approve before it runs: the rules, the requests and the decisions."""

import fnmatch
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError
from msgspec import Struct

from agentfleet.domain.errors import PermanentError

SHOWN_INPUT: Final = 16_384
"""Characters of an input's JSON that a request shows."""


class ApprovalRejected(PermanentError):
    """Somebody said no. The task fails under its failure policy."""


class ApprovalRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[approvals]]` table: which capabilities need approval, and for which inputs. Raises ValueError for no JMESPath."""

    capability: str
    """A name, or a pattern with `*`."""
    when: str | None = None
    """JMESPath over the task's input; the task needs approval if it gives something truthy. None: always."""

    def __post_init__(self) -> None:
        if self.when is None:
            return
        try:
            _compiled(self.when)
        except JMESPathError as error:
            raise ValueError(f"is not valid JMESPath: {str(error).splitlines()[0]}") from error

    def covers(self, capability: str) -> bool:
        """Is this capability one of the rule's?"""
        return fnmatch.fnmatchcase(capability, self.capability)

    def holds(self, value: Any) -> bool:
        """Does this input need approval? One that the expression can't be applied to does: nobody has allowed it."""
        if self.when is None:
            return True
        try:
            return bool(_compiled(self.when).search(value))
        except JMESPathError:
            return True


@lru_cache(maxsize=256)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


class Decision(StrEnum):
    """How a request for approval stands."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class Approval(Struct, frozen=True):
    """A request for approval of one unit, and what was decided."""

    goal_id: str
    unit: int
    tenant: str
    tasks: tuple[str, ...]
    """Ids of the unit's tasks."""
    capability: str
    input: str
    """The JSON of the first task's input as it will run, cut off after 16,384 characters."""
    why: str
    """Which rule asks for it."""
    asked: datetime
    decision: Decision = Decision.PENDING
    decided: datetime | None = None
    by: str | None = None
    """The tenant whose key decided."""
    note: str | None = None

    @property
    def ref(self) -> str:
        """`goal.task`: what people name it by."""
        return f"{self.goal_id}.{self.tasks[0]}"

    @property
    def rejection(self) -> ApprovalRejected:
        """The error that the task fails with."""
        return ApprovalRejected(f"rejected by {self.by}: {self.note}")

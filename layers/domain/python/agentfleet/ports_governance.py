"""What governing needs from the outside, as Protocols: accounts, requests for approval, the kill switch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from agentfleet.domain.approval import Approval
from agentfleet.domain.budget import Account, Spend, Tally
from agentfleet.domain.kill import Kill, Scope
from agentfleet.ports import Page

if TYPE_CHECKING:
    from agentfleet.domain.guardrails import Finding


class BudgetStore(Protocol):
    """Accounts by name, made by the first that takes from them."""

    def take(self, account: Account, amount: Spend) -> bool:
        """Set an amount aside if all of it fits below the account's limits. False if it doesn't: nothing was changed.

        After an exception nobody knows whether it was set aside: it must not be given back.
        """

    def give_back(self, account: str, reserved: Spend, actual: Spend) -> None:
        """End a reservation: `actual` of what was set aside is spent, the rest is free again.

        Tried once. After an exception nobody knows whether it was done, and doing it again could free money twice.
        """

    def read(self, accounts: Sequence[str]) -> dict[str, Tally]:
        """What has become of these accounts (at most 100), read consistently; those that nobody has taken from are left out."""

    def grant(self, account: str, more: Spend) -> None:
        """Let this much more be spent than the limits say. Tried once, like `give_back`."""


class ApprovalStore(Protocol):
    """Requests for approval: one per unit, decided once."""

    def ask(self, approval: Approval) -> bool:
        """Store a request unless the unit has one. False if it has: nothing was changed."""

    def get(self, goal_id: str, unit: int) -> Approval | None:
        """A unit's request, read consistently."""

    def of_goal(self, goal_id: str) -> dict[int, Approval]:
        """All requests of a goal by unit, read consistently."""

    def decide(self, approval: Approval) -> bool:
        """Store a decision if the request waits for one. False if it doesn't: nothing was changed."""

    def waiting(self, tenant: str, limit: int, cursor: str | None) -> Page[Approval]:
        """A tenant's requests that wait for a decision, oldest first. Raises InvalidRequest for a bad cursor."""


class Moderator(Protocol):
    """A service that judges texts."""

    def judge(self, text: str, side: Literal["input", "output"]) -> "Sequence[Finding]":
        """What it objects to in what goes into a task or comes out of it; nothing if all is well."""


class KillStore(Protocol):
    """What is stopped, or was until lately."""

    def read(self) -> Sequence[Kill]:
        """Every kill that holds, and those that were lifted within the last hour, read consistently."""

    def put(self, kill: Kill) -> None:
        """Store or replace what is known of a scope."""

    def get(self, scope: Scope) -> Kill | None:
        """What is known of one scope, read consistently."""

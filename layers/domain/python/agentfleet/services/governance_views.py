"""What the API shows and takes of budgets, requests for approval and the kill switch."""

import json
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from agentfleet.domain import budget as budgets
from agentfleet.domain.approval import Approval, Decision
from agentfleet.domain.budget import Account, Balance, Spend
from agentfleet.domain.kill import Kill, Kind, Scope
from agentfleet.ports import Page
from agentfleet.services.views import Order, View

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class BalanceView(View):
    """How dollars, tokens or seconds of an account stand."""

    measure: str
    """`dollars`, `tokens` or `seconds`."""
    limit: float | None = None
    """With what was granted on top; null: none."""
    spent: float
    reserved: float
    """Set aside for what is under way, or for what died before it could say what it cost."""
    left: float | None = None
    """What may still be reserved; null: as much as you like."""

    @classmethod
    def of(cls, balance: Balance) -> Self:
        """The view of one measure."""

        def shown(amount: int | None) -> float | None:
            return None if amount is None else budgets.in_units(balance.measure, amount)

        return cls(
            measure=budgets.measure_name(balance.measure),
            limit=shown(balance.limit),
            spent=shown(balance.spent) or 0.0,
            reserved=shown(balance.reserved) or 0.0,
            left=shown(balance.left),
        )


class AccountView(View):
    """Something that has limits: a goal, or a tenant's day."""

    name: str
    balances: tuple[BalanceView, ...]

    @classmethod
    def of(cls, account: Account, standing: tuple[Balance, ...]) -> Self:
        """The view of an account."""
        return cls(name=account.name, balances=tuple(map(BalanceView.of, standing)))


class BudgetView(View):
    """Every account that spending counts against, the narrowest first; none where nothing is limited."""

    accounts: tuple[AccountView, ...]
    depth: int | None = None
    """How many levels of sub-plans may lie below the goal; null: as many as the platform allows."""


class GrantOrder(Order):
    """What to add to a goal's limits."""

    dollars: Annotated[float, Field(ge=0, le=budgets.MOST_DOLLARS, allow_inf_nan=False)] = 0.0
    tokens: Annotated[int, Field(ge=0, le=budgets.MOST_TOKENS)] = 0
    seconds: Annotated[float, Field(ge=0, le=budgets.MOST_SECONDS, allow_inf_nan=False)] = 0.0

    @property
    def amount(self) -> Spend:
        """All of it."""
        return Spend.of(self.dollars, self.tokens, self.seconds)


class ApprovalView(View):
    """A task that waits for approval, or was decided."""

    ref: str
    """`goal.task`: what approving and rejecting take."""
    goal: str
    tasks: tuple[str, ...]
    capability: str
    input: Any
    """As it will run; a text if it is too large to be shown whole."""
    why: str
    """Which rule asks for it."""
    asked: datetime
    decision: Decision
    decided: datetime | None = None
    by: str | None = None
    """The tenant whose key decided."""
    note: str | None = None

    @classmethod
    def of(cls, approval: Approval) -> Self:
        """The view of a request."""
        try:
            shown = json.loads(approval.input)
        except ValueError:
            shown = approval.input + "…"  # it was cut off
        return cls(
            ref=approval.ref,
            goal=approval.goal_id,
            tasks=approval.tasks,
            capability=approval.capability,
            input=shown,
            why=approval.why,
            asked=approval.asked,
            decision=approval.decision,
            decided=approval.decided,
            by=approval.by,
            note=approval.note,
        )


class ApprovalPage(View):
    """What waits for approval, oldest first. Give `cursor` back for more; null: there is none."""

    approvals: tuple[ApprovalView, ...]
    cursor: str | None = None

    @classmethod
    def of(cls, page: Page[Approval]) -> Self:
        """The view of a page."""
        return cls(approvals=tuple(map(ApprovalView.of, page.items)), cursor=page.cursor)


class ApproveOrder(Order):
    """A yes."""

    note: Words | None = None


class RejectOrder(Order):
    """A no."""

    reason: Words
    """The task fails with it."""


class LiftOrder(Order):
    """What to let go on: everything, a pool or a tenant."""

    kind: Kind
    name: Annotated[str, StringConstraints(max_length=64)] = ""
    """The pool's or tenant's; empty for everything."""

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if (self.kind == "all") == bool(self.name):
            raise ValueError("name goes with kind pool or tenant, and only with them")
        return self

    @property
    def scope(self) -> Scope:
        """What is meant."""
        return Scope(self.kind, self.name)


class KillOrder(LiftOrder):
    """What to stop: everything, a pool or a tenant."""

    reason: Words
    """Shown to everybody who is stopped by it."""


class KillView(View):
    """What is stopped, or was."""

    kind: Kind
    name: str
    reason: str
    by: str
    """The tenant whose key gave the order."""
    since: datetime
    lifted: datetime | None = None
    lifted_by: str | None = None
    """The tenant whose key let it go on."""

    @classmethod
    def of(cls, kill: Kill) -> Self:
        """The view of a kill."""
        scope = kill.scope
        return cls(
            kind=scope.kind,
            name=scope.name,
            reason=kill.reason,
            by=kill.by,
            since=kill.since,
            lifted=kill.lifted,
            lifted_by=kill.lifted_by,
        )


class KillList(View):
    """What is stopped now, newest first."""

    kills: tuple[KillView, ...]

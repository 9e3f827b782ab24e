"""What may be spent: dollars, tokens and seconds as whole numbers, limits on them, and what stands in an account.

Money is counted in nanodollars and time in milliseconds, so that sums of very small and very many amounts are exact.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from msgspec import Struct

from agentfleet.domain.errors import PermanentError

NANODOLLARS: Final = 1_000_000_000
MILLISECONDS: Final = 1_000
MOST_DOLLARS: Final = 1_000_000.0
MOST_TOKENS: Final = 10**12
MOST_SECONDS: Final = 10.0**9


def _whole(amount: float, unit: int, name: str) -> int:
    """An amount in whole units, rounded up: what is set aside is never less than what was asked for."""
    exact = Decimal(str(amount))
    if not exact.is_finite() or exact < 0:
        raise ValueError(f"{name}: must be a number of at least 0, not {amount!r}")
    return int((exact * unit).to_integral_value(ROUND_CEILING))


class Spend(Struct, frozen=True):
    """An amount of everything that is counted."""

    nanodollars: int = 0
    tokens: int = 0
    milliseconds: int = 0

    @classmethod
    def of(cls, dollars: float = 0.0, tokens: int = 0, seconds: float = 0.0) -> "Spend":
        """From the units that people use. Raises ValueError naming what is negative or no number."""
        return cls(
            _whole(dollars, NANODOLLARS, "dollars"), _whole(tokens, 1, "tokens"), _whole(seconds, MILLISECONDS, "seconds")
        )

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(*(getattr(self, name) + getattr(other, name) for name in MEASURES))

    def __sub__(self, other: "Spend") -> "Spend":
        return Spend(*(getattr(self, name) - getattr(other, name) for name in MEASURES))

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in MEASURES)


MEASURES: Final = Spend.__struct_fields__
NOTHING: Final = Spend()


class Limits(Struct, frozen=True):
    """The most that may be spent of each measure. None: as much as you like."""

    nanodollars: int | None = None
    tokens: int | None = None
    milliseconds: int | None = None

    @classmethod
    def of(cls, dollars: float | None = None, tokens: int | None = None, seconds: float | None = None) -> "Limits":
        """From the units that people use. Raises ValueError."""
        most = Spend.of(dollars or 0.0, tokens or 0, seconds or 0.0)
        return cls(
            None if dollars is None else most.nanodollars,
            None if tokens is None else most.tokens,
            None if seconds is None else most.milliseconds,
        )

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in MEASURES)


class Account(Struct, frozen=True):
    """Something that has limits of its own: a goal, or a tenant's day."""

    name: str
    limits: Limits


class Budget(Struct, frozen=True):
    """What a goal may use up, its sub-plans included."""

    limits: Limits = Limits()
    depth: int | None = None
    """How many levels of sub-plans may lie below it; None: as many as the platform allows."""
    above: tuple[Account, ...] = ()
    """The accounts of the goals that it is part of, nearest first."""

    def __bool__(self) -> bool:
        return bool(self.limits or self.above) or self.depth is not None


class Tally(Struct, frozen=True):
    """What a store knows of an account."""

    taken: Spend = NOTHING
    """Spent and reserved, less what was granted on top of the limits."""
    spent: Spend = NOTHING
    granted: Spend = NOTHING


class Balance(Struct, frozen=True):
    """How one measure of an account stands, in its whole units."""

    measure: str
    limit: int | None
    """What was granted on top is in it."""
    spent: int
    reserved: int
    """Set aside for what is under way, or for what died before it could say what it cost."""

    @property
    def left(self) -> int | None:
        """What may still be reserved; below zero where something cost more than was reserved for it."""
        return None if self.limit is None else self.limit - self.spent - self.reserved


class BudgetExceeded(PermanentError):
    """A reservation that an account has no room for. Nothing was set aside for it."""

    def __init__(self, account: Account, tally: Tally, asked: Spend) -> None:
        self.account = account.name
        short = [one for one in balances(account, tally) if one.left is not None and one.left < getattr(asked, one.measure)]
        shown = "; ".join(
            f"{measure_name(one.measure)}: limit {show(one.measure, one.limit or 0)}, spent {show(one.measure, one.spent)}, "
            f"reserved {show(one.measure, one.reserved)}, asked {show(one.measure, getattr(asked, one.measure))}"
            for one in short
        )
        self.measures = tuple(measure_name(one.measure) for one in short)
        super().__init__(f"the budget of {account.name} has no room: {shown or 'what was open has been given back meanwhile'}")


def goal_account(goal_id: str, limits: Limits) -> Account:
    """A goal's own account."""
    return Account(f"goal {goal_id}", limits)


def day_account(tenant: str, now: datetime, limits: Limits) -> Account:
    """A tenant's account of one day (UTC)."""
    return Account(f"tenant {tenant} on {now:%Y-%m-%d}", limits)


def balances(account: Account, tally: Tally) -> tuple[Balance, ...]:
    """Every measure of an account."""
    found = []
    for name in MEASURES:
        limit, granted, spent = getattr(account.limits, name), getattr(tally.granted, name), getattr(tally.spent, name)
        reserved = getattr(tally.taken, name) + granted - spent
        found.append(Balance(name, None if limit is None else limit + granted, spent, reserved))
    return tuple(found)


def room(account: Account, amount: Spend) -> dict[str, int]:
    """How much may have been taken of each limited measure before `amount` for it to fit."""
    limits = {name: getattr(account.limits, name) for name in MEASURES if getattr(amount, name)}
    return {name: limit - getattr(amount, name) for name, limit in limits.items() if limit is not None}


def narrowed(parent: Budget | None, parent_account: Account | None, limits: Limits, depth: int | None) -> Budget | None:
    """The budget of a sub-plan's goal: its own limits within all that holds above. None where nothing limits it."""
    above = parent.above if parent else ()
    if parent_account:
        above = (parent_account, *above)
    inherited = parent.depth - 1 if parent and parent.depth is not None else None
    depths = [one for one in (depth, inherited) if one is not None]
    budget = Budget(limits, min(depths) if depths else None, above)
    return budget or None


def measure_name(measure: str) -> str:
    """What people call a measure."""
    return {"nanodollars": "dollars", "tokens": "tokens", "milliseconds": "seconds"}[measure]


def in_units(measure: str, amount: int) -> float:
    """An amount in the units that people use."""
    return amount / {"nanodollars": NANODOLLARS, "tokens": 1, "milliseconds": MILLISECONDS}[measure]


def show(measure: str, amount: int) -> str:
    """An amount for a message: every digit that counts, none that doesn't."""
    if measure == "tokens":
        return str(amount)
    exact = Decimal(amount) / (NANODOLLARS if measure == "nanodollars" else MILLISECONDS)
    text = f"{exact:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"${text}" if measure == "nanodollars" else f"{text} s"


def to_json(budget: Budget) -> dict[str, Any]:
    """A budget as plain JSON."""
    return {
        "limits": _plain(budget.limits),
        "depth": budget.depth,
        "above": [[one.name, _plain(one.limits)] for one in budget.above],
    }


def from_json(value: Mapping[str, Any]) -> Budget:
    """The budget that `to_json` gave this for."""
    above = tuple(Account(name, Limits(**limits)) for name, limits in value["above"])
    return Budget(Limits(**value["limits"]), value["depth"], above)


def _plain(limits: Limits) -> dict[str, int]:
    return {name: limit for name in MEASURES if (limit := getattr(limits, name)) is not None}

"""Bugs in keeping budgets."""

from collections.abc import Sequence
from typing import Final

from agentfleet.domain.budget import NOTHING, Account, Spend, Tally
from agentfleet.domain.goal import Goal
from agentfleet.services import accept
from agentfleet.services.budget import Budgets, LocalBudgets, Reservation
from tests.simulation.mutants.mutant import Mutant

_give_back = Budgets._give_back


def _always_room(self: LocalBudgets, account: Account, amount: Spend) -> bool:
    tally = self._tallies.get(account.name, Tally())
    self._tallies[account.name] = Tally(tally.taken + amount, tally.spent, tally.granted)
    return True


def _reserve_without_asking(self: Budgets, accounts: Sequence[Account], amount: Spend) -> Reservation:
    return Reservation((), amount)


def _own_only(self: Budgets, goal: Goal) -> tuple[Account, ...]:
    return (self.own(goal),) if goal.budget and goal.budget.limits else ()


def _settle_never(self: Budgets, reservation: Reservation, actual: Spend | None) -> None:
    reservation.close()


def _unknown_is_free(self: Budgets, reservation: Reservation, actual: Spend | None) -> None:
    if reservation.close():
        _give_back(self, reservation.accounts, reservation.amount, actual or NOTHING)


def _settle_again(self: Budgets, accounts: Sequence[Account], reserved: Spend, actual: Spend) -> None:
    """Tries until it hears that it was done."""
    for account in reversed(accounts):
        for _ in range(3):
            try:
                self._store.give_back(account.name, reserved, actual)
            except Exception:
                continue
            break


def _keep_what_was_taken(self: Budgets, accounts: Sequence[Account], reserved: Spend, actual: Spend) -> None:
    if actual:
        _give_back(self, accounts, reserved, actual)


BUDGETS: Final = (
    Mutant("an account has always room", LocalBudgets, "take", _always_room),
    Mutant("nothing is set aside", Budgets, "reserve", _reserve_without_asking),
    Mutant("goals above and the day don't count", Budgets, "accounts", _own_only),
    Mutant("a sub-plan's budget is its own affair", accept, "_within", lambda goal, own: None, first=135),
    Mutant("nothing is settled", Budgets, "settle", _settle_never),
    Mutant("what nobody knows the cost of was free", Budgets, "settle", _unknown_is_free),
    Mutant("a settlement is tried again", Budgets, "_give_back", _settle_again, first=363),
    Mutant("what was taken before another had no room is kept", Budgets, "_give_back", _keep_what_was_taken),
)

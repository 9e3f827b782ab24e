"""Budgets in a run: the accounts as the services use them, and a meter of what was really used that knows nothing of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentfleet.domain.budget import MEASURES, NOTHING, Account, Spend, Tally
from agentfleet.services.budget import LocalBudgets
from tests.simulation.work import TENANT
from tests.simulation.world import Actor, Killed, Refused, World

if TYPE_CHECKING:
    from tests.simulation.simulate import Simulation


@dataclass(slots=True)
class _Open:
    """An amount that was set aside and not settled yet."""

    account: str
    amount: Spend
    by: Actor
    deaths: int
    """How often whoever holds it had died before."""
    is_lost: bool
    """Was its holder told that it had not been set aside, or could it not be settled? Then it stays so."""


class Accounts:
    """A BudgetStore that keeps books of its own about what passes through it."""

    def __init__(self, world: World) -> None:
        self.store = LocalBudgets()
        self.taken: dict[str, Spend] = {}
        """By account: spent, or still set aside."""
        self._world = world
        self._open: list[_Open] = []

    def take(self, account: Account, amount: Spend) -> bool:
        world = self._world
        fault = world.before("budgets.take")
        fits = self.store.take(account, amount)
        taken = self.taken.get(account.name, NOTHING) + amount
        over = [
            one for one in MEASURES if getattr(taken, one) > (getattr(account.limits, one) or 0) and _is_limited(account, one)
        ]
        if fits == bool(over):
            world.violate(f"{account.name} {'took' if fits else 'refused'} {amount}, which makes {taken} of {account.limits}")
        if fits:
            self.taken[account.name] = taken
            self._open.append(_Open(account.name, amount, world.current, world.current.deaths, fault is not None))
        if world.trace is not None:
            world.note(f"budgets.take({account.name}, {amount.tokens}) → {fits}")
        if fault is not None:
            world.after(fault)
        return fits

    def give_back(self, account: str, reserved: Spend, actual: Spend) -> None:
        world = self._world
        if world.current.is_dead:
            raise Killed
        holder = (account, reserved, world.current, world.current.deaths)
        mine = (one for one in self._open if (one.account, one.amount, one.by, one.deaths) == holder)
        found = next((one for one in mine if not one.is_lost), None)
        if found is None:
            world.violate(f"{reserved} are given back to {account} that nobody has set aside there")
            return
        try:
            fault = world.before("budgets.give_back")
        except (Killed, Refused):
            found.is_lost = True
            raise
        self.store.give_back(account, reserved, actual)
        self._open.remove(found)
        self.taken[account] += actual - reserved
        if world.trace is not None:
            world.note(f"budgets.give_back({account}, {reserved.tokens}, {actual.tokens})")
        if fault is not None:
            world.after(fault)

    def read(self, accounts: Sequence[str]) -> dict[str, Tally]:
        return self.store.read(accounts)

    def grant(self, account: str, more: Spend) -> None:
        self.store.grant(account, more)

    def unsettled(self) -> list[str]:
        """What is still set aside although whoever did that lives, and could have settled it."""
        left = [one for one in self._open if not one.is_lost and one.by.deaths == one.deaths]
        return [f"{one.amount} of {one.account} by {one.by.name}" for one in left]


def _is_limited(account: Account, measure: str) -> bool:
    return getattr(account.limits, measure) is not None


class Meter:
    """What tasks really used, by account: nobody asks the services for it."""

    def __init__(self, simulation: "Simulation") -> None:
        self.used: Counter[str] = Counter()
        """Tokens by account."""
        self._simulation = simulation

    def use(self, goal_id: str, tokens: int) -> None:
        """A task of this goal has used so many tokens."""
        goals, world = self._simulation.goals.goals, self._simulation.world
        parent = goals[goal_id].parent
        for one in (goal_id, *(parent.ancestors if parent else ())):
            case = self._simulation.expected.cases.get(one)
            limit = case.tokens if case else self._simulation.expected.of(one).limit
            self._count(f"goal {one}", tokens, limit)
        self._count(f"tenant {TENANT} on {world.clock():%Y-%m-%d}", tokens, self._simulation.scenario.weather.tokens_a_day)

    def _count(self, account: str, tokens: int, limit: int | None) -> None:
        self.used[account] += tokens
        if limit is not None and self.used[account] > limit:
            self._simulation.world.violate(f"{self.used[account]} tokens of {account} are used, of {limit}")


def check_accounts(simulation: "Simulation") -> None:
    """Nothing stays set aside that could be settled, and nothing was used that is not in the books."""
    violate, accounts = simulation.world.violate, simulation.accounts
    for one in accounts.unsettled():
        violate(f"set aside and never settled: {one}")
    for name, taken in accounts.taken.items():
        if (tally := accounts.store.read([name])[name]).taken != taken:
            violate(f"{name} says that {tally.taken} are taken, but {taken} are")
        if taken.tokens < simulation.meter.used[name]:
            violate(f"{simulation.meter.used[name]} tokens of {name} are used, but only {taken.tokens} are in its books")

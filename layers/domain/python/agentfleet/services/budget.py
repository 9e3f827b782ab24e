"""Reserve before, settle after: nothing is spent that was not set aside, in every account that it counts against.

An account is one item with one conditional update per reservation, so a hundred agents can't overspend it by a nanodollar.
Several accounts are taken from one after the other, the narrowest first, and given back if a later one has no room. Who dies
in between leaves the amount set aside: less may be spent than allowed, never more.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from types import TracebackType
from typing import Final, Protocol, Self

from agentfleet.domain.budget import (
    MEASURES,
    NOTHING,
    Account,
    Balance,
    BudgetExceeded,
    Limits,
    Spend,
    Tally,
    balances,
    day_account,
    goal_account,
    in_units,
    measure_name,
    room,
)
from agentfleet.domain.errors import InvalidRequest, NotFound, Problem
from agentfleet.domain.goal import Goal
from agentfleet.ports import Clock, GoalStore
from agentfleet.ports_governance import BudgetStore

KNOWN: Final = 1000

_log: Final = logging.getLogger(__name__)


class LocalBudgets:
    """A BudgetStore in this process's memory, for agents that share no registry."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._mutex = Lock()

    def take(self, account: Account, amount: Spend) -> bool:
        """Set an amount aside if all of it fits below the account's limits."""
        with self._mutex:
            tally = self._tallies.get(account.name, Tally())
            if any(getattr(tally.taken, name) > most for name, most in room(account, amount).items()):
                return False
            self._tallies[account.name] = Tally(tally.taken + amount, tally.spent, tally.granted)
            return True

    def give_back(self, account: str, reserved: Spend, actual: Spend) -> None:
        """End a reservation."""
        with self._mutex:
            tally = self._tallies.get(account, Tally())
            self._tallies[account] = Tally(tally.taken - reserved + actual, tally.spent + actual, tally.granted)

    def read(self, accounts: Sequence[str]) -> dict[str, Tally]:
        """What has become of these accounts; those that nobody has taken from are left out."""
        with self._mutex:
            return {name: self._tallies[name] for name in accounts if name in self._tallies}

    def grant(self, account: str, more: Spend) -> None:
        """Let this much more be spent than the limits say."""
        with self._mutex:
            tally = self._tallies.get(account, Tally())
            self._tallies[account] = Tally(tally.taken - more, tally.spent, tally.granted + more)


class Reservation:
    """An amount that is set aside in some accounts until it is settled, once."""

    def __init__(self, accounts: tuple[Account, ...], amount: Spend) -> None:
        self.accounts = accounts
        self.amount = amount
        self._is_open = True
        self._mutex = Lock()

    def close(self) -> bool:
        """Whether this call is the first to close it."""
        with self._mutex:
            was_open, self._is_open = self._is_open, False
        return was_open


class Budgets:
    """Reservations in the accounts that a goal's spending counts against."""

    def __init__(self, store: BudgetStore, clock: Clock, day: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._store = store
        self._clock = clock
        self._day = day

    def accounts(self, goal: Goal) -> tuple[Account, ...]:
        """The goal's own account, those of the goals above it, its tenant's day: as far as they have limits."""
        own = (self.own(goal),) if goal.budget and goal.budget.limits else ()
        above = goal.budget.above if goal.budget else ()
        today = (self.today(goal.tenant),) if self._day else ()
        return (*own, *above, *today)

    @staticmethod
    def own(goal: Goal) -> Account:
        """The goal's own account; its limits may be none."""
        return goal_account(goal.id, goal.budget.limits if goal.budget else Limits())

    def today(self, tenant: str) -> Account:
        """A tenant's account of this day; its limits may be none."""
        return day_account(tenant, self._clock(), self._day)

    def reserve(self, accounts: Sequence[Account], amount: Spend) -> Reservation:
        """Set an amount aside in all of these accounts, or in none. Raises BudgetExceeded naming the one without room."""
        taken: list[Account] = []
        for account in accounts if amount else ():
            try:
                fits = self._store.take(account, amount)
            except Exception:
                self._give_back(taken, amount, NOTHING)
                raise
            if not fits:
                self._give_back(taken, amount, NOTHING)
                raise BudgetExceeded(account, self._store.read([account.name]).get(account.name, Tally()), amount)
            taken.append(account)
        return Reservation(tuple(taken), amount)

    def settle(self, reservation: Reservation, actual: Spend | None) -> None:
        """Say what it came to, at most once; None: nobody knows, so all of it counts as spent. Never raises.

        More than was reserved counts too: it is spent, and may bring the account below its limit.
        """
        if reservation.close():
            self._give_back(reservation.accounts, reservation.amount, reservation.amount if actual is None else actual)

    def _give_back(self, accounts: Sequence[Account], reserved: Spend, actual: Spend) -> None:
        for account in reversed(accounts):
            try:
                self._store.give_back(account.name, reserved, actual)
            except Exception as error:
                # Not again: if it was done after all, the same money would be free twice.
                _log.warning("%s: %s stays reserved, its settlement failed: %r", account.name, reserved, error)

    def standing(self, account: Account) -> tuple[Balance, ...]:
        """How every measure of an account stands."""
        return balances(account, self._store.read([account.name]).get(account.name, Tally()))

    def grant(self, account: Account, more: Spend) -> None:
        """Let more be spent than the account's limits say. Raises InvalidRequest for a measure that has no limit."""
        free = [name for name in MEASURES if getattr(more, name) and getattr(account.limits, name) is None]
        if free:
            raise InvalidRequest([Problem(measure_name(name), f"{account.name} has no limit to add to") for name in free])
        if not more:
            raise InvalidRequest.of("budget", "give dollars, tokens or seconds to add, more than 0")
        self._store.grant(account.name, more)


class Held:
    """An amount set aside around some work: `with context.budget.reserve(dollars=0.05) as held:`, also `async with`.

    Say inside what it came to by `held.spent(…)`; several calls add up. If nothing is said, all of it counts as spent, also
    when the work raises: nobody knows what it did cost.
    """

    def __init__(self, budgets: Budgets | None, accounts: Callable[[], Sequence[Account]], amount: Spend) -> None:
        self._budgets = budgets
        self._accounts = accounts
        self._amount = amount
        self._reservation: Reservation | None = None
        self._spent: Spend | None = None

    def spent(self, dollars: float = 0.0, tokens: int = 0, seconds: float = 0.0) -> None:
        """This much was spent. Raises ValueError for what is negative or no number."""
        self._spent = (self._spent or NOTHING) + Spend.of(dollars, tokens, seconds)

    def __enter__(self) -> Self:
        accounts = self._accounts()
        if self._budgets and accounts:
            self._reservation = self._budgets.reserve(accounts, self._amount)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._budgets and self._reservation:
            self._budgets.settle(self._reservation, self._spent)

    async def __aenter__(self) -> Self:
        if not self._budgets or not self._accounts():
            return self
        entering = asyncio.ensure_future(asyncio.to_thread(self.__enter__))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            # The thread goes on and takes the money; the work it was for will never begin.
            entering.add_done_callback(self._abandon)
            raise

    def _abandon(self, entering: "asyncio.Future[Self]") -> None:
        if not entering.cancelled() and entering.exception() is None and self._budgets and self._reservation:
            entering.get_loop().run_in_executor(None, self._budgets.settle, self._reservation, NOTHING)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reservation:
            await asyncio.shield(asyncio.to_thread(self.__exit__, kind, error, trace))


class TaskBudget:
    """What a task may spend: `context.budget`. Without limits anywhere nothing is kept and nothing is written."""

    def __init__(self, budgets: Budgets | None = None, goal: Goal | None = None) -> None:
        self._budgets = budgets
        self._goal = goal

    def reserve(self, dollars: float = 0.0, tokens: int = 0, seconds: float = 0.0) -> Held:
        """Set aside the most that the work inside can cost, in every account that it counts against.

        Entering raises BudgetExceeded (a PermanentError) naming the account that has no room. Raises ValueError for what is
        negative or no number.
        """
        return Held(self._budgets, self._accounts, Spend.of(dollars, tokens, seconds))

    def left(self) -> dict[str, float]:
        """What may still be set aside of `dollars`, `tokens` and `seconds`, by the account that has least, and the `depth`.

        What nothing limits is left out. Reads the accounts.
        """
        found: dict[str, float] = {}
        for account in self._accounts():
            for one in self._budgets.standing(account) if self._budgets else ():
                if one.left is not None:
                    name, left = measure_name(one.measure), in_units(one.measure, one.left)
                    found[name] = min(left, found.get(name, left))
        if self._goal and self._goal.budget and self._goal.budget.depth is not None:
            found["depth"] = self._goal.budget.depth
        return found

    def _accounts(self) -> Sequence[Account]:
        return self._budgets.accounts(self._goal) if self._budgets and self._goal else ()


class _Purpose(Protocol):
    @property
    def goal_id(self) -> str: ...


class _Cost(Protocol):
    @property
    def dollars(self) -> float: ...
    @property
    def tokens(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class GoalSpending:
    """Pays for a goal's calls out of its budgets, for those who know a goal only by its id.

    `reserve(purpose, most)` gives the reservation's id, `settle(id, spent)` ends it; `purpose` has a `goal_id`, amounts have
    `dollars`, `tokens` and `seconds`. An id that was settled before, or comes from another process, changes nothing.
    """

    def __init__(self, budgets: Budgets, goals: GoalStore) -> None:
        self._budgets = budgets
        self._goals = goals
        self._known: OrderedDict[str, Goal] = OrderedDict()
        self._open: dict[str, Reservation] = {}
        self._mutex = Lock()

    def reserve(self, purpose: _Purpose, most: _Cost) -> str:
        """Set aside the most that a call can cost. Raises BudgetExceeded, NotFound for a goal that there isn't."""
        accounts = self._budgets.accounts(self._goal(purpose.goal_id))
        reservation = self._budgets.reserve(accounts, Spend.of(most.dollars, most.tokens, most.seconds))
        name = secrets.token_hex(8)
        with self._mutex:
            self._open[name] = reservation
        return name

    def settle(self, reservation: str, spent: _Cost | None) -> None:
        """What the call did cost. None: nobody knows, so what was reserved counts as spent."""
        with self._mutex:
            found = self._open.pop(reservation, None)
        if found:
            self._budgets.settle(found, Spend.of(spent.dollars, spent.tokens, spent.seconds) if spent else None)

    def _goal(self, goal_id: str) -> Goal:
        """A goal as far as its budget goes, which never changes."""
        with self._mutex:
            known = self._known.get(goal_id)
        if known is None:
            known = self._goals.get([goal_id]).get(goal_id)
            if known is None:
                raise NotFound(f"there is no goal {goal_id}")
            with self._mutex:
                self._known[goal_id] = known
                if len(self._known) > KNOWN:
                    self._known.popitem(last=False)
        return known

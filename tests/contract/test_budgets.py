"""Accounts that many agents spend from at once."""

from functools import partial

import pytest

from agentfleet.domain.budget import NANODOLLARS, Account, BudgetExceeded, Limits, Spend, Tally
from agentfleet.services.budget import Budgets
from tests.contract.making import at_once
from tests.contract.world import World

DOLLAR = Spend(nanodollars=NANODOLLARS)


def account(world: World, **limits: int) -> Account:
    """A new account."""
    return Account(world.fresh("goal "), Limits(**limits))


def test_an_account_that_nobody_took_from_is_not_there(world: World) -> None:
    """Reading makes none."""
    assert world.budgets.read([world.fresh("goal ")]) == {}


def test_what_is_taken_counts_until_it_is_settled(world: World) -> None:
    """Taken, then spent in part and the rest free again, exactly, in every measure."""
    own = account(world, nanodollars=100, tokens=10)
    taken = Spend(60, 7, 1500)

    assert world.budgets.take(own, taken)
    assert world.budgets.read([own.name]) == {own.name: Tally(taken=taken)}
    world.budgets.give_back(own.name, taken, Spend(10, 7, 0))

    assert world.budgets.read([own.name]) == {own.name: Tally(Spend(10, 7, 0), Spend(10, 7, 0))}


@pytest.mark.parametrize("amount", [Spend(41, 0, 0), Spend(1, 11, 0), Spend(101, 0, 0), Spend(40, 4, 0)])
def test_what_does_not_fit_changes_nothing(world: World, amount: Spend) -> None:
    """One measure too much is enough to refuse all."""
    own = account(world, nanodollars=100, tokens=10)
    assert world.budgets.take(own, Spend(60, 7, 0))

    assert not world.budgets.take(own, amount)

    assert world.budgets.read([own.name])[own.name].taken == Spend(60, 7, 0)


def test_the_last_nanodollar_can_be_taken_and_none_after_it(world: World) -> None:
    """A limit is reached exactly; a fresh account refuses what never fits."""
    own = account(world, nanodollars=100)

    assert not world.budgets.take(own, Spend(101))
    assert world.budgets.take(own, Spend(99))
    assert world.budgets.take(own, Spend(1))
    assert not world.budgets.take(own, Spend(1))
    assert world.budgets.take(own, Spend(tokens=5))


def test_a_limit_of_nothing_lets_nothing_through(world: World) -> None:
    """Zero is a limit."""
    own = account(world, nanodollars=0)

    assert not world.budgets.take(own, Spend(1))


def test_more_is_granted_at_once_before_and_after_the_first_taking(world: World) -> None:
    """What was granted counts on top, also for an account that is full or was never taken from."""
    full, fresh = account(world, nanodollars=10), account(world, nanodollars=10)
    assert world.budgets.take(full, Spend(10))

    for one in (full, fresh):
        world.budgets.grant(one.name, Spend(5))

    assert world.budgets.take(full, Spend(5))
    assert not world.budgets.take(full, Spend(1))
    assert not world.budgets.take(fresh, Spend(16))
    assert world.budgets.take(fresh, Spend(15))
    assert world.budgets.read([full.name])[full.name] == Tally(Spend(10), granted=Spend(5))


def test_another_limit_holds_at_once(world: World) -> None:
    """Limits are the caller's: a deployment that changes them needs no other write."""
    name = world.fresh("tenant ")
    assert world.budgets.take(Account(name, Limits(nanodollars=10)), Spend(10))

    assert not world.budgets.take(Account(name, Limits(nanodollars=5)), Spend(1))
    assert world.budgets.take(Account(name, Limits(nanodollars=20)), Spend(10))


def test_a_hundred_agents_do_not_overspend_by_a_nanodollar(world: World) -> None:
    """Exactly as many succeed as the limit pays for, and not one more."""
    own = account(world, nanodollars=NANODOLLARS)
    cost = Spend(nanodollars=29_411_765)  # 34 of them would cost ten nanodollars more than there are

    took = at_once([partial(world.budgets.take, own, cost) for _ in range(100)])

    assert sum(took) == NANODOLLARS // cost.nanodollars == 33
    assert world.budgets.read([own.name])[own.name].taken == Spend(nanodollars=33 * cost.nanodollars)


def test_a_refusal_by_the_second_account_leaves_both_as_they_were(world: World) -> None:
    """What was taken from the first is given back; the error names the second."""
    goal, day = account(world, nanodollars=5 * NANODOLLARS), account(world, nanodollars=NANODOLLARS // 2)
    budgets = Budgets(world.budgets, world.clock)

    with pytest.raises(BudgetExceeded, match=rf"{day.name} has no room: dollars: limit \$0.5, spent \$0, reserved \$0, asked"):
        budgets.reserve((goal, day), DOLLAR)

    assert world.budgets.read([goal.name, day.name]) == {goal.name: Tally()}


def test_a_hundred_agents_share_two_accounts(world: World) -> None:
    """While they race for the narrow and the wide one, neither is ever overspent; settled to half, both say so."""
    goals = [account(world, nanodollars=7 * NANODOLLARS) for _ in range(4)]
    day = account(world, nanodollars=20 * NANODOLLARS)
    budgets = Budgets(world.budgets, world.clock)
    half = Spend(nanodollars=NANODOLLARS // 2)

    def spend(number: int) -> bool:
        try:
            reservation = budgets.reserve((goals[number % 4], day), DOLLAR)
        except BudgetExceeded:
            return False
        budgets.settle(reservation, half)
        budgets.settle(reservation, half)  # once is enough
        return True

    spent = sum(at_once([partial(spend, number) for number in range(100)]))

    tallies = world.budgets.read([*(one.name for one in goals), day.name])
    assert spent >= 20
    assert tallies[day.name] == Tally(Spend(spent * half.nanodollars), Spend(spent * half.nanodollars))
    assert tallies[day.name].spent.nanodollars <= 20 * NANODOLLARS
    assert all(tallies[one.name].spent.nanodollars <= 7 * NANODOLLARS for one in goals)
    assert sum(tallies[one.name].spent.nanodollars for one in goals) == tallies[day.name].spent.nanodollars

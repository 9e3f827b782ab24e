"""Amounts and limits: exact sums, and errors that say everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.domain.budget import (
    Account,
    Budget,
    BudgetExceeded,
    Limits,
    Spend,
    Tally,
    from_json,
    goal_account,
    narrowed,
    to_json,
)

amounts = st.builds(Spend, st.integers(0, 10**18), st.integers(0, 10**12), st.integers(0, 10**12))
limits = st.builds(Limits, *[st.none() | st.integers(0, 10**18)] * 3)


def test_amounts_in_peoples_units_are_exact_and_rounded_up() -> None:
    """A tenth of a dollar is a tenth; less than a nanodollar is still one."""
    assert Spend.of(0.1, 5, 0.25) == Spend(100_000_000, 5, 250)
    assert Spend.of(dollars=1e-12, seconds=0.0001) == Spend(1, 0, 1)
    assert Spend.of(0.1) + Spend.of(0.2) == Spend.of(0.3)


@pytest.mark.parametrize("given", [{"dollars": -1}, {"tokens": -1}, {"seconds": float("nan")}, {"dollars": float("inf")}])
def test_what_is_no_amount_is_refused(given: dict[str, float]) -> None:
    """Negative and endless ones are named."""
    with pytest.raises(ValueError, match=next(iter(given))):
        Spend.of(**given)  # type: ignore[arg-type]  # floats where tokens go, on purpose


@given(amounts, amounts)
def test_what_is_added_can_be_taken_away(one: Spend, other: Spend) -> None:
    """No rounding, ever."""
    assert one + other - other == one


@given(limits, st.none() | st.integers(0, 5), st.lists(st.builds(Account, st.text(), limits), max_size=3))
def test_a_budget_survives_its_json(own: Limits, depth: int | None, above: list[Account]) -> None:
    """What is stored with a goal comes back."""
    budget = Budget(own, depth, tuple(above))

    assert from_json(to_json(budget)) == budget


def test_a_sub_plan_is_held_by_everything_above_it() -> None:
    """Its accounts are its own and all that its parents had, nearest first; its depth is what is left of theirs."""
    root = goal_account("root", Limits.of(dollars=5))
    child = narrowed(Budget(root.limits, 2), root, Limits.of(tokens=9), None)
    grandchild = narrowed(child, goal_account("child", Limits.of(tokens=9)), Limits(), 4)

    assert child == Budget(Limits(tokens=9), 1, (root,))
    assert grandchild == Budget(Limits(), 0, (goal_account("child", Limits(tokens=9)), root))
    assert narrowed(None, None, Limits(), None) is None


def test_a_refusal_names_only_what_is_short() -> None:
    """Account, measure, limit, spent, reserved, asked."""
    account = Account("goal g", Limits.of(dollars=1, tokens=100))
    error = BudgetExceeded(account, Tally(Spend(900_000_000, 10), Spend(250_000_000, 10)), Spend.of(0.2, 1))

    assert error.measures == ("dollars",)
    assert str(error) == "the budget of goal g has no room: dollars: limit $1, spent $0.25, reserved $0.65, asked $0.2"

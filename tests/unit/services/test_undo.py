"""A compensation that goes wrong stands in nobody's way, however long an invocation, and with it a lease, may last."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agentfleet.agent import Agent, RetryableError
from agentfleet.domain.errors import BulkheadFull, CircuitOpen, PermanentError
from agentfleet.domain.goal import Goal, GoalState
from tests.fakes import fleet as fleets
from tests.fakes.fleet import InProcessFleet, Killed
from tests.fakes.sagas import HEARTBEAT, RETRIES

LEASE = timedelta(minutes=15)


def well() -> None:
    """Ends an attempt so."""


def raising(error: BaseException) -> Callable[[], None]:
    """Ends an attempt so."""

    def end() -> None:
        raise error

    return end


class Desk:
    """A fleet whose one booking must be taken back, which ends each time as it was told."""

    def __init__(self, *ends: Callable[[], Any], rest: Callable[[], Any] = well) -> None:
        self.tries: list[int] = []
        """Seconds after the start."""
        work, ending = Agent("work"), iter(ends)

        @work.capability("work.book")
        async def book(input: dict[str, Any]) -> int:
            """Books."""
            return 1

        @work.capability("work.bad")
        async def bad(input: dict[str, Any]) -> int:
            """Has everything undone."""
            raise PermanentError("sold out")

        @work.capability("work.cancel", idempotent=True, timeout=0.05)
        async def cancel(input: dict[str, Any]) -> None:
            """Takes the booking back."""
            self.tries.append(self.elapsed)
            waits = next(ending, rest)()
            if waits is not None:
                await waits

        self.fleet = InProcessFleet(work)
        self._start = self.fleet.clock()

    @property
    def elapsed(self) -> int:
        return round((self.fleet.clock() - self._start).total_seconds())

    @property
    def retries(self) -> dict[str, int]:
        """Of the saga, by what the error was called."""
        return dict(self.fleet.machine.retries)

    def run(self) -> Goal:
        """The goal as it stands at rest."""
        book = {"id": "a", "capability": "work.book", "compensation": {"capability": "work.cancel", "input": {}}}
        bad = {"id": "b", "capability": "work.bad", "depends_on": ["a"], "retries": 0}
        goal = self.fleet.submit({"on_failure": "compensate", "plan": {"tasks": [book, bad]}})
        while True:
            try:
                self.fleet.settle()
            except Killed:
                continue
            break
        assert not self.fleet.queues.bodies("fleet-work-dead")
        return self.fleet.goal(goal.id)


@pytest.fixture(autouse=True)
def _long_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "INVOCATION", LEASE)


def test_a_failed_attempt_does_not_hold_up_the_next() -> None:
    """Each retry is a message of its own, and finds the claim of the one before given up."""
    desk = Desk(*[raising(RetryableError("blip"))] * 3)

    goal = desk.run()

    assert goal.undoing is not None
    assert (goal.state, goal.undoing.done, len(desk.tries)) == (GoalState.FAILED, True, 4)
    assert desk.tries[-1] < 15
    assert desk.retries == {"States.ALL": 3}


def test_resuming_after_a_failure_for_good_finds_the_claim_given_up() -> None:
    """A person may be faster than a lease."""
    desk = Desk(raising(PermanentError("the desk is closed")))

    parked = desk.run()
    desk.fleet.platform.saga.resume(parked.id, "acme")
    desk.fleet.settle()

    assert parked.state is GoalState.COMPENSATION_FAILED
    assert desk.fleet.goal(parked.id).state is GoalState.FAILED
    assert desk.tries[-1] - desk.tries[0] < 15


def test_who_waits_for_a_dead_agents_lease_shows_signs_of_life() -> None:
    """The death costs one retry: the message that is sent then waits until the lease is over, and no longer."""
    desk = Desk(raising(Killed("dead")))

    goal = desk.run()

    assert goal.undoing is not None
    assert goal.undoing.done
    assert desk.retries == {"States.ALL": 1}
    first, second = desk.tries
    assert LEASE.total_seconds() <= second - first <= LEASE.total_seconds() + 10
    assert LEASE.total_seconds() > 2 * HEARTBEAT


def test_what_ran_out_of_time_may_still_act_so_its_claim_stays() -> None:
    """The next attempt begins when the lease is over; waiting for it costs no further retry."""
    desk = Desk(lambda: asyncio.sleep(60))

    goal = desk.run()

    assert goal.undoing is not None
    assert goal.undoing.done
    assert desk.retries == {"States.ALL": 1}
    first, second = desk.tries
    assert second - first >= LEASE.total_seconds()


def test_what_could_not_be_tried_has_retries_of_its_own() -> None:
    """An open breaker, or a full bulkhead, uses up no attempt; six failures among the refusals are borne as well."""
    refused = [raising(CircuitOpen("open", 30)), raising(BulkheadFull("full", 1))]
    desk = Desk(*refused * 5, *[raising(RetryableError("blip"))] * 6, *refused)

    goal = desk.run()

    assert goal.undoing is not None
    assert (goal.state, goal.undoing.done) == (GoalState.FAILED, True)
    assert desk.retries == {"Postponed": 12, "States.ALL": 6}


def test_refusals_without_end_park_the_goal() -> None:
    """After twenty, hours later, a person is asked."""
    desk = Desk(rest=raising(CircuitOpen("open", 30)))

    goal = desk.run()

    assert goal.state is GoalState.COMPENSATION_FAILED
    assert goal.undoing is not None
    assert goal.undoing.failure is not None
    assert goal.undoing.failure.error == "Postponed"
    assert len(desk.tries) == 1 + RETRIES["Postponed"]
    assert desk.elapsed > 3600

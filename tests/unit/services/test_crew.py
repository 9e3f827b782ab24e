"""Threads for plain functions: what is given up is interrupted, and takes no thread from those that come after it."""

import asyncio
import time
from functools import partial
from threading import Event, get_ident

import pytest

from agentfleet.services.crew import Crew, NoThread

LONG = 30.0


def spin(seen: list[BaseException]) -> None:
    """Never ends by itself, and holds all mere errors."""
    try:
        while True:
            try:
                sum(range(100))
            except Exception as error:
                seen.append(error)
    except BaseException as error:
        seen.append(error)
        raise


def slowly(value: int) -> int:
    """The value, after a moment."""
    time.sleep(0.01)
    return value


async def give_up(crew: Crew, *call: object, name: str = "g/t", after: float = 0.05) -> None:
    """Wait for a call only so long."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(after):
            await crew.call(*call, name=name, seconds=LONG)  # type: ignore[arg-type]


async def ended(crew: Crew) -> None:
    """Until nothing is stuck any more."""
    async with asyncio.timeout(LONG):
        while crew.stuck():
            await asyncio.sleep(0.01)


def test_endless_functions_are_interrupted_and_leave_room_for_others() -> None:
    """As many as there are threads; the next call is done at once, and nothing runs on."""
    crew, seen = Crew(2), list[BaseException]()

    async def main() -> int:
        for _ in range(3):
            await asyncio.gather(*(give_up(crew, spin, seen) for _ in range(2)))
        done = await crew.call(lambda: 7, name="g/u", seconds=1.0)
        await ended(crew)
        return int(done)

    assert asyncio.run(main()) == 7
    assert [type(error).__name__ for error in seen] == ["Interrupted"] * 6


def test_what_is_blocked_outside_of_python_is_told_until_it_ends() -> None:
    """It can't be interrupted there; others get threads all the same."""
    crew, door = Crew(1), Event()

    async def main() -> None:
        await give_up(crew, door.wait, LONG, name="g/blocked")
        assert crew.stuck() == ["g/blocked"]
        assert await crew.call(lambda: 7, name="g/u", seconds=1.0) == 7
        door.set()
        await ended(crew)

    asyncio.run(main())


def test_others_at_work_are_not_disturbed_by_an_interruption() -> None:
    """A neighbour's function ends as if nothing had been."""
    crew, door = Crew(2), Event()

    async def main() -> str:
        neighbour = asyncio.create_task(crew.call(lambda: door.wait(LONG) and "done", name="g/n", seconds=LONG))
        await give_up(crew, spin, [])
        door.set()
        return str(await neighbour)

    assert asyncio.run(main()) == "done"


def test_who_finds_no_thread_in_half_its_time_was_not_tried() -> None:
    """So that it loses no attempt; the function is not called."""
    crew, door, ran = Crew(1), Event(), list[int]()

    async def main() -> None:
        neighbour = asyncio.create_task(crew.call(door.wait, LONG, name="g/n", seconds=LONG))
        await asyncio.sleep(0)
        with pytest.raises(NoThread, match="none of the 1 threads was free"):
            await crew.call(lambda: ran.append(get_ident()), name="g/u", seconds=0.1)
        door.set()
        await neighbour

    asyncio.run(main())
    assert ran == []


def test_who_waits_for_a_thread_gets_the_next_free_one() -> None:
    """In another loop as well: an agent's tests run each batch in its own."""
    crew = Crew(1)

    async def main() -> list[int]:
        calls = (crew.call(partial(slowly, n), name="g/u", seconds=LONG) for n in range(5))
        return list(await asyncio.gather(*calls))

    assert [asyncio.run(main()) for _ in range(2)] == [[0, 1, 2, 3, 4]] * 2

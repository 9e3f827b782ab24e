"""The cache over fake tiers: who makes a value, who waits, what goes where."""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier, Event
from typing import Any

import pytest

from agentfleet.services.cache import CacheManager, CachePolicy, Found, Loaded, Tier
from tests.fakes import FakeCache, FixedClock

HOUR = timedelta(hours=1)
POLICY = CachePolicy()


class World:
    """Two tiers, a lock, and a count of how often a value was made."""

    def __init__(self, fraction: float = 0.0) -> None:
        self.clock, self.made, self.fraction = FixedClock(), 0, fraction
        self.fast, self.slow = FakeCache(self.clock), FakeCache(self.clock)
        self.cache = self.process(self.fast)

    def process(self, fast: FakeCache) -> CacheManager:
        """A cache of another process, with a fast tier of its own."""
        tiers = [Tier("fast", fast, timedelta(minutes=1), 200), Tier("slow", self.slow, HOUR, 1000, timedelta(seconds=40))]
        return CacheManager(tiers, self.slow, self.clock, lambda: self.fraction, pause=self.clock.advance)

    def make(self, value: Any = "made", *, seconds: float = 0.0, **options: Any) -> Loaded:
        """Make a value, which takes a while."""
        self.made += 1
        self.clock.advance(seconds)
        return Loaded(value, **options)

    def get(self, value: Any = "made", **options: Any) -> Found:
        """Read through."""
        return self.cache.get_or_load("k", partial(self.make, value, **options), POLICY)


def when_joined(cache: CacheManager, callers: int, tell: Callable[[], None]) -> None:
    """Have `tell` called when so many callers have come to make, or wait for, a value."""
    real, joined = cache._join, itertools.count(1)

    def join(key: str) -> Any:
        found = real(key)
        if next(joined) == callers:
            tell()
        return found

    cache._join = join  # type: ignore[method-assign]


def test_values_are_read_through_and_promoted() -> None:
    """Made once; then from the fast tier; from the slow one when the fast has forgotten, and then from the fast again."""
    world = World()

    sources = [world.get().source, world.get().source]
    world.clock.advance(90)
    sources += [world.get().source, world.get().source]
    world.clock.advance(3600)
    sources.append(world.get().source)

    assert sources == ["load", "fast", "slow", "fast", "load"]
    assert world.made == 2
    assert world.cache.counts["slow.hits"] == 1


def test_that_there_is_no_value_is_remembered_for_less_long() -> None:
    """A negative result is kept half a minute, and not where it isn't worth the write."""
    world = World()

    first, second = world.get("none", negative=True), world.get()
    world.clock.advance(31)

    assert (first.negative, second.negative, second.value) == (True, True, "none")
    assert not world.slow.texts
    assert world.get().value == "made"


def test_what_is_too_large_passes_a_tier_by() -> None:
    """Each tier takes what fits into it; what fits nowhere is made each time."""
    world = World()
    world.get("x" * 500)

    assert (list(world.fast.texts), list(world.slow.texts)) == ([], ["k"])
    assert world.cache.counts["fast.too_large"] == 1


@pytest.mark.parametrize("down", ["fast", "slow", "both"])
def test_a_dead_tier_is_empty(down: str) -> None:
    """Values are still got or made; the failure is counted once and the tier left alone, then tried again."""
    world = World()
    tiers = [world.fast, world.slow] if down == "both" else [getattr(world, down)]
    for tier in tiers:
        tier.is_down = True

    assert [world.get().value for _ in range(3)] == ["made"] * 3
    assert all(world.cache.counts[f"{name}.errors"] == 1 for name in (["fast", "slow"] if down == "both" else [down]))
    for tier in tiers:
        tier.is_down = False
    world.clock.advance(6)
    world.get()
    assert world.get().source == "fast"


def test_threads_share_one_making() -> None:
    """Of twelve threads that miss at once one makes the value."""
    world, together = World(), Barrier(12)
    waiting = Event()
    when_joined(world.cache, 12, waiting.set)

    def load() -> Loaded:
        assert waiting.wait(10)
        return world.make()

    def ask() -> Any:
        together.wait()
        return world.cache.get_or_load("k", load, POLICY).value

    with ThreadPoolExecutor(12) as threads:
        values = list(threads.map(lambda _: ask(), range(12)))

    assert values == ["made"] * 12
    assert world.made == 1


def test_coroutines_share_one_making_and_its_error() -> None:
    """Of twenty coroutines one makes the value; where making fails all see why, and nothing is stored."""
    world = World()

    async def load(waiting: asyncio.Event, error: Exception | None) -> Loaded:
        await waiting.wait()
        loaded = world.make()
        if error:
            raise error
        return loaded

    async def ask(error: Exception | None) -> list[Any]:
        waiting = asyncio.Event()
        when_joined(world.cache, 20, waiting.set)
        asking = (world.cache.get_or_load_async("k", partial(load, waiting, error), POLICY) for _ in range(20))
        return await asyncio.gather(*asking, return_exceptions=True)

    failed = asyncio.run(ask(OSError("no")))
    found = asyncio.run(ask(None))

    assert [str(error) for error in failed] == ["no"] * 20
    assert [one.value for one in found] == ["made"] * 20
    assert world.made == 2


@pytest.mark.parametrize("waiters", [1, 5])
def test_where_a_maker_is_cancelled_one_of_those_who_wait_is_the_next(waiters: int) -> None:
    """It makes the value once for all of them."""
    world = World()
    hanging, waiting, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
    when_joined(world.cache, 1 + waiters, waiting.set)

    async def hang() -> Loaded:
        hanging.set()
        await never.wait()
        return world.make()

    async def load() -> Loaded:
        return world.make("second")

    async def run() -> list[Found]:
        first = asyncio.ensure_future(world.cache.get_or_load_async("k", hang, POLICY))
        await hanging.wait()
        others = [asyncio.ensure_future(world.cache.get_or_load_async("k", load, POLICY)) for _ in range(waiters)]
        await waiting.wait()
        first.cancel()
        return await asyncio.gather(*others)

    found = asyncio.run(run())

    assert [one.value for one in found] == ["second"] * waiters
    assert world.made == 1


def test_processes_wait_for_one_another() -> None:
    """While another process holds the lock this one waits, and takes the value as soon as it is there."""
    world = World()
    other = world.process(FakeCache(world.clock))
    world.slow.acquire("k", "other", timedelta(seconds=60))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            world.slow.locks.clear()
            other.get_or_load("k", partial(world.make, "of the other"), POLICY)

    world.cache._pause = pause

    assert world.get().value == "of the other"
    assert world.made == 1


def test_patience_ends() -> None:
    """A maker that never comes back delays the others for no longer than the policy says."""
    world = World()
    world.slow.acquire("k", "dead", HOUR)
    before = world.clock()

    assert world.get().source == "load"
    assert world.clock() - before < POLICY.patience + timedelta(seconds=1)


def test_what_is_about_to_expire_is_made_anew_by_one() -> None:
    """Near the end, one caller whom chance chooses makes it anew; a failure then costs nothing: the old one still holds."""
    world = World()
    world.get("old", seconds=10)
    world.clock.advance(3600 - 20)
    world.fast.texts.clear()
    assert world.get("new").value == "old"
    world.fraction = 0.95  # ten seconds' work, thirty ahead

    def fails() -> Loaded:
        raise OSError("not now")

    assert world.cache.get_or_load("k", fails, POLICY).value == "old"
    assert world.get("new").value == "new"


def test_a_private_value_is_neither_stored_nor_shared() -> None:
    """A lifetime of zero means this caller only."""
    world = World()

    assert [world.get(lifetime=timedelta()).source for _ in range(2)] == ["load", "load"]
    assert not world.fast.texts


def test_those_who_wait_for_a_private_value_make_their_own() -> None:
    """It is the maker's only."""
    world, waiting = World(), asyncio.Event()
    when_joined(world.cache, 3, waiting.set)

    async def load() -> Loaded:
        await waiting.wait()
        return world.make(lifetime=timedelta())

    async def run() -> list[Found]:
        return await asyncio.gather(*(world.cache.get_or_load_async("k", load, POLICY) for _ in range(3)))

    assert [one.source for one in asyncio.run(run())] == ["load"] * 3
    assert world.made == 3


def test_only_writes_that_took_place_are_counted() -> None:
    """Not those that a tier refused, nor those that it was spared while it rested."""
    world = World()
    world.slow.is_down = True
    world.get()
    world.fast.texts.clear()
    world.get()

    assert world.cache.counts["fast.writes"] == 2
    assert "slow.writes" not in world.cache.counts

    world.slow.is_down = False
    world.clock.advance(6)
    world.fast.texts.clear()
    world.get()

    assert world.cache.counts["slow.writes"] == 1

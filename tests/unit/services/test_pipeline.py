"""ProcessingPipeline: levels, concurrency within one, errors."""

import asyncio
import threading

import pytest

from agentfleet.composition_pools import pool_runner
from agentfleet.services.pipeline import ProcessingPipeline
from agentfleet.services.run import TaskRunner
from tests.fakes.fleet import InProcessFleet
from tests.unit.services.test_platform import pool


def test_stages_run_in_the_order_of_their_dependencies() -> None:
    """Without `after` a stage follows the one before; with it, exactly those named."""

    pipeline: ProcessingPipeline[list[str]] = ProcessingPipeline()
    pipeline.add_stage(lambda data: data.append("a"), name="a")
    pipeline.add_stage(lambda data: data.append("b"), name="b", after=())
    pipeline.add_stage(lambda data: data.append("c"), name="c", after=("a", "b"))
    pipeline.add_stage(lambda data: data.append("d"), name="d")

    done = asyncio.run(pipeline.execute([]))

    assert pipeline.levels == [["a", "b"], ["c"], ["d"]]
    assert sorted(done[:2]) == ["a", "b"]
    assert done[2:] == ["c", "d"]


def test_the_stages_of_a_level_run_at_the_same_time() -> None:
    """Two plain functions of one level meet at a barrier, which they could not one after the other."""
    barrier = threading.Barrier(2, timeout=10)
    pipeline: ProcessingPipeline[None] = ProcessingPipeline()

    def meet(_: None) -> None:
        barrier.wait()

    pipeline.add_stage(meet, name="left", after=())
    pipeline.add_stage(meet, name="right", after=())

    asyncio.run(pipeline.execute(None))

    assert not barrier.broken


def test_the_first_error_ends_the_run_and_is_raised_as_it_is() -> None:
    """Whether its level has one stage or several; later stages don't run."""
    ran: list[str] = []

    def fail(_: None) -> None:
        raise KeyError("broken")

    for after in ((), None):
        pipeline: ProcessingPipeline[None] = ProcessingPipeline()
        pipeline.add_stage(lambda _: ran.append("first"), name="first")
        pipeline.add_stage(fail, after=after)
        pipeline.add_stage(lambda _: ran.append("last"), name="last")
        with pytest.raises(KeyError, match="broken"):
            asyncio.run(pipeline.execute(None))

    assert ran == ["first", "first"]


def test_a_stage_cannot_wait_for_what_is_not_there() -> None:
    """Names are taken once, and only earlier stages can be waited for: no cycle can be written."""
    pipeline: ProcessingPipeline[None] = ProcessingPipeline()
    pipeline.add_stage(lambda _: None, name="a")

    with pytest.raises(ValueError, match="already has a stage 'a'"):
        pipeline.add_stage(lambda _: None, name="a")
    with pytest.raises(ValueError, match="waits for 'z'"):
        pipeline.add_stage(lambda _: None, name="b", after=["z"])


def test_an_agents_own_work_is_a_pipeline() -> None:
    """The order that makes a crash harmless is the order of the stages."""
    runner: TaskRunner = pool_runner(InProcessFleet(pool).platform, "work", "work-1", pool.capabilities)

    assert [name for level in runner.pipeline.levels for name in level] == [
        "load",
        "stop",
        "recall",
        "validate",
        "approve",
        "claim",
        "before-hooks",
        "execute",
        "store",
        "release",
        "again",
    ]

"""The contract of ResultStore."""

from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from agentfleet.adapters import outputs
from agentfleet.domain.goal import Failure
from agentfleet.domain.result import TaskOutcome, TaskState
from tests.contract.making import AWKWARD, at_once, result, succeeded
from tests.contract.world import World
from tests.fakes import work

BIG = "x" * 5000


def test_the_fake_files_what_the_adapter_files() -> None:
    """Both call outputs large from the same size on."""
    assert work.LARGE_OUTPUT_BYTES == outputs.INLINE_BYTES


def test_a_result_comes_back_as_it_was_stored(world: World) -> None:
    """Every field survives: mixed states, failures with and without a task, awkward outputs, later attempts."""
    goal_id = world.fresh("g")
    stored = result(
        goal_id,
        123_456,
        outcomes=(
            TaskOutcome(TaskState.SUCCEEDED, AWKWARD),
            TaskOutcome(TaskState.FAILED, failure=Failure("TaskTimeout", "took > 3 s «é»", "t.1")),
            TaskOutcome(TaskState.SKIPPED),
            TaskOutcome(TaskState.FAILED, {"partial": 1}, Failure("ValueError", "")),
        ),
        agent="goal:gchild",
        duration=1234.000001,
        attempt=7,
        origin="g0000000000000000000000",
    )

    assert world.results.put(4, [stored]) == [stored]

    assert world.results.get(goal_id, 4, [123_456]) == {123_456: stored}


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, 1.5, 10**30, "Grüße 🚀", [None, None]])
def test_every_kind_of_output_survives(world: World, value: object) -> None:
    """Falsy values, large integers and text are what they were, alone and in a chunk."""
    goal_id = world.fresh("g")
    world.results.put(1, [result(goal_id, 0, value), result(goal_id, 1, value, value)])

    found = world.results.get(goal_id, 1, [0, 1])

    assert found[0].outcomes == succeeded(value)
    assert found[1].outcomes == succeeded(value, value)


def test_the_first_result_of_a_unit_stands(world: World) -> None:
    """A later one is not stored; the caller gets the one that stands, in its place among the others."""
    goal_id = world.fresh("g")
    first = result(goal_id, 1, "first", agent="a")
    world.results.put(2, [first])

    standing = world.results.put(
        2, [result(goal_id, 0, "new"), result(goal_id, 1, "second", agent="b"), result(goal_id, 2, "new")]
    )

    assert [one.unit for one in standing] == [0, 1, 2]
    assert standing[1] == first
    assert world.results.get(goal_id, 2, [1])[1] == first


def test_putting_the_same_again_changes_nothing(world: World) -> None:
    """What a redelivered message stores again is what already stands."""
    goal_id = world.fresh("g")
    batch = [result(goal_id, n, {"n": n}) for n in range(10)]

    first, second = world.results.put(1, batch), world.results.put(1, batch)

    assert list(first) == list(second) == batch
    assert world.results.tally(goal_id, 1) == {TaskState.SUCCEEDED: 10}


def test_two_results_of_one_unit_in_one_batch(world: World) -> None:
    """The first of them stands for both."""
    goal_id = world.fresh("g")

    standing = world.results.put(1, [result(goal_id, 0, "first"), result(goal_id, 0, "second")])

    assert [one.outcomes[0].output for one in standing] == ["first", "first"]


def test_one_of_many_concurrent_writers_wins(world: World) -> None:
    """Ten agents that finish the same ten units at once are all told the same ten results."""
    goal_id = world.fresh("g")
    batches = [[result(goal_id, n, f"by {writer}") for n in range(10)] for writer in range(10)]

    answers = at_once([partial(world.results.put, 1, batch) for batch in batches])

    stored = world.results.get(goal_id, 1, range(10))
    assert all(list(answer) == [stored[n] for n in range(10)] for answer in answers)
    assert world.results.tally(goal_id, 1) == {TaskState.SUCCEEDED: 10}


def test_large_batches_are_stored_and_read_whole(world: World) -> None:
    """250 results over several shards, more than any one request takes, with duplicates among them."""
    goal_id = world.fresh("g")
    world.results.put(3, [result(goal_id, n, "early") for n in range(0, 250, 50)])

    standing = world.results.put(3, [result(goal_id, n, n) for n in range(250)])

    assert [one.outcomes[0].output for one in standing] == ["early" if n % 50 == 0 else n for n in range(250)]
    found = world.results.get(goal_id, 3, range(300))
    assert {unit: one.outcomes[0].output for unit, one in found.items()} == {
        n: "early" if n % 50 == 0 else n for n in range(250)
    }


def test_storing_and_reading_nothing_is_fine(world: World) -> None:
    """Empty in, empty out."""
    goal_id = world.fresh("g")

    assert list(world.results.put(1, [])) == []
    assert world.results.get(goal_id, 1, []) == {}
    assert world.results.get(goal_id, 1, [5, 5, 6]) == {}
    assert world.results.tally(goal_id, 1) == {}


def test_large_outputs_are_read_back(world: World) -> None:
    """Outputs that don't fit an item come back the same, next to small ones."""
    goal_id = world.fresh("g")
    batch = [result(goal_id, 0, BIG), result(goal_id, 1, "small"), result(goal_id, 2, BIG + "é", {"more": BIG})]

    world.results.put(2, batch)

    assert world.results.get(goal_id, 2, [0, 1, 2]) == dict(enumerate(batch))


def test_the_winners_large_output_stands(world: World) -> None:
    """The loser's output never replaces the winner's, although both were filed before either result was stored."""
    goal_id = world.fresh("g")
    world.results.put(1, [result(goal_id, 0, BIG + "winner")])

    standing = world.results.put(1, [result(goal_id, 0, BIG + "loser")])

    assert standing[0].outcomes[0].output == BIG + "winner"
    assert world.results.get(goal_id, 1, [0])[0].outcomes[0].output == BIG + "winner"


def test_large_outputs_stay_unread_when_nobody_wants_them(world: World) -> None:
    """Without outputs the rest of the result is still there: states, failures, agent."""
    goal_id = world.fresh("g")
    failure = Failure("ValueError", "no")
    stored = result(
        goal_id, 0, outcomes=(TaskOutcome(TaskState.SUCCEEDED, BIG), TaskOutcome(TaskState.FAILED, failure=failure))
    )
    world.results.put(1, [stored])

    bare = replace(stored, outcomes=(TaskOutcome(TaskState.SUCCEEDED), TaskOutcome(TaskState.FAILED, failure=failure)))
    assert world.results.get(goal_id, 1, [0], outputs=False) == {0: bare}


def test_a_whole_plans_results_are_those_that_there_are(world: World) -> None:
    """However many, and whether they are asked for with their outputs, from which they are not read otherwise, or without."""
    goal_id, shards = world.fresh("g"), 2
    done = [unit for unit in range(500) if unit % 7]
    world.results.put(shards, [result(goal_id, unit, unit) for unit in done])

    for asked in (range(500), range(40, 460), [*range(250), 499], [499, 3, 3]):
        found = {unit: result(goal_id, unit, unit) for unit in asked if unit in set(done)}
        assert world.results.get(goal_id, shards, asked) == found
        assert world.results.get(goal_id, shards, iter(asked), outputs=False) == found
    assert world.results.get(world.fresh("g"), shards, range(500), outputs=False) == {}


def test_the_tally_counts_tasks_by_state(world: World) -> None:
    """Every task of every unit, over more shards than are read one after the other; other goals are not counted."""
    goal_id = world.fresh("g")
    mixed = (TaskOutcome(TaskState.SUCCEEDED, 1), TaskOutcome(TaskState.FAILED), TaskOutcome(TaskState.SKIPPED))
    world.results.put(7, [result(goal_id, n, outcomes=mixed) for n in range(30)])
    world.results.put(7, [result(goal_id, n) for n in range(30, 40)])
    world.results.put(7, [result(world.fresh("g"), 0)])

    assert world.results.tally(goal_id, 7) == {TaskState.SUCCEEDED: 40, TaskState.FAILED: 30, TaskState.SKIPPED: 30}


def test_the_tally_counts_results_only(world: World) -> None:
    """Joins and claims lie in the same partitions and are not counted."""
    goal_id = world.fresh("g")
    world.results.put(1, [result(goal_id, 0)])
    world.joins.add(goal_id, 1, 0, [0])
    world.claims.claim(goal_id, 1, 0, "me", world.clock(), world.clock() - world.clock())

    assert world.results.tally(goal_id, 1) == {TaskState.SUCCEEDED: 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}])
def test_what_is_not_json_is_refused(world: World, value: object) -> None:
    """Nothing of the batch is stored, so that the agent may store a failure instead."""
    goal_id = world.fresh("g")

    with pytest.raises((ValueError, TypeError)):
        world.results.put(1, [result(goal_id, 0, value)])

    assert world.results.get(goal_id, 1, [0]) == {}


def test_results_expire(world: World) -> None:
    """The TTL attribute is two months after it was stored, however long ago its task began, as one that a fork took over."""
    goal_id = world.fresh("g")
    world.results.put(3, [result(goal_id, 5, started=world.clock() - timedelta(days=29))])

    assert world.expiry(f"{goal_id}#2", "R000005") in {None, int(world.clock().timestamp()) + 60 * 86_400}

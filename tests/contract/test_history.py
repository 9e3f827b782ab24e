"""The contract of HistoryStore."""

from datetime import timedelta

from agentfleet.domain.history import Change, Head, Segment, extend, read_events, to_text, verify
from agentfleet.services.history import Recorder
from tests.contract.making import at_once
from tests.contract.world import World


def changes(world: World, goal_id: str, first: int, count: int, part: str = "0") -> list[Change]:
    """Stored results, as the stream tells them."""
    return [
        Change(goal_id, part, number, world.clock(), "result", None, {"unit": number, "states": "S", "text": "Grüße 🚀"})
        for number in range(first, first + count)
    ]


def segment(head: Head, news: list[Change]) -> Segment:
    """What continues a chain."""
    events, after = extend(head, news)
    return Segment(head.count + 1, to_text(events), after)


def test_a_chain_grows_and_is_read_back(world: World) -> None:
    """Segments come in order with every event as it was; a reader may begin in the middle."""
    goal = world.fresh("goal")
    assert world.history.head(goal) is None
    head = world.history.begin(goal, world.clock())
    for start in range(0, 30, 10):
        new = segment(head, changes(world, goal, start, 10))
        assert world.history.append(new)
        assert world.history.end(head) == new.head
        head = new.head
    world.history.move(head)

    found = world.history.head(goal)

    assert found is not None
    assert found == head == world.history.end(found)
    segments = list(world.history.segments(found))
    assert verify(found, segments).broken is None
    assert [one.first for one in segments] == [1, 11, 21]
    assert [one.first for one in world.history.segments(found, 15)] == [11, 21]
    assert read_events(segments[0])[0].facts["text"] == "Grüße 🚀"


def test_a_head_begins_once(world: World) -> None:
    """Under the hour of the first; a later beginning changes nothing."""
    goal = world.fresh("goal")
    first = world.history.begin(goal, world.clock())

    assert world.history.begin(goal, world.clock() + timedelta(hours=2)) == first


def test_two_cannot_continue_from_one_event(world: World) -> None:
    """The second is refused and finds a chain that ends elsewhere; the head never goes back."""
    goal = world.fresh("goal")
    head = world.history.begin(goal, world.clock())
    mine, other = segment(head, changes(world, goal, 0, 3)), segment(head, changes(world, goal, 5, 2, part="1"))

    assert world.history.append(mine)
    assert not world.history.append(other)
    assert world.history.end(head) == mine.head
    world.history.move(mine.head)
    world.history.move(head)
    assert world.history.head(goal) == mine.head


def test_many_writers_make_one_chain_without_gaps(world: World) -> None:
    """Every change is recorded once, however often and by however many at once it is delivered."""
    goal = world.fresh("goal")
    recorder = Recorder(world.history, lambda record: record["change"], world.clock)

    def writer(part: int) -> int:
        return recorder.record(changes(world, goal, 0, 5, part=str(part % 4)))

    made = at_once([lambda part=part: writer(part) for part in range(8)])  # type: ignore[misc]

    head = world.history.head(goal)
    assert head is not None
    verdict = verify(head, world.history.segments(head))
    assert (sum(made), verdict.count, verdict.broken) == (20, 20, None)

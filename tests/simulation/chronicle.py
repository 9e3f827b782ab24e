"""The history of a run: its table writes as stream records, through the real recorder, with races, deaths and repetitions."""

import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from agentfleet.domain import ids
from agentfleet.domain.goal import Goal
from agentfleet.domain.history import ENDED, Change, EventKind, Segment, read_events, verify
from agentfleet.domain.result import Result
from agentfleet.services.history import Recorder
from tests.fakes.clock import START
from tests.fakes.history import FakeHistory

if TYPE_CHECKING:
    from tests.simulation.simulate import Simulation

SHARDS: Final = 3
"""Of the stream. Records of one partition key are in one of them, in order."""
BATCH: Final = 8


class Chronicle:
    """What the work table's stream would have told."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def tell_goal(self, before: Goal | None, after: Goal) -> None:
        """A goal was created or replaced."""
        self._tell(after.id, "", "goal", _facts(before) if before else None, _facts(after))

    def tell_result(self, result: Result) -> None:
        """A result was stored for the first time."""
        facts = {"unit": result.unit, "states": "".join(one.state[0] for one in result.outcomes), "digest": ""}
        shard = str(result.unit % SHARDS)
        if undone := ids.undone_goal(result.goal_id):
            self._tell(undone, f"undo#{shard}", "compensation", None, facts)
        else:
            self._tell(result.goal_id, shard, "result", None, facts)

    def _tell(self, goal_id: str, part: str, subject: Any, before: Any, after: Any) -> None:
        self.changes.append(Change(goal_id, part, len(self.changes), START, subject, before, after))


def _facts(goal: Goal) -> dict[str, Any]:
    stands = {"state": goal.state.value, "rest": "", "digest": f"{goal.state}{goal.finished}{goal.paused}"}
    ended = {ENDED: True} if goal.state.is_final else {}
    paused = {"paused": True} if goal.paused else {}
    attempt = {"attempt": goal.undoing.attempt} if goal.undoing else {}
    return stands | ended | paused | attempt


class _Died(Exception):
    """The recorder's environment did, somewhere between its writes."""


class _Contended(FakeHistory):
    """A store that others write to between the reads and the write of one, and that may not answer."""

    def __init__(self, luck: random.Random, others: "_Stream") -> None:
        super().__init__()
        self._luck = luck
        self._others = others

    def append(self, segment: Segment) -> bool:
        if self._luck.random() < 0.2:
            self._others.deliver()
        stored = super().append(segment)
        if self._luck.random() < 0.1:
            raise _Died
        return stored


class _Stream:
    """Shards whose batches are delivered until each was taken without an error, by invocations that overlap."""

    def __init__(self, changes: list[Change], luck: random.Random) -> None:
        self._luck = luck
        self._left: dict[int, list[Change]] = defaultdict(list)
        self._busy: set[int] = set()
        for change in changes:
            self._left[crc32(f"{change.goal_id}#{change.part}".encode()) % SHARDS].append(change)
        self.store = _Contended(luck, self)
        self._recorder = Recorder(self.store, lambda record: record["change"], lambda: START)

    def deliver(self) -> bool:
        """One batch of one shard that nobody is at; False if there is none."""
        ready = sorted(shard for shard, left in self._left.items() if left and shard not in self._busy)
        if not ready:
            return False
        shard = self._luck.choice(ready)
        batch = self._left[shard][: self._luck.randint(1, BATCH)]
        self._busy.add(shard)
        records = [{"change": change, "dynamodb": {"SequenceNumber": str(change.sequence)}} for change in batch]
        done = self._recorder(records)
        self._busy.discard(shard)
        if not done.failures and self._luck.random() < 0.8:  # else it comes again
            del self._left[shard][: len(batch)]
        return True


def check_history(simulation: "Simulation", chronicle: Chronicle) -> None:
    """Every chain is whole, and holds each transition and each result once, in the order of its partition key."""
    stream = _Stream(chronicle.changes, random.Random(simulation.scenario.seed ^ 0xC4A1))
    while stream.deliver():
        pass
    told: dict[str, list[Change]] = defaultdict(list)
    for change in chronicle.changes:
        told[change.goal_id].append(change)
    for goal_id, changes in told.items():
        head = stream.store.head(goal_id)
        assert head is not None
        segments = list(stream.store.segments(head))
        if broken := verify(head, segments).broken:
            simulation.world.violate(f"the history of {goal_id} does not hold: {broken.message}")
        events = [event for segment in segments for event in read_events(segment)]
        moves = [event.facts["state"] for event in events if "state" in event.facts]
        if moves != [change.after["state"] for change in changes if change.subject == "goal" and change.after]:
            simulation.world.violate(f"the history of {goal_id} tells its states as {moves}")
        for kind, kept in ((EventKind.RESULT, goal_id), (EventKind.COMPENSATED, ids.undo_id(goal_id))):
            units = sorted(event.facts["unit"] for event in events if event.kind is kind)
            if units != sorted(unit for goal, unit in simulation.results.results if goal == kept):
                simulation.world.violate(f"the history of {goal_id} tells {kind} of units {units}")

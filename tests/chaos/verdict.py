"""What a run proves: compare what came out with what had to."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from agentfleet.domain.goal import Goal
from agentfleet.domain.messages import BadMessage, read_task
from agentfleet.domain.saga import read_undo
from tests.chaos.faults import by_kind
from tests.chaos.goals import Expected
from tests.chaos.run import Record, Struck
from tests.chaos.stage import Stage


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was wrong, and how the faults were got over."""

    lost: tuple[str, ...]
    """Goals without their right end, and charges that were never made."""
    doubled: tuple[str, ...]
    """Charges made twice, of another amount than asked, by somebody whose claim was over, or taken back or kept wrongly."""
    untold: tuple[str, ...]
    """Goals of whose end the bus did not tell, or told otherwise."""
    broken: tuple[str, ...]
    """Goals whose history is not whole."""
    met: int
    """Faults that struck work: tasks of goals that had not ended."""
    healed: int
    """Those of them after which that work went on, without a command, to its goal's right end."""
    times: tuple[float, ...]
    """Seconds from each healed fault until the tasks that it struck had their results, or their goal went on."""


def judge(stage: Stage, record: Record) -> Verdict:
    """Compare the end with the reference."""
    wrong = {name: why for name, expected in record.submitted.items() if (why := _fault_in(expected, record.ended.get(name)))}
    missing, doubled = _audit(record.submitted, stage.ledger())
    untold = [
        f"{expected.shape} {name} ended {expected.state}, told: {', '.join(sorted(record.told.get(name, ()))) or 'nothing'}"
        for name, expected in record.submitted.items()
        if record.told.get(name) != {expected.state}
    ]
    lost = [f"{record.submitted[name].shape} {name}: {why}" for name, why in wrong.items()] + missing
    broken = [f"{record.submitted[name].shape} {name}: its history {why}" for name, why in record.chains.items()]
    healings = _healings(stage, record, set(wrong))
    times = sorted(one for one in healings if one is not None)
    return Verdict(tuple(lost), tuple(doubled), tuple(untold), tuple(broken), len(healings), len(times), tuple(times))


def _fault_in(expected: Expected, goal: Goal | None) -> str:
    """What is wrong with a goal's end; empty if nothing is."""
    if goal is None:
        return "did not end"
    if goal.state.value != expected.state:
        why = f": {goal.failure.task} {goal.failure.error} {goal.failure.message}" if goal.failure else ""
        return f"ended {goal.state}, not {expected.state}{why}"
    if goal.output != expected.output:
        return f"gave {goal.output!r:.100}, not {expected.output!r:.100}"
    if dict(goal.counts) != dict(expected.counts):
        return f"counted {dict(goal.counts)}, not {dict(expected.counts)}"
    return ""


def _audit(submitted: Mapping[str, Expected], ledger: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Charges that are missing, and those that should not be so."""
    wanted = {(name, task): amount for name, expected in submitted.items() for task, amount in expected.charges.items()}
    entries = Counter((entry["goal"], entry["task"]) for entry in ledger)
    missing = [f"{goal}/{task} was not charged" for goal, task in wanted if not entries[goal, task]]
    doubled = [f"{goal}/{task} was charged {times} times" for (goal, task), times in entries.items() if times > 1]
    for entry in ledger:
        place = f"{entry['goal']}/{entry['task']}"
        if entry["goal"] in submitted and entry["refunded"] != submitted[entry["goal"]].is_undone:
            doubled.append(f"{place} was {'' if entry['refunded'] else 'not '}taken back")
        amount = wanted.get((entry["goal"], entry["task"]))
        if amount != entry["amount"]:
            doubled.append(f"{place} was charged {entry['amount']}, not {amount or 'at all'}")
        if entry["fences"] != sorted(entry["fences"]):
            doubled.append(f"{place} was tried under the claims {entry['fences']}: an older one came after a newer")
    return missing, doubled


def _places(bodies: Sequence[str]) -> set[tuple[str, int]]:
    """(goal, unit) of the task messages among these."""
    found = set()
    for body in bodies:
        try:
            pointer = read_undo(body) or read_task(body)
        except BadMessage:
            continue  # poison, a release or an event
        found.add((pointer.goal_id, pointer.unit))
    return found


def _healings(stage: Stage, record: Record, wrong: Set[str]) -> list[float | None]:
    """Of each fault that struck work: the seconds until all of that had gone on; None if some of it never did."""
    struck = [(one, _places(one.bodies)) for one in record.struck]
    goals = stage.goals(sorted({goal for _, places in struck for goal, _ in places}))
    finished = {name: stage.finished(goal) for name, goal in goals.items()}
    found = []
    for one, places in struck:
        # What had ended already was not struck, and messages of goals that were never made are no work.
        alive = [(goals[goal], unit) for goal, unit in places if goal in goals and not _had_ended(goals[goal], one.at)]
        if not alive:
            continue
        moved = [None if _outermost(goal) in wrong else _moved(one, unit, goal, finished[goal.id]) for goal, unit in alive]
        reached = [moment for moment in moved if moment is not None]
        found.append(max(reached) - one.at if len(reached) == len(moved) else None)
    return found


def _had_ended(goal: Goal, at: float) -> bool:
    return goal.finished is not None and goal.finished.timestamp() <= at


def _outermost(goal: Goal) -> str:
    """The goal that was submitted."""
    return goal.parent.ancestors[0] if goal.parent else goal.id


def _moved(struck: Struck, unit: int, goal: Goal, finished: Mapping[int, float]) -> float | None:
    """When a unit that was struck had its result; if it had it before, when its goal went on. None if neither happened."""
    if (own := finished.get(unit)) is not None and own > struck.at:
        return own
    later = [moment for moment in finished.values() if moment > struck.at]
    if goal.finished and goal.finished.timestamp() > struck.at:
        later.append(goal.finished.timestamp())
    return min(later, default=None)


def shapes(record: Record) -> dict[str, int]:
    """How many goals of each shape."""
    counted: dict[str, int] = defaultdict(int)
    for expected in record.submitted.values():
        counted[expected.shape] += 1
    return dict(sorted(counted.items()))


def kinds(record: Record) -> dict[str, int]:
    """How many faults of each kind took place."""
    return by_kind([struck.fault for struck in record.struck])

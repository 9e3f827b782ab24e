"""Watching a goal: a live tree of its tasks on a terminal, plain lines anywhere else."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from agentfleet.domain.result import TaskState
from agentfleet.services.goal_views import FINISHED, GoalView, TaskView
from client.api import FleetClient
from client.cli.show import GLYPHS, seconds, state_text
from client.retries import rhythm

LISTED: Final = 1_000
"""Up to so many tasks are fetched at every look; of larger goals only the counts are shown."""
ROWS: Final = 24
"""Up to so many tasks are shown one by one; more are grouped into families."""
MEMBERS: Final = 4
"""So many of a family's running or failed tasks are shown below it."""

_ORDER: Final = (
    TaskState.FAILED,
    TaskState.WAITING_FOR_APPROVAL,
    TaskState.RUNNING,
    TaskState.READY,
    TaskState.WAITING,
    TaskState.SUCCEEDED,
)
"""Which state of a family's tasks matters most."""
_TOLD: Final = (
    TaskState.WAITING_FOR_APPROVAL,
    TaskState.RUNNING,
    TaskState.READY,
    TaskState.WAITING,
    TaskState.FAILED,
    TaskState.SKIPPED,
)


_SHOWN: Final = frozenset({TaskState.FAILED, TaskState.RUNNING, TaskState.WAITING_FOR_APPROVAL})


@dataclass(frozen=True, slots=True)
class Family:
    """Tasks whose ids share everything up to the last dot."""

    name: str
    tasks: tuple[TaskView, ...]

    @property
    def counts(self) -> Counter[TaskState]:
        """Its tasks by state."""
        return Counter(task.state for task in self.tasks)

    @property
    def state(self) -> TaskState:
        """What matters most about it: a failure, then what somebody must do, then work, then what is left to do."""
        counts = self.counts
        for state in _ORDER:
            if counts[state]:
                return state
        return TaskState.SKIPPED


def families(tasks: Sequence[TaskView], rows: int = ROWS) -> list[Family]:
    """The tasks in order of the plan, each by itself while they are few, else by family (`profile.*`)."""
    members: dict[str, list[TaskView]] = {}
    for task in tasks:
        stem = task.id.rpartition(".")[0]
        members.setdefault(f"{stem}.*" if stem and len(tasks) > rows else task.id, []).append(task)
    return [Family(name if len(found) > 1 else found[0].id, tuple(found)) for name, found in members.items()]


@dataclass
class Watched:
    """A goal and its tasks as last seen, and since when the running ones have been seen running."""

    goal: GoalView
    tasks: tuple[TaskView, ...] = ()
    clock: Callable[[], float] = time.monotonic
    _since: dict[str, float] = field(default_factory=dict)

    def update(self, goal: GoalView, tasks: tuple[TaskView, ...]) -> None:
        """See it anew."""
        now = self.clock()
        self.goal, self.tasks = goal, tasks
        running = {task.id for task in tasks if task.state is TaskState.RUNNING}
        self._since = {name: self._since.get(name, now) for name in running}

    def __rich__(self) -> RenderableType:
        """The whole view; drawn again and again between two looks, so that durations run."""
        tree = Tree("", guide_style="dim", hide_root=True)
        for family in families(self.tasks):
            if len(family.tasks) == 1:
                tree.add(self._task(family.tasks[0]))
                continue
            branch = tree.add(_family(family))
            shown = [task for task in family.tasks if task.state in _SHOWN]
            for task in sorted(shown, key=lambda task: task.state is not TaskState.FAILED)[:MEMBERS]:
                branch.add(self._task(task))
        return Group(self._title(), self._bar(), tree)  # the bar first: a tree too tall for the terminal is cut below

    def _title(self) -> Text:
        title = state_text(self.goal.state)
        title.append(f"  {self.goal.name}", style="bold").append(f"  {self.goal.id}", style="dim")
        return title.append(f"  {seconds(self.goal.duration)}", style="dim") if self.goal.duration is not None else title

    def _task(self, task: TaskView) -> Text:
        glyph, style = GLYPHS[task.state]
        line = Text.assemble((f"{glyph} ", style), (task.id, style if task.state is not TaskState.SUCCEEDED else ""))
        line.append(f"  {task.capability}", style="dim")
        if task.sub_goal:
            line.append(f"  → {task.sub_goal}", style="magenta")
        elif task.agent:
            line.append(f"  {task.agent}", style="dim cyan")
        if task.state in FINISHED:
            line.append(f"  {seconds(task.duration)}", style="dim")
        elif task.id in self._since:
            line.append(f"  {seconds(self.clock() - self._since[task.id])}", style="blue")
        if task.attempt and task.attempt > 1:
            line.append(f"  attempt {task.attempt}", style="yellow")
        if task.failure:
            line.append(f"  {task.failure.message}", style="red")
        return line

    def _bar(self) -> RenderableType:
        row = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(1, self.goal.tasks), completed=self.goal.done, width=40)
        row.add_row(bar, f"{self.goal.done}/{self.goal.tasks}", Text(progress(self.goal), style="dim"))
        return row


def _family(family: Family) -> Text:
    counts, (glyph, style) = family.counts, GLYPHS[family.state]
    done = sum(counts[state] for state in FINISHED)
    line = Text.assemble((f"{glyph} ", style), (family.name, style if done < len(family.tasks) else ""))
    line.append(f"  {done}/{len(family.tasks)}", style="bold" if done < len(family.tasks) else "green")
    if counts[TaskState.FAILED]:
        line.append(f"  {counts[TaskState.FAILED]} failed", style="red")
    if counts[TaskState.RUNNING]:
        line.append(f"  {counts[TaskState.RUNNING]} running", style="blue")
    return line.append(f"  {family.tasks[0].capability}", style="dim")


def words(state: TaskState) -> str:
    """A state as one reads it in a sentence."""
    return state.lower().replace("_", " ")


def progress(goal: GoalView) -> str:
    """What its tasks are doing, in words."""
    counts = goal.counts or {}
    return ", ".join(f"{counts[state]} {words(state)}" for state in _TOLD if counts.get(state))


def look(client: FleetClient, goal_id: str) -> tuple[GoalView, tuple[TaskView, ...]]:
    """The goal, and its tasks if they are few enough."""
    goal = client.goal(goal_id)
    return goal, tuple(client.all_tasks(goal_id)) if goal.tasks <= LISTED else ()


def watch_goal(client: FleetClient, goal_id: str, console: Console) -> GoalView:
    """Show a goal until it ends; gives it as it ended."""
    return (_watch_live if console.is_terminal else _watch_plain)(client, goal_id, console)


def _watch_live(client: FleetClient, goal_id: str, console: Console) -> GoalView:
    watched = Watched(client.goal(goal_id))
    with Live(watched, console=console, refresh_per_second=8, vertical_overflow="ellipsis"):
        for pause in rhythm():
            watched.update(*look(client, goal_id))
            if watched.goal.state.is_at_rest:
                break
            client.sleep(pause)
    return watched.goal


def _watch_plain(client: FleetClient, goal_id: str, console: Console) -> GoalView:
    said = ""
    for pause in rhythm():
        goal = client.goal(goal_id)
        doing = progress(goal)
        line = f"{goal.state} {goal.done}/{goal.tasks} done{f' ({doing})' if doing else ''}"
        if line != said:
            console.print(line, markup=False)
            said = line
        if goal.state.is_at_rest:
            return goal
        client.sleep(pause)
    raise AssertionError("the rhythm never ends")

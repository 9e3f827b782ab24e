"""The live view: families, what is drawn, how people are told times and sizes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import TaskState
from agentfleet.services.goal_views import GoalView, TaskView
from agentfleet.services.views import FailureView
from client.cli.live import Watched, families, watch_goal
from client.cli.show import ago, seconds, size, value
from tests.unit.api.world import World


def task(name: str, state: TaskState = TaskState.SUCCEEDED, **more: Any) -> TaskView:
    """A task."""
    return TaskView(id=name, ref=f"g.{name}", capability="data.profile", state=state, **more)


def goal(*tasks: TaskView, **more: Any) -> GoalView:
    """A running goal with these tasks."""
    counts = {state: sum(one.state is state for one in tasks) for state in TaskState}
    fields: dict[str, Any] = {
        "id": "g1",
        "name": "report",
        "state": GoalState.RUNNING,
        "priority": "normal",
        "on_failure": "fail",
        "tasks": len(tasks),
        "counts": {state: number for state, number in counts.items() if number},
        "created": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return GoalView(**fields | more)


def drawn(watched: Watched) -> str:
    """The view as text."""
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(watched)
        return console.export_text()


def test_few_tasks_stand_for_themselves_and_many_form_families() -> None:
    """Up to a screenful each task has its line; more are grouped by what their ids share."""
    few = [task("load"), task("p.0"), task("p.1")]
    many = [task("load"), *(task(f"p.{n}") for n in range(30)), task("q.only"), task("end")]

    assert [family.name for family in families(few)] == ["load", "p.0", "p.1"]
    assert [(family.name, len(family.tasks)) for family in families(many)] == [
        ("load", 1),
        ("p.*", 30),
        ("q.only", 1),
        ("end", 1),
    ]


def test_a_family_shows_what_matters_most() -> None:
    """Its count, its failures and its running members with who works on them."""
    tasks = [task(f"profile.{n}") for n in range(17)]
    tasks += [
        task("profile.17", TaskState.FAILED, failure=FailureView(error="X", message="no such column"), attempt=3),
        task("profile.18", TaskState.RUNNING, agent="data-1a"),
        *(task(f"profile.{n}", TaskState.WAITING) for n in range(19, 30)),
    ]
    now = 100.0
    watched = Watched(goal(*tasks), clock=lambda: now)
    watched.update(goal(*tasks), tuple(tasks))
    now = 103.5

    text = drawn(watched)

    assert "profile.*  18/30  1 failed  1 running" in text
    assert "✗ profile.17" in text
    assert "attempt 3  no such column" in text
    assert "● profile.18  data.profile  data-1a  3.5 s" in text
    assert "profile.3" not in text
    assert "18/30" in text.splitlines()[1]
    assert "1 running, 11 waiting, 1 failed" in text


def test_a_delegated_task_points_to_its_goal() -> None:
    """The sub-goal stands where the agent would."""
    delegated = task("a", TaskState.RUNNING, sub_goal="gchild")
    watched = Watched(goal(delegated))
    watched.update(goal(delegated), (delegated,))

    assert "→ gchild" in drawn(watched)


def test_on_a_terminal_the_tree_is_live(world: World, client: Any) -> None:
    """The same goal, drawn until it ends."""
    submitted = world.submit({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    console = Console(width=100, force_terminal=True, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123

    with console.file:
        ended = watch_goal(client, submitted, console)
        text = console.export_text()

    assert ended.state is GoalState.SUCCEEDED
    assert "✓ b" in text
    assert "2/2" in text


@pytest.mark.parametrize(
    ("duration", "words"),
    [(None, ""), (0.0123, "12 ms"), (3.21, "3.2 s"), (75.0, "1 min 15 s"), (3_720.0, "1 h 02 min")],
)
def test_durations_are_said_as_people_say_them(duration: float | None, words: str) -> None:
    """From milliseconds to hours."""
    assert seconds(duration) == words


def test_sizes_and_moments() -> None:
    """Bytes in the unit that fits, and how long ago."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert [size(n) for n in (12, 2_048, 3 * 1024**2, 5 * 1024**3)] == ["12 B", "2.0 KB", "3.0 MB", "5.0 GB"]
    assert ago(now - timedelta(minutes=2), now) == "2 min 00 s ago"
    assert ago(now, now) == "just now"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ([{"n": n} for n in range(25)], "and 5 more rows"),
        ({"a": 1, "b": {"c": [1, 2]}, "d": None}, "c"),
        ("plain", "plain"),
        ([1, 2], "1"),
        ({}, "{}"),
        (None, "null"),
        ([{"ratio": 0.123456, "big": 12345.6, "long": "x" * 300, "flag": True}], "0.1235"),
    ],
)
def test_any_output_can_be_shown(output: Any, words: str) -> None:
    """Records, objects, text, lists and nothing."""
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(value(output))
        assert words in console.export_text()

"""What must hold of every plan, whatever its graph: nothing is released early, nothing is forgotten."""

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentfleet.domain.catalog import CapabilitySpec, Catalog, PoolSpec
from agentfleet.domain.codec import SegmentedPlan, encode
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.plan import CompiledPlan, expand, frontier, split, to_ranges
from agentfleet.domain.task import PlanSpec

CATALOG = Catalog(
    fleet="test",
    pools={
        "p": PoolSpec(
            name="p",
            capabilities=(
                CapabilitySpec(name="p.single", pool="p", idempotent=True),
                CapabilitySpec(name="p.micro", pool="p", idempotent=True, chunk=10),
            ),
        )
    },
)


@st.composite
def plans(draw: st.DrawFn, most: int = 60) -> PlanSpec:
    """Random acyclic graphs: from chains over layers and wide fans to dense tangles, singles and micro-tasks mixed."""
    size = draw(st.integers(1, most))
    rng = random.Random(draw(st.integers(0, 2**32)))
    shape = draw(st.sampled_from(["tangle", "layers", "chain", "fan"]))
    micro = draw(st.sampled_from([0.0, 0.5, 1.0]))
    tasks: list[dict[str, Any]] = []
    width = rng.randint(1, 40)
    for number in range(size):
        layer = number // width
        needed: list[int] = []
        if shape == "tangle" and number:
            needed = rng.sample(range(number), min(number, rng.randint(0, 4)))
        elif shape == "layers" and layer:
            needed = list(range((layer - 1) * width, layer * width))
        elif shape == "chain" and number:
            needed = [number - 1]
        elif shape == "fan":
            needed = list(range(1, number)) if number == size - 1 else [0] if number else []
        capability = "p.micro" if rng.random() < micro else "p.single"
        tasks.append({"id": f"t{number}", "capability": capability, "depends_on": [f"t{other}" for other in needed]})
    rng.shuffle(tasks)
    return PlanSpec.model_validate({"tasks": tasks})


def run(plan: CompiledPlan, rng: random.Random, duplicates: float) -> list[int]:
    """Carry out a plan by inline release alone, in random order and with repeated deliveries; the order of first doings."""
    waiting = list(expand(plan.header.roots))
    filled: dict[int, set[int]] = {}
    done: dict[int, None] = {}
    ended = False
    while waiting:
        number = waiting.pop(rng.randrange(len(waiting)))
        if rng.random() < duplicates:
            waiting.append(number)
        if number not in done:
            assert number in frontier(plan, done.keys()), "released before its dependencies were done"
            done[number] = None
        unit = plan.unit(number)
        opened = list(expand(unit.releases))
        ended = ended or unit.ends
        reached = list(unit.joins)
        while reached:
            join_number, slot = reached.pop()
            join = plan.join(join_number)
            filled.setdefault(join_number, set()).add(slot)
            if len(filled[join_number]) == join.size:
                opened.extend(expand(join.releases))
                ended = ended or join.ends
                reached.extend([join.above] if join.above else [])
        waiting.extend(other for other in opened if other not in done)
        assert ended == (len(done) == len(plan.units)), "the goal ends with its last unit, not before"
    return list(done)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=plans(), seed=st.integers(0, 2**32), duplicates=st.sampled_from([0.0, 0.3]))
def test_every_order_of_completion_releases_every_task_once_and_never_early(
    spec: PlanSpec, seed: int, duplicates: float
) -> None:
    """Inline release does every unit, in any order and with repeats, and a task never before its dependencies."""
    plan = compile_plan(spec, CATALOG)

    order = run(plan, random.Random(seed), duplicates)

    when = {task.id: position for position, number in enumerate(order) for task in plan.unit(number).tasks}
    assert sorted(when) == sorted(task.id for task in spec.tasks)
    for task in spec.tasks:
        for other in task.depends_on:
            assert when[other] < when[task.id]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(spec=plans(most=2000), seed=st.integers(0, 2**32))
def test_graphs_of_two_thousand_tasks_are_released_whole(spec: PlanSpec, seed: int) -> None:
    """The frontier alone, repeated, carries out large graphs: no task is left and none comes early."""
    plan = compile_plan(spec, CATALOG)
    rng = random.Random(seed)
    needs = {task.id: task.depends_on for task in spec.tasks}
    finished: set[str] = set()
    done: set[int] = set()

    while ready := frontier(plan, done):
        for number in rng.sample(ready, max(1, len(ready) // 2)):
            names = [task.id for task in plan.unit(number).tasks]
            assert all(other in finished for name in names for other in needs[name])
            finished.update(names)
            done.add(number)

    assert finished == set(needs)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=plans(), seed=st.integers(0, 2**32), window=st.integers(1, 12), duplicates=st.sampled_from([0.0, 0.3]))
def test_a_window_holds_units_back_and_loses_none(spec: PlanSpec, seed: int, window: int, duplicates: float) -> None:
    """Never are more units under way than the window has places, in any order of completion; every one is done in the end."""
    plan = compile_plan(spec, CATALOG, window=window)
    rng = random.Random(seed)

    when = {task.id: at for at, number in enumerate(run(plan, rng, duplicates)) for task in plan.unit(number).tasks}
    assert sorted(when) == sorted(task.id for task in spec.tasks)
    assert all(when[other] < when[task.id] for task in spec.tasks for other in task.depends_on)
    done: set[int] = set()
    while under_way := frontier(plan, done):
        assert len(under_way) <= window
        done.add(rng.choice(under_way))
    assert len(done) == len(plan.units)


@settings(max_examples=50, deadline=None)
@given(spec=plans())
def test_a_window_wide_enough_changes_nothing(spec: PlanSpec) -> None:
    """The plan is the same as without one."""
    assert compile_plan(spec, CATALOG, window=len(spec.tasks)) == compile_plan(spec, CATALOG)


def test_lanes_of_a_fan_cost_no_joins() -> None:
    """A unit that is held back waits for one other alone, and what gathers the fan waits for the lanes' ends only."""
    fan = [{"id": f"t{number}", "capability": "p.single"} for number in range(1000)]
    last = {"id": "last", "capability": "p.single", "depends_on": ["t*"]}
    plan = compile_plan(PlanSpec.model_validate({"tasks": [*fan, last]}), CATALOG, window=10)

    assert plan.header.roots == ((0, 9),)
    assert plan.unit(5).releases == ((15, 15),)
    assert [join.size for join in plan.joins] == [10]


@settings(max_examples=50, deadline=None)
@given(spec=plans())
def test_a_plan_survives_its_encoding_and_equal_plans_give_equal_bytes(spec: PlanSpec) -> None:
    """Decoding gives the compiled plan back; compiling twice gives the same bytes."""
    plan = compile_plan(spec, CATALOG)
    encoded = encode(plan)

    assert SegmentedPlan(encoded.parts.__getitem__).whole() == plan
    assert encode(compile_plan(spec, CATALOG)) == encoded


@settings(max_examples=100, deadline=None)
@given(numbers=st.sets(st.integers(0, 500)), size=st.integers(1, 50))
def test_ranges_hold_the_same_numbers_however_they_are_split(numbers: set[int], size: int) -> None:
    """Ranges and their parts are another way to write a set of numbers, in parts of the size asked for."""
    ranges = to_ranges(sorted(numbers))

    parts = list(split(ranges, size))

    assert sorted(numbers) == list(expand(ranges)) == [n for part in parts for n in expand(part)]
    assert all(0 < len(list(expand(part))) <= size for part in parts)

"""What one seed stands for: random small goals, and the weather they meet."""

import random
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

Plan = dict[str, Any]

SKEW: Final = 20.0
"""Seconds that a clock is off at most."""
HOPELESS: Final = 1_000_000
"""So many failing attempts that no retry helps."""
DEADLY: Final = 1_000_000
"""Nobody survives such a task, however often it is tried."""
NOTHING: Final = 13
"""What a missing output counts as in a task's sum."""


@dataclass(frozen=True, slots=True)
class ForkCase:
    """Somebody forks a goal, all under one key."""

    at: int | None
    """The step from which on it is forked, if it has not ended before; None: once it has ended."""
    keep: tuple[str, ...]
    changes: dict[str, dict[str, Any]]
    """Task id → field of its input → new value."""
    calls: tuple[float, ...]
    """Seconds after the first of each call."""


@dataclass(frozen=True, slots=True)
class StopCase:
    """Somebody throws the kill switch, and lets go on later."""

    at: int
    """The step at which he does."""
    kind: Literal["all", "pool", "tenant"]
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class GoalCase:
    """A goal as it is submitted, how often, and when somebody may cancel it."""

    key: str
    plan: Plan
    on_failure: str
    priority: str
    submissions: tuple[float, ...]
    """Seconds after the start of each submission, all under one key."""
    cancel_at: int | None = None
    """The step at which a cancellation starts."""
    pauses: tuple[tuple[int, float], ...] = ()
    """(step at which somebody pauses it, seconds until it is to go on) each."""
    deadline: float | None = None
    """Seconds that it may take."""
    tokens: int | None = None
    """The most that it may use, its sub-plans included."""
    fork: ForkCase | None = None


@dataclass(frozen=True, slots=True)
class Weather:
    """How unfriendly the world is."""

    faults: tuple[tuple[int, str], ...] | None = None
    """(step, kind) of every fault; None: drawn while running, on average one in `calm` steps, at most `budget`."""
    calm: float = 40.0
    budget: int = 6
    switch: float = 0.4
    """Probability that another environment goes on at a call."""
    environments: int = 2
    """Of each pool."""
    batch: int = 10
    skew: float = 0.0
    """Seconds by which an environment's clock may be off, either way."""
    twins: float = 0.0
    """Probability that a message is sent twice, under two ids: a client that heard no answer sends again."""
    fan_out: int = 500
    arity: int = 256
    window: int = 10_000
    """Units that a tenant may have under way per pool and priority; a small one puts plans into lanes."""
    stored_as_bytes: bool = False
    """Do plans go through the codec?"""
    all_large: bool = False
    """Does every output count as too large to be read unasked?"""
    lost_sends: bool = False
    """May messages vanish? Only what is repaired from the plan survives that."""
    tokens_a_day: int | None = None
    """The most that all goals together may use."""
    tells_age: bool = True
    """Does anybody measure how old a queue's oldest message is?"""
    refusals: float = 0.0
    """Probability that a pool's function is throttled: what was received for it comes again, one receive older."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that one seed decides before the run."""

    seed: int
    goals: tuple[GoalCase, ...]
    subplans: tuple[Plan, ...]
    weather: Weather
    stops: tuple[StopCase, ...] = ()

    @property
    def asks(self) -> bool:
        """Must a person approve any of its tasks?"""
        return any(
            "ask" in task["input"] for plan in (*(one.plan for one in self.goals), *self.subplans) for task in plan["tasks"]
        )


def scenario_of(seed: int, *, lost_sends: bool = False) -> Scenario:
    """The scenario of a seed: always the same."""
    rng = random.Random(seed)
    subplans: list[Plan] = []
    goals = []
    for number in range(1 if rng.random() < 0.8 else 2):
        plan = _Planner(rng, subplans, depth=0).plan(min(15, 2 + int(rng.expovariate(0.25))))
        repeats = 0 if rng.random() < 0.75 else rng.randint(1, 2)
        case = GoalCase(
            key=f"key-{number}",
            plan=plan,
            on_failure="skip" if rng.random() < 0.35 else "fail",
            priority=rng.choice(["high", "normal", "low"]),
            submissions=(0.0, *(rng.choice([0.0, 0.2, 5.0, 900.0]) for _ in range(repeats))),
            cancel_at=rng.randint(1, 120) if rng.random() < 0.2 else None,
        )
        goals.append(case)
    healing = random.Random(seed ^ 0x4EA1)
    weather = Weather(
        calm=rng.choice([8.0, 20.0, 40.0, 100.0]),
        budget=rng.choice([0, 2, 4, 6, 10]),
        switch=rng.choice([0.0, 0.1, 0.3, 0.6]),
        environments=rng.choice([1, 2, 2, 3]),
        batch=rng.choice([1, 2, 5, 10]),
        skew=rng.choice([0.0, 0.0, 1.5, SKEW]),
        twins=rng.choice([0.0, 0.0, 0.0, 0.1, 0.4]),
        fan_out=rng.choice([500, 500, 1, 3]),
        arity=rng.choice([256, 2, 2, 3]),
        stored_as_bytes=rng.random() < 0.1,
        all_large=rng.random() < 0.3,
        lost_sends=lost_sends or healing.random() < 0.25,
        tells_age=healing.random() < 0.7,
        window=rng.choice([10_000, 10_000, 8, 2]),
    )
    _ask(random.Random(seed ^ 0xA5C), [goal.plan for goal in goals] + subplans)
    goals = _with_compensations(random.Random(seed ^ 0xC0FFEE), goals, subplans)
    _kill(random.Random(seed ^ 0xDEAD), [goal.plan for goal in goals] + subplans)
    timing = random.Random(seed ^ 0x71ED)
    goals = [_with_times(timing, goal) for goal in goals]
    spending = random.Random(seed ^ 0xB4D6)
    if spending.random() < 0.2:
        goals = _with_budgets(spending, goals, subplans)
        weather = replace(weather, tokens_a_day=spending.choice([None, None, 20, 60]))
    forking = random.Random(seed ^ 0xF02C)
    if forking.random() < 0.12:
        goals[0] = replace(goals[0], fork=_fork(forking, goals[0].plan))
    throttling = random.Random(seed ^ 0x7077)
    if throttling.random() < 0.1:
        weather = replace(weather, refusals=throttling.choice([0.05, 0.3, 0.5]))
    return Scenario(seed, tuple(goals), tuple(subplans), weather, _stops(random.Random(seed ^ 0x5709)))


def _fork(rng: random.Random, plan: Plan) -> ForkCase:
    """What is kept, and what is changed: more often than others what would fail again."""
    tasks = {task["id"]: task["input"] for task in plan["tasks"]}
    broken = [name for name, value in tasks.items() if value.get("permanent") or value.get("fails") == HOPELESS]
    chosen = {name for name in broken if rng.random() < 0.6}
    if rng.random() < 0.6:
        chosen.add(rng.choice(sorted(tasks)))
    changes: dict[str, dict[str, Any]] = {
        name: {"c": rng.randint(0, 99), **{trouble: 0 for trouble in ("permanent", "fails") if trouble in tasks[name]}}
        for name in sorted(chosen)
    }
    if rng.random() < 0.3:
        changes[rng.choice(sorted(tasks))] = {"permanent": 1}
    some = tuple(sorted(set(rng.choices(sorted(tasks), k=3))))
    keep = rng.choice([("*",), ("*",), ("t*",), ("p*", "t1*"), some, some, ()])
    repeats = rng.choice([0, 0, 1, 2])
    at = rng.randint(10, 200) if rng.random() < 0.4 else None
    return ForkCase(at, keep, changes, (0.0, *(rng.choice([0.0, 0.1, 5.0, 900.0]) for _ in range(repeats))))


def _stops(rng: random.Random) -> tuple[StopCase, ...]:
    """In some seeds a pool, the tenant or all is stopped for a while."""
    if rng.random() >= 0.1:
        return ()
    scopes: list[tuple[Literal["all", "pool", "tenant"], str]] = [("all", ""), ("tenant", "acme"), ("pool", "alpha")]
    return tuple(
        StopCase(rng.randint(1, 120), *rng.choice([*scopes, ("pool", "beta")]), rng.choice([1.0, 30.0, 400.0, 2500.0]))
        for _ in range(rng.choice([1, 1, 2]))
    )


def _ask(rng: random.Random, plans: list[Plan]) -> None:
    """In some seeds a person must approve some tasks; what the answer will be stands in their input."""
    share = rng.choice([0.0, 0.0, 0.0, 0.1, 0.4])
    for plan in plans:
        for task in plan["tasks"]:
            if rng.random() < share and task["capability"] != "sim.chunk":
                task["input"]["ask"] = "no" if rng.random() < 0.2 else "yes"


def _with_compensations(rng: random.Random, goals: list[GoalCase], subplans: list[Plan]) -> list[GoalCase]:
    """Payments that can be taken back, and goals that want that: drawn apart, so that the plans stay what they were."""
    for plan in [*(goal.plan for goal in goals), *subplans]:
        for task in plan["tasks"]:
            if task["capability"] == "sim.pay" and rng.random() < 0.9:
                value = {"v": {"$from": task["id"], "path": "v"}, "fails": rng.choice([0, 0, 0, 1, 3])}
                task["compensation"] = {"capability": "sim.refund", "input": value}
            if task.get("on_failure") == "fail" and rng.random() < 0.5:
                task["on_failure"] = "compensate"
    return [
        replace(goal, on_failure="compensate") if goal.on_failure == "fail" and rng.random() < 0.6 else goal for goal in goals
    ]


def _kill(rng: random.Random, plans: list[Plan]) -> None:
    """In some seeds a task is the death of whoever takes it up, a few times or for ever."""
    if rng.random() < 0.1:
        plan = rng.choice([plan for plan in plans if plan["tasks"]])
        rng.choice(plan["tasks"])["input"]["kills"] = rng.choice([1, 2, DEADLY, DEADLY])


def _with_times(rng: random.Random, goal: GoalCase) -> GoalCase:
    """Some goals are paused for a while, or have a deadline."""
    pauses = [(rng.randint(1, 80), rng.choice([0.5, 5.0, 300.0, 4000.0])) for _ in range(rng.choice([0] * 8 + [1, 2]))]
    deadline = rng.choice([0.2, 20.0, 400.0, 3000.0]) if rng.random() < 0.08 else None
    return replace(goal, pauses=tuple(pauses), deadline=deadline)


def _with_budgets(rng: random.Random, goals: list[GoalCase], subplans: list[Plan]) -> list[GoalCase]:
    """Tasks that use tokens, sometimes more than there are; sub-plans that are given part of them."""
    for plan in [*(goal.plan for goal in goals), *subplans]:
        for task in plan["tasks"]:
            if rng.random() < 0.6:
                task["input"]["tokens"] = rng.randint(1, 9)
    for plan in subplans:
        if rng.random() < 0.4:
            plan["tokens"] = rng.choice([3, 12, 40])
    return [replace(goal, tokens=rng.choice([None, 10, 30, 100])) for goal in goals]


class _Planner:
    """Draws plans whose tasks add up what they are given."""

    def __init__(self, rng: random.Random, subplans: list[Plan], depth: int) -> None:
        self.rng = rng
        self.subplans = subplans
        self.depth = depth
        self.tasks: list[dict[str, Any]] = []
        self.families: dict[str, int] = {}

    def plan(self, size: int) -> Plan:
        """A plan of about `size` tasks."""
        while len(self.tasks) < size:
            if self.rng.random() < 0.15 and size - len(self.tasks) > 2:
                self._family(min(size - len(self.tasks), self.rng.randint(2, 6)))
            else:
                self.tasks.append(self._task(f"t{len(self.tasks)}"))
        return {"tasks": self.tasks, "output": self._output()}

    def _output(self) -> Any:
        if self.rng.random() < 0.5:
            return None
        return {"v": self._reference(), "all": [self._reference() for _ in range(self.rng.randint(0, 2))]}

    def _known(self) -> list[str]:
        return [task["id"] for task in self.tasks]

    def _reference(self) -> dict[str, Any]:
        if self.families and self.rng.random() < 0.3:
            family = self.rng.choice(sorted(self.families))
            return {"$from": f"{family}.*", **self.rng.choice([{}, {"path": "[].v"}])}
        source = self.rng.choice(self._known())
        return {"$from": source, **self.rng.choice([{}, {"path": "v"}, {"path": "v", "default": 7}])}

    def _family(self, size: int) -> None:
        """Micro-tasks that wait for the same, so that they may share a message."""
        name = f"p{len(self.families)}"
        first = self._task(f"{name}.0")
        first.pop("when", None)
        first["capability"] = "sim.chunk"
        first["input"].pop("sub", None)
        members = []
        for index in range(size):
            value = {**first["input"], "c": self.rng.randint(0, 99)}
            if index and self.rng.random() < 0.8:
                value = {name: inner for name, inner in value.items() if name not in {"fails", "permanent"}}
            members.append({**first, "id": f"{name}.{index}", "input": value})
        self.tasks.extend(members)
        self.families[name] = size

    def _task(self, identity: str) -> dict[str, Any]:
        rng = self.rng
        retries = rng.randint(0, 4)
        known = self._known()
        value: dict[str, Any] = {"c": rng.randint(0, 99)}
        task: dict[str, Any] = {"id": identity, "capability": "sim.add", "input": value, "retries": retries}
        if known and rng.random() < 0.8:
            task["depends_on"] = sorted(set(rng.choices(known, k=rng.choice([0, 0, 1, 1, 2, 3]))))
            value["xs"] = [self._reference() for _ in range(rng.choice([0, 1, 1, 2]))]
            if rng.random() < 0.12:
                task["when"] = {"$from": rng.choice(known), "path": "odd"}
        if rng.random() < 0.2:
            task["on_failure"] = rng.choice(["fail", "skip"])
        if rng.random() < 0.1:
            task["priority"] = rng.choice(["high", "normal", "low"])
        chance = rng.random()
        if chance < 0.25:
            task["capability"] = "sim.pay"
        elif chance < 0.4 and self.depth < 2:
            task["capability"] = rng.choice(["sim.split", "sim.deal"])
            value["sub"] = len(self.subplans)
            self.subplans.append({})  # holds the number while the plan below draws its own
            inner = _Planner(rng, self.subplans, self.depth + 1).plan(rng.randint(1, 4))
            self.subplans[value["sub"]] = inner if rng.random() < 0.95 else {"tasks": []}
        self._trouble(value, retries)
        return task

    def _trouble(self, value: dict[str, Any], retries: int) -> None:
        chance = self.rng.random()
        if chance < 0.12 and retries:
            value["fails"] = self.rng.randint(1, retries)
        elif chance < 0.15:
            value["fails"] = HOPELESS
        elif chance < 0.18:
            value["permanent"] = True


def with_weather(scenario: Scenario, **changes: Any) -> Scenario:
    """The same goals in other weather."""
    return replace(scenario, weather=replace(scenario.weather, **changes))

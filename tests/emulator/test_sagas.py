"""Trips over three agents on a deployed fleet of their own: whatever breaks, the ledger balances in the end.

IAM is enforced; what an agent needs of the ledger, which is no part of the fleet, its role is given here.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentfleet.domain.goal import GoalState
from cdk.catalog import read_fleet
from client.api import FleetClient
from client.config import ClientConfig
from client.enforced import write_policy
from client.local import ACCOUNT, REGION, LocalCloud
from client.toolchain import Toolchain
from tests.emulator.conftest import ROOT, until

TRIP = Path(__file__).parent / "trip"
KINDS = ("flight", "hotel", "car")
SEATS = 100
LEDGER = "trip-ledger"
SHARED = ("app.py", "cdk.json", "package.json", "package-lock.json", "requirements.txt", "layers", "statemachines", "client")
PLATFORM = [path.name for path in (ROOT / "functions").glob("*/") if path.name not in {"__pycache__", *read_fleet(ROOT).pools}]
"""Functions that are no pools."""


def write_project(root: Path) -> Path:
    """A project of the three agents: our own platform, another fleet.toml, other pools."""
    tools = Toolchain(ROOT, lambda _: None)
    tools.ensure_emulator()
    tools.ensure_cdk()
    for name in SHARED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
    for name in PLATFORM:
        shutil.copytree(ROOT / "functions" / name, root / "functions" / name)
    (root / "playbooks").mkdir()
    shutil.copy(TRIP / "fleet.toml", root)
    handler = (TRIP / "handler.py").read_text()
    for kind in KINDS:
        folder = root / "functions" / f"{kind}s"
        folder.mkdir()
        (folder / "handler.py").write_text(handler.replace("flight", kind))
    (root / ".fleet").mkdir()
    (root / ".fleet" / "emulator").symlink_to(ROOT / ".fleet" / "emulator")
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    return root


class Trips:
    """The deployed fleet and its ledger."""

    def __init__(self, cloud: LocalCloud, client: FleetClient) -> None:
        self.cloud, self.client = cloud, client
        self.table, self.machines = cloud.client("dynamodb"), cloud.client("stepfunctions")
        self.table.create_table(
            TableName=LEDGER,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for kind in KINDS:
            self.put(f"stock#{kind}", seats={"N": str(SEATS)})
            self._allow(f"trip-{kind}s")

    def _allow(self, function: str) -> None:
        """Let an agent use the ledger."""
        with closing(self.cloud.client("lambda")) as functions, closing(self.cloud.client("iam")) as iam:
            role = functions.get_function_configuration(FunctionName=function)["Role"].rpartition("/")[2]
            table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{LEDGER}"
            actions = [f"dynamodb:{action}" for action in ("GetItem", "PutItem", "UpdateItem")]
            write_policy(iam, role, "Ledger", [{"Effect": "Allow", "Action": actions, "Resource": table}])

    def put(self, key: str, **more: Any) -> None:
        """An item of the ledger."""
        self.table.put_item(TableName=LEDGER, Item={"pk": {"S": key}, **more})

    def submit(self, *tasks: dict[str, Any]) -> str:
        """Submit a trip that is undone if it fails. Gives the goal's id."""
        return self.client.submit({"plan": {"tasks": list(tasks)}, "on_failure": "compensate"}).id

    def seats(self) -> dict[str, dict[str, Any]]:
        """The ledger's seats by task."""
        items = self.table.scan(TableName=LEDGER, ConsistentRead=True)["Items"]
        return {item["task"]["S"]: item for item in items if item["pk"]["S"].startswith("seat#")}

    def left(self) -> dict[str, int]:
        """Seats that nobody has, by kind."""
        return {
            kind: int(self.table.get_item(TableName=LEDGER, Key={"pk": {"S": f"stock#{kind}"}})["Item"]["seats"]["N"])
            for kind in KINDS
        }

    def states(self, goal: str, attempt: int) -> list[str]:
        """The states that a saga has entered, in order."""
        machine = next(one for one in self.machines.list_state_machines()["stateMachines"] if one["name"] == "trip-saga")
        arn = f"{machine['stateMachineArn'].replace(':stateMachine:', ':execution:')}:{goal}-{attempt}"
        events = self.machines.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        entered = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
        # The emulator's history leaves out what happens inside a Map.
        return [name for name in entered if name != "Undo A Task"]


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trips]:
    """The three agents, deployed into an emulator of their own."""
    root = write_project(tmp_path_factory.mktemp("trip"))
    cloud = LocalCloud(root, ROOT / ".fleet" / f"trip-{os.getpid()}", enforce_iam=os.environ.get("IAM") != "off")
    try:
        cloud.up()
        with FleetClient(ClientConfig(api_url=cloud.api_url, api_key=cloud.api_key)) as client:
            yield Trips(cloud, client)
    finally:
        cloud.stop()
        shutil.rmtree(ROOT / ".fleet" / f"trip-{os.getpid()}", ignore_errors=True)


def leg(
    name: str, kind: str, *after: str, trouble: str | None = None, back: str | None = None, retries: int = 3
) -> dict[str, Any]:
    """A booking with what gives it back."""
    return {
        "id": name,
        "capability": f"{kind}.book",
        "input": {"trouble": trouble},
        "depends_on": list(after),
        "retries": retries,
        "compensation": {
            "capability": f"{kind}.cancel",
            "input": {"seat": {"$from": name, "path": "seat"}, "trouble": back},
        },
    }


def chain(name: str, **trouble: str) -> list[dict[str, Any]]:
    """Flight, then hotel, then car, then a last leg that is refused. `flight="dies"` is trouble with booking, `back_flight`
    with giving back."""
    legs: list[dict[str, Any]] = []
    before: tuple[str, ...] = ()
    for kind in KINDS:
        legs.append(
            leg(f"{name}.{kind}", kind, *before, trouble=trouble.get(kind), back=trouble.get(f"back_{kind}"), retries=2)
        )
        before = (f"{name}.{kind}",)
    return [*legs, leg(f"{name}.end", "car", *before, trouble="refused")]


def test_the_ledger_balances_whatever_breaks(trips: Trips) -> None:
    """Each step refused, broken off after its effect, or killed between effect and result; each way back shaky or killed;
    a booking in progress when its neighbour fails; and one trip that goes well."""
    cases = {
        f"{kind}-{what}": chain(f"{kind}-{what}", **{kind: what}) for kind in KINDS for what in ("refused", "broken", "dies")
    }
    cases |= {
        f"{kind}-back-{what}": chain(f"{kind}-back-{what}", **{f"back_{kind}": what})
        for kind in KINDS
        for what in ("shaky", "dies")
    }
    for what in ("slow", "dies"):
        cases[f"beside-{what}"] = [
            leg(f"beside-{what}.a", "flight", trouble=what),
            leg(f"beside-{what}.b", "hotel"),
            leg(f"beside-{what}.c", "car", f"beside-{what}.b", trouble="refused"),
        ]
    good = trips.submit(leg("good.flight", "flight"), leg("good.hotel", "hotel", "good.flight"))
    goals = {name: trips.submit(*tasks) for name, tasks in cases.items()}

    ended = {name: trips.client.wait(goal, timeout=240).goal for name, goal in goals.items()}

    assert trips.client.wait(good, timeout=10).goal.state is GoalState.SUCCEEDED
    assert {name: goal.state for name, goal in ended.items()} == dict.fromkeys(goals, GoalState.FAILED)
    assert all(goal.undoing and goal.undoing.done for goal in ended.values())
    seats = trips.seats()
    kept = {task for task, seat in seats.items() if seat["state"]["S"] == "TAKEN"}
    assert kept == {"good.flight", "good.hotel"}
    assert trips.left() == {"flight": SEATS - 1, "hotel": SEATS - 1, "car": SEATS}
    assert {seat["given_back"]["N"] for seat in seats.values() if "given_back" in seat} == {"1"}
    for name in ("hotel-dies", "flight-back-dies", "car-back-shaky"):
        moments = [float(seats[f"{name}.{kind}"]["at"]["N"]) for kind in KINDS]
        assert moments == sorted(moments, reverse=True), name
    assert seats["beside-dies.a"]["state"]["S"] == "BACK"


def test_the_states_of_a_saga(trips: Trips) -> None:
    """Two legs that depend on each other are two waves."""
    goal = trips.submit(leg("s.a", "flight"), leg("s.b", "hotel", "s.a"), leg("s.c", "car", "s.b", trouble="refused"))
    trips.client.wait(goal, timeout=60)

    wave = ["Look What Is Left", "What Now", "Undo A Wave", "All Undone"]
    assert trips.states(goal, 1) == [
        *("Take Up The Goal", "Let Word Spread"),
        *wave * 3,
        *("Look What Is Left", "What Now", "Nothing Is Left"),
    ]


def test_a_compensation_that_fails_for_good_parks_the_goal_until_a_person_resumes_it(trips: Trips) -> None:
    """What can be undone is; after that only the rest is left."""
    goal = trips.submit(
        leg("p.a", "flight"),
        leg("p.b", "hotel", "p.a", back="closed"),
        leg("p.c", "car", "p.a"),
        leg("p.d", "car", "p.c", trouble="refused"),
    )
    parked = trips.client.wait(goal, timeout=60).goal
    seats = trips.seats()

    assert parked.state is GoalState.COMPENSATION_FAILED
    assert parked.undoing is not None
    assert parked.undoing.failure is not None
    assert (parked.undoing.failure.task, parked.undoing.failure.error) == ("p.b", "PermanentError")
    assert trips.states(goal, 1)[-2:] == ["Park The Goal", "Compensation Failed"]
    assert [seats[f"p.{name}"]["state"]["S"] for name in "ab"] == ["TAKEN", "TAKEN"]

    trips.put("open")
    resumed = trips.client.compensate(goal)
    ended = until(lambda: (found := trips.client.goal(goal)).state.is_final and found)

    assert resumed.state is GoalState.COMPENSATING
    assert (ended.state, ended.undoing.done, ended.undoing.attempt) == (GoalState.FAILED, True, 2)
    assert all(trips.seats()[f"p.{name}"]["state"]["S"] != "TAKEN" for name in "abcd")


def test_the_healer_starts_a_saga_that_nobody_runs(trips: Trips) -> None:
    """Its execution is stopped from outside; heal_work starts the next attempt."""
    goal = trips.submit(leg("h.a", "flight", trouble="slow"), leg("h.b", "hotel", trouble="refused"))
    until(lambda: trips.client.goal(goal).state is GoalState.COMPENSATING)
    machine = next(one for one in trips.machines.list_state_machines()["stateMachines"] if one["name"] == "trip-saga")
    arn = f"{machine['stateMachineArn'].replace(':stateMachine:', ':execution:')}:{goal}-1"
    trips.machines.stop_execution(executionArn=arn)

    answer = trips.cloud.client("lambda").invoke(FunctionName="trip-heal-work", Payload=json.dumps({}))
    told = json.loads(answer["Payload"].read())
    ended = trips.client.wait(goal, timeout=60).goal

    assert told["RepairsFailed"] == 0  # its schedule may have been quicker to repair
    assert (ended.state, ended.undoing and ended.undoing.attempt) == (GoalState.FAILED, 2)
    assert trips.seats()["h.a"]["state"]["S"] == "BACK"
    undone = until(lambda: [one for one in trips.client.history(goal).events if one.kind == "TaskCompensated"])
    assert ("h.a",) in [one.tasks for one in undone]
    assert trips.client.verify(goal).holds


def test_a_flood_of_small_goals_waits_in_their_plans(trips: Trips) -> None:
    """With nobody at work, fifty goals of twelve tasks have little more than the tenant's window of 320 in the queue; once
    somebody is, all are done."""
    functions, queues = trips.cloud.client("lambda"), trips.cloud.client("sqs")
    triggers = [one["UUID"] for one in functions.list_event_source_mappings(FunctionName="trip-cars")["EventSourceMappings"]]

    def switch(state: str) -> None:
        for trigger in triggers:
            functions.update_event_source_mapping(UUID=trigger, Enabled=state == "Enabled")
        until(lambda: {functions.get_event_source_mapping(UUID=trigger)["State"] for trigger in triggers} == {state})

    def under_way() -> int:
        url = queues.get_queue_url(QueueName="trip-cars-low")["QueueUrl"]
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(map(int, queues.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))

    refused = {"capability": "car.book", "input": {"trouble": "refused"}, "on_failure": "skip", "priority": "low"}
    switch("Disabled")
    try:
        goals = [
            trips.client.submit({"plan": {"tasks": [{"id": f"t{n}", **refused} for n in range(12)]}}).id for _ in range(50)
        ]
        sent = until(lambda: all(trips.client.goal(goal).state == "RUNNING" for goal in goals) and under_way())
    finally:
        switch("Enabled")

    # The window, and for each goal that comes when it is used up a 32nd of it or less.
    assert 300 <= sent <= 320 + 25 * 5
    ended = [trips.client.wait(goal, timeout=120).goal for goal in goals]
    assert {(goal.state, sum((goal.counts or {}).values())) for goal in ended} == {(GoalState.SUCCEEDED, 12)}

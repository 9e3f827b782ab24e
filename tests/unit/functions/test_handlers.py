"""The functions behind queues, called as Lambda calls them, over moto: events in, partial batch responses out."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from moto import mock_aws
from msgspec.structs import replace

from agentfleet import bootstrap
from agentfleet.adapters.approvals import DynamoApprovals
from agentfleet.adapters.clients import Clients
from agentfleet.adapters.history import DynamoHistory
from agentfleet.domain import ids
from agentfleet.domain.approval import Approval, Decision
from agentfleet.domain.catalog import write_catalog
from agentfleet.domain.codec import encode
from agentfleet.domain.compile import compile_plan
from agentfleet.domain.episode import Figure
from agentfleet.domain.errors import FleetError
from agentfleet.domain.goal import Goal, GoalState, Parent
from agentfleet.domain.history import read_events, verify
from agentfleet.domain.result import Result, TaskOutcome, TaskState
from agentfleet.domain.task import PlanSpec, parse_request
from cdk.catalog import read_fleet
from cdk.playbooks import playbooks_json, read_playbooks
from functions.accept_goals import handler as accept_goals
from functions.flow import handler as flow
from functions.memory import handler as memory
from functions.record_history import handler as record_history
from functions.release_tasks import handler as release_tasks
from functions.remember_goals import handler as remember_goals
from tests.contract.moto_inserts import conditional_inserts
from tests.contract.world import FLEET, build

ROOT = Path(__file__).parents[3]
EVENT_ID = "9b6d2c54-1f0e-4a83-8c6f-0d5e7a4b3c21"


class Invocation(LambdaContext):
    """What Lambda tells a function of its invocation."""

    def __init__(self) -> None:
        self._function_name = "contract-flow"
        self._memory_limit_in_mb = 512
        self._invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:contract-flow"
        self._aws_request_id = "b6f5a3f0-27a4-4a1e-8c0b-2f4a5b1d9e77"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """A minute."""
        return 60_000


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Clients]:
    """A fleet's resources in moto, the environment of its functions, and the files that synth puts into their layer."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    (tmp_path / "catalog.json").write_bytes(write_catalog(read_fleet(ROOT).catalog))
    (tmp_path / "playbooks.json").write_text(playbooks_json(read_playbooks(ROOT)), encoding="utf-8")
    monkeypatch.setattr(bootstrap, "PACKAGE", tmp_path)
    for agent in (flow.agent, memory.agent):
        monkeypatch.setattr(agent, "_runner", None)
        monkeypatch.setattr(agent, "_loop", None)
    made = (bootstrap.clients, bootstrap.platform, bootstrap.memory, bootstrap.rememberer, bootstrap.recorder)
    for one in made:
        one.cache_clear()
    with mock_aws(), conditional_inserts():
        clients = bootstrap.clients()
        build(clients)
        for queue in ("flow-high", "flow-normal", "flow-low", "memory-normal"):
            clients.sqs.create_queue(QueueName=f"{FLEET}-{queue}")
        for name, value in {
            "FLEET": FLEET,
            "WORK_TABLE": f"{FLEET}-work",
            "REGISTRY_TABLE": f"{FLEET}-registry",
            "BUCKET": f"{FLEET}-bucket",
            "MEMORY_TABLE": f"{FLEET}-memory",
            "HISTORY_TABLE": f"{FLEET}-history",
            "BUS": f"{FLEET}-events",
            "RELEASE_QUEUE_URL": clients.sqs.get_queue_url(QueueName=f"{FLEET}-release")["QueueUrl"],
            "POOL": "flow",
        }.items():
            monkeypatch.setenv(name, value)
        yield clients
        clients.threads.shutdown()
        for agent in (flow.agent, memory.agent):
            if agent._loop:
                agent._loop.close()
    for one in made:
        one.cache_clear()


def delivered(clients: Clients, queue: str) -> dict[str, Any]:
    """The queue's messages as Lambda hands them over."""
    url = clients.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    answer = clients.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{queue}",
                "awsRegion": "us-east-1",
            }
            for message in answer.get("Messages", [])
        ]
    }


SHARDS = {"flow": None, "flow-s2": "flow"}


def submitted() -> dict[str, Any]:
    """An event with a goal, and one that is none."""
    event: dict[str, Any] = json.loads((ROOT / "tests" / "events" / "sqs_goal_submitted.json").read_text(encoding="utf-8"))
    return event


def test_a_goal_goes_from_event_to_end_through_the_real_handlers(aws: Clients) -> None:
    """accept_goals keeps the good record and returns the bad one; the pool's agent runs task after task."""
    answer = accept_goals.handler(submitted(), Invocation())
    goal_id = ids.derived_goal_id("default", f"event:{EVENT_ID}")

    for _ in range(2):
        event = delivered(aws, f"{FLEET}-flow-normal")
        assert len(event["Records"]) == 1
        assert flow.agent(event, Invocation()) == {"batchItemFailures": []}

    goal = bootstrap.platform().outside.goals.get([goal_id])[goal_id]
    assert answer == {"batchItemFailures": [{"itemIdentifier": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}]}
    assert (goal.state, goal.output, goal.tenant) == (GoalState.SUCCEEDED, 2, "default")


def test_an_agent_returns_only_the_message_that_it_could_not_read(aws: Clients) -> None:
    """The others of the batch are done and deleted."""
    accept_goals.handler(submitted(), Invocation())
    event = delivered(aws, f"{FLEET}-flow-normal")
    poison = {**event["Records"][0], "messageId": "poison", "body": "?"}

    answer = flow.agent({"Records": [poison, *event["Records"]]}, Invocation())

    assert answer == {"batchItemFailures": [{"itemIdentifier": "poison"}]}
    assert len(delivered(aws, f"{FLEET}-flow-normal")["Records"]) == 1


def test_a_part_of_a_wide_release_is_sent_and_a_bad_one_returned(aws: Clients) -> None:
    """release_tasks sends what its message names."""
    accept_goals.handler(submitted(), Invocation())
    goal_id = ids.derived_goal_id("default", f"event:{EVENT_ID}")
    delivered(aws, f"{FLEET}-flow-normal")
    record = {**submitted()["Records"][0], "body": json.dumps({"goal": goal_id, "units": [[0, 1]]})}

    answer = release_tasks.handler({"Records": [record, {**record, "messageId": "bad", "body": "{}"}]}, Invocation())

    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert len(delivered(aws, f"{FLEET}-flow-normal")["Records"]) == 2


@pytest.mark.parametrize(("is_permanent", "share"), [(False, [0.5]), (True, [])])
def test_an_agent_tells_which_part_of_its_batch_was_lost(
    aws: Clients, caplog: pytest.LogCaptureFixture, is_permanent: bool, share: list[float]
) -> None:
    """In a line that CloudWatch makes a metric of, under the pool's own name; what a task asked in vain is none."""
    fails = {"id": "a", "capability": "flow.fail", "input": {"permanent": is_permanent}}
    works = {"id": "b", "capability": "flow.noop"}
    bootstrap.platform().accepter.accept(parse_request({"plan": {"tasks": [fails, works]}}), "acme", None)

    flow.agent(delivered(aws, f"{FLEET}-flow-normal"), Invocation())

    lines = [vars(record) for record in caplog.records if hasattr(record, "LostInvocations")]
    assert [line["LostInvocations"] for line in lines] == share
    assert {(line["Fleet"], line["Pool"]) for line in lines} <= {(FLEET, "flow")}


def test_a_handler_in_the_wrong_function_says_so(aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool's function with another pool's code is a mistake that must not run tasks."""
    monkeypatch.setenv("POOL", "data")

    with pytest.raises(FleetError, match=r"belongs to pool 'data', but its handler says Agent\('flow'\)"):
        flow.agent({"Records": []}, Invocation())


def test_a_shard_runs_its_pools_code(aws: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its handler says whose shard it is; it registers, and sends postponed tasks back, as itself."""
    catalog = read_fleet(ROOT).catalog
    flows = {name: replace(catalog.pools["flow"], name=name, shard_of=of) for name, of in SHARDS.items()}
    sharded = replace(catalog, pools={**catalog.pools, **flows})
    (tmp_path / "catalog.json").write_bytes(write_catalog(sharded))
    monkeypatch.setenv("POOL", "flow-s2")

    assert flow.agent({"Records": []}, Invocation()) == {"batchItemFailures": []}
    assert flow.agent._runner is not None
    assert flow.agent._runner._pool == "flow-s2"


def test_an_agent_with_the_grant_remembers_and_the_api_shows_it(aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the pool's real function, into the table, and out of it."""
    monkeypatch.setenv("POOL", "memory")
    remembering = {"id": "a", "capability": "memory.remember", "input": {"text": "The door is green."}}
    goal, _ = bootstrap.platform().accepter.accept(parse_request({"plan": {"tasks": [remembering]}}), "acme", None)

    assert memory.agent(delivered(aws, f"{FLEET}-memory-normal"), Invocation()) == {"batchItemFailures": []}

    (fact,) = bootstrap.memory().facts("acme", None, "", 10)
    assert (fact.text, fact.agent, fact.source) == ("The door is green.", "shared", f"{goal.id}/a")


def test_a_goal_in_words_is_remembered_and_a_bad_event_returned(aws: Clients) -> None:
    """remember_goals reads the goal and the plan that was made of it, once however often the event comes."""
    outside, catalog = bootstrap.platform().outside, bootstrap.platform().catalog
    now = bootstrap.utc_now()
    goal = Goal("g1", "acme", "n", GoalState.SUCCEEDED, now, 1, 1, words="Open the door", finished=now + timedelta(seconds=3))
    planned = replace(goal, id=ids.child_goal_id("g1", 0, 0), words="", parent=Parent("g1", 0, 0, ("g1",)))
    spec = PlanSpec.model_validate({"tasks": [{"id": "a", "capability": "flow.step", "input": {"value": 1}}]})
    outside.plans.put(planned.id, encode(compile_plan(spec, catalog)))
    outside.results.put(1, [Result(planned.id, 0, (TaskOutcome(TaskState.SUCCEEDED, {"dollars": 0.5}),), "flow-1", now, 2.0)])
    for one in (goal, planned):
        assert outside.goals.create(one)
    body = json.dumps({"id": "e", "detail-type": "GoalSucceeded", "detail": {"goal": "g1", "words": "Open the door"}})
    record = {**submitted()["Records"][0], "body": body}

    answers = [remember_goals.handler({"Records": [record, {**record, "messageId": "bad", "body": "{}"}]}, Invocation())] * 2

    assert answers == [{"batchItemFailures": [{"itemIdentifier": "bad"}]}] * 2
    (head,) = bootstrap.memory().episodes("acme", 10)
    assert (head.goal_id, head.goal, head.succeeded, head.seconds, head.dollars) == ("g1", "Open the door", True, 3.0, 0.5)
    assert bootstrap.memory().figures("acme")["flow.step"] == Figure(1, 2.0, 0.5)
    assert bootstrap.memory().episode("acme", "g1").plan["tasks"] == [
        {"id": "a", "capability": "flow.step", "input": {"value": 1}}
    ]


def test_a_decision_is_recorded_from_the_registrys_stream(aws: Clients) -> None:
    """What the table really holds, twice delivered, recorded once; what can't be read fails alone, by its number."""
    approvals = DynamoApprovals(aws.dynamodb, f"{FLEET}-registry")
    asked = Approval("g1", 7, "acme", ("pay",), "bank.pay", "{}", "rule bank.*", datetime(2026, 11, 22, tzinfo=UTC))
    key: Any = {"pk": {"S": "APPROVAL#g1"}, "sk": {"S": "000007"}}

    def stored() -> dict[str, Any]:
        return dict(aws.dynamodb.get_item(TableName=f"{FLEET}-registry", Key=key)["Item"])

    approvals.ask(asked)
    first = stored()
    approvals.decide(replace(asked, decision=Decision.REJECTED, decided=asked.asked, by="acme", note="too dear"))
    poison = {**key, "sk": {"S": "pay"}}
    records = [_record(1, key, NewImage=first), _record(2, key, OldImage=first, NewImage=stored())]

    answer = record_history.handler({"Records": [*records, _record(3, poison, NewImage=poison)]}, Invocation())
    again = record_history.handler({"Records": records}, Invocation())

    assert (answer, again) == ({"batchItemFailures": [{"itemIdentifier": "3"}]}, {"batchItemFailures": []})
    history = DynamoHistory(aws.dynamodb, f"{FLEET}-history")
    head = history.head("g1")
    assert head is not None
    segments = list(history.segments(head))
    assert verify(head, segments).broken is None
    told = [(event.kind, event.facts.get("note")) for one in segments for event in read_events(one)]
    assert told == [("ApprovalAsked", None), ("ApprovalDecided", "too dear")]


def _record(number: int, keys: dict[str, Any], **images: Any) -> dict[str, Any]:
    """As Lambda hands it over (Lambda Developer Guide, 'Using AWS Lambda with Amazon DynamoDB': example event)."""
    stream = {"Keys": keys, "SequenceNumber": str(number), "ApproximateCreationDateTime": 1_795_347_000, **images}
    return {"eventID": str(number), "eventName": "MODIFY", "dynamodb": stream}

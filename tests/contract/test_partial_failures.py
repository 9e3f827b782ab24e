"""What adapters do when a service takes a part of a request only; told by stubbed answers, since no emulator does that."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.bus import EventBridgeBus
from agentfleet.adapters.outputs import S3Outputs
from agentfleet.adapters.plans import DynamoPlans
from agentfleet.adapters.pools import LambdaPools
from agentfleet.adapters.queue_watch import SqsQueueWatch
from agentfleet.adapters.queues import BATCH_BYTES, SqsQueues
from agentfleet.adapters.registry import DynamoAgents
from agentfleet.adapters.results import DynamoResults
from agentfleet.adapters.work_table import to_outputs, to_result_item
from agentfleet.domain.codec import encode
from agentfleet.domain.errors import DeliveryFailed, InvalidRequest, RegistryUnavailable, RetryableError
from agentfleet.domain.fleet import Agent, AgentState
from agentfleet.domain.messages import ReleaseMessage, TaskMessage
from agentfleet.domain.result import Result
from tests.contract.making import compiled, result
from tests.contract.world import catalog_of
from tests.fakes import START, FixedClock

TABLE = "some-work"


@dataclass
class Stubs:
    """Clients that answer as told, in order."""

    threads: ThreadPoolExecutor
    pauses: list[float] = field(default_factory=list)
    stubbers: dict[str, Stubber] = field(default_factory=dict)
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """A client of a service."""
        if service not in self.clients:
            made: Any = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # type: ignore[call-overload]
            self.clients[service] = made
            self.stubbers[service] = Stubber(made)
            self.stubbers[service].activate()
        return self.clients[service]

    def answer(self, service: str, operation: str, response: dict[str, Any], expected: dict[str, Any] | None = None) -> None:
        """Tell the next answer."""
        self.client(service)
        self.stubbers[service].add_response(operation, response, expected)

    def refuse(self, service: str, operation: str, code: str) -> None:
        """Tell the next error."""
        self.client(service)
        self.stubbers[service].add_client_error(operation, service_error_code=code)

    @property
    def backoff(self) -> Backoff:
        """Three tries; pauses are noted instead of waited for."""
        return Backoff(tries=3, base=1.0, limit=10.0, sleep=self.pauses.append, fraction=lambda: 1.0)


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    """Every answer that was told must have been asked for."""
    with ThreadPoolExecutor(2) as threads:
        made = Stubs(threads)
        yield made
    for stubber in made.stubbers.values():
        stubber.assert_no_pending_responses()
    for client in made.clients.values():
        client.close()


@pytest.fixture
def results(stubs: Stubs) -> DynamoResults:
    """A result store over stubs."""
    outputs = S3Outputs(stubs.client("s3"), "some-bucket")
    return DynamoResults(stubs.client("dynamodb"), TABLE, outputs, stubs.threads, FixedClock(), backoff=stubs.backoff)


def item(one: Result) -> dict[str, Any]:
    """A result as DynamoDB gives it."""
    return to_result_item(one, 1, to_outputs(one), None, START)


def statements(*results: Result) -> dict[str, Any]:
    """The request that inserts these."""
    return {"Statements": [{"Statement": ANY, "Parameters": _Begins(item(one)["pk"], item(one)["sk"])} for one in results]}


class _Begins:
    """Equals a list that begins so."""

    def __init__(self, *start: Any) -> None:
        self.start = list(start)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and other[: len(self.start)] == self.start

    def __hash__(self) -> int:
        return 0


def failed(code: str) -> dict[str, Any]:
    """A statement's answer that is an error."""
    return {"Error": {"Code": code, "Message": "because"}}


def test_only_throttled_inserts_are_repeated(stubs: Stubs, results: DynamoResults) -> None:
    """What was stored is not sent again; pauses grow."""
    first, second, third = (result("g", n) for n in range(3))
    stubs.answer(
        "dynamodb",
        "batch_execute_statement",
        {"Responses": [{}, failed("ThrottlingError"), failed("ProvisionedThroughputExceeded")]},
        statements(first, second, third),
    )
    stubs.answer(
        "dynamodb", "batch_execute_statement", {"Responses": [failed("InternalServerError"), {}]}, statements(second, third)
    )
    stubs.answer("dynamodb", "batch_execute_statement", {"Responses": [{}]}, statements(second))

    assert list(results.put(1, [first, second, third])) == [first, second, third]
    assert stubs.pauses == [1.0, 2.0]


def test_an_insert_that_is_throttled_for_ever_is_an_error(stubs: Stubs, results: DynamoResults) -> None:
    """After the last try; the caller's message will come again."""
    for _ in range(3):
        stubs.answer("dynamodb", "batch_execute_statement", {"Responses": [failed("ThrottlingError")]})

    with pytest.raises(ClientError, match="ThrottlingError"):
        results.put(1, [result("g", 0)])


def test_an_insert_that_can_not_succeed_is_an_error_at_once(stubs: Stubs, results: DynamoResults) -> None:
    """No second try for what is wrong in itself, and the worst error is the one that is told."""
    answer = {"Responses": [failed("ThrottlingError"), failed("ValidationError"), failed("DuplicateItem")]}
    stubs.answer("dynamodb", "batch_execute_statement", answer)

    with pytest.raises(ClientError, match="ValidationError"):
        results.put(1, [result("g", n) for n in range(3)])


def test_a_repeated_insert_that_had_succeeded_reads_what_stands(stubs: Stubs, results: DynamoResults) -> None:
    """An answer that was lost looks like a duplicate: the result that stands is then one's own."""
    mine = result("g", 0, {"n": 1})
    stubs.answer("dynamodb", "batch_execute_statement", {"Responses": [failed("InternalServerError")]})
    stubs.answer("dynamodb", "batch_execute_statement", {"Responses": [failed("DuplicateItem")]})
    stubs.answer("dynamodb", "batch_get_item", {"Responses": {TABLE: [item(mine)]}, "UnprocessedKeys": {}})

    assert list(results.put(1, [mine])) == [mine]


def test_a_result_that_expires_while_it_is_looked_at_is_tried_again_later(stubs: Stubs, results: DynamoResults) -> None:
    """There was one, and it is gone: neither outcome can be claimed."""
    stubs.answer("dynamodb", "batch_execute_statement", {"Responses": [failed("DuplicateItem")]})
    stubs.answer("dynamodb", "batch_get_item", {"Responses": {TABLE: []}, "UnprocessedKeys": {}})

    with pytest.raises(RetryableError, match=r"g#0/R000000"):
        results.put(1, [result("g", 0)])


def test_unprocessed_keys_are_asked_for_again(stubs: Stubs, results: DynamoResults) -> None:
    """Only those, until none is left."""
    stored = [result("g", n, n) for n in range(3)]
    keys = [{name: item(one)[name] for name in ("pk", "sk")} for one in stored]

    def request(*wanted: dict[str, Any]) -> dict[str, Any]:
        return {TABLE: {"Keys": list(wanted), "ConsistentRead": True}}

    def answer(found: list[Result], left: list[dict[str, Any]]) -> dict[str, Any]:
        return {"Responses": {TABLE: [item(one) for one in found]}, "UnprocessedKeys": request(*left) if left else {}}

    for found, asked, left in ((stored[:1], keys, keys[1:]), (stored[1:2], keys[1:], keys[2:]), (stored[2:], keys[2:], [])):
        stubs.answer("dynamodb", "batch_get_item", answer(found, left), {"RequestItems": request(*asked)})

    assert results.get("g", 1, range(3)) == dict(enumerate(stored))
    assert stubs.pauses == [1.0, 2.0]


def test_keys_that_stay_unprocessed_are_an_error(stubs: Stubs, results: DynamoResults) -> None:
    """Absent and unread must never be confused."""
    left = {TABLE: {"Keys": [{"pk": {"S": "g#0"}, "sk": {"S": "R000000"}}], "ConsistentRead": True}}
    for _ in range(3):
        stubs.answer("dynamodb", "batch_get_item", {"Responses": {}, "UnprocessedKeys": left})

    with pytest.raises(ClientError, match="1 keys of some-work were left unread 3 times"):
        results.get("g", 1, [0])


def test_a_plan_that_is_not_seen_yet_is_read_consistently(stubs: Stubs) -> None:
    """The cheap read may miss a plan that has just been stored."""
    encoded = encode(compiled(1))
    clock = FixedClock()
    plans = DynamoPlans(stubs.client("dynamodb"), TABLE, stubs.client("s3"), "some-bucket", stubs.threads, clock)
    found = {
        "pk": {"S": "g"},
        "sk": {"S": "PLAN"},
        "parts": {"M": {name: {"B": part} for name, part in encoded.parts.items()}},
        "expires": {"N": "1800000000"},
    }
    request = {"TableName": TABLE, "Key": {"pk": {"S": "g"}, "sk": {"S": "PLAN"}}, "ReturnConsumedCapacity": "TOTAL"}
    stubs.answer("dynamodb", "get_item", {}, request | {"ConsistentRead": False})
    stubs.answer("dynamodb", "get_item", {"Item": found}, request | {"ConsistentRead": True})

    assert plans.read("g").header.tasks == 3
    assert plans.read("g") is plans.read("g")


@pytest.fixture
def queues(stubs: Stubs) -> SqsQueues:
    """Queues over stubs."""
    return SqsQueues(stubs.client("sqs"), "some", "https://sqs/1/", stubs.threads, stubs.backoff)


def test_only_refused_messages_are_sent_again(stubs: Stubs, queues: SqsQueues) -> None:
    """What SQS took is not sent twice; what is wrong in itself is not tried again."""
    messages = [TaskMessage("g", n, "acme", "data", "high") for n in range(3)]
    entries = [{"Id": str(n), "MessageBody": one.body(), "MessageGroupId": "acme"} for n, one in enumerate(messages)]
    url = "https://sqs/1/some-data-high"
    answer = {
        "Successful": [{"Id": "0", "MessageId": "a", "MD5OfMessageBody": "a"}],
        "Failed": [
            {"Id": "1", "SenderFault": False, "Code": "InternalError"},
            {"Id": "2", "SenderFault": True, "Code": "InvalidMessageContents", "Message": "no"},
        ],
    }
    stubs.answer("sqs", "send_message_batch", answer, {"QueueUrl": url, "Entries": entries})
    accepted = {"Successful": [{"Id": "1", "MessageId": "b", "MD5OfMessageBody": "b"}], "Failed": []}
    stubs.answer("sqs", "send_message_batch", accepted, {"QueueUrl": url, "Entries": entries[1:2]})

    refusal = "1 of 3 messages were not taken: some-data-high: InvalidMessageContents no"
    with pytest.raises(DeliveryFailed, match=refusal) as raised:
        queues.send_tasks(messages)
    assert raised.value.refused == frozenset({2})


def test_messages_that_are_always_refused_are_counted(stubs: Stubs, queues: SqsQueues) -> None:
    """After the last try."""
    answer = {"Successful": [], "Failed": [{"Id": "0", "SenderFault": False, "Code": "ServiceUnavailable"}]}
    for _ in range(3):
        stubs.answer("sqs", "send_message_batch", answer)

    with pytest.raises(DeliveryFailed, match="1 of 1 messages were not taken: some-release: refused 3 times"):
        queues.send_releases([ReleaseMessage("g", ((0, 9),))])


def test_a_request_holds_no_more_than_a_mebibyte(stubs: Stubs, queues: SqsQueues) -> None:
    """Large messages travel in smaller batches, in order."""
    ranges = tuple((n, n) for n in range(10**9, 10**9 + 17_000))
    messages = [ReleaseMessage("g", ranges) for _ in range(5)]
    size = len(messages[0].body().encode())
    assert 2 * size < BATCH_BYTES < 3 * size
    for start, end in pairwise((0, 2, 4, 5)):
        entries = [{"Id": str(n), "MessageBody": messages[n].body()} for n in range(start, end)]
        stubs.answer("sqs", "send_message_batch", {"Successful": [], "Failed": []}, {"QueueUrl": ANY, "Entries": entries})

    queues.send_releases(messages)


def test_hiding_what_is_gone_is_fine_but_what_is_refused_is_an_error(stubs: Stubs, queues: SqsQueues) -> None:
    """A message that is visible again, or deleted, needs no hiding; a passing error is tried again."""
    gone = [
        {"Id": "0", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"},
        {"Id": "1", "SenderFault": True, "Code": "AWS.SimpleQueueService.MessageNotInflight"},
    ]
    passing = {"Id": "2", "SenderFault": False, "Code": "InternalError"}
    wrong = {"Id": "3", "SenderFault": True, "Code": "AccessDenied", "Message": "no"}
    stubs.answer("sqs", "change_message_visibility_batch", {"Successful": [], "Failed": [*gone, passing, wrong]})
    second = {"QueueUrl": ANY, "Entries": [{"Id": "2", "ReceiptHandle": "r2", "VisibilityTimeout": 3}]}
    stubs.answer("sqs", "change_message_visibility_batch", {"Successful": [{"Id": "2"}], "Failed": []}, second)

    with pytest.raises(DeliveryFailed, match="1 of 4 messages of some-queue could not be hidden: AccessDenied no"):
        queues.hide("some-queue", {f"r{n}": timedelta(seconds=2.5) for n in range(4)})


def test_an_event_that_the_bus_refuses_is_tried_again(stubs: Stubs) -> None:
    """And is an error when it is refused for ever, with the bus's reason."""
    bus = EventBridgeBus(stubs.client("events"), stubs.client("sqs"), "some-events", stubs.backoff)
    refused = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}]}
    taken = {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
    for answer in (refused, taken, refused, refused, refused):
        stubs.answer("events", "put_events", answer)

    bus.publish("GoalFailed", {})
    with pytest.raises(DeliveryFailed, match="some-events did not take GoalFailed: ThrottlingException slow down"):
        bus.publish("GoalFailed", {})


@pytest.fixture
def pools(stubs: Stubs) -> LambdaPools:
    """Pools over stubs."""
    sqs, functions, logs = (stubs.client(service) for service in ("sqs", "lambda", "logs"))
    return LambdaPools(sqs, functions, logs, catalog_of("data"), "https://sqs/1/", stubs.threads, stubs.backoff)


def uuid(number: int) -> str:
    """A trigger's id."""
    return f"00000000-0000-0000-0000-{number:012}"


def triggers(*limits: int) -> dict[str, Any]:
    """The pool's triggers, and one of somebody else's."""
    mappings = [
        {
            "UUID": uuid(n),
            "EventSourceArn": f"arn:aws:sqs:us-east-1:1:contract-data-{priority}",
            "State": "Enabled",
            "ScalingConfig": {"MaximumConcurrency": limit},
        }
        for n, (limit, priority) in enumerate(zip(limits, ("high", "normal", "low"), strict=False))
    ]
    return {"EventSourceMappings": [*mappings, {"UUID": uuid(9), "EventSourceArn": "arn:aws:sqs:us-east-1:1:other"}]}


def test_only_triggers_that_differ_are_changed(stubs: Stubs, pools: LambdaPools) -> None:
    """One that takes an earlier change on is tried again; a trigger of another queue is left alone."""
    stubs.answer("lambda", "list_event_source_mappings", triggers(9, 5, 9))
    stubs.answer("lambda", "get_function_concurrency", {})
    stubs.refuse("lambda", "update_event_source_mapping", "ResourceInUseException")
    change = {"UUID": uuid(1), "ScalingConfig": {"MaximumConcurrency": 9}}
    stubs.answer("lambda", "update_event_source_mapping", {}, change)

    pools.set_concurrency("data", 9)


def test_a_trigger_that_stays_busy_is_worth_another_try_later(stubs: Stubs, pools: LambdaPools) -> None:
    """The error says so."""
    stubs.answer("lambda", "list_event_source_mappings", triggers(5))
    stubs.answer("lambda", "get_function_concurrency", {"ReservedConcurrentExecutions": 50})
    for _ in range(3):
        stubs.refuse("lambda", "update_event_source_mapping", "ResourceInUseException")

    with pytest.raises(RetryableError, match="'data' is still taking an earlier change"):
        pools.set_concurrency("data", 9)


def test_a_size_of_one_that_the_account_has_no_room_for_is_refused_with_the_reason(stubs: Stubs, pools: LambdaPools) -> None:
    """Small accounts have nothing to reserve; no trigger was changed."""
    stubs.answer("lambda", "list_event_source_mappings", triggers(5, 5, 5))
    stubs.refuse("lambda", "put_function_concurrency", "InvalidParameterValueException")

    with pytest.raises(InvalidRequest, match=r"1 for pool data reserves one .* Lambda keeps 100 unreserved; ask for 2 or more"):
        pools.set_concurrency("data", 1)


@pytest.mark.parametrize(
    ("limits", "state", "settled"),
    [
        ((5, 5, 5), "Enabled", True),
        ((5, 5, 5), "Disabled", True),
        ((5, 9, 5), "Enabled", False),
        ((5, 9, 5), "Updating", False),
        ((5, 5, 5), "Updating", False),
    ],
)
def test_a_pool_is_settled_when_all_its_triggers_are(
    stubs: Stubs, pools: LambdaPools, limits: tuple[int, ...], state: str, settled: bool
) -> None:
    """None changing, all at the same limit; uneven limits that nothing changes stay so until somebody changes them."""
    found = triggers(*limits)
    found["EventSourceMappings"][1]["State"] = state
    depth = {"Attributes": {"ApproximateNumberOfMessages": "2", "ApproximateNumberOfMessagesNotVisible": "1"}}
    for _ in range(4):
        stubs.answer("sqs", "get_queue_attributes", depth)
    stubs.answer("lambda", "list_event_source_mappings", found)
    stubs.answer("lambda", "get_function_concurrency", {})

    (seen,) = pools.read(["data"])

    assert seen.is_uneven == (len(set(limits)) > 1 and state == "Enabled")
    assert (seen.settled, seen.concurrency, seen.waiting, seen.in_flight, seen.dead) == (settled, max(limits), 6, 3, 3)


def measured(key: str, *values: tuple[int, float]) -> dict[str, Any]:
    """A result of GetMetricData: (minutes ago, value), newest first."""
    return {
        "Id": key,
        "Timestamps": [START - timedelta(minutes=ago) for ago, _ in values],
        "Values": [value for _, value in values],
    }


@pytest.fixture
def watch(stubs: Stubs) -> SqsQueueWatch:
    """A watch over stubs."""
    return SqsQueueWatch(stubs.client("sqs"), stubs.client("cloudwatch"), "https://sqs/1/", stubs.threads, FixedClock())


@pytest.mark.parametrize(
    ("throttles", "errors", "sure"),
    [
        ([], [], 1440),
        ([(5, 0.0), (10, 1.0)], [], 1440),
        ([(10, 1.0), (20, 0.0)], [(5, 0.0), (30, 1.0), (40, 7.0)], 25),
        ([(5, 2.0), (90, 4.0)], [(10, 1.0)], 0),
    ],
)
def test_an_age_holds_since_less_came_to_nothing_than_hides_a_message_from_it(
    stubs: Stubs, watch: SqsQueueWatch, throttles: list[tuple[int, float]], errors: list[tuple[int, float]], sure: int
) -> None:
    """SQS leaves messages out at their third receive, before which two came to nothing; empty queues are not asked about."""
    depth = {"ApproximateNumberOfMessages": "2", "ApproximateNumberOfMessagesNotVisible": "1"}
    stubs.answer("sqs", "get_queue_attributes", {"Attributes": depth})
    stubs.answer("cloudwatch", "get_metric_data", {"MetricDataResults": [measured("q0", (2, 300.0), (3, 240.0))]})
    first = [measured("t0", *throttles[:1]), measured("e0", *errors)]
    stubs.answer("cloudwatch", "get_metric_data", {"MetricDataResults": first, "NextToken": "more"})
    stubs.answer("cloudwatch", "get_metric_data", {"MetricDataResults": [measured("t0", *throttles[1:])]})

    look = watch.look({"fleet-data-low": "fleet-data"})["fleet-data-low"]

    assert look.oldest_sent == START - timedelta(minutes=7)
    assert look.sure_from == START - timedelta(minutes=sure)


def test_a_queue_of_no_known_age_costs_no_look_at_its_function(stubs: Stubs, watch: SqsQueueWatch) -> None:
    """There is nothing that throttles could belie."""
    depth = {"ApproximateNumberOfMessages": "2", "ApproximateNumberOfMessagesNotVisible": "1"}
    stubs.answer("sqs", "get_queue_attributes", {"Attributes": depth})
    stubs.answer("cloudwatch", "get_metric_data", {"MetricDataResults": [measured("q0")]})

    assert watch.look({"fleet-data-low": "fleet-data"})["fleet-data-low"].oldest_sent is None


def test_the_last_throttle_is_the_newest_period_that_has_one(stubs: Stubs, watch: SqsQueueWatch) -> None:
    """Told as its end."""
    points = measured("t", (5, 0.0), (25, 3.0), (60, 9.0))
    stubs.answer("cloudwatch", "get_metric_data", {"MetricDataResults": [points]})

    assert watch.last_throttled("fleet-data") == START - timedelta(minutes=20)


def test_log_pages_are_read_until_there_are_enough_lines(stubs: Stubs, pools: LambdaPools) -> None:
    """The newest come first; an empty page is no end."""
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def page(token: str | None, *seconds: int) -> dict[str, Any]:
        times = [int((start + timedelta(seconds=n)).timestamp() * 1000) for n in seconds]
        events = [{"timestamp": time, "message": f"line {n}\n"} for time, n in zip(times, seconds, strict=True)]
        return {"events": events} | ({"nextToken": token} if token else {})

    for answer in (page("1", 9), page("2"), page("3", 8, 7)):
        stubs.answer("logs", "filter_log_events", answer)

    assert [line for _, line in pools.logs("data", start, 2)] == ["line 8", "line 9"]


def test_an_entry_that_the_registry_refuses_is_told_as_such(stubs: Stubs) -> None:
    """Agents must be able to tell it from what they can't work without."""
    stubs.refuse("dynamodb", "put_item", "ThrottlingException")
    agents = DynamoAgents(stubs.client("dynamodb"), TABLE, stubs.threads)

    with pytest.raises(RegistryUnavailable, match="data-1"):
        agents.put(Agent("data-1", "data", ("data.do",), AgentState.IDLE, START, START))

"""What every deployment must have, whatever its pools are."""

import json
import re
from typing import Any

import pytest

from agentfleet.domain import dead_letters, healing, names
from agentfleet.domain.history import LIFETIME
from cdk.catalog import read_fleet
from cdk.constructs.queue_with_dlq import MAX_RECEIVES, VISIBILITY_PER_TIMEOUT
from tests.infra.templates import ROOT, Resource, Templates, as_list, flat

DAY = 86_400
WILDCARDS = {
    "<fleet-bucket>/plans/*": "objects are named by goal",
    "<fleet-bucket>/outputs/*": "objects are named by goal and task",
    "<fleet-bucket>/blobs/*": "objects are named by goal and task",
    "<fleet-bucket>/cache/*": "cached values are named by a digest",
    "<fleet-bucket>/knowledge/*": "files of indexes are named by tenant, domain and digest",
    "Vault23237E5B.Arn>/history/*": "copies are named by hour, and nothing else is in that bucket",
    ":event-source-mapping:*": "AWS makes up a trigger's id; a condition names the functions",
    ":log-group:/aws/lambda/fleet-": "all streams of one group",
    ":execution:fleet-saga:*": "executions are named after their goals",
}
"""Ends (or, for log groups, beginnings) of the only resources in a role's policy that may hold a `*`."""

UNBOUND = {"FindTriggers": "lambda:ListEventSourceMappings", "ReadMetrics": "cloudwatch:GetMetricData"}
"""Statements whose one action accepts no resource."""


def queues(templates: Templates) -> list[Resource]:
    """Every SQS queue."""
    return templates.of_type("AWS::SQS::Queue")


def queue_triggers(templates: Templates) -> list[Resource]:
    """Every trigger of a function by a queue."""
    return [one for one in templates.of_type("AWS::Lambda::EventSourceMapping") if "StartingPosition" not in one.properties]


def stream_triggers(templates: Templates) -> list[Resource]:
    """Every trigger of a function by a table's stream; never empty."""
    found = [one for one in templates.of_type("AWS::Lambda::EventSourceMapping") if "StartingPosition" in one.properties]
    assert found
    return found


def dead_letter_queues(templates: Templates) -> set[str]:
    """Logical ids, with their stack, of the queues that others name as the place for what failed."""
    redriven = [
        (queue, queue.properties["RedrivePolicy"]["deadLetterTargetArn"])
        for queue in queues(templates)
        if "RedrivePolicy" in queue.properties
    ]
    failed = [
        (trigger, trigger.properties["DestinationConfig"]["OnFailure"]["Destination"]) for trigger in stream_triggers(templates)
    ]
    return {str(templates.target(user, arn)) for user, arn in redriven + failed}


def test_every_queue_has_a_dead_letter_queue_or_is_one(templates: Templates) -> None:
    """Nothing that fails for good is lost, and what is in a dead-letter queue stays for two weeks."""
    dead = dead_letter_queues(templates)

    for queue in queues(templates):
        if str(queue) in dead:
            assert queue.properties["MessageRetentionPeriod"] == 14 * DAY, queue
        else:
            assert queue.properties["RedrivePolicy"]["maxReceiveCount"] == 10, queue


def test_every_queue_is_encrypted_with_the_fleets_key(templates: Templates) -> None:
    """No queue falls back to the key of the service."""
    for queue in queues(templates):
        assert "KmsMasterKeyId" in queue.properties, queue


def test_every_queue_refuses_plain_http(templates: Templates) -> None:
    """Each has a policy that denies what did not come by TLS."""
    policies = templates.of_type("AWS::SQS::QueuePolicy")
    guarded = {
        str(templates.target(policy, queue))
        for policy in policies
        for queue in policy.properties["Queues"]
        if any(denies_plain_http(statement) for statement in policy.properties["PolicyDocument"]["Statement"])
    }

    assert guarded == {str(queue) for queue in queues(templates)}


def test_every_bucket_refuses_plain_http_and_the_public(templates: Templates) -> None:
    """Each denies what did not come by TLS and blocks public access four times over."""
    buckets = templates.of_type("AWS::S3::Bucket")
    guarded = {
        str(templates.target(policy, policy.properties["Bucket"]))
        for policy in templates.of_type("AWS::S3::BucketPolicy")
        if any(denies_plain_http(statement) for statement in policy.properties["PolicyDocument"]["Statement"])
    }

    assert guarded == {str(bucket) for bucket in buckets}
    for bucket in buckets:
        assert set(bucket.properties["PublicAccessBlockConfiguration"].values()) == {True}, bucket
        assert bucket.attributes["DeletionPolicy"] == "Retain", bucket


def test_the_fleets_bucket_is_versioned_encrypted_and_bounded(templates: Templates) -> None:
    """Objects under the key, old versions kept for a while, everything gone in the end but what the fleet knows."""
    bucket = next(one for one in templates.of_type("AWS::S3::Bucket") if "LoggingConfiguration" in one.properties)

    encryption = bucket.properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert encryption["BucketKeyEnabled"] is True
    rules = {rule.get("Prefix", ""): rule for rule in bucket.properties["LifecycleConfiguration"]["Rules"]}
    kept = {prefix: rule["ExpirationInDays"] for prefix, rule in rules.items() if prefix}
    assert kept == {"plans/": 90, "outputs/": 90, "blobs/": 90, "cache/": 8}
    assert rules[""]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}


def test_visibility_is_six_times_the_consumers_timeout(templates: Templates) -> None:
    """A message does not come back while it is still being worked on."""
    by_name = {queue.properties["QueueName"]: queue for queue in queues(templates)}

    for mapping in queue_triggers(templates):
        function = templates.target(mapping, mapping.properties["FunctionName"])
        source = mapping.properties["EventSourceArn"]
        queue = templates.target(mapping, source) if "Fn::GetAtt" in source else by_name[flat(source).rpartition(":")[2]]
        assert queue.properties["VisibilityTimeout"] >= 6 * function.properties["Timeout"], mapping


def test_every_queue_that_takes_messages_is_consumed(templates: Templates) -> None:
    """No queue fills up because nobody listens."""
    dead = dead_letter_queues(templates)
    mappings = queue_triggers(templates)

    assert len(mappings) == sum(str(queue) not in dead for queue in queues(templates))


def test_every_trigger_reports_item_failures_and_is_bounded(templates: Templates) -> None:
    """One bad message fails alone, and no queue can take all the account's concurrency."""
    for mapping in templates.of_type("AWS::Lambda::EventSourceMapping"):
        assert mapping.properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"], mapping
    for mapping in queue_triggers(templates):
        assert mapping.properties["ScalingConfig"]["MaximumConcurrency"] >= 2, mapping


def test_a_stream_can_not_be_blocked_for_ever(templates: Templates) -> None:
    """What can't be recorded is tried a few times, split, then told of; joins, claims and heartbeats are not handed over."""
    for mapping in stream_triggers(templates):
        assert 0 < mapping.properties["MaximumRecordAgeInSeconds"] < DAY
        assert 0 < mapping.properties["MaximumRetryAttempts"] <= 20
        assert mapping.properties["BisectBatchOnFunctionError"] is True
        (only,) = mapping.properties["FilterCriteria"]["Filters"]
        pattern = json.loads(only["Pattern"])["dynamodb"]["Keys"]
        assert pattern in ({"sk": {"S": ["GOAL", {"prefix": "R"}]}}, {"pk": {"S": ["KILL", {"prefix": "APPROVAL#"}]}})


def test_nobody_but_the_recorder_writes_history(templates: Templates) -> None:
    """What an agent or the API could write would prove nothing."""
    writers = {name for name, _ in role_statements(templates, "UseHistoryTable")}

    assert writers == {"What fleet-record-history may do"}
    readers = role_statements(templates, "ReadHistory")
    assert {name: statement["Action"] for name, statement in readers} == {
        "What fleet-serve-api may do": ["dynamodb:GetItem", "dynamodb:Query"],
        "What fleet-archive-history may do": "dynamodb:Query",
    }


def test_copies_of_histories_are_locked_and_nobody_may_lift_that(templates: Templates) -> None:
    """For as long as the table keeps what they are copies of; one function may write them, and only that."""
    (vault,) = [one for one in templates.of_type("AWS::S3::Bucket") if "ObjectLockConfiguration" in one.properties]

    assert vault.properties["VersioningConfiguration"] == {"Status": "Enabled"}
    retention = vault.properties["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert retention == {"Days": LIFETIME.days, "Mode": "GOVERNANCE"}
    assert vault.properties["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] > LIFETIME.days
    ((writer, statement),) = role_statements(templates, "WriteCopies")
    assert (writer, statement["Action"]) == ("What fleet-archive-history may do", "s3:PutObject")
    lifting = {"s3:BypassGovernanceRetention", "s3:PutObjectRetention", "s3:DeleteObjectVersion"}
    assert not [one for _, one in templates.statements() if lifting & set(as_list(one["Action"]))]


def test_histories_are_copied_every_hour(templates: Templates) -> None:
    """Each of the hours whose turn it is, once."""
    rule, target = schedule(templates, "rate(1 hour)")

    assert templates.target(rule, target["Arn"]).properties["FunctionName"] == "fleet-archive-history"


def test_a_history_that_falls_behind_raises_an_alarm(templates: Templates) -> None:
    """Streams keep a day; an hour behind is time enough to act."""
    alarm = next(
        one for one in templates.of_type("AWS::CloudWatch::Alarm") if one.properties.get("MetricName") == "IteratorAge"
    )

    assert alarm.properties["Threshold"] <= 3_600_000


def test_every_table_survives_mistakes(templates: Templates) -> None:
    """Encrypted with the fleet's key, restorable to any second, protected, kept when its stack goes, and self-cleaning."""
    for table in templates.of_type("AWS::DynamoDB::Table"):
        assert table.properties["SSESpecification"]["SSEType"] == "KMS", table
        assert table.properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True, table
        assert table.properties["DeletionProtectionEnabled"] is True, table
        assert table.properties["BillingMode"] == "PAY_PER_REQUEST", table
        assert table.properties["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}, table
        assert table.attributes["DeletionPolicy"] == "Retain", table


def test_the_key_rotates_and_stays(templates: Templates) -> None:
    """Losing the key would be losing the data."""
    (key,) = templates.of_type("AWS::KMS::Key")

    assert key.properties["EnableKeyRotation"] is True
    assert key.attributes["DeletionPolicy"] == "Retain"


def test_every_function_is_arm64_on_python_313_with_a_bounded_encrypted_log(templates: Templates) -> None:
    """The log group is declared, so it exists with its limits before the first line."""
    for function in templates.of_type("AWS::Lambda::Function"):
        assert function.properties["Architectures"] == ["arm64"], function
        assert function.properties["Runtime"] == "python3.13", function
        log = templates.target(function, function.properties["LoggingConfig"]["LogGroup"])
        assert log.properties["RetentionInDays"] == 90, function
        assert "KmsKeyId" in log.properties, function


def test_every_function_has_a_role_of_its_own_without_managed_policies(templates: Templates) -> None:
    """What one may do says nothing about the next."""
    functions = templates.of_type("AWS::Lambda::Function")
    roles = [templates.target(function, function.properties["Role"]) for function in functions]

    assert len({str(role) for role in roles}) == len(functions)
    for role in roles:
        assert "ManagedPolicyArns" not in role.properties, role


def test_no_role_has_a_wildcard_without_a_reason(templates: Templates) -> None:
    """No `*` among the actions, and none among the resources but the few above."""
    for resource, statement in templates.statements():
        if resource.type != "AWS::IAM::Role":
            continue
        assert not [action for action in as_list(statement["Action"]) if "*" in action], resource
        for arn in map(flat, as_list(statement.get("Resource", []))):
            if statement.get("Sid") in UNBOUND:
                # The action accepts no resource; the statement is bound to the region instead.
                assert statement["Action"] == UNBOUND[statement["Sid"]]
                assert "Condition" in statement
            elif statement.get("Sid") == "ReadQueueAges":
                # Neither does GetMetricData, which can only read numbers.
                assert statement["Action"] == "cloudwatch:GetMetricData"
                assert "Condition" in statement
            elif "*" in arn:
                assert any(known in arn for known in WILDCARDS), f"{resource}: {arn}"


def test_resource_policies_allow_nobody_everything(templates: Templates) -> None:
    """`*` as a principal is there only to deny, and services are held to this account."""
    for resource, statement in templates.statements():
        if resource.type in {"AWS::IAM::Role", "AWS::IAM::Policy"} or statement["Effect"] == "Deny":
            continue
        assert statement["Principal"] not in ("*", {"AWS": "*"}), resource
        if "Service" in statement["Principal"]:
            assert "Condition" in statement, f"{resource}: {statement}"


def test_only_pools_with_the_grant_write_blobs(templates: Templates) -> None:
    """`think` asks for no grants in fleet.toml and gets none."""
    writers = {
        name
        for name, statement in role_statements(templates, "WriteObjects")
        if any(flat(arn).endswith("/blobs/*") for arn in as_list(statement["Resource"]))
    }

    assert "What fleet-data may do" in writers
    assert "What fleet-think may do" not in writers


def test_only_the_api_and_the_fleet_manager_move_concurrency(templates: Templates) -> None:
    """A task can't give its own pool more than the fleet manager does."""
    movers = {name for name, _ in role_statements(templates, "MoveConcurrency")}

    assert movers == {"What fleet-serve-api may do", "What fleet-manage-fleet may do"}


def schedule(templates: Templates, expression: str) -> tuple[Any, dict[str, Any]]:
    """The one rule with this schedule, and its one target."""
    rules = templates.of_type("AWS::Events::Rule")
    (rule,) = [rule for rule in rules if rule.properties.get("ScheduleExpression") == expression]
    (target,) = rule.properties["Targets"]
    return rule, target


def test_the_fleet_manager_is_called_each_minute_and_sees_no_goals(templates: Templates) -> None:
    """It needs queues, metrics and the registry; not what tenants have submitted."""
    rule, target = schedule(templates, "rate(1 minute)")
    manager = templates.target(rule, target["Arn"])
    role = templates.target(manager, manager.properties["Role"])

    assert manager.properties["FunctionName"] == rule.properties["Name"] == "fleet-manage-fleet"
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}
    sids = {statement.get("Sid") for resource, statement in templates.statements() if str(resource) == str(role)}
    assert sids == {
        None,
        "UseRegistryTable",
        "UseKey",
        "WatchQueues",
        "MoveConcurrency",
        "MoveTriggers",
        "FindTriggers",
        "ReadMetrics",
    }


def test_a_pool_consumes_its_own_queues_only(templates: Templates) -> None:
    """An agent of one pool can't take another pool's work."""
    for name, statement in role_statements(templates, "ConsumeQueues"):
        own = name.removeprefix("What ").removesuffix(" may do")
        for arn in map(flat, as_list(statement["Resource"])):
            assert own in {"fleet-accept-goals", "fleet-release-tasks", "fleet-remember-goals"} or f":{own}-" in arn, name


def test_a_saga_is_started_by_whoever_ends_goals_and_answered_by_pools_only(templates: Templates) -> None:
    """On that machine and no other; the functions that accept and release have nothing to do with it."""
    machine = ":states:<AWS::Region>:<AWS::AccountId>:stateMachine:fleet-saga"
    starters, answerers = (dict(role_statements(templates, sid)) for sid in ("StartSagas", "AnswerSagas"))
    pools = {name.removeprefix("What ").removesuffix(" may do") for name, _ in role_statements(templates, "AnswerSagas")}

    assert starters.keys() - answerers.keys() == {
        "What fleet-heal-work may do",
        "What fleet-serve-api may do",
        "What fleet-serve-mcp may do",
        "What fleet-compensate-goals may do",
    }
    assert pools == {names.function("fleet", pool) for pool in read_fleet(ROOT).pools}
    for statement in (*starters.values(), *answerers.values()):
        assert flat(statement["Resource"]).endswith(machine)


def test_a_goal_that_is_left_half_undone_raises_an_alarm(templates: Templates) -> None:
    """The machine fails exactly then; every step of it is logged without its data."""
    (machine,) = templates.of_type("AWS::StepFunctions::StateMachine")
    alarms = [
        one for one in templates.of_type("AWS::CloudWatch::Alarm") if one.properties.get("MetricName") == "ExecutionsFailed"
    ]

    assert machine.properties["StateMachineName"] == "fleet-saga"
    assert machine.properties["LoggingConfiguration"]["IncludeExecutionData"] is False
    assert [one.properties["Threshold"] for one in alarms] == [1]


def test_the_api_lets_nobody_in_without_a_key(templates: Templates) -> None:
    """Every route is behind the authorizer, whose answers are cached for a minute per key."""
    for route in templates.of_type("AWS::ApiGatewayV2::Route"):
        assert route.properties["AuthorizationType"] == "CUSTOM", route
    (authorizer,) = templates.of_type("AWS::ApiGatewayV2::Authorizer")
    assert authorizer.properties["AuthorizerResultTtlInSeconds"] == 60
    assert authorizer.properties["IdentitySource"] == ["$request.header.Authorization"]


def test_the_api_is_throttled_and_logged(templates: Templates) -> None:
    """A runaway client is slowed down, and who asked for what is known."""
    (stage,) = templates.of_type("AWS::ApiGatewayV2::Stage")

    assert stage.properties["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
    assert "DestinationArn" in stage.properties["AccessLogSettings"]


def test_every_dead_letter_queue_raises_an_alarm(templates: Templates) -> None:
    """One message is enough."""
    watched = {
        str(templates.target(alarm, dimension["Value"]))
        for alarm in templates.of_type("AWS::CloudWatch::Alarm")
        if alarm.properties.get("MetricName") == "ApproximateNumberOfMessagesVisible" and alarm.properties["Threshold"] == 1
        for dimension in alarm.properties["Dimensions"]
    }

    assert watched == dead_letter_queues(templates)


def test_the_names_follow_the_fleets_rule(templates: Templates) -> None:
    """The code finds tables, bus and queues by names that nobody tells it."""
    named = {
        resource.properties[key]
        for kind, key in (
            ("AWS::DynamoDB::Table", "TableName"),
            ("AWS::Events::EventBus", "Name"),
            ("AWS::SQS::Queue", "QueueName"),
            ("AWS::Lambda::Function", "FunctionName"),
        )
        for resource in templates.of_type(kind)
    }

    assert {
        "fleet-work",
        "fleet-registry",
        "fleet-knowledge",
        "fleet-history",
        "fleet-memory",
        "fleet-events",
        "fleet-release",
        "fleet-submissions-dead",
    } <= named
    assert {"fleet-data", "fleet-data-high", "fleet-data-dead", "fleet-serve-api", "fleet-accept-goals"} <= named


@pytest.mark.parametrize(
    ("queue", "pattern"),
    [
        ("fleet-submissions", {"detail-type": ["GoalSubmitted"]}),
        (
            "fleet-endings",
            {
                "source": ["agentfleet"],
                "detail-type": ["GoalSucceeded", "GoalFailed"],
                "detail": {"words": [{"exists": True}]},
            },
        ),
    ],
)
def test_events_from_the_bus_reach_their_queue(templates: Templates, queue: str, pattern: dict[str, Any]) -> None:
    """Goals to accept, and ends of goals in words to remember: what can't be delivered is kept beside what failed."""
    rules = [rule for rule in templates.of_type("AWS::Events::Rule") if rule.properties.get("EventPattern") == pattern]
    ((rule, (target,)),) = [(rule, rule.properties["Targets"]) for rule in rules]

    assert templates.target(rule, target["Arn"]).properties["QueueName"] == queue
    assert templates.target(rule, target["DeadLetterConfig"]["Arn"]).properties["QueueName"] == f"{queue}-dead"


def test_memory_is_for_those_with_the_grant(templates: Templates) -> None:
    """Pools that ask for it, the API, and what remembers goals; only that adds to figures, and it changes no goal."""
    users = dict(role_statements(templates, "UseMemoryTable"))

    assert {"What fleet-memory may do", "What fleet-serve-api may do", "What fleet-remember-goals may do"} <= users.keys()
    assert "What fleet-code may do" not in users
    assert "What fleet-web may do" not in users
    adders = {name for name, one in users.items() if "dynamodb:UpdateItem" in one["Action"]}
    assert adders == {"What fleet-remember-goals may do"}
    work = dict(role_statements(templates, "UseWorkTable"))["What fleet-remember-goals may do"]
    assert set(work["Action"]) == {"dynamodb:GetItem", "dynamodb:BatchGetItem"}


def test_the_healer_is_started_every_two_minutes(templates: Templates) -> None:
    """And each run is over before the next begins."""
    rule, target = schedule(templates, "rate(2 minutes)")
    healer = templates.target(rule, target["Arn"])

    assert healer.properties["FunctionName"] == "fleet-heal-work"
    assert healer.properties["Timeout"] < 120


def test_only_the_healer_and_the_api_touch_dead_letters(templates: Templates) -> None:
    """And neither can take anything out of a queue that an agent works on."""
    tenders = dict(role_statements(templates, "TendDeadLetters"))

    assert set(tenders) == {"What fleet-heal-work may do", "What fleet-serve-api may do"}
    for statement in tenders.values():
        assert all(flat(arn).endswith("-dead") for arn in as_list(statement["Resource"]))
    with_submissions = {
        role
        for role, statement in tenders.items()
        if any(flat(arn).endswith("fleet-submissions-dead") for arn in as_list(statement["Resource"]))
    }
    assert with_submissions == {"What fleet-serve-api may do"}


def test_the_domain_knows_what_the_queues_are_deployed_with(templates: Templates) -> None:
    """Diagnosis and patience reckon with these numbers."""
    assert (MAX_RECEIVES, VISIBILITY_PER_TIMEOUT) == (dead_letters.MAX_RECEIVES, healing.VISIBILITY_PER_TIMEOUT)
    release = next(queue for queue in queues(templates) if queue.properties["QueueName"] == "fleet-release")
    assert release.properties["VisibilityTimeout"] == healing.RELEASE_VISIBILITY.total_seconds()


@pytest.mark.parametrize("output", ["ApiUrl", "ApiKeySecretArn", "WorkTable", "Bucket", "Bus"])
def test_outputs_say_where_things_are(templates: Templates, output: str) -> None:
    """Whoever deploys can find the way in."""
    assert any(output in body.get("Outputs", {}) for body in templates.bodies.values())


def test_the_local_stage_has_every_resource(templates: Templates, local_templates: Templates) -> None:
    """It differs in what is kept and for how long, never in what there is."""

    def declared(some: Templates) -> set[tuple[str, str]]:
        # A layer version's logical id ends in a hash of its content, and wheels differ with the machine.
        return {(found.stack, re.sub(r"[0-9a-f]{32,}$", "", found.logical_id)) for found in some.all()}

    assert declared(local_templates) == declared(templates)
    for table in local_templates.of_type("AWS::DynamoDB::Table"):
        assert table.properties["DeletionProtectionEnabled"] is False


def role_statements(templates: Templates, sid: str) -> list[tuple[str, dict[str, Any]]]:
    """Description of the role and statement, for every statement with this sid in a role; never empty."""
    found = [
        (resource.properties["Description"], statement)
        for resource, statement in templates.statements()
        if resource.type == "AWS::IAM::Role" and statement.get("Sid") == sid
    ]
    assert found, f"no role has a statement {sid}"
    return found


def denies_plain_http(statement: dict[str, Any]) -> bool:
    """Whether a statement denies everything that did not come by TLS."""
    return (statement["Effect"], statement.get("Condition")) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
